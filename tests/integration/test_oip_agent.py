"""The Open Inference Protocol on a real agent: unmodified clients are answered, and bad requests hurt nobody."""

import json
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as over_grpc
from tritonclient.utils import InferenceServerException

from model_packs.signing import generate_site_key
from protos.oip.methods import MODEL_INFER, MODEL_STREAM_INFER
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.integration.oip_bad_requests import BAD, BEHAVIOURS, REST_BAD, Bad, refused, rest_refused
from tests.integration.oip_clients import CHECKS, PERF_MODES, Subject, perf_analyzer
from tests.simulators.network import free_port
from tests.simulators.packs import build_tiny
from tests.simulators.processes import Process, installed_program, run_to_end
from tests.simulators.waiting import wait_until

DEADLINE_S = 30.0
MAX_WAITERS = 5

_AGENT_TOML = f"""\
[device]
id = "press-07"

[packs]
trusted_keys = ["site.pub"]

[http]
listen = "127.0.0.1:0"

[oip]
listen = "127.0.0.1:0"
max_waiters = {MAX_WAITERS}
"""

_BINDINGS_TOML = """\
[[binding]]
name = "motion"
pack = "./pack/layout"
"""


class CalledAgent:
    """An agent whose only binding answers local calls; its pack is a tiny one."""

    def __init__(self, folder: Path, hub: str = "") -> None:
        self.folder = folder
        self.config = folder / "agent.toml"
        self._ready_file = folder / "ready.json"
        key = generate_site_key(folder / "site.key")
        (folder / "site.pub").write_text(key.public.pem)
        (folder / "pack").mkdir()
        self.pack = build_tiny(folder / "pack", sign=key)
        self.config.write_text(_AGENT_TOML + hub)
        (folder / "bindings.toml").write_text(_BINDINGS_TOML)
        line = [installed_program("edge-agent"), "run", "--config", str(self.config), "--ready-file"]
        self.process = Process([*line, str(self._ready_file)], log_path=folder / "agent.log", cwd=folder)

    def start(self) -> Subject:
        """Start it; its binding as a subject."""
        self._ready_file.unlink(missing_ok=True)
        self.process.start()
        wait_until(self._ready_file.exists, DEADLINE_S, f"the agent runs, see {self.process.log_path}")
        ports = json.loads(self._ready_file.read_text())
        inputs, outputs = self.pack.golden()
        return Subject(
            grpc=f"{ports['oip_host']}:{ports['oip_port']}",
            rest=f"{ports['http_host']}:{ports['http_port']}",
            model="motion",
            version="1.0.0",
            input="window",
            output="logits",
            rows=inputs["window"],
            right=outputs["logits"],
            tier="edge",
            pid=ports["pid"],
            label=self.pack.manifest.labels[int(outputs["logits"][0].argmax())],
        )

    def document(self, command: str) -> dict[str, Any]:
        """What a reading command prints."""
        line = [installed_program("edge-agent"), command, "--json", "--config", str(self.config)]
        document: dict[str, Any] = json.loads(run_to_end(line, cwd=self.folder).stdout)
        return document


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CalledAgent]:
    """One agent for all tests; nothing that they do may hurt it."""
    called = CalledAgent(tmp_path_factory.mktemp("oip"))
    yield called
    called.process.kill()


@pytest.fixture(scope="module")
def subject(agent: CalledAgent) -> Subject:
    """The same, running."""
    return agent.start()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_unmodified_clients_are_answered(subject: Subject, check: Callable[[Subject], None]) -> None:
    """Every check of the client suite holds for the agent."""
    check(subject)


@pytest.mark.perf_analyzer
@pytest.mark.parametrize("mode", PERF_MODES, ids="".join)
def test_perf_analyzer_measures_the_agent(subject: Subject, mode: tuple[str, ...]) -> None:
    """Where NVIDIA's perf_analyzer runs, it drives the agent, asynchronously and streaming, too."""
    perf_analyzer(subject, *mode)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bad_request_is_refused_by_name(subject: Subject, bad: Bad) -> None:
    """Each gets its status and a message that names what was expected; the next request is served."""
    refused(subject, bad)


