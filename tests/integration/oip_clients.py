"""Owns driving a server of the Open Inference Protocol with clients that we did not write.

A server under test is a `Subject`: an address, a model's name, and recorded inputs with the outputs that are right for
them. Every check of `CHECKS` holds for every server; what bad requests must come to is `oip_bad_requests.py`.
"""

import queue
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from numpy.typing import NDArray

from protos.oip.methods import MODEL_INFER, MODEL_STREAM_INFER
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.simulators.requirements import found_perf_analyzer

DEADLINE_S: Final = 30.0
TOLERANCE: Final = 1e-3


@dataclass(frozen=True)
class Subject:
    """A server under test.

    Attributes:
        grpc: Address of its gRPC form, host:port, plain text.
        rest: Address of its REST form, host:port.
        model: A model that it serves.
        version: The version that answers.
        input: The model's only input.
        output: Its first output.
        rows: Inputs that fit, float32 [examples, ...].
        right: The first output for them.
        tier: Who says that it answers.
        pid: Its process.
        label: Of the first example, where the task has labels.
    """

    grpc: str
    rest: str
    model: str
    version: str
    input: str
    output: str
    rows: NDArray[np.float32]
    right: NDArray[np.float32]
    tier: str
    pid: int
    label: str | None = field(default=None)

    def request(self, n_rows: int = 1, **fields: Any) -> pb.ModelInferRequest:  # noqa: ANN401 - a message's fields
        """A good request for the first rows."""
        rows = self.rows[:n_rows]
        request = pb.ModelInferRequest(model_name=self.model, raw_input_contents=[rows.tobytes()], **fields)
        request.inputs.add(name=self.input, datatype="FP32", shape=rows.shape)
        return request

    def is_right(self, array: NDArray[np.float32], first: int = 0) -> bool:
        """Whether an output is what is right for the rows from `first` on."""
        right = self.right[first : first + len(array)]
        return array.shape == right.shape and bool(np.allclose(array, right, atol=TOLERANCE))

    def grpc_client(self) -> over_grpc.InferenceServerClient:
        """A new tritonclient over gRPC."""
        return over_grpc.InferenceServerClient(self.grpc)

    def http_client(self) -> over_http.InferenceServerClient:
        """A new tritonclient over HTTP."""
        return over_http.InferenceServerClient(self.rest)

    def grpc_input(self, first: int = 0, n_rows: int = 1) -> over_grpc.InferInput:
        """Some rows as tritonclient's gRPC input."""
        rows = self.rows[first : first + n_rows]
        one = over_grpc.InferInput(self.input, list(rows.shape), "FP32")
        one.set_data_from_numpy(rows)
        return one

    def http_input(self, n_rows: int = 1, *, is_binary: bool = True) -> over_http.InferInput:
        """Some rows as tritonclient's HTTP input."""
        rows = self.rows[:n_rows]
        one = over_http.InferInput(self.input, list(rows.shape), "FP32")
        one.set_data_from_numpy(rows, binary_data=is_binary)
        return one


def health_and_descriptions(subject: Subject) -> None:
    """Live, ready, and described as perf_analyzer needs it: versions that start with a digit, the batch, statistics."""
    with subject.grpc_client() as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(subject.model)
        metadata = client.get_model_metadata(subject.model)
        assert metadata.name == subject.model
        assert subject.version in metadata.versions
        assert all(version[0].isdigit() for version in metadata.versions)
        assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [
            (subject.input, "FP32", [-1, *subject.rows.shape[1:]])
        ]
        assert metadata.outputs[0].name == subject.output
        config = client.get_model_config(subject.model).config
        assert config.max_batch_size > 0
        assert [(one.name, list(one.dims)) for one in config.input] == [(subject.input, [*subject.rows.shape[1:]])]
        assert "statistics" in client.get_server_metadata().extensions
        assert any(
            (one.name, one.version, one.state) == (subject.model, subject.version, "READY")
            for one in client.get_model_repository_index().models
        )


