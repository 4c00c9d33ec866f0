"""A session that asks a server of language models: what it sends, how sure the answer is, how it fails."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_hub.adapters.remote.chat_server import MAX_ANSWER_BYTES, ChatServer, confidence
from cloud_hub.adapters.remote.oip_server import OipServer
from cloud_hub.adapters.remote.openai_session import OpenAiSession
from cloud_hub.adapters.remote.remote_variant import RemoteVariant
from cloud_hub.model_servers import ModelServerConfig
from model_packs.engines.options import EngineOptions
from model_packs.errors import EngineError, MissingEngineError, RunTimeoutError, TensorError
from model_packs.manifest import PackManifest
from model_packs.tensors import BYTES, TensorSpec
from tests.simulators.chat_model_server import MODEL, ChatModelServer
from tests.simulators.remote_packs import remote_manifest

INPUTS = (TensorSpec("prompt", BYTES, (-1,)),)
OUTPUTS = (TensorSpec("text", BYTES, (-1,)), TensorSpec("confidence", "FP32", (-1,)))


@pytest.fixture
def server() -> ChatModelServer:
    """A server that answers in capitals."""
    return ChatModelServer()


@pytest.fixture
def port(server: ChatModelServer) -> Iterator[int]:
    """The running server's port."""
    with server.running() as port:
        yield port


def at(port: int, deadline_s: float = 30.0, token_file: str = "") -> ModelServerConfig:
    """A server on this machine."""
    address = f"http://127.0.0.1:{port}/v1"
    return ModelServerConfig(engine="openai", address=address, deadline_s=deadline_s, token_file=token_file)


def described(
    folder: Path, inputs: tuple[TensorSpec, ...] = INPUTS, outputs: tuple[TensorSpec, ...] = OUTPUTS, **more: object
) -> tuple[PackManifest, Path]:
    """A pack's manifest and its file in the graph's place."""
    document = {"schema": "tandem.remote/1", "model": MODEL, **more}
    return remote_manifest(folder, "openai", document, inputs, outputs)


def session_on(folder: Path, config: ModelServerConfig, **more: object) -> OpenAiSession:
    """An unopened session."""
    manifest, file = described(folder, **more)  # type: ignore[arg-type]  # the document's own keys
    variant = manifest.variants[0]
    return OpenAiSession(RemoteVariant(manifest, variant, file, EngineOptions(), {"vllm": config}, folder))


def texts(*lines: object) -> NDArray[np.object_]:
    """A batch of texts."""
    array = np.empty(len(lines), dtype=np.object_)
    array[:] = lines
    return array


def test_each_text_is_one_question_at_temperature_zero(server: ChatModelServer, port: int, tmp_path: Path) -> None:
    """Model, system text and limit are the pack's; answers come in order with the mean probability of their tokens."""
    session = session_on(tmp_path, at(port), system="shout", max_tokens=7)
    session.open()
    session.warm_up()
    assert server.asked == []
    outputs = session.run({"prompt": texts(b"stop", "grün".encode())})
    assert outputs["text"].tolist() == [b"STOP", "GRÜN".encode()]
    np.testing.assert_allclose(outputs["confidence"], [math.exp(-0.2)] * 2, rtol=1e-6)
    assert outputs["confidence"].dtype == np.float32
    assert server.asked[0] == {
        "path": "/v1/chat/completions",
        "model": MODEL,
        "messages": [{"role": "system", "content": "shout"}, {"role": "user", "content": "stop"}],
        "temperature": 0,
        "logprobs": True,
        "max_tokens": 7,
    }
    facts = session.facts
    assert (facts.engine, facts.provider) == ("openai", "remote")
    assert facts.engine_version == f"{MODEL} at http://127.0.0.1:{port}/v1"
    session.close()
    with pytest.raises(EngineError, match="is not open"):
        session.run({"prompt": texts(b"stop")})


@pytest.mark.parametrize("held", [b"s3cret\nmore", b"s3cret\xff", b" \n"], ids=["two lines", "no ASCII", "none"])
@pytest.mark.parametrize("engine", ["openai", "oip"])
def test_a_token_that_no_header_takes_is_refused_and_not_told(
    server: ChatModelServer, port: int, tmp_path: Path, held: bytes, engine: Literal["openai", "oip"]
) -> None:
    """The libraries would put it into their errors, and those are none of ours: the hub would not even start."""
    (tmp_path / "token").write_bytes(held)
    scheme = {"openai": "http", "oip": "grpc"}[engine]
    config = ModelServerConfig(engine=engine, address=f"{scheme}://127.0.0.1:{port}", token_file="token")  # noqa: S106 - a file's name
    made: ChatServer | OipServer = (ChatServer if engine == "openai" else OipServer)("vllm", config, tmp_path)
    with pytest.raises(EngineError, match=r"\[model_server.vllm\]: .*token holds no token") as refused:
        made.open()
    assert "s3cret" not in str(refused.value)
    assert server.asked == []


