"""People judge answers, at devices over real TLS and at the hub over HTTP; what they say comes back as a revision."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from cloud_hub.app import Listening
from cloud_hub.core.people import Role
from protos.link.identity import DeviceIdentity
from protos.link.tokens import JoinToken
from protos.messages.escalation import StoreId, Verdict, Welcome
from protos.messages.feedback import FeedbackReceipt, Judgement
from protos.messages.inference import Tier
from protos.status import Status
from protos.tandem.v1 import feedback_pb2
from tests.simulators.hub_device import (
    HandStream,
    device_channel,
    device_metadata,
    enrol,
    feedback_batch,
    give_feedback,
    hello,
    identity_of,
    judgement,
    plain_channel,
    question,
)
from tests.simulators.hub_people import add_person
from tests.simulators.hubs import EDGE_PACK, HUB_PACK, HubSite
from tests.simulators.loops import in_loop

WINDOW = np.zeros((1, 50, 6), np.float32)
CLASSES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")


@pytest.fixture
def site(tmp_path: Path) -> HubSite:
    """A hub with both packs published."""
    return HubSite.found(tmp_path / "hub", HUB_PACK, EDGE_PACK)


@pytest.fixture
def token(site: HubSite, capsys: pytest.CaptureFixture[str]) -> JoinToken:
    """A join token for several devices."""
    site.command("tokens", "create", "--site", "hall-1", "--uses", "5")
    return JoinToken.parse(capsys.readouterr().out.splitlines()[-1])


async def enrolled(listening: Listening, token: JoinToken, device_id: str = "press-07") -> DeviceIdentity:
    """The identity of a newly enrolled device."""
    return identity_of(*await enrol(listening.enrolment_port, token, device_id=device_id))


@asynccontextmanager
async def connected(channel: grpc.aio.Channel, cursor: int = 0) -> AsyncIterator[HandStream]:
    """A stream that has been welcomed."""
    stream = HandStream(channel)
    await stream.say(hello(cursor))
    assert isinstance(await stream.hear(), Welcome)
    yield stream


@in_loop
async def test_an_operators_label_comes_back_as_a_revision(site: HubSite, token: JoinToken) -> None:
    """What was called wrong at the device is the last word: the hub's answer, then the person's, on the same stream."""
    async with (
        site.running() as listening,
        device_channel(listening.grpc_port, await enrolled(listening, token)) as line,
    ):
        async with connected(line) as stream:
            await stream.say(question(1, WINDOW))
            hubs = await stream.hear_until(Verdict)
            receipt = await give_feedback(line, feedback_batch(judgement(1, "prediction-1", Judgement.LABEL, "ROW")))
            assert receipt == FeedbackReceipt((1,), ())
            persons = await stream.hear_until(Verdict)
        assert (hubs.tier, hubs.revision) == (Tier.HUB, 1)
        assert (persons.tier, persons.revision, persons.input_digest) == (Tier.HUMAN, 2, hubs.input_digest)
        assert persons.output is not None
        assert persons.output.to_json() == {"task": "classification", "label": "ROW", "scores": {"ROW": 1.0}}
        metrics = await _metrics(listening)
        assert 'hub_labels_total{source="operator"} 1.0' in metrics
        assert 'hub_feedback_total{judgement="label"} 1.0' in metrics
        assert 'hub_verdicts_total{tier="human"} 1.0' in metrics


@in_loop
async def test_a_final_answer_can_be_corrected_too(site: HubSite, token: JoinToken) -> None:
    """A window that the hub never saw gets a verdict without a digest, also for a device without a stream yet."""
    async with (
        site.running() as listening,
        device_channel(listening.grpc_port, await enrolled(listening, token)) as line,
    ):
        await give_feedback(line, feedback_batch(judgement(1, "never-escalated", Judgement.RIGHT, "PEN")))
        async with connected(line) as stream:
            said = await stream.hear_until(Verdict)
        assert (said.prediction_id, said.input_digest, said.tier, said.revision) == (
            "never-escalated",
            "",
            Tier.HUMAN,
            1,
        )


@in_loop
async def test_feedback_is_stored_once_however_often_it_comes(site: HubSite, token: JoinToken) -> None:
    """The same batch again, in this run of the hub or the next, is confirmed and adds nothing."""
    batch = feedback_batch(judgement(1, "p1", Judgement.LABEL, "ROW"), judgement(2, "p2", Judgement.WRONG))
    async with site.running() as listening:
        identity = await enrolled(listening, token)
        async with device_channel(listening.grpc_port, identity) as line:
            for _ in range(2):
                assert await give_feedback(line, batch) == FeedbackReceipt((1, 2), ())
    async with site.running() as listening, device_channel(listening.grpc_port, identity) as line:
        assert await give_feedback(line, batch) == FeedbackReceipt((1, 2), ())
        assert "hub_feedback_total{" not in await _metrics(listening)
        async with connected(line) as stream:
            await stream.hear_until(Verdict)
            assert [one for one in await stream.hear_rest() if isinstance(one, Verdict)] == []


@in_loop
async def test_what_cannot_be_taken_is_refused_item_by_item(site: HubSite, token: JoinToken) -> None:
    """A label that is no class and an unreadable judgement are named; the good one between them is stored."""
    batch = feedback_batch(
        judgement(1, "p1", Judgement.LABEL, "JUMP"),
        judgement(2, "p2", Judgement.LABEL, "ROW"),
        judgement(3, "p3", Judgement.WRONG),
        judgement(4, "p4", Judgement.LABEL, "anything", edge_pack="own-edge@1.0.0"),
        judgement(5, "p5", Judgement.LABEL, "anything", edge_pack="no name"),
    )
    batch.items[2].feedback.judgement = "perhaps"
    async with (
        site.running() as listening,
        device_channel(listening.grpc_port, await enrolled(listening, token)) as line,
    ):
        receipt = await give_feedback(line, batch)
        assert receipt.applied == (2, 4, 5)
        refused = {refusal.seq: refusal for refusal in receipt.refused}
        assert {seq: refusal.status for seq, refusal in refused.items()} == dict.fromkeys(
            (1, 3), Status.INVALID_ARGUMENT
        )
        assert "use one of ABD, ER, FEL, IR, PEN, ROW, TRAP" in refused[1].message
        assert "perhaps" in refused[3].message


@in_loop
async def test_an_escalated_windows_classes_are_known_from_the_pack_that_was_asked(
    site: HubSite, token: JoinToken
) -> None:
    """A device that runs a pack of its own cannot bring a class that the full model does not know."""
    async with (
        site.running() as listening,
        device_channel(listening.grpc_port, await enrolled(listening, token)) as line,
    ):
        async with connected(line) as stream:
            await stream.say(question(1, WINDOW))
            await stream.hear_until(Verdict)
        own = judgement(1, "prediction-1", Judgement.LABEL, "JUMP", edge_pack="own-edge@1.0.0")
        (refusal,) = (await give_feedback(line, feedback_batch(own))).refused
        assert refusal.status is Status.INVALID_ARGUMENT


BROKEN = [
    (feedback_pb2.FeedbackBatch(store_id="store"), "0 items"),
    (feedback_pb2.FeedbackBatch(items=feedback_batch(judgement(1, "p", Judgement.WRONG)).items), "store id"),
    (feedback_batch(judgement(1, "p", Judgement.WRONG), store=StoreId("s" * 65)), "store id has 65"),
    (feedback_batch(judgement(0, "p", Judgement.WRONG)), "sequences start at 1"),
    (feedback_batch(*(judgement(seq, "p", Judgement.WRONG) for seq in range(1, 258))), "257 items"),
]


@pytest.mark.parametrize(("batch", "problem"), BROKEN, ids=[problem for _, problem in BROKEN])
@in_loop
async def test_a_batch_that_breaks_the_protocol_is_refused_whole(
    site: HubSite, token: JoinToken, batch: feedback_pb2.FeedbackBatch, problem: str
) -> None:
    """Without items or a place to refuse them by there is no receipt; nothing is stored."""
    async with (
        site.running() as listening,
        device_channel(listening.grpc_port, await enrolled(listening, token)) as line,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await give_feedback(line, batch)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert problem in (caught.value.details() or "")
        assert "hub_feedback_total{" not in await _metrics(listening)


@in_loop
async def test_feedback_belongs_to_whose_certificate_brought_it(site: HubSite, token: JoinToken) -> None:
    """Nobody can speak about another device's windows, whatever metadata and ids they send."""
    async with site.running() as listening:
        mine, other = [await enrolled(listening, token, name) for name in ("press-07", "saw-01")]
        async with device_channel(listening.grpc_port, mine) as line, connected(line) as stream:
            await stream.say(question(1, WINDOW))
            await stream.hear_until(Verdict)
            async with device_channel(listening.grpc_port, other) as others_line:
                batch = feedback_batch(judgement(1, "prediction-1", Judgement.LABEL, "ROW"))
                await give_feedback(others_line, batch, device_metadata("press-07"))
            assert [one for one in await stream.hear_rest() if isinstance(one, Verdict)] == []
        async with device_channel(listening.grpc_port, other) as others_line, connected(others_line) as stream:
            assert (await stream.hear_until(Verdict)).input_digest == ""


