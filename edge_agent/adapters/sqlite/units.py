"""Owns writing one unit: counters, journal, dedupe keys, window states, dead letters, predictions, then feedback."""

import json

from edge_agent.adapters.sqlite.dead_letters import DeadLetters
from edge_agent.adapters.sqlite.fates import Fates
from edge_agent.adapters.sqlite.feedback import Judgements
from edge_agent.adapters.sqlite.transaction import EACH, Transaction
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
        if unit.decided or unit.returned:
            self._fates.decide(tx, unit.decided, unit.returned)
        for given in unit.feedback:
            self._judgements.given(tx, given)


def _journal(tx: Transaction, unit: Unit) -> None:
    tx.insert(
        "journal",
        [(r.row, r.binding, r.partition, r.received_ns, r.times_ns, r.values, r.pending) for r in unit.journal],
    )
    execute = tx.connection.executemany
    execute("UPDATE journal SET pending = ? WHERE row = ?", [(left, row) for row, left in unit.pending.items()])
    if unit.released:
        tx.connection.execute(f"DELETE FROM journal WHERE row IN ({EACH})", (json.dumps(unit.released),))  # noqa: S608 - own text


def _seen(tx: Transaction, unit: Unit) -> None:
    tx.connection.executemany("DELETE FROM seen WHERE binding = ? AND key = ?", unit.forgotten)
    tx.insert("seen", [(None, *one) for one in unit.seen], "ON CONFLICT DO NOTHING")


def _states(tx: Transaction, unit: Unit) -> None:
    gone = [key for key, state in unit.states.items() if state is None]
    tx.connection.executemany("DELETE FROM partition_state WHERE binding = ? AND partition = ?", gone)
    tx.insert(
        "partition_state",
        [(*key, state) for key, state in unit.states.items() if state is not None],
        "ON CONFLICT DO UPDATE SET state = excluded.state",
    )
