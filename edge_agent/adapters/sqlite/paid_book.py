"""Owns paying for bytes: the escalation book, where an item is handed to the link only when its bytes are paid for.

Bytes are debited durably before they are sent, for every sending anew: one that is repeated costs again. What there are
no bytes for stays in the outbox, and waits. Calls and money were paid when the question was made
(`inference/rationing.py`).
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from edge_agent.adapters.sqlite.book import Book
from edge_agent.adapters.sqlite.budget_ledger import BudgetLedger
from edge_agent.core.budget import Pool
from edge_agent.ports import ItemKey
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import Ack, Hello, Item, ItemClass, Reject, Verdict, Welcome


class PaidBook:
    """The book of a device with a budget. Implements `EscalationBook`.

    Args:
        book: The store's.
        ledger: Where bytes are paid.
    """

    def __init__(self, book: Book, ledger: BudgetLedger) -> None:
        self._book = book
        self._ledger = ledger
        self._lock = threading.Lock()
        self._paid: set[ItemKey] = set()  # and not sent yet; lost with the process, as what it paid is

    def hello(self) -> Hello:
        """As the book says."""
        return self._book.hello()

    def welcomed(self, welcome: Welcome) -> bool:
        """As the book does."""
        return self._book.welcomed(welcome)

    def next_items(self, limit: int, in_flight: frozenset[ItemKey]) -> list[Item]:
        """Those of the book's next items that are paid for."""
        items = self._book.next_items(limit, in_flight)
        if not self._ledger.bounds_bytes:
            return items
        with self._lock:
            unpaid = [one for one in items if (one.item_class, one.seq) not in self._paid]
        for pool in (Pool.AUDIT, Pool.MAIN):
            asked = [one for one in unpaid if (one.item_class is ItemClass.AUDIT) == (pool is Pool.AUDIT)]
            if asked:
                places = self._ledger.take_bytes(pool, [len(escalation_to_bytes(one.body)) for one in asked])
                with self._lock:
                    self._paid |= {(asked[place].item_class, asked[place].seq) for place in places}
        with self._lock:
            return [one for one in items if (one.item_class, one.seq) in self._paid]

    def wait_for_items(self, timeout_s: float) -> bool:
        """As the book does."""
        return self._book.wait_for_items(timeout_s)

    def sent(self, items: Sequence[ItemKey]) -> None:
        """These used up what was paid for them."""
        with self._lock:
            self._paid.difference_update(items)
        self._book.sent(items)

    def acked(self, ack: Ack) -> None:
        """As the book does."""
        self._book.acked(ack)

    def rejected(self, reject: Reject) -> None:
        """As the book does."""
        self._book.rejected(reject)

    def answered(self, verdict: Verdict) -> Future[None]:
        """As the book does."""
        return self._book.answered(verdict)
