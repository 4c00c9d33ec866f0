"""Owns bad requests to a live server of the Open Inference Protocol, and what must become of each.

The right status, a message that names the tensor and what was expected, the next request served, nothing leaked. Works
on any `Subject`; requests that a polite client would not send are made by hand.
"""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np
import pytest

from protos.oip.methods import MODEL_INFER
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.integration.oip_clients import DEADLINE_S, Subject, call, stream

Change = Callable[[Subject, pb.ModelInferRequest], None]

INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT


@dataclass(frozen=True)
class Bad:
    """One kind of bad request: how a good one is spoilt, and what the server says."""

    name: str
    change: Change
    code: grpc.StatusCode
    message: str


def _shape(*sizes: int) -> Change:
    def change(subject: Subject, request: pb.ModelInferRequest) -> None:
        del request.inputs[0].shape[:]
        request.inputs[0].shape.extend((*sizes, *subject.rows.shape[1 + len(sizes) - 1 :]))

    return change


def _not_finite(subject: Subject, request: pb.ModelInferRequest) -> None:
    rows = subject.rows[:1].copy()
    rows.flat[0] = np.nan
    request.raw_input_contents[0] = rows.tobytes()


def _truncated(_subject: Subject, request: pb.ModelInferRequest) -> None:
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]


def _two_gigabytes(_subject: Subject, request: pb.ModelInferRequest) -> None:
    del request.inputs[0].shape[1:]
    request.inputs[0].shape.append(1 << 29)


def _no_data(_subject: Subject, request: pb.ModelInferRequest) -> None:
    del request.raw_input_contents[:]


def _no_input(_subject: Subject, request: pb.ModelInferRequest) -> None:
    del request.inputs[:], request.raw_input_contents[:]


def _unknown_output(_subject: Subject, request: pb.ModelInferRequest) -> None:
    request.outputs.add(name="zz")


def _text_elsewhere(_subject: Subject, request: pb.ModelInferRequest) -> None:
    request.parameters["timeout"].string_param = "soon"


def _no_time(_subject: Subject, request: pb.ModelInferRequest) -> None:
    request.parameters["timeout"].int64_param = 1


BAD: Final = (
    Bad("wrong_datatype", lambda _, r: setattr(r.inputs[0], "datatype", "INT8"), INVALID, "must be FP32 "),
    Bad("unknown_datatype", lambda _, r: setattr(r.inputs[0], "datatype", "FP31"), INVALID, "must be FP32 "),
    Bad("wrong_shape", _two_gigabytes, INVALID, "must be FP32 "),
    Bad("wrong_rank", lambda _, r: r.inputs[0].shape.append(1), INVALID, "must be FP32 "),
    Bad("huge_batch", _shape(1 << 29), INVALID, "windows along its first axis, not 536870912"),
    Bad("no_windows", _shape(0), INVALID, "windows along its first axis, not 0"),
    Bad("negative_batch", _shape(-1), INVALID, "windows along its first axis, not -1"),
    Bad("wrong_name", lambda _, r: setattr(r.inputs[0], "name", "nothing"), INVALID, "unknown input 'nothing'"),
    Bad("missing_input", _no_input, INVALID, "is missing: the model takes"),
    Bad("repeated_input", lambda s, r: r.MergeFrom(s.request()), INVALID, "came twice"),
    Bad("truncated_bytes", _truncated, INVALID, " bytes for FP32 "),
    Bad("no_data", _no_data, INVALID, "has no data"),
    Bad("too_many_raw", lambda _, r: r.raw_input_contents.append(b"x"), INVALID, "raw_input_contents must hold"),
    Bad("not_finite", _not_finite, INVALID, "must be finite: nan at [0"),
    Bad("unknown_output", _unknown_output, INVALID, "unknown output 'zz'"),
    Bad("wrong_parameter", _text_elsewhere, INVALID, "parameter 'timeout' must be an integer"),
    Bad("no_time", _no_time, grpc.StatusCode.DEADLINE_EXCEEDED, ""),
    Bad("unknown_model", lambda _, r: setattr(r, "model_name", "nope"), grpc.StatusCode.NOT_FOUND, "nope"),
    Bad("unknown_version", lambda _, r: setattr(r, "model_version", "99.0.0"), grpc.StatusCode.NOT_FOUND, "99.0.0"),
)
"""What a caller may do wrong in one request."""

_NAMES_THE_TENSOR: Final = frozenset(("must be FP32 ", " bytes for FP32 ", "has no data", "must be finite: nan at [0"))


def refused(subject: Subject, bad: Bad) -> None:
    """The request gets its status and message, over gRPC and on a stream, and the next one is answered."""
    request = subject.request(id="7")
    bad.change(subject, request)
    with pytest.raises(grpc.RpcError) as caught:
        call(subject, request)
    assert caught.value.code() is bad.code, caught.value.details()
    _says(subject, bad, str(caught.value.details()))
    with grpc.insecure_channel(subject.grpc) as channel:
        first, second = stream(channel, iter((request, subject.request(id="8"))))
    assert first.infer_response.id == "7"
    _says(subject, bad, first.error_message)
    assert (second.infer_response.id, second.error_message) == ("8", "")
    served(subject)


def _says(subject: Subject, bad: Bad, text: str) -> None:
    assert bad.message in text, text
    if bad.message in _NAMES_THE_TENSOR:
        assert f"tensor {subject.input!r}" in text, text


def served(subject: Subject) -> None:
    """A good request is answered rightly."""
    answer = call(subject, subject.request())
    names = [one.name for one in answer.outputs]
    index = names.index(subject.output)
    raw = np.frombuffer(answer.raw_output_contents[index], np.float32)
    assert subject.is_right(raw.reshape(answer.outputs[index].shape))


