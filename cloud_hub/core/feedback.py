"""Owns what people say about answers, who says it where, and which of it becomes a verdict.

What a person calls a window is law until a person calls it otherwise: the last label wins, every judgement is kept.
What a case is, is `core.cases`; numbering revisions is `core.revisions`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cloud_hub.core.devices import DeviceKey
from cloud_hub.errors import FeedbackInvalidError, LabelUnknownError
from model_packs.outputs import MAX_LABEL_CHARS
from protos.messages.escalation import PredictionId, Verdict
from protos.messages.feedback import FeedbackItem, FeedbackReceipt, Judgement

MAX_ID_CHARS = 64
MAX_SEQ = 2**63 - 1
MAX_NAME_CHARS = 100
MAX_NOTE_CHARS = 2000
"""As much as an agent takes; more is cut."""
NOBODY = "operator"
"""Who gave it, where the operator's panel does not say."""


class Source(StrEnum):
    """Where a judgement was given."""

    CONSOLE = "console"
    """At the hub, by a person who is logged in."""
    OPERATOR = "operator"
    """At a device; the name is what its panel says."""


class Said(StrEnum):
    """What somebody says about an answer: the wire's judgements, and one that only the console knows."""

    RIGHT = "right"
    WRONG = "wrong"
    LABEL = "label"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class LabelGiven:
    """A person labels a case in the console; `label` None: they cannot tell."""

    device: DeviceKey
    prediction_id: PredictionId
    label: str | None
    by: str
    note: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class LabelOutcome:
    """What became of a label: a verdict unless it says nothing new; a repeat is not stored again either."""

    verdict: Verdict | None
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class FeedbackTaken:
    """What became of a device's batch: the receipt, what is new in it, and the verdicts that it made."""

    receipt: FeedbackReceipt
    new: tuple[Said, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """One stored judgement, with where it comes from and what was known when it was given.

    Attributes:
        given_by: A person of the hub, or with `Source.OPERATOR` what the device's panel wrote.
        given_at_ns: By the clock of where it was given; received_at_ns by the hub's.
        reason: Why the window was escalated; None when it never was at the hub.
        propensity: Probability with which the window was chosen for the hub, 0..1; 0.0 when it was not sent.
        hub_label: What the full model had said by then; None if nothing.
        revision: Of the verdict that it made; None when it made none.
    """

    device: DeviceKey
    prediction_id: PredictionId
    source: Source
    said: Said
    label: str | None
    given_by: str
    note: str
    given_at_ns: int
    received_at_ns: int
    binding: str
    reason: str | None
    propensity: float
    edge_label: str | None
    edge_confidence: float
    edge_pack: str
    edge_digest: str
    hub_label: str | None
    hub_confidence: float | None
    hub_pack: str
    hub_digest: str
    revision: int | None


@dataclass(frozen=True, slots=True)
class GivenPage:
    """A page of judgements of the whole fleet, newest first, each with its row number.

    Attributes:
        next_cursor: The `before` of the next page; None at the end.
    """

    judgements: tuple[tuple[int, Given], ...]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class Before:
    """What people said of a prediction until now.

    Attributes:
        human_label: The label that holds; None when nobody gave one.
        own: What this same person said last; None if nothing.
    """

    human_label: str | None
    own: tuple[Said, str | None] | None


def standing(earlier: Sequence[Given], source: Source, by: str) -> Before:
    """Sum up what was said of a prediction.

    Args:
        earlier: The judgements, oldest first.
        source: Where the next one is given.
        by: Who gives it.

    Returns:
        What the next one is measured by.
    """
    labels = [given.label for given in earlier if given.label is not None]
    own = [(given.said, given.label) for given in earlier if (given.source, given.given_by) == (source, by)]
    return Before(labels[-1] if labels else None, own[-1] if own else None)


def unsure_n(earlier: Iterable[Given]) -> int:
    """Count the persons who could not tell.

    Args:
        earlier: What was said of one prediction.

    Returns:
        How many different ones.
    """
    return len({given.given_by for given in earlier if given.said is Said.UNSURE})


def makes_verdict(label: str | None, before: Before) -> bool:
    """Say whether a judgement changes the answer.

    Args:
        label: The class that it names, None when it names none.
        before: What was said until now.

    Returns:
        True when it names another class than the one that holds.
    """
    return label is not None and label != before.human_label


def is_repeat(label: str | None, before: Before) -> bool:
    """Say whether a person of the console only says again what they said last, and nothing came in between.

    Args:
        label: The class, None for "unsure".
        before: What was said until now.

    Returns:
        True when there is nothing to store.
    """
    said = Said.UNSURE if label is None else Said.LABEL
    return before.own == (said, label) and not makes_verdict(label, before)


def check_label(label: str, known: Collection[str]) -> None:
    """Let a label through if it can be an answer.

    Args:
        label: As somebody gave it.
        known: The classes of the packs that answer such windows; none when no such pack is published here.

    Raises:
        LabelUnknownError: It is empty, too long or not printable, or none of the classes.
    """
    is_name = 1 <= len(label) <= MAX_LABEL_CHARS and label.isprintable()
    if not is_name or (known and label not in known):
        raise LabelUnknownError(label, known)


def check_feedback(item: FeedbackItem, known: Collection[str]) -> None:
    """Check the parts of a judgement that the tables must hold; longer names and notes are cut when stored.

    Args:
        item: As a device sent it.
        known: The classes that a label may name; none when they are not known here.

    Raises:
        FeedbackInvalidError: A number or an id is larger than any that an agent writes.
        LabelUnknownError: The label is none of the classes.
    """
    feedback = item.feedback
    if item.seq > MAX_SEQ:
        raise FeedbackInvalidError(f"seq {item.seq} is too large")
    if len(feedback.prediction_id) > MAX_ID_CHARS:
        raise FeedbackInvalidError(f"the prediction id has more than {MAX_ID_CHARS} characters")
    if feedback.judgement is not Judgement.WRONG:
        check_label(feedback.label, known)
