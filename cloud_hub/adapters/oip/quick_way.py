"""Owns the quick way of a repeated request through the hub: its head is known, its answer is made of prepared pieces.

The forms are `protos.oip.quick_forms`; what is not of them goes the way of `grpc_service.py`, which teaches new heads.
"""

import struct
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from cloud_hub.adapters.oip.inference import Served, answer_parameters
from cloud_hub.serving.interface import InferenceServing, Inferred
from model_packs.outputs import Classification
from protos.messages.inference import Tier
from protos.oip.quick_forms import Head, Heads, head_of, parameters_piece
from protos.oip.signature import Asked
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

_MAX_LABELS: Final = 4096
_DOUBLE_BYTES: Final = 8
_TIER: Final = "tier"
_write_double = struct.Struct("<d").pack


class Known(NamedTuple):
    """A request whose head is known."""

    head: Head
    served: Served
    inputs: dict[str, NDArray[Any]]

    @property
    def is_one(self) -> bool:
        """It holds one window."""
        return self.head.form.shape[0] == 1


class QuickWay:
    """Knows the heads of requests.

    Args:
        serving: Says which model answers now.
    """

    def __init__(self, serving: InferenceServing) -> None:
        self._serving = serving
        self._heads: Heads[tuple[Head, Served]] = Heads()
        self._labels: dict[str, bytes] = {}
        self._tier = parameters_piece({_TIER: Tier.HUB.value})
        self._confidence = parameters_piece({"confidence": 1.0})[:-_DOUBLE_BYTES]

    def read(self, data: bytes) -> Known | None:
        """Read a request whose head is known.

        Args:
            data: The message.

        Returns:
            What it asks for; None where its head is not known, or another model answers to its name now.

        Raises:
            TensorError: A value is not finite.
        """
        known = self._heads.find(data)
        if known is None:
            return None
        head, served = known
        if self._serving.resolve(head.model, head.version) is not served.description:
            return None
        return Known(head, served, head.read(data))

    def learn(self, data: bytes, request: pb.ModelInferRequest, asked: Asked, served: Served) -> None:
        """Remember the head of a request that was read, if it is of the form.

        Args:
            data: The message.
            request: The same, parsed.
            asked: What it asks for.
            served: Who answered.
        """
        if not served.pieces.is_numeric(asked.wanted):
            return
        head = head_of(data, request, asked, served.grpc.signature)
        if head is not None:
            self._heads.learn(data, head.data, (head, served))

    def write(self, known: Known, inferred: Inferred) -> bytes:
        """Write the answer to a request whose head is known.

        Args:
            known: From `read`.
            inferred: Its answer.

        Returns:
            The message.
        """
        return known.served.pieces.answer(
            known.head.wanted, inferred.outputs, inferred.version, self._parameters(inferred)
        )

    def _parameters(self, inferred: Inferred) -> bytes:
        """The same as `answer_parameters`, in pieces."""
        if not inferred.scored:
            return self._tier
        said = inferred.scored[0]
        if not isinstance(said.output, Classification) or said.unscorable is not None:
            return parameters_piece(answer_parameters(inferred))
        return b"".join((self._label(said.output.label), self._confidence, _write_double(said.confidence)))

    def _label(self, label: str) -> bytes:
        piece = self._labels.get(label)
        if piece is None:
            if len(self._labels) >= _MAX_LABELS:
                self._labels.clear()
            piece = self._labels[label] = parameters_piece({_TIER: Tier.HUB.value, "label": label})
        return piece
