"""Owns the store's place in tests of the hub link: an `EscalationBook` in memory that records what it is told."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from edge_agent.ports import ItemKey
from model_packs.tensors import Tensor
from protos.messages.escalation import (
    Ack,
    Escalation,
    Hello,
    Item,
    ItemClass,
    PredictionId,
    Reason,
    Reject,
    StoreId,
    Verdict,
    Welcome,
)
from protos.messages.inference import ModelUse
from protos.status import TABLE, Retry

DEADLINE_S = 20.0


def escalation(number: int, *, samples: int, channels: int, hub_pack: str, edge_pack: str) -> Escalation:
    """A window that is like no other, as the pipeline would ask about it."""
    window = np.full((1, samples, channels), number, dtype=np.float32)
    tensor = Tensor.from_array("window", window)
    return Escalation(
        prediction_id=PredictionId(f"prediction-{number}"),
        input_digest=tensor.digest(),
        binding="motion",
        partition="m1",
        window_start_ns=number * 1_000_000_000,
        window_end_ns=(number + 1) * 1_000_000_000,
        window_samples=samples,
        window_fill=1.0,
        clock="synced",
        edge_model=ModelUse(edge_pack, "sha256:" + "0" * 64),
        hub_pack=hub_pack,
        reason=Reason.LOW_CONFIDENCE,
        propensity=1.0,
        confidence=0.4,
        edge_output=None,
        inputs=(tensor,),
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


class FakeBook:
    """What waits, what was sent, what the hub said; every change can be waited for."""

    def __init__(self, store_id: str = "store-1") -> None:
        self.store_id = StoreId(store_id)
        self._changed = threading.Condition()
        self._waiting: dict[int, Item] = {}
        self._seq = 0
        self.welcomes: list[Welcome] = []
        self.accepts_welcome = True
        self.next_failure: Exception | None = None
        self.sent_seqs: list[int] = []
        self.acked_seqs: set[int] = set()
        self.rejects: list[Reject] = []
        self.verdicts: dict[int, Verdict] = {}
        self.cursor = 0
        self.ups = 0
        self.downs: list[str] = []

    def add(self, body: Escalation, item_class: ItemClass = ItemClass.ESCALATION) -> int:
        """Commit one more item; its sequence number."""
        with self._changed:
            self._seq += 1
            self._waiting[self._seq] = Item(item_class, self._seq, 1, 0, body)
            self._changed.notify_all()
            return self._seq

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a fact about what was recorded."""
        with self._changed:
            if not self._changed.wait_for(condition, DEADLINE_S):
                raise AssertionError(f"not within {DEADLINE_S:g} s: {what}; ups {self.ups}, downs {self.downs}")

    def hello(self) -> Hello:
        """Where this store stands."""
        with self._changed:
            incarnation = self.welcomes[-1].hub_incarnation if self.welcomes else None
            highest = ((ItemClass.ESCALATION, self._seq),)
            return Hello(self.store_id, highest, self.cursor, incarnation, "0.1.0")

    def welcomed(self, welcome: Welcome) -> bool:
        """Take the welcome, unless the test says that the hub is ahead of this store."""
        with self._changed:
            self.welcomes.append(welcome)
            accepts, self.accepts_welcome = self.accepts_welcome, True
            if not accepts:
                self.store_id = StoreId(self.store_id + "-again")
            self._changed.notify_all()
            return accepts

    def next_items(self, limit: int, in_flight: frozenset[ItemKey]) -> list[Item]:
        """What waits, oldest first."""
        with self._changed:
            return [one for one in self._waiting.values() if (one.item_class, one.seq) not in in_flight][:limit]

    def wait_for_items(self, timeout_s: float) -> bool:
        """Wait for anything to change."""
        with self._changed:
            return self._changed.wait(timeout_s)

    def sent(self, items: Sequence[ItemKey]) -> None:
        """Record it."""
        with self._changed:
            self.sent_seqs.extend(seq for _, seq in items)
            self._changed.notify_all()

    def acked(self, ack: Ack) -> None:
        """These wait no more."""
        with self._changed:
            for seq in [seq for seq in self._waiting if any(first <= seq <= last for first, last in ack.ranges)]:
                del self._waiting[seq]
                self.acked_seqs.add(seq)
            self._changed.notify_all()

    def rejected(self, reject: Reject) -> None:
        """A final status ends the item; another leaves it waiting."""
        with self._changed:
            self.rejects.append(reject)
            if TABLE[reject.status].retry is not Retry.CALL:
                self._waiting.pop(reject.seq, None)
            self._changed.notify_all()

    def answered(self, verdict: Verdict) -> Future[None]:
        """Keep the verdict and move the cursor, unless the test says that the store fails once."""
        stored: Future[None] = Future()
        with self._changed:
            failure, self.next_failure = self.next_failure, None
            if failure is not None:
                stored.set_exception(failure)
                return stored
            self.verdicts[verdict.verdict_seq] = verdict
            self.cursor = max(self.cursor, verdict.verdict_seq)
            self._changed.notify_all()
        stored.set_result(None)
        return stored

    def link_up(self, _hub: str) -> None:
        """Count it."""
        with self._changed:
            self.ups += 1
            self._changed.notify_all()

    def link_down(self, _hub: str, reason: str) -> None:
        """Keep the reason."""
        with self._changed:
            self.downs.append(reason)
            self._changed.notify_all()
