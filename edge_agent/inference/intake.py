"""Owns the port between a binding's records and its model: a record is decoded, then it makes things to ask.

Two implementations: samples that become windows (`window_intake.py`), and single images (`image_intake.py`). What all
bindings share (matching, dedupe, dead letters, counting, answering) is `lane.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edge_agent.inference.answering import Question
from edge_agent.inference.draft import Draft
from edge_agent.ports import Delivery, Remembered


@dataclass(slots=True)
class Ready:
    """A question, with the captures of its records' topic that have one value for it."""

    question: Question
    captures: Mapping[str, str]


class Decoded(Protocol):
    """A record that is what its binding declares."""

    @property
    def key(self) -> bytes:
        """16 bytes that name the record among those of its binding."""
        ...


DecodedT = TypeVar("DecodedT", bound=Decoded)


class Intake(Protocol[DecodedT]):
    """Turns the records of one binding into questions. No thread, no I/O of its own."""

    def restore(self, known: Remembered, now_s: float) -> None:
        """Go on where the last commit was; `now_s` is monotonic."""
        ...

    def decode(self, delivery: Delivery, captures: Mapping[str, str], received_ns: int | None) -> DecodedT:
        """Read one record.

        Args:
            delivery: As it arrived.
            captures: Of its topic.
            received_ns: Wall clock of the arrival; None when that clock is not to be trusted.

        Returns:
            The record, decoded.

        Raises:
            InputFaultError: The sender's fault: it is not what the binding declares.
        """
        ...

    def feed(
        self, delivery: Delivery, captures: Mapping[str, str], decoded: DecodedT, now_s: float, draft: Draft
    ) -> Sequence[Ready]:
        """Take a record that was not seen before into the pass; what can be asked now."""
        ...

    def tick(self, now_s: float, draft: Draft) -> Sequence[Ready]:
        """Let time pass without a record; what can be asked now."""
        ...


def partition_of(captures: Mapping[str, str], names: Sequence[str]) -> str:
    """The name of a partition: the captures that tell partitions apart, in the order of the binding."""
    return "/".join(captures[name] for name in names)
