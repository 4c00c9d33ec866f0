"""A device escalates to a hub over real TLS: acks, verdicts, repeats, refusals, crashes, fencing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_hub.app import Listening
from model_packs.engines.opening import open_session
from model_packs.engines.session import Session, SessionFacts
from model_packs.outputs import Classification
from model_packs.pack import Pack
from model_packs.store import PackStore
from protos.codec.escalation import request_to_wire
from protos.link.identity import DeviceIdentity
from protos.link.tokens import JoinToken
from protos.messages.escalation import (
    Ack,
    EscalateRequest,
    GoAway,
    Item,
    ItemClass,
    Reject,
    StoreId,
    Verdict,
    VerdictAck,
    Welcome,
)
from protos.messages.inference import Tier
from protos.status import Status
from tests.simulators.hub_device import (
    HandStream,
    device_channel,
    device_metadata,
    enrol,
    hello,
    identity_of,
    plain_channel,
    question,
)
from tests.simulators.hubs import HUB_PACK, HubSite, layout
from tests.simulators.loops import in_loop


@pytest.fixture
def site(tmp_path: Path) -> HubSite:
    """A hub with the full model published."""
    return HubSite.found(tmp_path / "hub", HUB_PACK)


@pytest.fixture
def token(site: HubSite, capsys: pytest.CaptureFixture[str]) -> JoinToken:
    """A join token for several devices."""
    site.command("tokens", "create", "--site", "hall-1", "--uses", "5")
    return JoinToken.parse(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture(scope="module")
def golden() -> tuple[NDArray[Any], list[str]]:
    """Real windows [n, 50, 6], and what the full model says of each."""
    store = PackStore(layout(HUB_PACK))
    pack = store.load(store.list()[0].ref, None)
    inputs, outputs = pack.golden()
    labels = [pack.manifest.labels[best] for best in outputs["logits"].argmax(axis=1)]
    return inputs["window"], labels


@asynccontextmanager
async def connected(listening: Listening, identity: DeviceIdentity, cursor: int = 0) -> AsyncIterator[HandStream]:
    """A stream that has been welcomed."""
    async with device_channel(listening.grpc_port, identity) as channel:
        stream = HandStream(channel)
        await stream.say(hello(cursor))
        assert isinstance(await stream.hear(), Welcome)
        yield stream


async def enrolled(listening: Listening, token: JoinToken, device_id: str = "press-07") -> DeviceIdentity:
    """The identity of a newly enrolled device."""
    return identity_of(*await enrol(listening.enrolment_port, token, device_id=device_id))


@in_loop
async def test_an_item_is_acknowledged_and_then_answered_by_the_full_model(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """Each item gets an ack and a verdict whose label is the golden one, in the device's own log."""
    windows, labels = golden
    async with site.running() as listening, connected(listening, await enrolled(listening, token)) as stream:
        await stream.say(*(question(seq, windows[seq - 1 : seq]) for seq in (1, 2, 3)))
        acked: set[int] = set()
        verdicts: dict[str, Verdict] = {}
        while len(acked) < 3 or len(verdicts) < 3:
            match await stream.hear():
                case Ack(ItemClass.ESCALATION, ranges):
                    acked |= {seq for first, last in ranges for seq in range(first, last + 1)}
                case Verdict() as verdict:
                    assert int(verdict.prediction_id[-1]) in acked
                    verdicts[verdict.prediction_id] = verdict
        for seq in (1, 2, 3):
            verdict = verdicts[f"prediction-{seq}"]
            assert isinstance(verdict.output, Classification)
            assert verdict.output.label == labels[seq - 1]
            assert (verdict.tier, verdict.revision, verdict.verdict_seq) == (Tier.HUB, 1, seq)
            assert verdict.models[0].pack == HUB_PACK
            assert 0.0 < verdict.confidence <= 1.0