def unary_inference(subject: Subject) -> None:
    """One window and several, with an id, named outputs, a version, compression: the right values come back."""
    with subject.grpc_client() as client:
        wanted = [over_grpc.InferRequestedOutput(subject.output)]
        for fields in (
            {"request_id": "q-1", "outputs": wanted},
            {"model_version": subject.version},
            {"compression_algorithm": "gzip", "client_timeout": DEADLINE_S},
        ):
            result = client.infer(subject.model, [subject.grpc_input()], **fields)
            assert subject.is_right(result.as_numpy(subject.output))
        n_rows = min(4, len(subject.rows))
        result = client.infer(
            subject.model, [subject.grpc_input(0, n_rows)], request_id="q-2", outputs=wanted, priority=2, timeout=10**7
        )
        response = result.get_response()
        assert (response.id, response.model_name, response.model_version) == ("q-2", subject.model, subject.version)
        assert subject.is_right(result.as_numpy(subject.output))


def response_parameters(subject: Subject) -> None:
    """Of one window the answer says the tier, the confidence and the label; foreign parameters do no harm."""
    with subject.grpc_client() as client:
        foreign = {"mine": 0.5, "other": "x", "flag": True, "number": 3}
        parameters = client.infer(subject.model, [subject.grpc_input()], parameters=foreign).get_response().parameters
    assert parameters["tier"].string_param == subject.tier
    assert 0.0 <= parameters["confidence"].double_param <= 1.0
    if subject.label is not None:
        assert parameters["label"].string_param == subject.label


def asynchronous_inference(subject: Subject) -> None:
    """Many calls at once, each with its own answer."""
    answers: queue.Queue[tuple[int, Any, Any]] = queue.Queue()

    def keep(first: int) -> Callable[..., None]:
        return lambda result, error: answers.put((first, result, error))

    n_calls = 64
    with subject.grpc_client() as client:
        for index in range(n_calls):
            first = index % len(subject.rows)
            client.async_infer(subject.model, [subject.grpc_input(first)], callback=keep(first))
        for _ in range(n_calls):
            first, result, error = answers.get(timeout=DEADLINE_S)
            assert error is None
            assert subject.is_right(result.as_numpy(subject.output), first)


def streamed_inference(subject: Subject) -> None:
    """A stream answers in order, echoes ids, marks each answer as final, and survives a bad request among good ones."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    n_calls = 40
    with subject.grpc_client() as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for index in range(n_calls):
            client.async_stream_infer(
                subject.model,
                [subject.grpc_input(index % len(subject.rows))],
                request_id=str(index),
                enable_empty_final_response=True,
            )
        client.async_stream_infer("no-such-model", [subject.grpc_input()], request_id="bad")
        client.async_stream_infer(subject.model, [subject.grpc_input()], request_id="last")
        for index in range(n_calls):
            result, error = answers.get(timeout=DEADLINE_S)
            assert error is None
            assert result.get_response().id == str(index)
            assert result.get_response().parameters["triton_final_response"].bool_param
            assert subject.is_right(result.as_numpy(subject.output), index % len(subject.rows))
        _, error = answers.get(timeout=DEADLINE_S)
        assert "no-such-model" in str(error)
        result, error = answers.get(timeout=DEADLINE_S)
        assert (error, result.get_response().id) == (None, "last")
        client.stop_stream()


def typed_inference(subject: Subject) -> None:
    """A KServe or MLServer client that sends typed lists gets typed lists."""
    request = subject.request()
    request.inputs[0].contents.fp32_contents.extend(subject.rows[0].ravel().tolist())
    del request.raw_input_contents[:]
    answer = call(subject, request)
    assert not answer.raw_output_contents
    output = answer.outputs[0]
    values = np.array(output.contents.fp32_contents, np.float32).reshape(output.shape)
    assert subject.is_right(values)


def rest_inference(subject: Subject) -> None:
    """JSON and binary, plain and compressed, described and ready: the same answers as over gRPC."""
    with subject.http_client() as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(subject.model)
        assert client.get_server_metadata()["name"]
        assert client.get_model_metadata(subject.model)["inputs"][0]["name"] == subject.input
        assert client.get_model_config(subject.model)["max_batch_size"] > 0
        assert client.get_inference_statistics(subject.model)["model_stats"][0]["name"] == subject.model
        assert any(one["name"] == subject.model for one in client.get_model_repository_index())
        for is_binary in (True, False):
            wanted = [over_http.InferRequestedOutput(subject.output, binary_data=is_binary)]
            for outputs in (wanted, None):
                result = client.infer(
                    subject.model,
                    [subject.http_input(2, is_binary=is_binary)],
                    outputs=outputs,
                    request_id="q",
                    request_compression_algorithm="gzip" if is_binary else "deflate",
                )
                assert subject.is_right(result.as_numpy(subject.output))
                assert result.get_response()["id"] == "q"
        result = client.infer(subject.model, [subject.http_input()], model_version=subject.version)
        assert result.get_response()["parameters"]["tier"] == subject.tier


def statistics_grow(subject: Subject) -> None:
    """Each answered request is counted once, waiting included: perf_analyzer stops where the queue's count stays."""
    with subject.grpc_client() as client:
        before = _statistics(client, subject)
        for _ in range(3):
            client.infer(subject.model, [subject.grpc_input(0, 2)])
        after = _statistics(client, subject)
    assert after.inference_stats.queue.count - before.inference_stats.queue.count == 3
    assert after.inference_stats.success.count - before.inference_stats.success.count == 3
    assert after.inference_count - before.inference_count == 6
    assert 1 <= after.execution_count - before.execution_count <= 3
    assert after.version == subject.version


