"""Owns what a person at the device says about an answer: reading the message, and joining it with what was answered.

    {"id": "mzxw6…", "right": true}    {"id": "mzxw6…", "label": "row", "by": "shift 2", "note": "belt was slack"}

`right` and `label` speak about the newest answer that the device knows. Bytes come from strangers: every way to be
wrong has a name in `InputFault`. Keeping and delivering feedback is the store's and the hub link's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.core.digests import digest_128
from edge_agent.core.payload import parse_object
from edge_agent.core.timestamps import from_text
from edge_agent.errors import InputFault, InputFaultError
from model_packs.errors import OutputError
from model_packs.outputs import MAX_LABEL_CHARS, NOTHING_FOUND, Classification, Detection, Output, from_json
from protos.messages.escalation import PredictionId
from protos.messages.feedback import Feedback, Judgement
from protos.messages.inference import ModelUse, Tier

MAX_BYTES = 16 << 10
MAX_BY_CHARS = 100
MAX_NOTE_CHARS = 2000

_MAX_ID_CHARS = 64


@dataclass(frozen=True, slots=True)
class Said:
    """One message: what somebody says about one answer.

    Attributes:
        label: With `LABEL` the class; else empty.
        given_by: As the operator's panel wrote it; empty when it did not.
    """

    prediction_id: PredictionId
    judgement: Judgement
    label: str
    given_by: str
    note: str

    @property
    def digest(self) -> bytes:
        """16 bytes, the same for the same words about the same answer."""
        return digest_128(self.prediction_id, self.judgement.value, self.label, self.given_by, self.note)


@dataclass(frozen=True, slots=True)
class Answered:
    """What the device knows of the answer that somebody speaks about.

    Attributes:
        newest: The event last made for it.
        edge: The edge's own event; the same one unless it was revised.
        propensity: Probability with which the window was chosen for the hub; 0 when it was not.
    """

    newest: Mapping[str, Any]
    edge: Mapping[str, Any]
    partition: str
    propensity: float


def read_feedback(payload: bytes) -> Said:
    """Read one message.

    Args:
        payload: As received.

    Returns:
        What it says.

    Raises:
        InputFaultError: It is no feedback; the detail says what would be.
    """
    table = parse_object(payload, MAX_BYTES, "shorten the note")
    name = _text(table, "id", _MAX_ID_CHARS)
    if not name:
        raise InputFaultError(InputFault.MISSING_FIELD, "no field 'id'", "send the id of the answer's event")
    has_right, has_label = "right" in table, "label" in table
    if has_right == has_label:
        found = "both" if has_right else "neither"
        raise _malformed(f"expected 'right' or 'label', found {found}")
    judgement, label = Judgement.LABEL, ""
    if has_label:
        label = _text(table, "label", MAX_LABEL_CHARS)
        if not label:
            raise _malformed("'label' is empty")
    else:
        if not isinstance(table["right"], bool):
            raise InputFaultError(InputFault.WRONG_TYPE, "'right' is neither true nor false", "send true or false")
        judgement = Judgement.RIGHT if table["right"] else Judgement.WRONG
    given_by, note = _text(table, "by", MAX_BY_CHARS), _text(table, "note", MAX_NOTE_CHARS)
    return Said(PredictionId(name), judgement, label, given_by, note)


def judged(said: Said, answered: Answered, given_at_ns: int) -> Feedback:
    """Join what was said with what was answered.

    Args:
        said: By a person.
        answered: The answer that they speak about.
        given_at_ns: When the message came, Unix epoch, UTC.

    Returns:
        What the hub gets.

    Raises:
        InputFaultError: The label is none of the pack's, or there is no answer that could be right.
    """
    edge_output, newest_output = _output(answered.edge), _output(answered.newest)
    label = said.label
    if said.judgement is Judgement.RIGHT:
        if newest_output is None:
            raise InputFaultError(
                InputFault.NO_ANSWER, "the window could not be scored, so nothing can be right", "send its label"
            )
        label = newest_output.told
    known = _known(edge_output, newest_output)
    if said.judgement is Judgement.LABEL and known and label not in known:
        shown = ", ".join(known[:20])
        raise InputFaultError(InputFault.UNKNOWN_LABEL, f"label {label!r}; the pack knows {shown}", "send one of them")
    edge, window = answered.edge, answered.edge["window"]
    model = edge["models"][0]
    return Feedback(
        prediction_id=said.prediction_id,
        judgement=said.judgement,
        label=label,
        given_by=said.given_by,
        note=said.note,
        given_at_ns=given_at_ns,
        binding=edge["binding"],
        partition=answered.partition,
        window_start_ns=from_text(window["start"]),
        window_end_ns=from_text(window["end"]),
        edge_model=ModelUse(model["pack"], model["digest"]),
        edge_output=edge_output,
        confidence=edge["confidence"],
        propensity=answered.propensity,
    )


def is_edge_answer(event: Mapping[str, Any]) -> bool:
    """Whether an event still holds what the edge answered."""
    return Tier(event["tier"]) is Tier.EDGE


def _known(edge: Output | None, newest: Output | None) -> list[str]:
    """What a label may say; empty: anything. Boxes are confirmed as they were told, or all denied."""
    if isinstance(newest, Detection):
        said = [output.told for output in (edge, newest) if output is not None]
        return list(dict.fromkeys([*said, NOTHING_FOUND]))
    return list(edge.scores) if isinstance(edge, Classification) else []


def _output(event: Mapping[str, Any]) -> Output | None:
    if event["output"] is None:
        return None
    try:
        return from_json(event["output"])
    except OutputError as error:
        detail = f"the answer cannot be read: {error}"
        raise InputFaultError(InputFault.NO_ANSWER, detail, "report it with the log") from error


def _text(table: Mapping[str, Any], name: str, limit: int) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise InputFaultError(InputFault.WRONG_TYPE, f"{name!r} is no text", "send it as a text")
    if len(value) > limit or "\0" in value or not _is_unicode(value):
        raise _malformed(f"{name!r} is longer than {limit} characters, or no text for people")
    return value


def _is_unicode(text: str) -> bool:
    """JSON may carry lone surrogates, which no wire can."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _malformed(detail: str) -> InputFaultError:
    return InputFaultError(InputFault.MALFORMED, detail, 'send {"id": …, "right": true|false} or {"id": …, "label": …}')
