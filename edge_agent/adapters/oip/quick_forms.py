"""Owns the quick way of a call between its bytes and arrays: what is the same in all requests is read and written once.

Programs repeat themselves: model, tensor, datatype and shape are the same bytes in front of every raw tensor, and
protobuf puts them there in one order. So a request whose head was read before is its tensor alone; and an answer is
prepared pieces with the id, the confidence and the values between them, since messages that are strung together are
one message (protobuf encoding guide, "last one wins" and merging). What is read once, and all that is not of this form,
is `protos/oip/grpc_codec.py`.
"""

import math
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.oip.decision_parameters import parameters_of_rows
from edge_agent.core.local_call import CallAnswer, CalledRow
from model_packs.tensors import BYTES
from protos.oip.parameters import set_parameters
from protos.oip.signature import Asked, Form, Parameter, Signature, check_finite
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

_MAX_HEAD_BYTES: Final = 4096  # names, a shape and the wanted outputs take less; what a client adds is not kept
_MAX_HEADS: Final = 64
_MAX_PIECES: Final = 4096
_SUMMED: Final = 4096  # elements; BLAS would use more threads for more
_ID_DIGITS: Final = 26
_DOUBLE_BYTES: Final = 8
_SINGLE_BYTES: Final = 4
_write_double = struct.Struct("<d").pack


class Head(NamedTuple):
    """What stands before the values of a request's only tensor.

    Attributes:
        version: That the request asks for; empty: whichever runs.
        wanted: Outputs that it asks for.
    """

    head: bytes
    name: str
    form: Form
    version: str
    asked: Asked


class QuickForms:
    """The requests to, and answers of, one pack of a binding; any thread may ask.

    Args:
        signature: What it takes and gives.
    """

    def __init__(self, signature: Signature) -> None:
        self._model = signature.model
        self._signature = signature
        self._heads: dict[int, Head] = {}
        self._pieces: dict[tuple[object, ...], bytes] = {}
        self._id = _id_piece()
        self._confidence = _confidence_piece()

    def read(self, data: bytes) -> tuple[Head, dict[str, NDArray[Any]]] | None:
        """Read a request whose head is known.

        Args:
            data: The message.

        Returns:
            Its head, and the input by name, a view of the message; None where the head is not known.

        Raises:
            TensorError: A value is not finite.
        """
        known = self._heads.get(len(data))
        if known is None or not data.startswith(known.head):
            return None
        form = known.form
        array: NDArray[Any] = np.ndarray(form.shape, form.dtype, data, len(known.head))
        if form.must_be_finite and not _is_surely_finite(form, array):
            check_finite(form, array)
        return known, {known.name: array}

    def learn(self, data: bytes, request: pb.ModelInferRequest, asked: Asked) -> None:
        """Remember the head of a request that was read and is sound, if it is of the form.

        Args:
            data: The message.
            request: The same, parsed.
            asked: What it asks for.
        """
        if any(self._signature.datatype(wanted) == BYTES for wanted in asked.wanted):
            return  # elements that are objects have no bytes of their own: the codec writes them
        raws = request.raw_input_contents
        if len(raws) != 1 or len(request.inputs) != 1 or request.id or request.parameters or asked.places:
            return
        (raw,), (name, array) = raws, next(iter(asked.inputs.items()))
        if not raw or array.dtype.hasobject or not data.endswith(raw) or len(data) - len(raw) > _MAX_HEAD_BYTES:
            return
        head, probe = data[: len(data) - len(raw)], bytes(len(raw))
        if raw == probe:  # it must be told apart from the values
            probe = b"\1" * len(raw)
        other = pb.ModelInferRequest()
        other.CopyFrom(request)
        other.raw_input_contents[0] = probe
        if pb.ModelInferRequest.FromString(head + probe) != other:
            return  # what ends the message are not its values
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        tensor = request.inputs[0]
        form = self._signature.form(tensor.name, tensor.datatype, tuple(tensor.shape))
        self._heads[len(data)] = Head(head, name, form, request.model_version, asked._replace(inputs={}))

    def write(self, head: Head, answer: CallAnswer) -> bytes:
        """Write the answer to a request whose head is known.

        Args:
            head: From `read`.
            answer: What it is answered; each row by itself if there are more.

        Returns:
            The message.
        """
        rows, wanted = answer.rows, head.asked.wanted
        outputs = [answer.outputs[name] for name in wanted]
        pieces = [self._output_piece(answer.version, wanted, tuple([one.shape for one in outputs]))]
        if len(rows) == 1:
            row = rows[0]
            pieces += (self._id, row.prediction_id.encode(), self._confidence, _write_double(row.confidence))
            pieces.append(self._row_piece(row))
        else:
            pieces.append(_parameters_piece(parameters_of_rows(rows)))
        for one in outputs:
            raw = one.tobytes()
            pieces += (self._raw_piece(len(raw)), raw)
        return b"".join(pieces)

    def _output_piece(self, version: str, wanted: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]) -> bytes:
        key = (version, wanted, shapes)
        piece = self._pieces.get(key)
        if piece is None:
            message = pb.ModelInferResponse(model_name=self._model.name, model_version=version)
            datatypes = {spec.name: spec.datatype for spec in self._model.outputs}
            for name, shape in zip(wanted, shapes, strict=True):
                message.outputs.add(name=name, datatype=datatypes[name], shape=shape)
            piece = self._kept(key, message.SerializeToString())
        return piece

    def _row_piece(self, row: CalledRow) -> bytes:
        key = (row.status, row.label, row.reason, row.tier)
        piece = self._pieces.get(key)
        if piece is None:
            said = {"status": row.status, "label": row.label, "reason": row.reason, "tier": row.tier}
            piece = self._kept(key, _parameters_piece({name: one for name, one in said.items() if one is not None}))
        return piece

    def _raw_piece(self, n_bytes: int) -> bytes:
        """What stands before so many bytes of an output's values."""
        piece = self._pieces.get((n_bytes,))
        if piece is None:
            message = pb.ModelInferResponse(raw_output_contents=[bytes(n_bytes)])
            piece = self._kept((n_bytes,), message.SerializeToString()[: -n_bytes or None])
        return piece

    def _kept(self, key: tuple[object, ...], piece: bytes) -> bytes:
        if len(self._pieces) >= _MAX_PIECES:
            self._pieces.clear()
        self._pieces[key] = piece
        return piece


def _parameters_piece(parameters: Mapping[str, Parameter]) -> bytes:
    message = pb.ModelInferResponse()
    set_parameters(message.parameters, parameters)
    return message.SerializeToString()


def _id_piece() -> bytes:
    """What stands before the 26 digits of an id."""
    return _parameters_piece({"prediction_id": "x" * _ID_DIGITS})[:-_ID_DIGITS]


def _confidence_piece() -> bytes:
    """What stands before the eight bytes of a confidence; of 0.0, too, which is written all the same."""
    return _parameters_piece({"confidence": 1.0})[:-_DOUBLE_BYTES]


def _is_surely_finite(form: Form, array: NDArray[Any]) -> bool:
    """Whether the sum of the squares is finite, so that each value is; where it is not, each has to be looked at."""
    return form.n_elements <= _SUMMED and form.dtype.itemsize >= _SINGLE_BYTES and math.isfinite(np.vdot(array, array))
