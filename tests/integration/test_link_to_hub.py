"""The agent's side of the hub, against a real `cloud-hub` process over mutual TLS."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.adapters.grpc.dialling import MutualTls
from edge_agent.adapters.grpc.enrolment import enrol
from edge_agent.adapters.grpc.escalation_link import EscalationLink
from edge_agent.adapters.grpc.fleet_session import FleetSession
from edge_agent.adapters.grpc.pack_fetch import PackFetch
from edge_agent.errors import HubError, PackUnusableError
from model_packs.manifest import PackRef
from model_packs.signing import PublicKey
from model_packs.store import PackStore
from protos.link.backoff import Backoff
from protos.link.identity import DeviceIdentity
from protos.link.tokens import JoinToken
from protos.messages.escalation import Escalation, StoreId, Verdict
from protos.messages.fleet import Desired, DeviceHello, Heartbeat
from protos.status import Status
from tests.simulators.clocks import SystemClock
from tests.simulators.escalation_book import FakeBook, escalation
from tests.simulators.network import LOOPBACK
from tests.simulators.packs import CHANNELS, SAMPLES, build_tiny
from tests.simulators.site import EDGE_PACK, HUB_PACK, Hub, command, found_hub
from tests.simulators.toxics import Bandwidth, ToxicProxy
from tests.simulators.waiting import wait_until

CLOCK = SystemClock()
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def shared_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One hub with the tiny packs for all tests here: it takes seconds to make."""
    made = Hub(tmp_path_factory.mktemp("hub"), found_hub(tmp_path_factory.mktemp("founded")))
    made.prepare()
    made.start()
    yield made
    made.process.kill()


@pytest.fixture
def hub(shared_hub: Hub) -> Hub:
    """The hub, running, whatever the test before did to it."""
    if not shared_hub.process.is_running:
        shared_hub.start()
    return shared_hub


@pytest.fixture
def device() -> str:
    """A name that no other test's device has."""
    return f"press-{next(NUMBERS)}"


@pytest.fixture
def identity(hub: Hub, device: str, tmp_path: Path) -> Path:
    """The folder of an enrolled device's identity."""
    folder = tmp_path / "identity"
    enrol(f"{LOOPBACK}:{hub.ports.enrolment}", JoinToken.parse(hub.token()), device, folder, "0.1.0")
    return folder


def dialler(port: int, identity: Path) -> MutualTls:
    """The way to a port, as the enrolled device."""
    return MutualTls(f"{LOOPBACK}:{port}", identity, CLOCK)


def fail(loop: str) -> None:
    """No step of these tests may be a fault of the agent's own."""
    raise AssertionError(loop)


def unheard(verdict: Verdict) -> None:
    """Nobody waits on the line."""


def link_to(port: int, identity: Path, book: FakeBook) -> EscalationLink:
    """A link that redials quickly."""
    way = dialler(port, identity)
    return EscalationLink(way, book, book, CLOCK, Backoff(0.05, 0.2), on_early=unheard, on_failure=fail)


def question(number: int, *, hub_pack: str = HUB_PACK) -> Escalation:
    """A window for the tiny hub pack."""
    return escalation(number, samples=SAMPLES, channels=CHANNELS, hub_pack=hub_pack, edge_pack=EDGE_PACK)


def test_items_are_acknowledged_and_answered(hub: Hub, identity: Path) -> None:
    """Each item goes out once, is acknowledged, and its verdict is stored before it is acknowledged."""
    book = FakeBook()
    for number in range(200):
        book.add(question(number))
    link = link_to(hub.ports.grpc, identity, book)
    link.open()
    try:
        book.wait(lambda: len(book.verdicts) == 200, "200 verdicts")
    finally:
        link.close()
    assert book.acked_seqs == set(range(1, 201))
    assert sorted(book.sent_seqs) == list(range(1, 201))
    assert {v.prediction_id for v in book.verdicts.values()} == {f"prediction-{n}" for n in range(200)}
    assert all(verdict.output is not None for verdict in book.verdicts.values())


