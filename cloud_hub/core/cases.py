"""Owns what a case is: one escalated window with what edge, hub and people said of it, and its place in the queue.

A case is a frozen value; what happens to it is one of the functions below, each of which returns the next value. Where
cases are kept is `adapters.sql.cases`; what people say is `core.feedback`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import Given, Said
from cloud_hub.core.monitoring.watch import is_chosen_for_people
from model_packs.outputs import Classification, Output, agree
from model_packs.tensors import Tensor
from protos.messages.escalation import Escalation, PredictionId, Reason, Verdict

UNSURE_BELOW = 0.6
"""A full model that is less confident than this is itself in doubt: a person should look."""

PERSONS_UNSURE = 2
"""After so many different persons called it unsure, a case goes to the end of everybody's queue."""

MAX_VERSION = 2**62
"""A peer's number above it is no version."""

BINDING_CHARS = 128
PARTITION_CHARS = 256
PACK_CHARS = 128
LABEL_CHARS = 200
"""Most characters that a case shows of a text; the escalation itself keeps all of it."""


class CaseState(StrEnum):
    """Who still has to speak."""

    WAITING = "waiting"
    """The full model has not answered yet."""
    ANSWERED = "answered"
    """The full model has answered, if only that it cannot score the window."""
    SETTLED = "settled"
    """A person spoke before the full model did; it is not asked any more."""


class ReviewRank(IntEnum):
    """Place of an unlabelled case in the review queue; the smallest comes first, then the newest."""

    DOUBTED = 0
    """Somebody at the device said that the answer is wrong, without saying what is right."""
    CHOSEN = 1
    """The hub's lottery chose it: labels of such windows are a sample, so each of them counts."""
    IN_DOUBT = 2
    """The full model is in doubt itself, or could not score the window: nobody else can tell."""
    SPLIT = 3
    """Edge and hub disagree."""
    ORDINARY = 4
    UNSURE = 5
    """Several persons could not tell."""


@dataclass(frozen=True, slots=True)
class Case:
    """One escalated window.

    Attributes:
        case_id: Its place among all cases, in order of arrival; `CaseFilter.before` takes it. 0 before it is stored.
        input_digest: Of what the device sent.
        received_at_ns: Hub wall clock, Unix epoch, UTC; window times are the device's.
        propensity: Probability with which the window was chosen for the hub, 0..1; 1.0 when the policy chose it.
        threshold: The policy's; None when it escalates everything.
        edge_label: None when the device could not score the window.
        edge_confidence: 0..1; 0.0 when it could not be scored.
        hub_label: None until the full model has answered, and when it could not score the window either.
        hub_confidence: 0..1; None until the full model has answered.
        hub_digest: Of the pack that answered; empty until then.
        human_label: The latest; None as long as nobody has labelled it.
        human_by: Who gave it.
        agrees: Whether hub and edge say the same; None where one of them says nothing.
        unsure_n: How many different persons could not tell.
        is_doubted: Somebody at the device called the answer wrong.
        policy_version: Of the policy that decided; 0: the pack's own.
        group: Whose risk it counts for, as the device says.
        is_for_people: The hub's lottery chose it for people to label, whatever the answers are.
    """

    case_id: int
    device: DeviceKey
    prediction_id: PredictionId
    input_digest: str
    binding: str
    partition: str
    received_at_ns: int
    window_start_ns: int
    window_end_ns: int
    reason: Reason
    propensity: float
    threshold: float | None
    edge_pack: str
    edge_digest: str
    hub_pack: str
    edge_label: str | None
    edge_confidence: float
    hub_digest: str = ""
    hub_label: str | None = None
    hub_confidence: float | None = None
    human_label: str | None = None
    human_by: str | None = None
    state: CaseState = CaseState.WAITING
    agrees: bool | None = None
    unsure_n: int = 0
    is_doubted: bool = False
    policy_version: int = 0
    group: str = ""
    is_for_people: bool = False

    @property
    def is_hub_sure(self) -> bool:
        """Whether the full model has answered and is not in doubt."""
        return self.hub_label is not None and self.hub_confidence is not None and self.hub_confidence >= UNSURE_BELOW


