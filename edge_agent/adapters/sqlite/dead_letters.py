"""Owns the kept dead letters: their head, length and digest, within a share of their own; the oldest give way."""

import hashlib

from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.ports import DeadLetter

HEAD_BYTES = 64 << 10
_OVERHEAD_BYTES = 300


class DeadLetters:
    """Buries inside a transaction; counting is the caller's.

    Args:
        max_bytes: The share.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def bury(self, tx: Transaction, letter: DeadLetter) -> None:
        """Keep one, and drop the oldest ones that it has no room beside."""
        head = letter.payload[:HEAD_BYTES]
        size = len(head) + len(letter.topic) + len(letter.detail) + _OVERHEAD_BYTES
        connection = tx.connection
        while True:
            (used,) = connection.execute("SELECT bytes FROM dead_letter_usage").fetchone()
            if used == 0 or used + size <= self._max_bytes:
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