def test_verdicts_that_were_acknowledged_do_not_come_again(hub: Hub, identity: Path) -> None:
    """A new session goes on at the cursor, with a higher epoch."""
    book = FakeBook()
    book.add(question(1))
    first = link_to(hub.ports.grpc, identity, book)
    first.open()
    book.wait(lambda: len(book.verdicts) == 1, "the first verdict")
    first.close()
    book.verdicts.clear()
    book.add(question(2))
    second = link_to(hub.ports.grpc, identity, book)
    second.open()
    book.wait(lambda: len(book.verdicts) == 1, "the second verdict")
    second.close()
    assert [v.prediction_id for v in book.verdicts.values()] == ["prediction-2"]
    assert book.welcomes[1].session_epoch > book.welcomes[0].session_epoch


def test_a_killed_hub_costs_nothing_but_time(hub: Hub, identity: Path) -> None:
    """SIGKILL and a restart: the link comes back by itself and every item gets exactly one verdict."""
    book = FakeBook()
    link = link_to(hub.ports.grpc, identity, book)
    link.open()
    try:
        for number in range(50):
            book.add(question(number))
        book.wait(lambda: len(book.verdicts) >= 10, "some verdicts")
        hub.process.kill()
        book.wait(lambda: bool(book.downs), "the loss")
        for number in range(50, 100):
            book.add(question(number))
        hub.start()
        book.wait(lambda: len(book.verdicts) == 100, "all verdicts")
    finally:
        link.close()
    assert len({v.prediction_id for v in book.verdicts.values()}) == 100
    assert f"{LOOPBACK}:{hub.ports.grpc}" in book.downs[0]


def test_a_poison_item_blocks_nothing(hub: Hub, identity: Path) -> None:
    """An item that the hub refuses for good ends; the ones behind it are answered."""
    book = FakeBook()
    other_shape = escalation(1, samples=3, channels=1, hub_pack=HUB_PACK, edge_pack=EDGE_PACK)
    poison = book.add(other_shape)
    for number in range(2, 6):
        book.add(question(number))
    link = link_to(hub.ports.grpc, identity, book)
    link.open()
    try:
        book.wait(lambda: len(book.verdicts) == 4, "the other four verdicts")
        book.wait(lambda: bool(book.rejects), "the refusal")
    finally:
        link.close()
    assert [(r.seq, r.status) for r in book.rejects] == [(poison, Status.INVALID_ARGUMENT)]


def test_a_store_that_the_hub_is_ahead_of_says_hello_again(hub: Hub, identity: Path) -> None:
    """When the store took a new id, the next stream begins at once, with the new Hello."""
    book = FakeBook()
    book.accepts_welcome = False
    link = link_to(hub.ports.grpc, identity, book)
    link.open()
    try:
        book.wait(lambda: book.ups == 1, "the second session")
    finally:
        link.close()
    assert len(book.welcomes) == 2
    assert book.downs == []


def test_a_hub_that_went_silent_is_left_quickly(hub: Hub, identity: Path) -> None:
    """With the cable pulled in the middle of a session, close still takes less than two seconds."""
    book = FakeBook()
    with ToxicProxy(hub.ports.grpc) as network:
        link = link_to(network.port, identity, book)
        link.open()
        book.wait(lambda: book.ups == 1, "the session")
        network.freeze()
        for number in range(20):
            book.add(question(number))
        book.wait(lambda: len(book.sent_seqs) == 20, "items on their way to nowhere")
        began_s = time.monotonic()
        link.close()
        assert time.monotonic() - began_s < 2
        assert "hub-sender" not in {thread.name for thread in threading.enumerate()}


