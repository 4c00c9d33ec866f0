"""Tensors, outputs and model uses between their frozen values and their generated classes."""

import math

from model_packs.errors import TensorError
from model_packs.outputs import Classification, Output
from model_packs.tensors import Tensor
from protos.codec.errors import CodecError
from protos.messages.inference import ModelUse, Role
from protos.tandem.v1 import inference_pb2 as pb

MAX_CLASSES = 10_000


def tensor_to_wire(tensor: Tensor) -> pb.Tensor:
    """The tensor's raw bytes, untouched."""
    return pb.Tensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, data=tensor.data)


def tensor_from_wire(wire: pb.Tensor, field: str) -> Tensor:
    """The tensor, its shape and length checked against each other.

    Raises:
        CodecError: Unknown datatype, negative dimension, or a length that does not fit the shape.
    """
    try:
        return Tensor(name=wire.name, datatype=wire.datatype, shape=tuple(wire.shape), data=wire.data)
    except TensorError as exc:
        raise CodecError(field, str(exc)) from exc


def output_to_wire(output: Output | None) -> pb.Output:
    """The tagged output; None becomes an unset oneof."""
    if output is None:
        return pb.Output()
    return pb.Output(classification=pb.Classification(label=output.label, scores=dict(output.scores)))


def output_from_wire(wire: pb.Output, field: str) -> Output | None:
    """The tagged output, or None where it could not be scored.

    Raises:
        CodecError: A score is not finite, the label is not among the scores, or there are too many classes.
    """
    if wire.WhichOneof("kind") is None:
        return None
    scores = dict(wire.classification.scores)
    if len(scores) > MAX_CLASSES:
        raise CodecError(f"{field}.classification.scores", f"{len(scores)} classes, at most {MAX_CLASSES}")
    if not all(math.isfinite(score) for score in scores.values()):
        raise CodecError(f"{field}.classification.scores", "a score is not finite")
    if wire.classification.label not in scores:
        raise CodecError(f"{field}.classification.label", f"{wire.classification.label!r} has no score")
    return Classification(label=wire.classification.label, scores=scores)


def model_to_wire(model: ModelUse) -> pb.ModelUse:
    """The model's name, digest and role."""
    return pb.ModelUse(pack=model.pack, digest=model.digest, role=model.role.value)


def model_from_wire(wire: pb.ModelUse, field: str) -> ModelUse:
    """The model's name, digest and role.

    Raises:
        CodecError: The role is unknown.
    """
    try:
        return ModelUse(pack=wire.pack, digest=wire.digest, role=Role(wire.role))
    except ValueError as exc:
        raise CodecError(f"{field}.role", f"{wire.role!r} is unknown") from exc