REST_BAD: Final[tuple[tuple[str, str, dict[str, str], int, str], ...]] = (
    ("infer", "", {}, 400, "body"),
    ("infer", "[" * 50_000, {}, 400, "nested too deeply"),
    ("infer", "{}", {}, 400, "inputs: must be a list"),
    ("infer", '{"inputs": []}', {}, 400, "is missing: the model takes"),
    ("infer", '{"inputs": [{"name": "zz", "datatype": "FP32", "shape": [1], "data": [1]}]}', {}, 400, "unknown input"),
    ("infer", "{}", {"Inference-Header-Content-Length": "9"}, 400, "must be 0 to 2, the body's length"),
    ("infer", "{}", {"Content-Encoding": "gzip"}, 400, "body: is not gzip"),
    ("infer", "{}", {"Content-Encoding": "zstd"}, 400, "Content-Encoding: must be gzip or deflate"),
    ("versions/99.0.0/infer", '{"inputs": []}', {}, 404, "99.0.0"),
    ("nothing", "{}", {}, 404, "nothing is at POST"),
)
"""Path behind the model, body, headers, status and message."""


def rest_refused(subject: Subject, row: tuple[str, str, dict[str, str], int, str]) -> None:
    """A bad REST request gets its status and `{"error": ...}`, and the next request on the connection is answered."""
    path, body, headers, status, message = row
    connection = http.client.HTTPConnection(subject.rest, timeout=DEADLINE_S)
    try:
        connection.request("POST", f"/v2/models/{subject.model}/{path}", body.encode(), headers)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        assert (answer.status, list(document)) == (status, ["error"])
        assert message in document["error"], document
        values = {
            "name": subject.input,
            "datatype": "FP32",
            "shape": [1, *subject.rows.shape[1:]],
            "data": subject.rows[0].ravel().tolist(),
        }
        connection.request("POST", f"/v2/models/{subject.model}/infer", json.dumps({"inputs": [values]}))
        assert connection.getresponse().status == 200
    finally:
        connection.close()


def _infer(channel: grpc.Channel) -> "grpc.UnaryUnaryMultiCallable[pb.ModelInferRequest, bytes]":
    return channel.unary_unary(MODEL_INFER.path, pb.ModelInferRequest.SerializeToString, bytes)


def bytes_that_are_no_message(subject: Subject) -> None:
    """What does not parse ends its call alone."""
    with grpc.insecure_channel(subject.grpc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(MODEL_INFER.path, bytes, bytes)(b"\xff\xff\xff", timeout=DEADLINE_S)
        assert caught.value.code() is INVALID
        assert "is no ModelInferRequest" in str(caught.value.details())
    served(subject)


def expired_deadlines(subject: Subject) -> None:
    """A call whose deadline passes is the caller's DEADLINE_EXCEEDED; what runs beside it is answered."""
    for _ in range(20):
        with pytest.raises(grpc.RpcError) as caught:
            call(subject, subject.request(), timeout_s=-1.0)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    served(subject)


def cancelled_calls(subject: Subject) -> None:
    """Calls and streams that their callers leave cost nobody else anything."""
    with grpc.insecure_channel(subject.grpc) as channel:
        for _ in range(50):
            _infer(channel).future(subject.request(), timeout=DEADLINE_S).cancel()
        left = stream(channel, iter([subject.request() for _ in range(100)]))
        next(left)
        left.cancel()
    served(subject)


def slow_readers(subject: Subject) -> None:
    """A client that sends and does not read holds a bounded part of the server; others are served meanwhile."""
    n_requests = 4000
    sent = threading.Semaphore(0)

    def requests() -> Iterator[pb.ModelInferRequest]:
        for index in range(n_requests):
            sent.release()
            yield subject.request(id=str(index))

    before_bytes = resident_bytes(subject.pid)
    with grpc.insecure_channel(subject.grpc) as channel:
        answers = stream(channel, requests(), timeout_s=4 * DEADLINE_S)
        for _ in range(500):  # well beyond what the server reads ahead
            assert sent.acquire(timeout=DEADLINE_S)
        served(subject)
        assert [answer.infer_response.id for answer in answers] == [str(index) for index in range(n_requests)]
    assert resident_bytes(subject.pid) - before_bytes < MOST_GROWTH_BYTES


MOST_GROWTH_BYTES: Final = 24 << 20


def nothing_leaks(subject: Subject) -> None:
    """After hundreds of bad requests of every kind the server has its memory and its files as before."""

    def spoil(rounds: int) -> None:
        with grpc.insecure_channel(subject.grpc) as channel:
            infer = _infer(channel)
            for _ in range(rounds):
                for bad in BAD:
                    request = subject.request()
                    bad.change(subject, request)
                    with pytest.raises(grpc.RpcError):
                        infer(request, timeout=DEADLINE_S)

    spoil(5)  # what is made once is there then
    before_bytes, before_files = resident_bytes(subject.pid), open_files(subject.pid)
    spoil(30)
    served(subject)
    assert resident_bytes(subject.pid) - before_bytes < MOST_GROWTH_BYTES
    assert open_files(subject.pid) <= before_files + 2  # a connection may still be closing


BEHAVIOURS: Final = (bytes_that_are_no_message, expired_deadlines, cancelled_calls, slow_readers, nothing_leaks)
"""What bad callers do over more than one request."""


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no VmRSS")


def open_files(pid: int) -> int:
    """Files and sockets that a process holds open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