@pytest.mark.parametrize("row", REST_BAD, ids=range(len(REST_BAD)))
def test_a_bad_rest_request_is_refused_by_name(
    subject: Subject, row: tuple[str, str, dict[str, str], int, str]
) -> None:
    """The same over HTTP, on a connection that stays usable."""
    rest_refused(subject, row)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_bad_callers_hurt_nobody(subject: Subject, behaviour: Callable[[Subject], None]) -> None:
    """Rubbish, passed deadlines, cancelled calls, slow readers and hundreds of refusals leave the agent as it was."""
    behaviour(subject)


def test_waiting_streams_leave_room_for_others(subject: Subject) -> None:
    """With as many streams open as may wait, one more is refused, and calls and health are answered all the same."""
    with ExitStack() as stack:
        for _ in range(MAX_WAITERS):
            stack.enter_context(_open_stream(subject))
        with grpc.insecure_channel(subject.grpc) as channel:
            method = channel.stream_stream(
                MODEL_STREAM_INFER.path,
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelStreamInferResponse.FromString,
            )
            with pytest.raises(grpc.RpcError) as caught:
                next(method(iter([subject.request()]), timeout=DEADLINE_S))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "oip.max_waiters" in str(caught.value.details())
        with subject.grpc_client() as client:
            assert client.is_server_live()
            assert client.is_model_ready(subject.model)
            answer = client.infer(subject.model, [subject.grpc_input()], client_timeout=DEADLINE_S)
            assert subject.is_right(answer.as_numpy(subject.output))
    wait_until(lambda: _streams(subject), DEADLINE_S, "the permits are back")


