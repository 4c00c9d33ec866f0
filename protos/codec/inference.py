"""Tensors, outputs and model uses between their frozen values and their generated classes."""

import math
from collections.abc import Callable
from typing import Final

from model_packs.boxes import Box
from model_packs.errors import TensorError
from model_packs.outputs import (
    BOX_UNITS,
    LARGEST_NUMBER,
    MAX_BOXES,
    MAX_LABEL_CHARS,
    MAX_TEXT_CHARS,
    MAX_UNIT_CHARS,
    Classification,
    Detection,
    Output,
    RawTensors,
    Regression,
    Text,
    boxes_problem,
    interval_problem,
    tensors_problem,
)
from model_packs.tensors import Tensor
from protos.codec.errors import CodecError
from protos.messages.inference import ModelUse, Role
from protos.tandem.v1 import inference_pb2 as pb

MAX_CLASSES = 10_000

_ROLES: Final = {role.value: role for role in Role}


def tensor_to_wire(tensor: Tensor) -> pb.Tensor:
    """The tensor's raw bytes, untouched."""
    return pb.Tensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, data=tensor.data)


def tensor_from_wire(wire: pb.Tensor, field: str) -> Tensor:
    """The tensor, its shape and length checked against each other.

    Raises:
        CodecError: Unknown datatype, negative dimension, or a length that does not fit the shape.
    """
    try:
        return Tensor(name=wire.name, datatype=wire.datatype, shape=tuple(wire.shape[:]), data=wire.data)
    except TensorError as exc:
        raise CodecError(field, str(exc)) from exc


def output_to_wire(output: Output | None) -> pb.Output:
    """The tagged output; None becomes an unset oneof."""
    if output is None:
        return pb.Output()
    if isinstance(output, Classification):
        return _classification_to_wire(output)
    if isinstance(output, Regression):
        wire = pb.Regression(value=output.value, tolerance=output.tolerance, unit=output.unit)
        if output.low is not None and output.high is not None:
            wire.low, wire.high = output.low, output.high
        return pb.Output(regression=wire)
    if isinstance(output, Detection):
        boxes = [pb.Box(**box._asdict()) for box in output.boxes]
        return pb.Output(detection=pb.Detection(boxes=boxes, units=output.units, iou=output.iou))
    if isinstance(output, Text):
        return pb.Output(text=pb.Text(text=output.text))
    return pb.Output(tensors=pb.RawTensors(tensors=[tensor_to_wire(one) for one in output.tensors]))


def output_from_wire(wire: pb.Output, field: str) -> Output | None:
    """The tagged output, or None where it could not be scored.

    Raises:
        CodecError: A number is not finite, the label is not among the scores, an interval does not hold its value, a
            box has no area, or something is too many or too large.
    """
    kind = wire.WhichOneof("kind")
    return None if kind is None else _READERS[kind](wire, f"{field}.{kind}")


def _classification_to_wire(output: Classification) -> pb.Output:
    """Written in place, which takes half of what it takes to put messages together."""
    wire = pb.Output()
    told = wire.classification
    told.SetInParent()
    told.label = output.label
    scores = told.scores
    for label, score in output.scores.items():
        scores[label] = score
    return wire


def _classification(wire: pb.Output, field: str) -> Output:
    told = wire.classification
    label, wired = told.label, told.scores
    scores = {name: wired[name] for name in wired}  # two thirds of the time of dict(wired)
    if len(scores) > MAX_CLASSES:
        raise CodecError(f"{field}.scores", f"{len(scores)} classes, at most {MAX_CLASSES}")
    if not all(map(math.isfinite, scores.values())):
        raise CodecError(f"{field}.scores", "a score is not finite")
    if label not in scores:
        raise CodecError(f"{field}.label", f"{label!r} has no score")
    return Classification(label=label, scores=scores)


def _regression(wire: pb.Output, field: str) -> Output:
    told = wire.regression
    low, high = (getattr(told, end) if told.HasField(end) else None for end in ("low", "high"))
    numbers = [told.value, told.tolerance, *(end for end in (low, high) if end is not None)]
    if not all(abs(number) <= LARGEST_NUMBER for number in numbers) or told.tolerance < 0:
        raise CodecError(field, "a number is not finite, or the tolerance is below 0")
    if len(told.unit) > MAX_UNIT_CHARS:
        raise CodecError(f"{field}.unit", f"at most {MAX_UNIT_CHARS} characters")
    output = Regression(told.value, low, high, told.tolerance, told.unit)
    if problem := interval_problem(output):
        raise CodecError(f"{field}.low", problem)
    return output


def _detection(wire: pb.Output, field: str) -> Output:
    told = wire.detection
    if len(told.boxes) > MAX_BOXES:
        raise CodecError(f"{field}.boxes", f"at most {MAX_BOXES} boxes, not {len(told.boxes)}")
    if told.units not in BOX_UNITS:
        raise CodecError(f"{field}.units", f"must be one of {', '.join(BOX_UNITS)}")
    if not 0.0 <= told.iou <= 1.0 or not all(0.0 <= box.score <= 1.0 for box in told.boxes):
        raise CodecError(field, "an overlap or a score is not from 0 to 1")
    if not all(1 <= len(box.label) <= MAX_LABEL_CHARS for box in told.boxes):
        raise CodecError(f"{field}.boxes", f"a label has 1 to {MAX_LABEL_CHARS} characters")
    boxes = tuple(Box(box.label, box.score, box.x0, box.y0, box.x1, box.y1) for box in told.boxes)
    output = Detection(boxes, told.units, told.iou)
    if problem := boxes_problem(output):
        raise CodecError(f"{field}.boxes", problem)
    return output


def _text(wire: pb.Output, field: str) -> Output:
    if len(wire.text.text) > MAX_TEXT_CHARS:
        raise CodecError(f"{field}.text", f"at most {MAX_TEXT_CHARS} characters")
    return Text(wire.text.text)


def _tensors(wire: pb.Output, field: str) -> Output:
    tensors = [tensor_from_wire(one, f"{field}.tensors[{place}]") for place, one in enumerate(wire.tensors.tensors)]
    if problem := tensors_problem(tensors):
        raise CodecError(f"{field}.tensors", problem)
    return RawTensors(tuple(tensors))


_READERS: Final[dict[str, Callable[[pb.Output, str], Output]]] = {
    "classification": _classification,
    "regression": _regression,
    "detection": _detection,
    "text": _text,
    "tensors": _tensors,
}


def model_to_wire(model: ModelUse) -> pb.ModelUse:
    """The model's name, digest and role."""
    return pb.ModelUse(pack=model.pack, digest=model.digest, role=model.role.value)


def model_from_wire(wire: pb.ModelUse, field: str) -> ModelUse:
    """The model's name, digest and role.

    Raises:
        CodecError: The role is unknown.
    """
    role = _ROLES.get(wire.role)
    if role is None:
        raise CodecError(f"{field}.role", f"{wire.role!r} is unknown")
    return ModelUse(wire.pack, wire.digest, role)