@dataclass(frozen=True, slots=True)
class CaseDetail:
    """One case with all that is kept of it.

    Attributes:
        escalation: As the device sent it; None when the stored bytes cannot be read any more.
        verdicts: Every logged answer, oldest first.
        feedback: Everything that people said, oldest first.
    """

    case: Case
    escalation: Escalation | None
    verdicts: tuple[Verdict, ...]
    feedback: tuple[Given, ...]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The model's inputs, batch axis included (1, ...); none when they cannot be read."""
        return () if self.escalation is None else self.escalation.inputs

    @property
    def edge_output(self) -> Output | None:
        """The edge's answer with all scores; None when the device could not score the window."""
        return None if self.escalation is None else self.escalation.edge_output


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which cases to list, newest first; None does not ask.

    Attributes:
        labelled: Whether a person has labelled it.
        before: A cursor: only cases that came before this one.
    """

    site_id: str | None = None
    device_id: str | None = None
    binding: str | None = None
    reason: Reason | None = None
    agrees: bool | None = None
    labelled: bool | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class CasePage:
    """A page of a list; `next_cursor` is the `before` of the next page, None at the end."""

    cases: tuple[Case, ...]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class CaseCount:
    """What came in from one binding of one device, for one reason, in one bucket of time.

    Attributes:
        bucket_ns: Start of the bucket by the hub's clock, Unix epoch, UTC.
        answered: Cases that the full model has answered.
        disagreed: Those of them where it says something else than the edge.
    """

    bucket_ns: int
    device: DeviceKey
    binding: str
    reason: Reason
    cases: int
    answered: int
    disagreed: int


def opened(device: DeviceKey, escalation: Escalation, received_at_ns: int, people_share: float = 0.0) -> Case:
    """Make a case of what a device escalated.

    Args:
        device: Whose it is.
        escalation: What it sent.
        received_at_ns: Hub wall clock, Unix epoch, UTC.
        people_share: Share of all cases that the hub's lottery chooses for people.

    Returns:
        The case, waiting.
    """
    return Case(
        case_id=0,
        device=device,
        prediction_id=escalation.prediction_id,
        input_digest=escalation.input_digest,
        binding=escalation.binding[:BINDING_CHARS],
        partition=escalation.partition[:PARTITION_CHARS],
        received_at_ns=received_at_ns,
        window_start_ns=escalation.window_start_ns,
        window_end_ns=escalation.window_end_ns,
        reason=escalation.reason,
        propensity=escalation.propensity,
        threshold=escalation.threshold,
        edge_pack=escalation.edge_model.pack[:PACK_CHARS],
        edge_digest=escalation.edge_model.digest[:PACK_CHARS],
        hub_pack=escalation.hub_pack,
        edge_label=label_of(escalation.edge_output),
        edge_confidence=escalation.confidence,
        policy_version=min(escalation.policy_version, MAX_VERSION),
        group=escalation.group[:LABEL_CHARS],
        is_for_people=is_chosen_for_people(escalation.prediction_id, people_share),
    )


def answered(case: Case, verdict: Verdict, edge_output: Output | None = None) -> Case:
    """The full model has answered.

    Args:
        case: The case until now.
        verdict: What it said.
        edge_output: What the edge said, where more than the case's label counts: for every task but classification.

    Returns:
        The case with the hub's answer, and whether it agrees with the edge's.
    """
    said, agrees = label_of(verdict.output), agree(edge_output, verdict.output)
    if isinstance(verdict.output, Classification) and case.edge_label is not None:
        agrees = said == case.edge_label
    return replace(
        case,
        state=CaseState.ANSWERED,
        hub_label=said,
        hub_confidence=verdict.confidence,
        hub_digest=verdict.models[0].digest[:PACK_CHARS] if verdict.models else "",
        agrees=agrees,
    )


def heard(case: Case, said: Said, label: str | None, by: str) -> Case:
    """A person has said something.

    Args:
        case: The case until now.
        said: What.
        label: The class that it names, None when it names none.
        by: Who says so.

    Returns:
        The case with it. A label takes it out of the review queue; one that waited for the full model waits no more.
        How many could not tell is counted where judgements are kept.
    """
    if label is not None:
        state = CaseState.SETTLED if case.state is CaseState.WAITING else case.state
        return replace(case, state=state, human_label=label, human_by=by)
    return replace(case, is_doubted=True) if said is Said.WRONG else case


def caught_up(case: Case, earlier: Iterable[Given]) -> Case:
    """Tell a new case what was said before it came: feedback may overtake its window on the way to the hub.

    Args:
        case: The case.
        earlier: The judgements, oldest first.

    Returns:
        The case with them.
    """
    for given in earlier:
        case = heard(case, given.said, given.label, given.given_by)
    return case


def review_rank(case: Case) -> ReviewRank | None:
    """Say where a case stands in the review queue.

    Args:
        case: The case.

    Returns:
        Its rank; None when it needs no review, since a person has labelled it.
    """
    if case.human_label is not None:
        return None
    if case.unsure_n >= PERSONS_UNSURE:
        return ReviewRank.UNSURE
    if case.is_doubted:
        return ReviewRank.DOUBTED
    if case.is_for_people:
        return ReviewRank.CHOSEN
    if case.state is CaseState.ANSWERED and not case.is_hub_sure:
        return ReviewRank.IN_DOUBT
    return ReviewRank.SPLIT if case.agrees is False else ReviewRank.ORDINARY


def label_of(output: Output | None) -> str | None:
    """Name what an output says, for a list.

    Args:
        output: An answer; None could not be scored.

    Returns:
        The label, the number or the text, cut to what a list holds; None likewise.
    """
    return None if output is None else output.told[:LABEL_CHARS]
