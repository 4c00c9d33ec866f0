"""Owns which messages their brokers had before their rows were written: such a row need not be written at all.

An answer is published beside its commit, and most brokers are quicker than a disk. A commit that says of an answer that
it was decided and published says all there is to say; its message need not go through the outbox.
"""

import threading
from collections.abc import Iterable

from edge_agent.ports import RowId

_MOST = 10_000


class EarlyAcks:
    """Acknowledged messages that no commit has settled yet. Any thread may call anything.

    What is forgotten (a message that was acknowledged twice leaves an entry behind) costs at most that a message is
    written, published once more, and trimmed then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[RowId, None] = {}  # oldest first

    def __contains__(self, row: object) -> bool:
        return row in self._rows

    def add(self, rows: Iterable[RowId]) -> None:
        """Brokers have these; row 0 is no row."""
        with self._lock:
            self._rows.update((row, None) for row in rows if row)
            while len(self._rows) > _MOST:
                del self._rows[next(iter(self._rows))]

    def settle(self, rows: Iterable[RowId]) -> None:
        """A commit says of these that they were published."""
        with self._lock:
            for row in rows:
                self._rows.pop(row, None)