@in_loop
async def test_who_is_not_enrolled_says_nothing(site: HubSite) -> None:
    """On loopback without TLS a name is needed as for every other service."""
    async with site.running(is_insecure=True) as listening, plain_channel(listening.grpc_port) as line:
        batch = feedback_batch(judgement(1, "p1", Judgement.WRONG))
        assert await _code(give_feedback(line, batch)) is grpc.StatusCode.UNAUTHENTICATED
        assert (await give_feedback(line, batch, device_metadata("bench-1"))).applied == (1,)


def test_a_label_of_the_console_comes_back_at_once(site: HubSite, token: JoinToken) -> None:
    """A labeler's answer over HTTP reaches the open stream as a human verdict; a class that is none is refused."""
    labeler = add_person(site.config, "ada", Role.LABELER)

    @in_loop
    async def story() -> None:
        async with site.running() as listening:
            identity = await enrolled(listening, token)
            async with device_channel(listening.grpc_port, identity) as line, connected(line) as stream:
                await stream.say(question(1, WINDOW))
                await stream.hear_until(Verdict)
                refused = await _label(listening, labeler, "JUMP")
                assert refused.status_code == 400
                assert "use one of ABD" in refused.text
                assert (await _label(listening, labeler, "ROW")).is_success
                said = await stream.hear_until(Verdict)
                assert (said.tier, said.revision) == (Tier.HUMAN, 2)
                assert (await _label(listening, labeler, "ROW")).is_success
                assert [one for one in await stream.hear_rest() if isinstance(one, Verdict)] == []
            metrics = await _metrics(listening)
            assert 'hub_labels_total{source="console"} 1.0' in metrics
            assert 'hub_feedback_total{judgement="label"} 1.0' in metrics

    story()


async def _label(listening: Listening, token: str, label: str) -> httpx.Response:
    body = {"site": "hall-1", "device": "press-07", "prediction_id": "prediction-1", "label": label, "note": ""}
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.http_port}", timeout=30.0) as client:
        return await client.post("/api/v1/labels", json=body, headers=headers)


async def _metrics(listening: Listening) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.http_port}", timeout=30.0) as client:
        return (await client.get("/metrics")).text


async def _code(call: Awaitable[object]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()
