"""Owns the quick way between a call's bytes and arrays: what is the same in all requests is read and written once.

Programs repeat themselves: model, tensor, datatype and shape are the same bytes in front of every raw tensor, and
protobuf puts them there in one order. So a request whose head was read before is its tensor alone; and an answer is
prepared pieces with its values between them, since messages that are strung together are one message (protobuf encoding
guide: last one wins, and merging). What is read once, and all that is not of this form, is `grpc_codec.py`.
"""

from collections.abc import Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from protos.oip.parameters import set_parameters
from protos.oip.signature import Asked, Form, Parameter, Signature, check_finite
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

_MAX_PIECES: Final = 4096
_MAX_HEADS: Final = 256
_MAX_OF_A_LENGTH: Final = 16

_MAX_HEAD_BYTES: Final = 4096
"""Names, a shape and the wanted outputs take less; a head is kept, whatever a client put into it."""


KnownT = TypeVar("KnownT")


class Head(NamedTuple):
    """What stands before the values of a request's only tensor.

    Attributes:
        data: The bytes before the values.
        name: The input's name.
        form: Its form.
        model: That the request asks for.
        version: That it asks for; empty: the default.
        wanted: Outputs that it asks for.
    """

    data: bytes
    name: str
    form: Form
    model: str
    version: str
    wanted: tuple[str, ...]

    def read(self, data: bytes) -> dict[str, NDArray[Any]]:
        """Read the values of a request with this head; raises TensorError where one must be finite and is not."""
        form = self.form
        array: NDArray[Any] = np.ndarray(form.shape, form.dtype, data, len(self.data))
        if form.must_be_finite:
            check_finite(form, array)
        return {self.name: array}


def head_of(data: bytes, request: pb.ModelInferRequest, asked: Asked, signature: Signature) -> Head | None:
    """Learn the head of a request that was read and is sound.

    Args:
        data: The message; every other one of this length that begins with the head has the same one.
        request: The same, parsed.
        asked: What it asks for.
        signature: Of its model.

    Returns:
        The head; None where the message is not of the form: one raw tensor at its end behind a short head, no id, no
        parameters.
    """
    raws = request.raw_input_contents
    if len(raws) != 1 or len(request.inputs) != 1 or request.id or request.parameters or asked.places:
        return None
    (raw,), (name, array) = raws, next(iter(asked.inputs.items()))
    if not raw or array.dtype.hasobject or not data.endswith(raw) or len(data) - len(raw) > _MAX_HEAD_BYTES:
        return None
    head, others = data[: len(data) - len(raw)], (b"\0" if any(raw) else b"\1") * len(raw)
    other = pb.ModelInferRequest()
    other.CopyFrom(request)
    other.raw_input_contents[0] = others
    if pb.ModelInferRequest.FromString(head + others) != other:
        return None  # what ends the message are not its values
    tensor = request.inputs[0]
    form = signature.form(tensor.name, tensor.datatype, tuple(tensor.shape))
    return Head(head, name, form, request.model_name, request.model_version, asked.wanted)


class Heads(Generic[KnownT]):
    """What is known by the heads of messages; any thread may ask. What two learn at the same time may be learnt once.

    Several of one length have their place beside each other: models of the same form differ by their names alone.
    """

    def __init__(self) -> None:
        self._by_length: dict[int, tuple[tuple[bytes, KnownT], ...]] = {}

    def find(self, data: bytes) -> KnownT | None:
        """Find what is known of a message by its head."""
        for head, known in self._by_length.get(len(data), ()):
            if data.startswith(head):
                return known
        return None

    def learn(self, data: bytes, head: bytes, known: KnownT) -> None:
        """Remember something by the head of a message, the newest first.

        Args:
            data: The message.
            head: What it begins with.
            known: Takes the place of what was known by that head.
        """
        if sum(map(len, list(self._by_length.values()))) >= _MAX_HEADS:
            self._by_length.clear()
        length = len(data)
        others = [one for one in self._by_length.get(length, ()) if one[0] != head]
        self._by_length[length] = ((head, known), *others[: _MAX_OF_A_LENGTH - 1])


class Pieces:
    """Prepared pieces of one model's answers; any thread may ask.

    Args:
        signature: What the model takes and gives.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._kept: dict[tuple[object, ...], bytes] = {}

    def answer(
        self, wanted: tuple[str, ...], outputs: Mapping[str, NDArray[Any]], version: str, parameters: bytes
    ) -> bytes:
        """Write an answer.

        Args:
            wanted: Outputs to write, in order.
            outputs: The model's outputs by name; numbers only.
            version: Which version answered.
            parameters: From `parameters_piece`.

        Returns:
            The message.
        """
        arrays = [outputs[name] for name in wanted]
        pieces = [self._head(version, wanted, tuple([array.shape for array in arrays])), parameters]
        for array in arrays:
            raw = array.tobytes()
            pieces += (self._before_raw(len(raw)), raw)
        return b"".join(pieces)

    def is_numeric(self, wanted: tuple[str, ...]) -> bool:
        """Tell whether outputs have elements of one size each, as `answer` wants them."""
        return all(self._signature.datatype(name) != "BYTES" for name in wanted)

    def _head(self, version: str, wanted: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]) -> bytes:
        key = (version, wanted, shapes)
        piece = self._kept.get(key)
        if piece is None:
            message = pb.ModelInferResponse(model_name=self._signature.model.name, model_version=version)
            for name, shape in zip(wanted, shapes, strict=True):
                message.outputs.add(name=name, datatype=self._signature.datatype(name), shape=shape)
            piece = self._keep(key, message.SerializeToString())
        return piece

    def _before_raw(self, n_bytes: int) -> bytes:
        """What stands before so many bytes of an output's values."""
        piece = self._kept.get((n_bytes,))
        if piece is None:
            message = pb.ModelInferResponse(raw_output_contents=[bytes(n_bytes)])
            piece = self._keep((n_bytes,), message.SerializeToString()[: -n_bytes or None])
        return piece

    def _keep(self, key: tuple[object, ...], piece: bytes) -> bytes:
        if len(self._kept) >= _MAX_PIECES:
            self._kept.clear()
        self._kept[key] = piece
        return piece


def parameters_piece(parameters: Mapping[str, Parameter]) -> bytes:
    """Write parameters of an answer as a piece of it."""
    message = pb.ModelInferResponse()
    set_parameters(message.parameters, parameters)
    return message.SerializeToString()
