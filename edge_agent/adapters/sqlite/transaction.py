"""Owns one write transaction's scratch: the connection, the present, the counts to add, whom the commit wakes."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.ports import BindingName, CounterKey, DeadLetter, RowId

NewRow = Callable[[], RowId]


class Transaction:
    """Handed to everything that writes; counters change in the same transaction as what they count.

    Args:
        connection: The write connection, inside a transaction.
        now: The present.
        new_row: Gives row ids that were never given out before.
    """

    def __init__(self, connection: sqlite3.Connection, now: Stamp, new_row: NewRow) -> None:
        self.connection = connection
        self.now = now
        self.new_row = new_row
        self.wakes_link = False
        self.wakes_feedback = False
        self.wakes_publisher = False
        self.dead_letters: list[DeadLetter] = []  # those that only the store could tell; a unit's are known already
        self._counts: defaultdict[CounterKey, int] = defaultdict(int)

    def count(self, binding: BindingName, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self._counts[binding, name] += amount

    def counts(self) -> dict[CounterKey, int]:
        """What was counted so far."""
        return dict(self._counts)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Let what fails inside leave nothing behind; after an error of the disk the whole transaction is of no use."""
        counts, letters = self.counts(), len(self.dead_letters)
        self.connection.execute("SAVEPOINT part")
        try:
            yield
        except sqlite3.OperationalError:
            raise
        except BaseException:
            self.connection.execute("ROLLBACK TO part")
            self._counts = defaultdict(int, counts)
            del self.dead_letters[letters:]
            self.connection.execute("RELEASE part")
            raise
        self.connection.execute("RELEASE part")

    def write_counts(self) -> None:
        """Write what `count` gathered; called once, before the commit."""
        self.connection.executemany(
            "INSERT INTO counter VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
            [(binding, name, amount) for (binding, name), amount in self._counts.items() if amount],
        )

    def meta(self, name: str) -> str | None:
        """A fact about the whole store."""
        return read_meta(self.connection, name)

    def set_meta(self, name: str, value: str) -> None:
        """Set a fact about the whole store."""
        self.connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
        )


def read_meta(connection: sqlite3.Connection, name: str) -> str | None:
    """A fact about the whole store; None when it was never set."""
    found = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if found is None else str(found[0])
