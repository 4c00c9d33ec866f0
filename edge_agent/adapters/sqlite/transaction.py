"""Owns one write transaction's scratch: the connection, the present, the counts to add, whom the commit wakes."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.ports import BindingName, CounterKey, DeadLetter, Event, RowId

NewRow = Callable[[], RowId]

EACH = "SELECT value FROM json_each(?)"
"""The elements of a JSON array, as a column: one statement for any number of values."""

_ADD_COUNTS = """INSERT INTO counter
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET value = value + excluded.value"""
_PIECES = (64, 16, 4, 1)  # few lengths: the connection keeps as many statements prepared


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
        self.published: list[RowId] = []  # of messages that it says of that their brokers have them
        self.dead_letters: list[DeadLetter] = []  # those that only the store could tell; a unit's are known already
        self.revised: list[Event] = []
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
        counts = self.counts()
        letters, revised, published = len(self.dead_letters), len(self.revised), len(self.published)
        self.connection.execute("SAVEPOINT part")
        try:
            yield
        except sqlite3.OperationalError:
            raise
        except BaseException:
            self.connection.execute("ROLLBACK TO part")
            self._counts = defaultdict(int, counts)
            del self.dead_letters[letters:]
            del self.revised[revised:]
            del self.published[published:]
            self.connection.execute("RELEASE part")
            raise
        self.connection.execute("RELEASE part")

    def insert(self, table: str, rows: Sequence[tuple[object, ...]], conflict: str = "") -> None:
        """Insert rows of the same width, several with each statement.

        Each step of a statement gives the interpreter away, and one that waits for it again waits for whoever computes
        meanwhile: what counts is the number of steps.
        """
        first = 0
        for size in _PIECES:
            while len(rows) - first >= size:
                piece = rows[first : first + size]
                self.connection.execute(
                    _insertion(table, len(piece[0]), size, conflict), [value for row in piece for value in row]
                )
                first += size

    def write_counts(self) -> None:
        """Write what `count` gathered; called once, before the commit."""
        counts = [(binding, name, amount) for (binding, name), amount in self._counts.items() if amount]
        self.connection.execute(_ADD_COUNTS, (json.dumps(counts),))

    def meta(self, name: str) -> str | None:
        """A fact about the whole store."""
        return read_meta(self.connection, name)

    def set_meta(self, name: str, value: str) -> None:
        """Set a fact about the whole store."""
        self.connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
        )


@lru_cache(maxsize=256)  # pure, and the connection knows a statement by its text
def _insertion(table: str, width: int, rows: int, conflict: str) -> str:
    row = f"({','.join('?' * width)})"
    return f"INSERT INTO {table} VALUES {','.join([row] * rows)} {conflict}"  # noqa: S608 - own names


def read_meta(connection: sqlite3.Connection, name: str) -> str | None:
    """A fact about the whole store; None when it was never set."""
    found = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if found is None else str(found[0])
