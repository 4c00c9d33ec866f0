"""Owns what is kept beside a judgement: who gave it where, and all that edge and hub had said by then.

A data set made of judgements later must know how each window came to be judged; `propensity` and `reason` say so.
"""

from cloud_hub.core.cases import BINDING_CHARS, LABEL_CHARS, PACK_CHARS, Case, label_of
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import MAX_NAME_CHARS, MAX_NOTE_CHARS, NOBODY, Given, LabelGiven, Said, Source
from protos.messages.feedback import Feedback


def in_console(given: LabelGiven, case: Case) -> Given:
    """Keep what a person of the console said of a case.

    Args:
        given: What they said.
        case: Of what.

    Returns:
        The judgement, without a revision yet.
    """
    return Given(
        device=case.device,
        prediction_id=case.prediction_id,
        source=Source.CONSOLE,
        said=Said.UNSURE if given.label is None else Said.LABEL,
        label=given.label,
        given_by=given.by,
        note=given.note[:MAX_NOTE_CHARS],
        given_at_ns=given.at_ns,
        received_at_ns=given.at_ns,
        binding=case.binding,
        reason=case.reason.value,
        propensity=case.propensity,
        edge_label=case.edge_label,
        edge_confidence=case.edge_confidence,
        edge_pack=case.edge_pack,
        edge_digest=case.edge_digest,
        hub_label=case.hub_label,
        hub_confidence=case.hub_confidence,
        hub_pack=case.hub_pack,
        hub_digest=case.hub_digest,
        revision=None,
    )


def from_device(device: DeviceKey, feedback: Feedback, case: Case | None, received_at_ns: int) -> Given:
    """Keep what somebody at a device said of one of its answers.

    Args:
        device: Whose certificate brought it.
        feedback: What it says.
        case: The escalation of the same prediction; None when there was none, or it has not come yet.
        received_at_ns: Hub wall clock, Unix epoch, UTC.

    Returns:
        The judgement, without a revision yet; names and notes cut to what is kept.
    """
    return Given(
        device=device,
        prediction_id=feedback.prediction_id,
        source=Source.OPERATOR,
        said=Said(feedback.judgement.value),
        label=feedback.label[:LABEL_CHARS] or None,
        given_by=feedback.given_by[:MAX_NAME_CHARS] or NOBODY,
        note=feedback.note[:MAX_NOTE_CHARS],
        given_at_ns=feedback.given_at_ns,
        received_at_ns=received_at_ns,
        binding=feedback.binding[:BINDING_CHARS],
        reason=None if case is None else case.reason.value,
        propensity=feedback.propensity,
        edge_label=label_of(feedback.edge_output),
        edge_confidence=feedback.confidence,
        edge_pack=feedback.edge_model.pack[:PACK_CHARS],
        edge_digest=feedback.edge_model.digest[:PACK_CHARS],
        hub_label=None if case is None else case.hub_label,
        hub_confidence=None if case is None else case.hub_confidence,
        hub_pack="" if case is None else case.hub_pack,
        hub_digest="" if case is None else case.hub_digest,
        revision=None,
    )