def shared_memory_is_refused_or_shared(subject: Subject) -> None:
    """Unregistering all regions, which perf_analyzer does first, always works."""
    with subject.grpc_client() as client:
        client.unregister_system_shared_memory()
        client.unregister_cuda_shared_memory()
        assert not client.get_system_shared_memory_status().regions
        assert not client.get_cuda_shared_memory_status().regions


CHECKS: Final = (
    health_and_descriptions,
    unary_inference,
    response_parameters,
    asynchronous_inference,
    streamed_inference,
    typed_inference,
    rest_inference,
    statistics_grow,
    shared_memory_is_refused_or_shared,
)
"""What holds for every server."""

# Its random numbers are random bytes, NaN among them, which no model here declares.
_PERF_ARGUMENTS: Final = ("--input-data", "zero", "-p", "500", "-r", "3", "-s", "1000", "--concurrency-range", "4")
PERF_MODES: Final = ((), ("--async",), ("--async", "--streaming"))


def perf_analyzer(subject: Subject, *mode: str) -> None:
    """Load the server with NVIDIA's perf_analyzer, which reads every description and compares statistics on the way.

    Args:
        subject: The server.
        mode: Further arguments: `--async`, `--streaming`.
    """
    program = found_perf_analyzer()
    assert program is not None, "the marker perf_analyzer leaves these tests out where it is missing"
    done = subprocess.run(
        [program, "-m", subject.model, "-u", subject.grpc, "-i", "grpc", *mode, *_PERF_ARGUMENTS],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Throughput:" in done.stdout
    assert "Request count: 0\n    Throughput" not in done.stdout


def call(subject: Subject, request: pb.ModelInferRequest, timeout_s: float = DEADLINE_S) -> pb.ModelInferResponse:
    """Send any message as one inference; raises grpc.RpcError."""
    with grpc.insecure_channel(subject.grpc) as channel:
        infer = channel.unary_unary(
            MODEL_INFER.path,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        answer: pb.ModelInferResponse = infer(request, timeout=timeout_s)
        return answer


def stream(channel: grpc.Channel, requests: Any, timeout_s: float = DEADLINE_S) -> Any:  # noqa: ANN401 - grpc's call
    """Open a stream of inferences."""
    return channel.stream_stream(
        MODEL_STREAM_INFER.path,
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )(requests, timeout=timeout_s)


def _statistics(client: over_grpc.InferenceServerClient, subject: Subject) -> Any:  # noqa: ANN401 - their message
    return client.get_inference_statistics(subject.model, subject.version).model_stats[0]