def test_a_cut_connection_is_made_anew(hub: Hub, identity: Path) -> None:
    """Each cut ends one session; the next one carries on."""
    book = FakeBook()
    with ToxicProxy(hub.ports.grpc) as network:
        link = link_to(network.port, identity, book)
        link.open()
        for times in range(1, 4):
            book.wait(lambda times=times: book.ups == times, f"session {times}")  # type: ignore[misc] # a default binds the turn's number
            book.add(question(times))
            book.wait(lambda times=times: len(book.verdicts) == times, f"verdict {times}")  # type: ignore[misc] # as above
            network.cut()
        link.close()
    assert len(book.downs) >= 2


def test_a_removed_identity_is_named(hub: Hub, identity: Path) -> None:
    """Without an identity on disk nothing is dialled, and the mend says to enrol."""
    (identity / "device.pem").unlink()
    book = FakeBook()
    link = link_to(hub.ports.grpc, identity, book)
    link.open()
    try:
        book.wait(lambda: bool(book.downs), "a report")
    finally:
        link.close()
    assert "edge-agent enrol" in book.downs[0]


def test_an_expired_certificate_is_noticed_from_its_own_date(hub: Hub, identity: Path) -> None:
    """What gRPC calls a closed socket is told as what it is."""

    class Later(SystemClock):
        def wall_ns(self) -> int:
            return DeviceIdentity.load(identity).not_after_ns + 1

    hub.process.kill()
    book = FakeBook()
    way = MutualTls(f"{LOOPBACK}:{hub.ports.grpc}", identity, Later())
    link = EscalationLink(way, book, book, CLOCK, Backoff(0.05, 0.2), on_early=unheard, on_failure=fail)
    link.open()
    try:
        book.wait(lambda: bool(book.downs), "a report")
    finally:
        link.close()
    assert "expired at" in book.downs[0]
    assert "edge-agent enrol --force" in book.downs[0]


def test_heartbeats_go_on_over_a_restart_of_the_hub(hub: Hub, identity: Path, device: str) -> None:
    """The hub lists the device by its certificate, with the state that it reports."""
    states: list[tuple[bool, str]] = []
    numbers: list[int] = []
    desires: list[Desired] = []

    def heartbeat(number: int) -> Heartbeat:
        numbers.append(number)
        return Heartbeat(number, CLOCK.wall_ns(), "ok", (), 0, 0, None, ())

    session = FleetSession(
        dialler(hub.ports.grpc, identity),
        hello=lambda: DeviceHello("0.1.0", StoreId("store-1")),
        heartbeat=heartbeat,
        clock=CLOCK,
        backoff=Backoff(0.05, 0.2),
        on_state=lambda is_up, reason: states.append((is_up, reason)),
        on_desired=desires.append,
        on_failure=fail,
    )
    session.open()
    try:
        wait_until(lambda: len(numbers) >= 3, 20, "three heartbeats")
        hub.process.kill()
        wait_until(lambda: any(not is_up for is_up, _ in states), 20, "the loss")
        hub.start()
        wait_until(lambda: [is_up for is_up, _ in states].count(True) == 2, 20, "the second session")
        before = len(numbers)
        wait_until(lambda: len(numbers) >= before + 2, 20, "more heartbeats")
    finally:
        session.close()
    assert numbers == list(range(1, len(numbers) + 1))
    listed = {row["device"]: row for row in hub.devices()["devices"]}
    assert listed[device]["report"]["number"] >= before + 1


def test_a_pack_is_fetched_and_verified(hub: Hub, identity: Path, tmp_path: Path) -> None:
    """With the pinned site key; a second fetch needs no blob."""
    store = PackStore(tmp_path / "packs")
    store.open()
    trusted = (PublicKey.from_pem(DeviceIdentity.load(identity).site_key_pem),)
    fetch = PackFetch(dialler(hub.ports.grpc, identity), store)
    digest = fetch.bring(PackRef.parse(EDGE_PACK), trusted)
    assert store.load(PackRef.parse(EDGE_PACK), trusted).digest == digest
    assert fetch.bring(PackRef.parse(EDGE_PACK), trusted) == digest


