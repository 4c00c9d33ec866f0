"""Owns how one escalated window is told: why it was escalated, what each tier said, and how it stands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cloud_hub.core.cases import Case, CaseDetail, CaseState
from cloud_hub.core.console.wording import Shape, State, confidence, percent
from cloud_hub.core.feedback import Given, Said, Source
from model_packs.boxes import Box
from model_packs.outputs import Classification, Detection, Output
from protos.messages.escalation import Reason
from protos.messages.inference import Tier

REASON_WORDS = {
    Reason.LOW_CONFIDENCE: "not sure",
    Reason.UNSCORABLE: "could not be scored",
    Reason.OUT_OF_DISTRIBUTION: "unlike anything learnt",
    Reason.CLASS_RULE: "always asked",
    Reason.AUDIT: "audit",
    Reason.FORCED: "asked for",
}

MAX_SCORES = 12
LEAST_SCORE = 0.005
MAX_STATE_LABEL = 16
_KEYS = "1234567890"


@dataclass(frozen=True, slots=True)
class Why:
    """A sentence with the word that counts: `before`, then `point` with emphasis, then `after`."""

    before: str
    point: str
    after: str


@dataclass(frozen=True, slots=True)
class TierAnswer:
    """What one tier said.

    Attributes:
        label: Its answer; None where it has none, `words` says why.
        confidence: 0..1; None where there is none.
        threshold: Where the gauge has its mark; None: no mark.
    """

    tier: Tier
    label: str | None
    words: str
    confidence: float | None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class LabelKey:
    """One label and the key that gives it; `key` is empty past the tenth."""

    label: str
    key: str
    is_hub: bool
    is_human: bool


@dataclass(frozen=True, slots=True)
class Remark:
    """One line of what was said about a case."""

    tier: Tier
    text: str
    note: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Scores:
    """What each tier gave to each class; None where a tier has no such class. The likeliest come first."""

    tiers: tuple[Tier, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


def why(case: Case) -> Why:
    """Say why the window was escalated.

    Args:
        case: The case.

    Returns:
        One sentence.
    """
    return _WHY[case.reason](case)


def answers(case: Case) -> tuple[TierAnswer, ...]:
    """Say what each tier answered, the lowest first; people only if one has spoken.

    Args:
        case: The case.

    Returns:
        Two or three answers.
    """
    is_scored = case.edge_label is not None
    edge = TierAnswer(
        Tier.EDGE,
        case.edge_label,
        "" if is_scored else "could not score it",
        case.edge_confidence if is_scored else None,
        case.threshold,
    )
    people = () if case.human_label is None else (TierAnswer(Tier.HUMAN, case.human_label, "", None),)
    return (edge, _hub_answer(case), *people)


def standing(case: Case) -> State:
    """Say how a case stands, for a row.

    Args:
        case: The case.

    Returns:
        A shape and a word.
    """
    if case.human_label is not None:
        return _labelled(case, case.human_label)
    if case.is_doubted:
        return State(Shape.WARN, "called wrong")
    if case.state is CaseState.WAITING:
        return State(Shape.IDLE, "waits for the hub")
    if case.agrees is None:
        return State(Shape.IDLE, "not comparable")
    return State(Shape.OK, "hub agrees") if case.agrees else State(Shape.WARN, "hub disagrees")


def _labelled(case: Case, label: str) -> State:
    right = [name for name, said in (("edge", case.edge_label), ("hub", case.hub_label)) if said == label]
    told = label if len(label) <= MAX_STATE_LABEL else f"{label[:MAX_STATE_LABEL]}…"
    if not right:
        return State(Shape.WARN, f"labelled {told}; neither was right")
    both = len(right) > 1
    shape = Shape.OK if "edge" in right else Shape.WARN
    return State(shape, f"labelled {told}; {'both were' if both else f'{right[0]} was'} right")


def label_keys(labels: Sequence[str], case: Case) -> tuple[LabelKey, ...]:
    """Give each label its key: the digit that it is, if all of them are; else 1 to 9, then 0.

    Args:
        labels: Classes in the pack's order; when the pack is not known, what edge and hub said.
        case: The case.

    Returns:
        The buttons.
    """
    told = labels or sorted({label for label in (case.edge_label, case.hub_label, case.human_label) if label})
    are_digits = all(label in tuple(_KEYS) for label in told)
    keys = told if are_digits else [*_KEYS, *[""] * len(told)]
    return tuple(
        LabelKey(label, key, is_hub=label == case.hub_label, is_human=label == case.human_label)
        for label, key in zip(told, keys, strict=False)
    )


def said(given: Given) -> str:
    """Tell a stored judgement in a sentence.

    Args:
        given: The judgement.

    Returns:
        The sentence, without the time.
    """
    where = "at the device" if given.source is Source.OPERATOR else "in the console"
    made = "" if given.revision is None else f"; revision {given.revision}"
    told = {
        Said.RIGHT: f"called the answer right: {given.label}",
        Said.WRONG: "called the answer wrong",
        Said.LABEL: f"labelled it {given.label}",
        Said.UNSURE: "could not tell",
    }[given.said]
    return f"{given.given_by} {told}, {where}{made}"


def history(detail: CaseDetail) -> tuple[Remark, ...]:
    """Tell everything that was said about a case, the oldest first.

    Args:
        detail: The case.

    Returns:
        The edge's question, the hub's verdicts, and each person's judgement.
    """
    case = detail.case
    asked = "could not score it" if case.edge_label is None else f"answered {case.edge_label}"
    remarks = [Remark(Tier.EDGE, f"{asked}, and asked the hub", f"running {case.edge_pack}", case.received_at_ns)]
    for verdict in detail.verdicts:
        if verdict.tier is Tier.HUB:
            answer = "could not score it either" if verdict.output is None else f"answered {verdict.output.told}"
            packs = ", ".join(model.pack for model in verdict.models)
            remarks.append(Remark(Tier.HUB, f"{answer}; revision {verdict.revision}", packs, verdict.decided_at_ns))
    remarks.extend(Remark(Tier.HUMAN, said(one), one.note, one.received_at_ns) for one in detail.feedback)
    return tuple(sorted(remarks, key=lambda remark: remark.at_ns))


def scores(detail: CaseDetail) -> Scores | None:
    """Put the tiers' scores side by side.

    Args:
        detail: The case.

    Returns:
        At most `MAX_SCORES` classes, those that some tier gives at least `LEAST_SCORE`; None when nobody gave scores.
    """
    told = {tier: output.scores for tier, output in _said_by_tier(detail).items() if isinstance(output, Classification)}
    if not told:
        return None
    highest = {label: max(one.get(label, 0.0) for one in told.values()) for one in told.values() for label in one}
    likely = [label for label, score in highest.items() if score >= LEAST_SCORE]
    labels = sorted(likely, key=lambda label: (-highest[label], label))[:MAX_SCORES]
    return Scores(tuple(told), tuple((label, tuple(one.get(label) for one in told.values())) for label in labels))


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """The boxes that one tier found; `units` of their coordinates."""

    tier: Tier
    boxes: tuple[Box, ...]
    units: str


def detections(detail: CaseDetail) -> dict[Tier, Detection]:
    """Say which boxes each tier found.

    Args:
        detail: The case.

    Returns:
        By tier its latest answer, where that is of boxes; the lowest tier first.
    """
    said = _said_by_tier(detail) | {one.tier: one.output for one in detail.verdicts if one.tier is Tier.HUMAN}
    return {tier: output for tier, output in said.items() if isinstance(output, Detection)}


def found_boxes(detail: CaseDetail) -> tuple[FoundBoxes, ...]:
    """List the boxes of each tier.

    Args:
        detail: The case.

    Returns:
        The lowest tier first; none where no tier answered with boxes.
    """
    return tuple(FoundBoxes(tier, told.boxes, told.units) for tier, told in detections(detail).items())


def _said_by_tier(detail: CaseDetail) -> dict[Tier, Output | None]:
    """What edge and hub answered, the latest of each."""
    said = {Tier.EDGE: detail.edge_output}
    return said | {verdict.tier: verdict.output for verdict in detail.verdicts if verdict.tier is Tier.HUB}


def _hub_answer(case: Case) -> TierAnswer:
    if case.hub_label is not None:
        return TierAnswer(Tier.HUB, case.hub_label, "", case.hub_confidence)
    words = {
        CaseState.WAITING: "has not answered yet",
        CaseState.ANSWERED: "could not score it either",
        CaseState.SETTLED: "was not needed any more",
    }
    return TierAnswer(Tier.HUB, None, words[case.state], None)


def _apart(low: float, mark: float) -> tuple[str, str]:
    """Write two numbers with as many digits as it takes to tell them apart."""
    texts = confidence(low), confidence(mark)
    return texts if texts[0] != texts[1] else (f"{low:.4f}", f"{mark:.4f}")


def _why_low(case: Case) -> Why:
    if case.threshold is None:
        return Why("Escalated because the edge has no threshold that it may trust: it asks about ", "everything", ".")
    low, mark = _apart(case.edge_confidence, case.threshold)
    return Why("Escalated because the edge was ", "not sure", f": {low} is below its threshold {mark}.")


def _why_unscorable(_case: Case) -> Why:
    return Why("Escalated because the edge ", "could not score", " this window.")


def _why_unlike(case: Case) -> Why:
    told = f"; its confidence {confidence(case.edge_confidence)} does not count."
    return Why("Escalated because the window is ", "unlike anything that the edge has learnt", told)


def _why_rule(_case: Case) -> Why:
    return Why("Escalated because the policy ", "always asks", " about this answer.")


def _why_audit(case: Case) -> Why:
    return Why("Drawn at random as an ", "audit", f", with a chance of {percent(case.propensity)} % of being sent.")


def _why_forced(_case: Case) -> Why:
    return Why("Escalated because the caller ", "asked for the hub", ".")


_WHY: Mapping[Reason, Callable[[Case], Why]] = {
    Reason.LOW_CONFIDENCE: _why_low,
    Reason.UNSCORABLE: _why_unscorable,
    Reason.OUT_OF_DISTRIBUTION: _why_unlike,
    Reason.CLASS_RULE: _why_rule,
    Reason.AUDIT: _why_audit,
    Reason.FORCED: _why_forced,
}
