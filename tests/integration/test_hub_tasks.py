"""A real hub with packs of other tasks, and with one that another server runs: escalated, answered, kept, listed."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.app import Listening
from cloud_hub.model_servers import ModelServerConfig
from model_packs.build import build_spec
from model_packs.outputs import Classification, Output, RawTensors, Regression, Text
from model_packs.pack import Pack
from model_packs.pack_spec import OutputEntry, TensorEntry, VariantEntry
from model_packs.tensors import Tensor
from protos.link.tokens import JoinToken
from protos.messages.escalation import Escalation, Verdict, Welcome
from protos.messages.inference import Tier
from tests.simulators.chat_model_server import MODEL as CHAT_MODEL
from tests.simulators.chat_model_server import ChatModelServer
from tests.simulators.hub_device import HandStream, device_channel, enrol, hello, identity_of, question
from tests.simulators.hubs import HubSite
from tests.simulators.loops import in_loop
from tests.simulators.oip_model_server import OipModelServer
from tests.simulators.packs import LABELS, SAMPLES, weights
from tests.simulators.remote_packs import oip_pack
from tests.simulators.task_packs import REGRESSION, TENSOR, build_task, window


@pytest.fixture
def site(tmp_path: Path) -> HubSite:
    """A hub that serves a pack of each kind."""
    site = HubSite.found(tmp_path / "hub")
    for name, spec in (("regression", REGRESSION), ("tensor", TENSOR)):
        (tmp_path / name).mkdir()
        build_task(tmp_path / name, spec)
        site.command("packs", "publish", str(tmp_path / name / "layout"))
    return site


@pytest.fixture
def token(site: HubSite, capsys: pytest.CaptureFixture[str]) -> JoinToken:
    """A join token."""
    site.command("tokens", "create", "--site", "hall-1", "--uses", "5")
    return JoinToken.parse(capsys.readouterr().out.splitlines()[-1])


@asynccontextmanager
async def connected(listening: Listening, token: JoinToken) -> AsyncIterator[HandStream]:
    """A new device's stream that has been welcomed."""
    identity = identity_of(*await enrol(listening.enrolment_port, token, device_id="press-07"))
    async with device_channel(listening.grpc_port, identity) as channel:
        stream = HandStream(channel)
        await stream.say(hello(0))
        assert isinstance(await stream.hear(), Welcome)
        yield stream


async def asked(stream: HandStream, seq: int, hub_pack: str, values: np.ndarray, edge: Output | None) -> Verdict:
    """Ask about one window, and hear the verdict."""
    item = question(seq, values[np.newaxis], hub_pack=hub_pack)
    assert isinstance(item.body, Escalation)
    await stream.say(replace(item, body=replace(item.body, edge_output=edge)))
    verdict: Verdict = await stream.hear_until(Verdict)
    return verdict


@in_loop
async def test_a_number_is_answered_with_a_number_and_its_interval(site: HubSite, token: JoinToken) -> None:
    """The full model's answer comes over the wire as it was scored, with the pack's tolerance and unit."""
    edge = Regression(2.8, 2.0, 3.6, 0.5, "mm")
    async with site.running() as listening, connected(listening, token) as stream:
        verdict = await asked(stream, 1, "wear-hub@1.0.0", window(3.0, 0.25), edge)
    said = verdict.output
    assert isinstance(said, Regression)
    assert (said.value, said.tolerance, said.unit) == (3.0, 0.5, "mm")
    assert (said.low, said.high) == pytest.approx((3.0 - 0.4, 3.0 + 0.4))
    assert verdict.tier is Tier.HUB
    assert verdict.confidence == pytest.approx(0.99)


