"""Owns what a client says to a server of a bench and how its answer is read, per protocol: OIP gRPC, JSON over HTTP.

A gRPC call is an HTTP/2 POST of one framed message, so that one load generator serves for all (gRPC over HTTP2:
github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: a byte for compression, four for the length, the message).
"""

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.bench.serving.models import INPUT, OUTPUT, BenchModel

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
FRAME_BYTES: Final = 5


class Wire(Enum):
    """How a server is spoken to."""

    GRPC = "OIP gRPC"
    NUMBERS = "JSON numbers"
    BASE64 = "base64 in JSON"


@dataclass(frozen=True, slots=True)
class Question:
    """One request that is sent again and again.

    Attributes:
        path: Of the URL.
        body: As it goes over the wire, without a frame.
        headers: By name.
        read: Turns a reply's body (a gRPC message without its frame) into float32 [classes].
    """

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    read: Callable[[bytes], NDArray[np.float32]]


def question(wire: Wire, bench: BenchModel, path: str, headers: tuple[tuple[str, str], ...] = ()) -> Question:
    """Make the request of a model's first example.

    Args:
        wire: How it is said.
        bench: The model.
        path: Of an HTTP server; OIP has its own.
        headers: More of them.
    """
    values = bench.input()
    if wire is Wire.GRPC:
        own = (("content-type", "application/grpc"), ("te", "trailers"))
        return Question(INFER, infer_request(bench.name, values), (*own, *headers), _read_response)
    if wire is Wire.NUMBERS:
        document: dict[str, object] = {"values": values[0].ravel().tolist()}
    else:
        document = {"b64": base64.b64encode(values.tobytes()).decode(), "shape": list(bench.shape)}
    body = json.dumps(document, separators=(",", ":")).encode()
    return Question(path, body, (("content-type", "application/json"), *headers), _read_json)


def infer_request(name: str, values: NDArray[np.float32]) -> bytes:
    """Serialise a ModelInfer request with raw contents.

    Args:
        name: The model.
        values: float32 [batch, ...].
    """
    request = pb.ModelInferRequest(model_name=name)
    request.inputs.add(name=INPUT, datatype="FP32", shape=values.shape)
    request.raw_input_contents.append(values.tobytes())
    serialised: bytes = request.SerializeToString()
    return serialised


def framed(message: bytes) -> bytes:
    """A gRPC message as it stands in the HTTP/2 body, uncompressed."""
    return struct.pack(">BI", 0, len(message)) + message


def _read_response(body: bytes) -> NDArray[np.float32]:
    response = pb.ModelInferResponse.FromString(body)
    at = [output.name for output in response.outputs].index(OUTPUT)
    return np.frombuffer(response.raw_output_contents[at], np.float32)


def _read_json(body: bytes) -> NDArray[np.float32]:
    return np.array(json.loads(body)["values"], np.float32)
