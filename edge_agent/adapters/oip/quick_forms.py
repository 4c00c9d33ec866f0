"""Owns the quick way of a call between its bytes and arrays: heads of requests that are known, answers of known pieces.

What heads and pieces are is `protos/oip/quick_forms.py`; here are the decision's parameters, of which only the id and
the confidence are another each time.
"""

import struct
from typing import Any, Final

from numpy.typing import NDArray

from edge_agent.adapters.oip.decision_parameters import parameters_of_rows
from edge_agent.core.local_call import CallAnswer, CalledRow
from protos.oip.quick_forms import Head, Heads, Pieces, head_of, parameters_piece
from protos.oip.signature import Asked, Signature
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

_MAX_ROWS: Final = 4096
_ID_DIGITS: Final = 26
_DOUBLE_BYTES: Final = 8
_write_double = struct.Struct("<d").pack


class QuickForms:
    """The requests to, and answers of, one pack of a binding; any thread may ask.

    Args:
        signature: What it takes and gives.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._heads: Heads[Head] = Heads()
        self._pieces = Pieces(signature)
        self._rows: dict[tuple[str | None, ...], bytes] = {}
        # What stands before the digits of an id, and before the bytes of a confidence (of 0.0, too).
        self._id = parameters_piece({"prediction_id": "x" * _ID_DIGITS})[:-_ID_DIGITS]
        self._confidence = parameters_piece({"confidence": 1.0})[:-_DOUBLE_BYTES]

    def read(self, data: bytes) -> tuple[Head, dict[str, NDArray[Any]]] | None:
        """Read a request whose head is known.

        Args:
            data: The message.

        Returns:
            Its head, and the input by name, a view of the message; None where the head is not known.

        Raises:
            TensorError: A value is not finite.
        """
        known = self._heads.find(data)
        return None if known is None else (known, known.read(data))

    def learn(self, data: bytes, request: pb.ModelInferRequest, asked: Asked) -> None:
        """Remember the head of a request that was read and is sound, if it is of the form.

        Args:
            data: The message.
            request: The same, parsed.
            asked: What it asks for.
        """
        if not self._pieces.is_numeric(asked.wanted):
            return  # elements that are objects have no bytes of their own: the codec writes them
        head = head_of(data, request, asked, self._signature)
        if head is not None:
            self._heads.learn(data, head.data, head)

    def write(self, head: Head, answer: CallAnswer) -> bytes:
        """Write the answer to a request whose head is known.

        Args:
            head: From `read`.
            answer: What it is answered; each row by itself if there are more.

        Returns:
            The message.
        """
        rows = answer.rows
        parameters = self._parameters(rows[0]) if len(rows) == 1 else parameters_piece(parameters_of_rows(rows))
        return self._pieces.answer(head.wanted, answer.outputs, answer.version, parameters)

    def _parameters(self, row: CalledRow) -> bytes:
        """The same as `parameters_of_rows` of one row, in pieces."""
        name, status, confidence, label, reason, tier = row
        key = (status, label, reason, tier)
        piece = self._rows.get(key)
        if piece is None:
            said = {"status": status, "label": label, "reason": reason, "tier": tier}
            piece = parameters_piece({name: one for name, one in said.items() if one is not None})
            if len(self._rows) >= _MAX_ROWS:
                self._rows.clear()
            self._rows[key] = piece
        return b"".join((self._id, name.encode(), self._confidence, _write_double(confidence), piece))