@in_loop
async def test_raw_tensors_travel_as_they_are(site: HubSite, token: JoinToken) -> None:
    """Names, datatypes, shapes and bytes of one window."""
    async with site.running() as listening, connected(listening, token) as stream:
        verdict = await asked(stream, 1, "raw-hub@1.0.0", window(3.0, 0.25), None)
    tensors = (
        Tensor.from_array(name, np.array([value], np.float32)) for name, value in (("wear", 3.0), ("spread", 0.25))
    )
    assert verdict.output == RawTensors(tuple(tensors))


@pytest.fixture
def elsewhere(site: HubSite, tmp_path: Path) -> Pack:
    """A published pack whose model is another server's."""
    (tmp_path / "remote").mkdir()
    pack = oip_pack(tmp_path / "remote", name="tiny-hub", role="hub", escalates_to=None)
    site.command("packs", "publish", str(tmp_path / "remote" / "layout"))
    return pack


@in_loop
async def test_a_hub_pack_is_answered_by_another_server(site: HubSite, elsewhere: Pack, token: JoinToken) -> None:
    """The pack says which model, hub.toml says where; the device sees a verdict of the pack like any other."""
    pack = elsewhere
    with OipModelServer(weights(), pack.manifest.inputs, pack.manifest.outputs).running() as port:
        servers = {"triton": ModelServerConfig(engine="oip", address=f"grpc://127.0.0.1:{port}", deadline_s=30.0)}
        there = replace(site, config=replace(site.config, model_server=servers))
        async with there.running() as listening, connected(listening, token) as stream:
            values = np.random.default_rng(3).normal(size=(SAMPLES, 2)).astype(np.float32)
            verdict = await asked(stream, 1, "tiny-hub@1.0.0", values, None)
    assert isinstance(verdict.output, Classification)
    assert verdict.output.label == LABELS[int((values.reshape(-1) @ weights()).argmax())]
    assert verdict.models[0].pack == "tiny-hub@1.0.0"


@pytest.fixture
def texts(site: HubSite, tmp_path: Path) -> None:
    """A published pack of texts that a server of language models answers."""
    folder = tmp_path / "texts"
    folder.mkdir()
    document = {"schema": "tandem.remote/1", "model": CHAT_MODEL, "system": "shout"}
    (folder / "remote.json").write_text(json.dumps(document))
    spec = replace(
        TENSOR,
        name="texts-hub",
        family="texts",
        task="text",
        window=None,
        inputs=(TensorEntry(name="prompt", datatype="BYTES", shape=(-1,)),),
        outputs=(OutputEntry(name="text", datatype="BYTES", shape=(-1,)), OutputEntry(name="sure", shape=(-1,))),
        variants=(VariantEntry(id="there", engine="openai", file="remote.json"),),
    )
    build_spec(spec, folder, folder / "layout")
    site.command("packs", "publish", str(folder / "layout"))


@in_loop
@pytest.mark.usefixtures("texts")
async def test_a_text_is_answered_by_a_language_model(site: HubSite, token: JoinToken) -> None:
    """The words that a device asks about go to the server once, and its answer comes back with how sure it was."""
    server = ChatModelServer()
    with server.running() as port:
        vllm = ModelServerConfig(engine="openai", address=f"http://127.0.0.1:{port}/v1", deadline_s=30.0)
        there = replace(site, config=replace(site.config, model_server={"vllm": vllm}))
        async with there.running() as listening, connected(listening, token) as stream:
            item = question(1, np.zeros((1, 1)), hub_pack="texts-hub@1.0.0")
            assert isinstance(item.body, Escalation)
            words = Tensor.from_array("prompt", np.array([b"stop the line"], dtype=object))
            body = replace(item.body, inputs=(words,), input_digest=words.digest(), edge_output=Text("go on"))
            await stream.say(replace(item, body=body))
            verdict = await stream.hear_until(Verdict)
    assert verdict.output == Text("STOP THE LINE")
    assert verdict.confidence == pytest.approx(math.exp(-0.2))
    assert [asked["messages"][-1]["content"] for asked in server.asked] == ["stop the line"]