def test_an_interrupted_blob_goes_on_where_it_stopped(hub: Hub, identity: Path, tmp_path: Path) -> None:
    """Half a blob in the store is half a blob not fetched again."""
    trusted = (PublicKey.from_pem(DeviceIdentity.load(identity).site_key_pem),)
    whole = PackStore(tmp_path / "whole")
    whole.open()
    PackFetch(dialler(hub.ports.grpc, identity), whole).bring(PackRef.parse(EDGE_PACK), trusted)
    blob = max((tmp_path / "whole" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    store = PackStore(tmp_path / "packs")
    store.open()
    (tmp_path / "packs" / "ingest").mkdir()
    data = blob.read_bytes()
    (tmp_path / "packs" / "ingest" / f"{blob.name}.part").write_bytes(data[: len(data) // 2])
    PackFetch(dialler(hub.ports.grpc, identity), store).bring(PackRef.parse(EDGE_PACK), trusted)
    assert (tmp_path / "packs" / "blobs" / "sha256" / blob.name).read_bytes() == data


def test_a_pack_comes_over_a_line_of_64_kbit(hub: Hub, identity: Path, tmp_path: Path) -> None:
    """Half a minute for a blob of 260 kB, and no ping goes unanswered for so long that the connection ends."""
    sources = tmp_path / "large" / "sources"
    sources.mkdir(parents=True)
    (sources / "large.bin").write_bytes(np.random.default_rng(1).bytes(260_000))
    pack = str(build_tiny(tmp_path / "large", version="2.0.0", other_files=("large.bin",)).ref)
    layout = str(tmp_path / "large" / "layout")
    command("cloud-hub", "packs", "publish", layout, "--config", str(hub.config), cwd=hub.folder)
    trusted = (PublicKey.from_pem(DeviceIdentity.load(identity).site_key_pem),)
    store = PackStore(tmp_path / "packs")
    store.open()
    with ToxicProxy(hub.ports.grpc) as line:
        line.add(Bandwidth(bytes_per_s=8_000.0))
        fetch = PackFetch(dialler(line.port, identity), store)
        plan = fetch.plan(PackRef.parse(pack))
        fetch.fetch(plan, lambda _: None)
        assert line.accepted == 2
    assert str(store.load(PackRef.parse(pack), trusted).ref) == pack


def test_an_unknown_pack_is_named_with_hub_and_mend(hub: Hub, identity: Path, tmp_path: Path) -> None:
    """The mend is to publish it, or to correct the binding."""
    store = PackStore(tmp_path / "packs")
    store.open()
    with pytest.raises(PackUnusableError, match=r"has no pack tiny-edge@9\.9\.9") as failure:
        PackFetch(dialler(hub.ports.grpc, identity), store).bring(PackRef.parse("tiny-edge@9.9.9"), ())
    assert f"{LOOPBACK}:{hub.ports.grpc}" in failure.value.message
    assert "cloud-hub packs publish" in failure.value.mend


def test_a_pack_that_no_trusted_key_signed_is_refused(hub: Hub, identity: Path, tmp_path: Path) -> None:
    """Whoever serves it: without a valid signature by a pinned key it does not count as fetched."""
    store = PackStore(tmp_path / "packs")
    store.open()
    with pytest.raises(PackUnusableError, match="sign"):
        PackFetch(dialler(hub.ports.grpc, identity), store).bring(PackRef.parse(EDGE_PACK), ())


def test_a_hub_that_is_away_is_named(hub: Hub, identity: Path, tmp_path: Path) -> None:
    """The pack, the hub and the mend."""
    hub.process.kill()
    store = PackStore(tmp_path / "packs")
    store.open()
    with pytest.raises(
        HubError, match=r"pack tiny-edge@1\.0\.0 could not be fetched: nothing listens at hub"
    ) as failure:
        PackFetch(dialler(hub.ports.grpc, identity), store).bring(PackRef.parse(EDGE_PACK), ())
    assert "cloud-hub serve" in failure.value.mend
