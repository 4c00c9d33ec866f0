"""Owns writing one unit: counters, journal, dedupe keys, window states, dead letters, predictions, then feedback."""

from edge_agent.adapters.sqlite.dead_letters import DeadLetters
from edge_agent.adapters.sqlite.fates import Fates
from edge_agent.adapters.sqlite.feedback import Judgements
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.ports import Unit


class Units:
    """Applies units inside a transaction.

    Args:
        fates: What becomes of the predictions.
        judgements: What becomes of feedback.
        dead_letters: Where records go that could not be decoded.
    """

    def __init__(self, fates: Fates, judgements: Judgements, dead_letters: DeadLetters) -> None:
        self._fates = fates
        self._judgements = judgements
        self._dead_letters = dead_letters

    def apply(self, tx: Transaction, unit: Unit) -> None:
        """Write a unit; the caller commits.

        Args:
            tx: The transaction.
            unit: One pass of the pipeline.

        Raises:
            NoRoomYetError: A class of the outbox is full and blocks; the caller takes back what was written.
        """
        self._fates.begin(tx)
        for (binding, name), amount in unit.counts.items():
            tx.count(binding, name, amount)
        _journal(tx, unit)
        _seen(tx, unit)
        _states(tx, unit)
        for letter in unit.dead_letters:
            self._dead_letters.bury(tx, letter)
        for one in unit.decided:
            self._fates.decide(tx, one)
        for given in unit.feedback:
            self._judgements.given(tx, given)


def _journal(tx: Transaction, unit: Unit) -> None:
    execute = tx.connection.executemany
    execute(
        "INSERT INTO journal VALUES (?,?,?,?,?,?,?)",
        [(r.row, r.binding, r.partition, r.received_ns, r.times_ns, r.values, r.pending) for r in unit.journal],
    )
    execute("UPDATE journal SET pending = ? WHERE row = ?", [(left, row) for row, left in unit.pending.items()])
    execute("DELETE FROM journal WHERE row = ?", [(row,) for row in unit.released])


def _seen(tx: Transaction, unit: Unit) -> None:
    execute = tx.connection.executemany
    execute("DELETE FROM seen WHERE binding = ? AND key = ?", unit.forgotten)
    execute("INSERT INTO seen VALUES (NULL,?,?) ON CONFLICT DO NOTHING", unit.seen)


def _states(tx: Transaction, unit: Unit) -> None:
    execute = tx.connection.executemany
    gone = [key for key, state in unit.states.items() if state is None]
    execute("DELETE FROM partition_state WHERE binding = ? AND partition = ?", gone)
    execute(
        "INSERT INTO partition_state VALUES (?,?,?) ON CONFLICT DO UPDATE SET state = excluded.state",
        [(*key, state) for key, state in unit.states.items() if state is not None],
    )