def test_a_repeated_request_is_answered_by_its_own_values(subject: Subject) -> None:
    """Requests whose heads are equal are read the short way: each is answered for its rows, bad values are refused."""
    with grpc.insecure_channel(subject.grpc) as channel:
        method = channel.unary_unary(
            MODEL_INFER.path,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        ids = set()
        for row, right in zip(subject.rows, subject.right, strict=True):
            request = subject.request()
            request.raw_input_contents[0] = row.tobytes()
            answer = method(request, timeout=DEADLINE_S)
            assert np.allclose(np.frombuffer(answer.raw_output_contents[0], np.float32), right, atol=1e-3)
            assert (answer.model_name, answer.model_version) == (subject.model, subject.version)
            assert answer.parameters["status"].string_param == "final"
            ids.add(answer.parameters["prediction_id"].string_param)
        assert len(ids) == len(subject.rows)
        request.raw_input_contents[0] = np.full(subject.rows[0].shape, np.nan, np.float32).tobytes()
        with pytest.raises(grpc.RpcError) as caught:
            method(request, timeout=DEADLINE_S)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "must be finite" in str(caught.value.details())


def test_tensors_travel_through_shared_memory(subject: Subject) -> None:
    """A caller on this machine registers a region, and is answered in it; a region that shrinks is an error."""
    rows = subject.rows[:1]
    name = f"tandem-test-{os.getpid()}"
    path = Path("/dev/shm") / name  # noqa: S108 - where shared memory is
    output = over_grpc.InferRequestedOutput(subject.output)
    with subject.grpc_client() as client:
        try:
            path.write_bytes(rows.tobytes() + bytes(1024))
            client.register_system_shared_memory("window", f"/{name}", path.stat().st_size)
            assert "window" in client.get_system_shared_memory_status().regions
            given = over_grpc.InferInput(subject.input, list(rows.shape), "FP32")
            given.set_shared_memory("window", rows.nbytes)
            output.set_shared_memory("window", 12, offset=rows.nbytes)
            client.infer(subject.model, [given], outputs=[output])
            with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
                logits = np.frombuffer(memory[rows.nbytes : rows.nbytes + 12], np.float32)
            assert np.allclose(logits, subject.right[0], atol=1e-3)
            os.truncate(path, 4)
            with pytest.raises(InferenceServerException, match="has become smaller"):
                client.infer(subject.model, [given])
            with pytest.raises(InferenceServerException, match="not all in it"):
                client.register_system_shared_memory("other", f"/{name}", 4096)
            client.unregister_system_shared_memory("window")
            with pytest.raises(InferenceServerException, match="no shared memory region"):
                client.infer(subject.model, [given])
        finally:
            client.unregister_system_shared_memory()
            path.unlink()
        answer = client.infer(subject.model, [subject.grpc_input()])
        assert subject.is_right(answer.as_numpy(subject.output))


def test_nobody_loads_or_unloads_a_pack_by_a_call(subject: Subject) -> None:
    """Packs are the slots' business; the index says what runs."""
    with subject.grpc_client() as client:
        with pytest.raises(InferenceServerException, match="not loaded or unloaded by callers"):
            client.unload_model(subject.model)
        (row,) = client.get_model_repository_index().models
        assert (row.name, row.version, row.state) == (subject.model, subject.version, "READY")


def test_every_answer_is_in_the_books(agent: CalledAgent, subject: Subject) -> None:
    """What callers were answered is counted within a second or so, and every equation of the audit holds."""

    def returned() -> int:
        terms = [t for e in agent.document("audit")["equations"] for t in e["terms"] if e["binding"] == "motion"]
        return int(sum(term["value"] for term in terms if term["name"] == "predictions_returned"))

    with subject.grpc_client() as client:
        wait_until(lambda: returned() > 0, DEADLINE_S, "earlier answers are counted")
        client.infer(subject.model, [subject.grpc_input(n_rows=3)])
        stats = client.get_inference_statistics(subject.model).model_stats[0]
        wait_until(lambda: returned() == stats.inference_count, DEADLINE_S, "every row is in the books")
    assert agent.document("audit")["holds"]
    (binding,) = agent.document("status")["bindings"]
    assert binding["decided"] == stats.inference_count
    assert binding["decisions"]["made"] == stats.inference_count


def test_who_waits_for_a_hub_that_is_away_is_answered_in_time(tmp_path: Path) -> None:
    """The answer stays provisional: at the end of the wait, or just before the deadline; its question is kept."""
    called = CalledAgent(tmp_path, f'\n[hub]\naddress = "127.0.0.1:{free_port()}"\ninsecure = true\n')
    try:
        subject = called.start()
        with subject.grpc_client() as client:
            for wait_ms, deadline_s in ((1, DEADLINE_S), (60_000, 3.0)):
                answer = client.infer(
                    subject.model,
                    [subject.grpc_input()],
                    client_timeout=deadline_s,
                    parameters={"wait_for_hub_ms": wait_ms},
                )
                said = answer.get_response().parameters
                assert (said["status"].string_param, said["tier"].string_param) == ("provisional", "edge")
                assert said["reason"].string_param == "low_confidence"
            with pytest.raises(InferenceServerException, match="wait_for_hub_ms"):
                client.infer(subject.model, [subject.grpc_input()], parameters={"wait_for_hub_ms": -1})
        terms = [term for one in called.document("audit")["equations"] for term in one["terms"]]
        assert sum(one["value"] for one in terms if one["name"].startswith("escalations_pending")) == 2
        assert called.document("audit")["holds"]
    finally:
        called.process.kill()


@contextmanager
def _open_stream(subject: Subject) -> Iterator[None]:
    """A stream that has been answered once, and stays open."""
    is_over = threading.Event()

    def requests() -> Iterator[pb.ModelInferRequest]:
        yield subject.request()
        is_over.wait(DEADLINE_S)

    with grpc.insecure_channel(subject.grpc) as channel:
        method = channel.stream_stream(
            MODEL_STREAM_INFER.path,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        answers = method(requests(), timeout=DEADLINE_S)
        assert next(answers).infer_response.model_name == subject.model
        try:
            yield
        finally:
            is_over.set()
            assert not list(answers)


def _streams(subject: Subject) -> bool:
    try:
        with ExitStack() as stack:
            for _ in range(MAX_WAITERS):
                stack.enter_context(_open_stream(subject))
    except grpc.RpcError:
        return False
    return True
