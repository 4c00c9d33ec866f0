"""Owns what the simulated hub needs of a database: the words of `SqlStore`, without waiting.

Two fill it: `rule_database.py`, the hub's pure rules on plain dictionaries, quick enough for ten thousand histories,
and `sql_database.py`, the real statements on SQLite in memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud_hub.core.delivery import Delivery
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import FeedbackTaken, LabelGiven, LabelOutcome
from cloud_hub.ports import Answer, Delivered, Forgotten, OpenedSession, WaitingItem
from protos.messages.escalation import Hello, PredictionId, Verdict
from protos.messages.feedback import FeedbackBatch

DEVICE = DeviceKey("acme", "north", "press-07")
"""The only device: nothing here is shared between devices but the waiting room."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the hub holds, for the examination.

    Attributes:
        questions: Prediction ids of the items that are no repeats, in the order in which they came.
        waiting: Those of them without an answer.
        places: (store, class, seq) of all items; stores by their number in the order in which they came.
        log: Every verdict, by its place in the log.
        judgements: Prediction ids of what people at the device said, in the order in which it came.
    """

    questions: tuple[PredictionId, ...]
    waiting: frozenset[PredictionId]
    places: tuple[tuple[int, int, int], ...]
    log: tuple[Verdict, ...]
    judgements: tuple[PredictionId, ...]


def without_names(places: Iterable[tuple[str, int, int]]) -> tuple[tuple[int, int, int], ...]:
    """Number stores, whose ids are random, in the order in which they came."""
    numbers: dict[str, int] = {}
    return tuple((numbers.setdefault(store, len(numbers)), item_class, seq) for store, item_class, seq in places)


class HubDatabase(Protocol):
    """`EscalationStore` and what else the simulation asks of the hub's database."""

    def open_session(self, hello: Hello, now_ns: int) -> OpenedSession:
        """As `EscalationStore.open_session`."""

    def apply(self, items: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """As `EscalationStore.apply`."""

    def waiting(self, limit: int) -> tuple[WaitingItem, ...]:
        """As `EscalationStore.waiting`."""

    def waiting_count(self) -> int:
        """How many items have no answer."""

    def answer(self, answers: Sequence[Answer]) -> None:
        """As `EscalationStore.answer`."""

    def verdicts(self, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """As `EscalationStore.verdicts`."""

    def acknowledge(self, verdict_seq: int) -> None:
        """As `EscalationStore.acknowledge`."""

    def label(self, given: LabelGiven) -> LabelOutcome | None:
        """As `CaseRecords.label`; None where the case is unknown."""

    def receive_feedback(self, batch: FeedbackBatch, now_ns: int) -> FeedbackTaken:
        """As `CaseRecords.receive_feedback`, of a batch without refusals."""

    def renew_incarnation(self, now_ns: int) -> None:
        """As `cloud-hub restored`."""

    def forget(self, before_ns: int) -> Forgotten:
        """As `FleetWatchStore.forget`."""

    def backup(self) -> object:
        """A copy of everything."""

    def put_back(self, copy: object) -> None:
        """Replace everything by a copy."""

    def stored(self) -> Stored:
        """What is there now."""

    def close(self) -> None:
        """Let it go."""
