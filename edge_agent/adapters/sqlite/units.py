"""Owns writing one unit: counters, journal, dedupe keys, window states, dead letters, then its predictions' fates."""

import hashlib

from edge_agent.adapters.sqlite.fates import Fates
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.ports import DeadLetter, Unit

DEAD_LETTER_HEAD_BYTES = 64 << 10
_DEAD_LETTER_OVERHEAD_BYTES = 300


class Units:
    """Applies units inside a transaction.

    Args:
        fates: What becomes of the predictions.
        dead_letter_max_bytes: The dead letters' own share; the oldest go first.
    """

    def __init__(self, fates: Fates, dead_letter_max_bytes: int) -> None:
        self._fates = fates
        self._dead_letter_max_bytes = dead_letter_max_bytes

    def apply(self, tx: Transaction, unit: Unit) -> None:
        """Write a unit; the caller commits.

        Args:
            tx: The transaction.
            unit: One pass of the pipeline.
        """
        for (binding, name), amount in unit.counts.items():
            tx.count(binding, name, amount)
        _journal(tx, unit)
        _seen(tx, unit)
        _states(tx, unit)
        for letter in unit.dead_letters:
            self._dead_letter(tx, letter)
        for one in unit.decided:
            self._fates.decide(tx, one)

    def _dead_letter(self, tx: Transaction, letter: DeadLetter) -> None:
        head = letter.payload[:DEAD_LETTER_HEAD_BYTES]
        size = len(head) + len(letter.topic) + len(letter.detail) + _DEAD_LETTER_OVERHEAD_BYTES
        connection = tx.connection
        while True:
            (used,) = connection.execute("SELECT bytes FROM dead_letter_usage").fetchone()
            if used == 0 or used + size <= self._dead_letter_max_bytes:
                break
            connection.execute("DELETE FROM dead_letter WHERE number = (SELECT min(number) FROM dead_letter)")
        connection.execute(
            "INSERT INTO dead_letter VALUES (NULL,?,?,?,?,?,?,?,?,?,?)",
            (
                letter.binding, letter.topic, letter.reason, letter.detail, letter.received_ns, head,
                len(letter.payload), f"sha256:{hashlib.sha256(letter.payload).hexdigest()}",
                len(letter.payload) > len(head), size,
            ),
        )  # fmt: skip


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