def test_a_server_that_tells_no_probabilities_leaves_the_answer_unsure(
    server: ChatModelServer, port: int, tmp_path: Path
) -> None:
    """No number is made up: the confidence is NaN."""
    server.logprobs = None
    session = session_on(tmp_path, at(port))
    session.open()
    assert np.isnan(session.run({"prompt": texts(b"stop")})["confidence"]).all()


@pytest.mark.parametrize(
    ("log_probabilities", "sure"),
    [([0.0], 1.0), ([math.log(0.5), math.log(0.125)], 0.25), ([], None), ([0.1], None), ([math.nan], None)],
)
def test_the_confidence_is_the_geometric_mean_of_probabilities(
    log_probabilities: list[float], sure: float | None
) -> None:
    """A long answer is not less sure for being long; what is no probability makes it none."""
    found = confidence(log_probabilities)
    assert math.isnan(found) if sure is None else found == pytest.approx(sure)


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "dripping"])
def test_the_deadline_holds_however_slowly_bytes_come(
    server: ChatModelServer,
    port: int,
    tmp_path: Path,
    drips: bool,  # noqa: FBT001 - a table
) -> None:
    """A server that sends a byte and stops is as late as one that sends none; nothing is asked twice."""
    session = session_on(tmp_path, at(port, deadline_s=0.3))
    session.open()
    server.drips = drips
    server.may_answer.clear()
    with pytest.raises(RunTimeoutError, match=r"remote.json\): http://.* had no answer within 0.3 s"):
        session.run({"prompt": texts(b"stop")})
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, b'{"error": {"message": "out of memory"}}', "answered 500: out of memory"),
        (401, b'{"error": "no key"}', "answered 401: no key"),
        (503, b"<html>busy</html>", "answered 503: <html>busy</html>"),
        (200, b"rubbish", "something else than a JSON object"),
        (200, b"[]", "something else than a JSON object"),
        (200, b"{}", "something else than a completion"),
        (200, b'{"choices": []}', "something else than a completion"),
        (200, b'{"choices": [{"message": {"content": null}}]}', "without a text"),
        (200, b'{"choices": [{"message": {"content": "a"}, "logprobs": {"content": [7]}}]}', "than a completion"),
        (200, b" " * (MAX_ANSWER_BYTES + 1), "answered with more than"),
    ],
)
def test_a_wrong_answer_is_the_servers_fault(
    server: ChatModelServer, tmp_path: Path, status: int, body: bytes, message: str
) -> None:
    """The error names the pack, the server and what it said; the next run asks anew."""
    with server.running() as port:
        session = session_on(tmp_path, at(port))
        session.open()
        server.reply = (status, body)
        with pytest.raises(EngineError, match=message) as caught:
            session.run({"prompt": texts(b"stop")})
        assert caught.value.mend
        assert len(server.asked) == 1
        server.reply = None
        assert session.run({"prompt": texts(b"go")})["text"].tolist() == [b"GO"]


def test_a_model_that_the_server_has_not_is_named(server: ChatModelServer, port: int, tmp_path: Path) -> None:
    """Its list is believed; a server without one is, too."""
    server.models = ["other"]
    session = session_on(tmp_path, at(port))
    with pytest.raises(EngineError, match=f"has no model '{MODEL}'"):
        session.open()
    server.models = None
    session.open()


def test_an_absent_server_is_named(tmp_path: Path) -> None:
    """Nobody listens there, or nobody is configured."""
    with pytest.raises(EngineError, match=r"http://127.0.0.1:1/v1 cannot be asked"):
        session_on(tmp_path, at(1)).open()
    manifest, file = described(tmp_path)
    with pytest.raises(MissingEngineError, match="none is configured"):
        OpenAiSession(RemoteVariant(manifest, manifest.variants[0], file, EngineOptions(), {}, tmp_path)).open()


def test_the_token_goes_along(server: ChatModelServer, port: int, tmp_path: Path) -> None:
    """It is read from a file of the hub."""
    (tmp_path / "token").write_text("s3cret\n")
    session = session_on(tmp_path, at(port, token_file="token"))  # noqa: S106 - a file's name
    session.open()
    session.run({"prompt": texts(b"stop")})
    assert server.headers[-1]["Authorization"] == "Bearer s3cret"


def test_a_pack_that_takes_no_text_is_refused(port: int, tmp_path: Path) -> None:
    """The tensors of such a pack have one form."""
    session = session_on(tmp_path, at(port), inputs=(TensorSpec("x", "FP32", (-1, 3)),))
    with pytest.raises(EngineError, match=r"takes one BYTES \[-1\] and gives BYTES \[-1\] and FP32 \[-1\]"):
        session.open()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"prompt": texts(b"\xff")}, "row 0 of input 'prompt' is no UTF-8 text"),
        ({"prompt": np.zeros(1, np.float32)}, "must be BYTES"),
        ({}, "'prompt' is missing"),
    ],
)
def test_inputs_that_are_no_texts_are_the_callers_mistake(
    server: ChatModelServer, port: int, tmp_path: Path, inputs: dict[str, NDArray[np.float32]], message: str
) -> None:
    """Nothing is asked."""
    session = session_on(tmp_path, at(port))
    session.open()
    with pytest.raises(TensorError, match=message):
        session.run(inputs)
    assert server.asked == []