@in_loop
async def test_the_same_item_again_is_acknowledged_and_asked_once(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """A re-sent item adds no verdict; from another place in the outbox it is told the same answer again."""
    windows, _ = golden
    item = question(1, windows[:1])
    async with site.running() as listening:
        identity = await enrolled(listening, token)
        async with connected(listening, identity) as stream:
            await stream.say(item, item)
            assert (await stream.hear_until(Verdict)).verdict_seq == 1
        async with connected(listening, identity, cursor=1) as stream:
            await stream.say(item, question(2, windows[:1], prediction="prediction-1"), question(3, windows[1:2]))
            told = [await stream.hear_until(Verdict), await stream.hear_until(Verdict)]
            assert [said for said in await stream.hear_rest() if isinstance(said, Verdict)] == []
        assert [(said.prediction_id, said.revision) for said in told] == [("prediction-1", 1), ("prediction-3", 1)]
        async with connected(listening, identity, cursor=2) as stream:
            again = await stream.hear_until(Verdict)
            assert (again.verdict_seq, again.prediction_id) == (3, "prediction-3")


@in_loop
async def test_a_device_that_lost_its_store_gets_the_answer_that_is_stored(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """Under a new store id the same prediction is not asked anew; its answer comes behind the log that was read."""
    windows, labels = golden
    async with site.running() as listening:
        identity = await enrolled(listening, token)
        async with connected(listening, identity) as stream:
            await stream.say(question(1, windows[:1]), question(2, windows[1:2]))
            await stream.hear_until(Verdict, lambda verdict: verdict.verdict_seq == 2)
        async with device_channel(listening.grpc_port, identity) as channel:
            stream = HandStream(channel)
            await stream.say(hello(store=StoreId("a-new-one")))
            await stream.hear_until(Verdict, lambda verdict: verdict.verdict_seq == 2)
            await stream.say(question(1, windows[:1]))
            again = await stream.hear_until(Verdict)
            assert (again.verdict_seq, again.prediction_id, again.revision) == (3, "prediction-1", 1)
            assert isinstance(again.output, Classification)
            assert again.output.label == labels[0]


@in_loop
async def test_a_credit_smaller_than_one_item_slows_a_device_and_stops_nothing(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """Past its bytes a stream is read only as fast as it is stored; everything still gets its verdict."""
    windows, _ = golden
    async with (
        site.running(credit_bytes=1) as listening,
        connected(listening, await enrolled(listening, token)) as stream,
    ):
        await stream.say(*(question(seq, windows[:1]) for seq in range(1, 10)))
        await stream.hear_until(Verdict, lambda verdict: verdict.verdict_seq == 9)


@in_loop
async def test_a_welcome_says_how_far_the_hub_got(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """Welcome carries credit, a growing epoch, and the highest applied seq of each class."""
    windows, _ = golden
    async with site.running() as listening:
        identity = await enrolled(listening, token)
        async with connected(listening, identity) as stream:
            audit = question(4, windows[1:2], item_class=ItemClass.AUDIT)
            await stream.say(question(7, windows[:1]), audit)
            await stream.hear_until(Verdict, lambda verdict: verdict.verdict_seq == 2)
        async with device_channel(listening.grpc_port, identity) as channel:
            stream = HandStream(channel)
            await stream.say(hello())
            welcome = await stream.hear()
            assert isinstance(welcome, Welcome)
            assert welcome.applied == ((ItemClass.ESCALATION, 7), (ItemClass.AUDIT, 4))
            assert welcome.session_epoch == 2
            assert (welcome.credit.items, welcome.credit.bytes) == (64, 8 * 1024 * 1024)
            assert welcome.hub_incarnation == listening.hub_incarnation


def _undecodable(item: Item) -> Any:  # noqa: ANN401 - a generated class
    wire = request_to_wire(item)
    wire.item.escalation.inputs[0].data = b"short"
    return wire


@in_loop
async def test_what_cannot_be_taken_is_rejected_by_name_and_the_rest_goes_on(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """Other digest, bad tensor, wrong shape, unknown pack, a taken place: each by its status; the rest is answered."""
    windows, _ = golden
    async with site.running() as listening, connected(listening, await enrolled(listening, token)) as stream:
        await stream.say(question(1, windows[:1]))
        await stream.hear_until(Verdict)
        await stream.say(question(2, windows[1:2], prediction="prediction-1"))
        await stream.say_raw(_undecodable(question(3, windows[:1])))
        await stream.say(question(4, windows[:1, :10]), question(5, windows[:1], hub_pack="nobody@9.9.9"))
        await stream.say(question(1, windows[2:3], prediction="prediction-9"), question(6, windows[3:4]))
        heard: dict[int, tuple[Status, str]] = {}
        while len(heard) < 5:
            reject = await stream.hear_until(Reject)
            heard[reject.seq] = (reject.status, reject.message)
        assert {seq: status for seq, (status, _) in heard.items()} == {
            2: Status.ALREADY_EXISTS,
            3: Status.INVALID_ARGUMENT,
            4: Status.INVALID_ARGUMENT,
            5: Status.FAILED_PRECONDITION,
            1: Status.ABORTED,
        }
        assert "prediction-1" in heard[2][1]
        assert "nobody@9.9.9" in heard[5][1]
        assert "cloud-hub packs publish" in heard[5][1]
        assert (await stream.hear_until(Verdict)).prediction_id == "prediction-6"


@in_loop
async def test_a_window_that_the_full_model_cannot_score_gets_a_verdict_without_output(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """Non-finite scores become a verdict that says so; the neighbour in the batch keeps its answer."""
    windows, labels = golden
    broken = np.full_like(windows[:1], np.nan)
    async with site.running() as listening, connected(listening, await enrolled(listening, token)) as stream:
        await stream.say(question(1, broken), question(2, windows[:1]))
        verdicts: dict[str, Verdict] = {}
        while len(verdicts) < 2:
            verdict = await stream.hear_until(Verdict)
            verdicts[verdict.prediction_id] = verdict
        assert verdicts["prediction-1"].output is None
        assert verdicts["prediction-1"].confidence == 0.0
        answer = verdicts["prediction-2"].output
        assert isinstance(answer, Classification)
        assert answer.label == labels[0]


class Stuck:
    """A session that never answers until it is released."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.is_stuck = False
        self.entered = threading.Event()
        self.released = threading.Event()

    @property
    def facts(self) -> SessionFacts:
        """What it runs on."""
        return self._session.facts

    def open(self) -> None:
        """Open."""
        self._session.open()

    def warm_up(self) -> None:
        """Warm up."""
        self._session.warm_up()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run, once released."""
        if self.is_stuck:
            self.entered.set()
            self.released.wait(30.0)
        return self._session.run(inputs)

    def close(self) -> None:
        """Close."""
        self._session.close()


@in_loop
async def test_what_was_acknowledged_but_not_answered_is_answered_after_a_restart(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """The hub stops between ack and verdict; the next start answers without a re-send, exactly once."""
    windows, labels = golden
    stuck: list[Stuck] = []

    def open_stuck(pack: Pack) -> Session:
        stuck.append(Stuck(open_session(pack)))
        return stuck[0]

    async with site.running(open_session=open_stuck, inline_below_ms=0.0) as listening:
        identity = await enrolled(listening, token)
        async with connected(listening, identity) as stream:
            stuck[0].is_stuck = True
            await stream.say(question(1, windows[:1]))
            assert await stream.hear_until(Ack) == Ack(ItemClass.ESCALATION, ((1, 1),))
    stuck[0].released.set()
    async with site.running() as listening, connected(listening, identity) as stream:
        verdict = await stream.hear_until(Verdict)
        assert isinstance(verdict.output, Classification)
        assert (verdict.prediction_id, verdict.output.label) == ("prediction-1", labels[0])
        assert await stream.hear_rest() == []


@in_loop
async def test_a_full_hub_pushes_back_and_takes_the_rest_when_it_has_answered(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """Past its bound the hub takes no item, and says when to come again; once it has answered, it takes them."""
    windows, _ = golden
    stuck: list[Stuck] = []

    def open_stuck(pack: Pack) -> Session:
        stuck.append(Stuck(open_session(pack)))
        return stuck[0]

    async with site.running(open_session=open_stuck, inline_below_ms=0.0, max_waiting=2) as listening:
        identity = await enrolled(listening, token)
        async with connected(listening, identity) as stream:
            stuck[0].is_stuck = True
            await stream.say(question(1, windows[:1]), question(2, windows[1:2]))
            acked = 0
            while acked < 2:
                acked += sum(last - first + 1 for first, last in (await stream.hear_until(Ack)).ranges)
            await stream.say(question(3, windows[2:3]))
            pushed = await stream.hear_until(Reject)
            assert (pushed.seq, pushed.status) == (3, Status.RESOURCE_EXHAUSTED)
            assert pushed.retry_after_ms > 0
            stuck[0].is_stuck = False
            stuck[0].released.set()
            await stream.hear_until(Verdict, lambda verdict: verdict.verdict_seq == 2)
            await asyncio.sleep(pushed.retry_after_ms / 1000)  # as the hub asked
            await stream.say(question(3, windows[2:3]))
            assert await stream.hear() == Ack(ItemClass.ESCALATION, ((3, 3),))
            assert (await stream.hear_until(Verdict)).prediction_id == "prediction-3"


@in_loop
async def test_verdicts_wait_for_a_device_that_was_away(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """The log is read from the cursor in Hello, also after a restart of the hub; confirmed ones do not come again."""
    windows, _ = golden
    async with site.running() as listening:
        identity = await enrolled(listening, token)
        async with connected(listening, identity) as stream:
            await stream.say(*(question(seq, windows[seq : seq + 1]) for seq in (1, 2, 3)))
            await stream.hear_until(Verdict, lambda verdict: verdict.verdict_seq == 3)
            await stream.say(VerdictAck(2))
            await stream.hear_rest()
    async with site.running() as listening, connected(listening, identity, cursor=2) as stream:
        assert (await stream.hear_until(Verdict)).verdict_seq == 3


@in_loop
async def test_a_device_that_has_seen_more_than_this_hub_gets_higher_verdict_numbers(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """After the loss of a hub's database, new verdicts are numbered above the device's cursor, so none is missed."""
    windows, _ = golden
    async with site.running() as listening:
        identity = await enrolled(listening, token)
        async with connected(listening, identity, cursor=500) as stream:
            await stream.say(question(1, windows[:1]))
            assert (await stream.hear_until(Verdict)).verdict_seq == 501


@in_loop
async def test_a_newer_stream_of_a_device_ends_the_older_one(site: HubSite, token: JoinToken) -> None:
    """The older stream is told to go away; the newer one stays."""
    async with site.running() as listening:
        identity = await enrolled(listening, token)
        async with connected(listening, identity) as older, connected(listening, identity) as newer:
            farewell = await older.hear_until(GoAway)
            assert "session 2" in farewell.reason
            with pytest.raises(EOFError):
                await older.hear()
            assert await newer.hear_rest() == []


@in_loop
async def test_a_stopping_hub_acknowledges_what_has_arrived_and_says_goodbye(
    site: HubSite, token: JoinToken, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """At shutdown a stream gets its acks, then GoAway with a time to come back, then its end."""
    windows, _ = golden
    async with device_channel_of_stopped(site, token, windows) as stream:
        heard = await stream.hear_until(GoAway)
        assert (heard.reason, heard.retry_after_ms) == ("the hub is stopping", 1000)
        with pytest.raises(EOFError):
            await stream.hear()
        assert (await stream.status())[0] is grpc.StatusCode.OK


@asynccontextmanager
async def device_channel_of_stopped(
    site: HubSite, token: JoinToken, windows: NDArray[Any]
) -> AsyncIterator[HandStream]:
    """A stream whose hub has just stopped."""
    async with site.running() as listening:
        identity = await enrolled(listening, token)
        channel_context = device_channel(listening.grpc_port, identity)
        channel = await channel_context.__aenter__()
        stream = HandStream(channel)
        await stream.say(hello(), question(1, windows[:1]))
        await stream.hear_until(Ack)
    try:
        yield stream
    finally:
        await channel_context.__aexit__(None, None, None)


@in_loop
async def test_two_hundred_devices_at_once_are_welcomed_and_sent_away_one_by_one(site: HubSite) -> None:
    """All connect in one moment and get their Welcome; when the hub stops, each is told its own time to come back."""
    async with AsyncExitStack() as stack:
        async with site.running(is_insecure=True) as listening:
            channels = [await stack.enter_async_context(plain_channel(listening.grpc_port)) for _ in range(4)]
            streams = [HandStream(channels[n % 4], device_metadata(f"press-{n}")) for n in range(200)]
            await asyncio.gather(*(stream.say(hello()) for stream in streams))
            welcomes = await asyncio.gather(*(stream.hear_until(Welcome) for stream in streams))
            assert [welcome.session_epoch for welcome in welcomes] == [1] * 200
        farewells = await asyncio.gather(*(stream.hear_until(GoAway) for stream in streams))
        assert sorted(farewell.retry_after_ms for farewell in farewells) == list(range(1000, 3000, 10))


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (VerdictAck(1), grpc.StatusCode.INVALID_ARGUMENT),
        (hello(wire_version=99), grpc.StatusCode.FAILED_PRECONDITION),
        (hello(cursor=2**63), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
@in_loop
async def test_a_stream_that_does_not_begin_with_a_right_hello_is_refused(
    site: HubSite, token: JoinToken, first: EscalateRequest, status: grpc.StatusCode
) -> None:
    """The status says whose fault it is; nothing is stored."""
    async with site.running() as listening:
        identity = await enrolled(listening, token)
        async with device_channel(listening.grpc_port, identity) as channel:
            stream = HandStream(channel)
            await stream.say(first)
            assert (await stream.status())[0] is status


@in_loop
async def test_nobody_gets_in_without_a_certificate_of_this_hub(site: HubSite, token: JoinToken) -> None:
    """Plain text and no client certificate end at the handshake, whatever the metadata claims."""
    async with site.running() as listening:
        await enrolled(listening, token)
        async with plain_channel(listening.grpc_port) as channel:
            stream = HandStream(channel, device_metadata("press-07"))
            assert (await stream.status())[0] is grpc.StatusCode.UNAVAILABLE
        bare = grpc.ssl_channel_credentials(token.ca_pem)
        async with grpc.aio.secure_channel(f"localhost:{listening.grpc_port}", bare) as channel:
            stream = HandStream(channel, device_metadata("press-07"))
            assert (await stream.status())[0] is grpc.StatusCode.UNAVAILABLE


@in_loop
async def test_insecure_mode_takes_the_name_from_metadata(
    site: HubSite, golden: tuple[NDArray[Any], list[str]]
) -> None:
    """Without TLS a device is named by metadata, registered at once, and answered; a nameless one is refused."""
    windows, labels = golden
    async with site.running(is_insecure=True) as listening, plain_channel(listening.grpc_port) as channel:
        nameless = HandStream(channel)
        assert (await nameless.status())[0] is grpc.StatusCode.UNAUTHENTICATED
        stream = HandStream(channel, device_metadata("bench"))
        await stream.say(hello(), question(1, windows[:1]))
        answer = (await stream.hear_until(Verdict)).output
        assert isinstance(answer, Classification)
        assert answer.label == labels[0]
