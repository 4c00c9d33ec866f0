"""Owns what waits for the writer: units of the pipeline and calls of the links, and which of them may be shed.

When they are committed, acknowledged or given up is `writer.py`; what is left of a unit that is shed is `backlog.py`.
"""

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeGuard

from edge_agent.adapters.sqlite import backlog
from edge_agent.adapters.sqlite.errors import NoRoomYetError
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.core.durability import Durability
from edge_agent.ports import Unit

HELD_MAX_BYTES = 16 << 20
MAX_ENTRIES = 512


class Call:
    """Something to do in the next transaction, whose caller waits for the commit.

    Args:
        change: What to do.
        durability: Of the commit.
        is_in_order: Not before every unit that was handed in earlier.
    """

    def __init__(self, change: Callable[[Transaction], object], durability: Durability, *, is_in_order: bool) -> None:
        self.future: Future[object] = Future()
        self.durability = durability
        self.is_in_order = is_in_order
        self._change = change
        self._outcome: tuple[object, Exception | None] = (None, None)

    def run(self, tx: Transaction) -> None:
        """Apply the change behind a savepoint: a refused change leaves the rest of the transaction whole.

        Raises:
            NoRoomYetError: It has to wait; nothing of it is written.
        """
        try:
            with tx.savepoint():
                self._outcome = (self._change(tx), None)
        except (sqlite3.OperationalError, NoRoomYetError):
            raise  # the disk or the outbox, not the change: it is tried again
        except Exception as error:  # noqa: BLE001 - handed to the caller, who waits for it
            self._outcome = (None, error)

    def committed(self) -> None:
        """Give the caller what it waits for."""
        result, error = self._outcome
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


Entry = Unit | Call


def is_kept(entry: Entry) -> TypeGuard[Unit]:
    """Whether it is a unit that may not be shed, whatever the disk does."""
    return isinstance(entry, Unit) and entry.terms.is_held


def is_awaited(entry: Entry) -> bool:
    """Whether somebody waits for its commit: a caller, a sender for its acknowledgement, the hub for its question."""
    if isinstance(entry, Call):
        return True
    return bool(entry.acks or entry.feedback or any(one.escalate is not None for one in entry.decided))


def is_in_order(entry: Entry) -> bool:
    """Whether it may not overtake a unit."""
    return isinstance(entry, Unit) or entry.is_in_order


def durability_of(entry: Entry) -> Durability:
    """What it has to survive once its commit is told."""
    return entry.terms.durability if isinstance(entry, Unit) else entry.durability


def parted(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """What a full disk may not shed, with what has to come behind it; and the rest. Both in order."""
    kept: list[Entry] = []
    rest: list[Entry] = []
    for entry in entries:
        if is_kept(entry) or (kept and isinstance(entry, Call) and entry.is_in_order):
            kept.append(entry)
        else:
            rest.append(entry)
    return kept, rest


def books(entries: Sequence[Entry]) -> list[Entry]:
    """The same entries without payloads, units first, then the calls, another one at their head each time.

    They are committed one by one: a call that finds no room then keeps nothing else from its commit. Calls that come in
    order keep it: a verdict behind which the cursor has gone would be taken for a repeat.
    """
    units = [entry for entry in entries if isinstance(entry, Unit)]
    calls = [entry for entry in entries if isinstance(entry, Call)]
    in_order = iter([call for call in calls if call.is_in_order])
    turned = [next(in_order) if call.is_in_order else call for call in (*calls[1:], *calls[:1])]
    return [*([backlog.shed(units)] if units else []), *turned]


def undurable(entries: Sequence[Entry]) -> list[Entry]:
    """The same entries once their messages are acknowledged; units that take too much memory are folded into one."""
    kept = [one for one in entries if is_kept(one)]
    left = [one for one in entries if isinstance(one, Unit) and not is_kept(one)]
    units = [backlog.undurable(one) if one.acks else one for one in left]
    if len(units) > MAX_ENTRIES // 2 or sum(map(backlog.size_bytes, units)) > HELD_MAX_BYTES:
        units = [backlog.undurable(backlog.as_one(units))]
    return [*kept, *units, *(one for one in entries if isinstance(one, Call))]
