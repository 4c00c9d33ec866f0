"""A device reports and fetches packs over real TLS; people read the registry over HTTP and the command line."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
import httpx
import jsonschema
import pytest

from cloud_hub.core.people import Role
from model_packs.digests import digest_of
from model_packs.layout import read_image_manifest
from model_packs.manifest import PackRef
from model_packs.signing import PublicKey
from model_packs.store import PackStore
from protos.codec.fleet import directive_from_wire, report_to_wire
from protos.codec.packs import chunk_from_wire, metadata_from_wire
from protos.link.identity import DeviceIdentity
from protos.link.tokens import JoinToken
from protos.messages.escalation import WIRE_VERSION
from protos.messages.fleet import (
    BindingReport,
    DeviceHello,
    DeviceReport,
    FleetWelcome,
    Heartbeat,
    HeartbeatAck,
    HubDirective,
)
from protos.messages.inference import ModelUse
from protos.tandem.v1 import fleet_pb2_grpc, packs_pb2, packs_pb2_grpc
from tests.simulators.hub_device import STORE, device_channel, enrol, identity_of
from tests.simulators.hub_people import add_person
from tests.simulators.hubs import EDGE_PACK, HubSite
from tests.simulators.loops import in_loop

HELLO = DeviceHello("1.2.3", STORE)
BEAT = Heartbeat(
    number=1,
    device_time_ns=1_700_000_000_000_000_000,
    state="degraded",
    problems=("disk nearly full",),
    outbox_bytes=4096,
    outbox_items=3,
    outbox_oldest_age_ms=None,
    bindings=(BindingReport("band", ModelUse(EDGE_PACK, "sha256:" + "1" * 64), 100, 20, 17, "certified"),),
)


@pytest.fixture
def site(tmp_path: Path) -> HubSite:
    """A hub with an edge pack published."""
    return HubSite.found(tmp_path / "hub", EDGE_PACK)


@pytest.fixture
def token(site: HubSite, capsys: pytest.CaptureFixture[str]) -> JoinToken:
    """A join token for one device."""
    site.command("tokens", "create", "--site", "hall-1")
    return JoinToken.parse(capsys.readouterr().out.splitlines()[-1])


def schema(name: str) -> dict[str, Any]:
    """A shipped JSON Schema."""
    document: dict[str, Any] = json.loads((files("cloud_hub") / "schemas" / f"{name}.schema.json").read_text())
    return document


async def reported(channel: grpc.aio.Channel, *reports: DeviceReport) -> list[HubDirective]:
    """Say reports one by one, and what was answered to each."""
    call = fleet_pb2_grpc.FleetServiceStub(channel).Session()
    answers = []
    for report in reports:
        await call.write(report_to_wire(report))
        answers.append(directive_from_wire(await call.read()))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return answers


@pytest.fixture
def reader(site: HubSite) -> dict[str, str]:
    """The header of a program that may look."""
    return {"Authorization": f"Bearer {add_person(site.config, 'reader', Role.VIEWER)}"}


@in_loop
async def test_a_heartbeat_is_stored_and_shown(site: HubSite, token: JoinToken, reader: dict[str, str]) -> None:
    """The registry over HTTP holds the device, its latest report and its liveness, as its schema says."""
    async with site.running() as listening, httpx.AsyncClient(headers=reader) as browser:
        http = f"http://127.0.0.1:{listening.http_port}"
        identity = identity_of(*await enrol(listening.enrolment_port, token))
        before = (await browser.get(f"{http}/api/v1/devices")).json()
        jsonschema.validate(before, schema("devices"))
        assert (before["devices"][0]["liveness"], before["devices"][0]["report"]) == ("never_seen", None)
        async with device_channel(listening.grpc_port, identity) as channel:
            welcome, ack = await reported(channel, HELLO, BEAT)
        assert isinstance(welcome, FleetWelcome)
        assert (welcome.heartbeat_interval_ms, welcome.wire_version) == (10_000, WIRE_VERSION)
        assert isinstance(ack, HeartbeatAck)
        assert ack.number == 1
        shown = (await browser.get(f"{http}/api/v1/devices")).json()
        jsonschema.validate(shown, schema("devices"))
        device = shown["devices"][0]
        assert (device["device"], device["site"], device["agent_version"]) == ("press-07", "hall-1", "1.2.3")
        assert device["liveness"] == "online"
        assert device["report"]["problems"] == ["disk nearly full"]
        assert device["report"]["outbox"] == {"items": 3, "bytes": 4096, "oldest_age_ms": None}
        assert device["report"]["bindings"][0]["answered"] == 17
        metrics = (await browser.get(f"{http}/metrics")).text
        assert 'hub_devices{state="online"} 1.0' in metrics
        assert 'hub_enrolments_total{status="ok"} 1.0' in metrics


@pytest.mark.parametrize(
    ("reports", "status"),
    [
        ((BEAT,), grpc.StatusCode.INVALID_ARGUMENT),
        ((HELLO, HELLO), grpc.StatusCode.INVALID_ARGUMENT),
        ((DeviceHello("1", STORE, (), 99),), grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
@in_loop
async def test_a_fleet_session_begins_with_one_hello_of_this_wire_version(
    site: HubSite, token: JoinToken, reports: tuple[DeviceReport, ...], status: grpc.StatusCode
) -> None:
    """Anything else ends the call with a status that names the fault."""
    async with site.running() as listening:
        identity = identity_of(*await enrol(listening.enrolment_port, token))
        async with device_channel(listening.grpc_port, identity) as channel:
            call = fleet_pb2_grpc.FleetServiceStub(channel).Session()
            for report in reports:
                await call.write(report_to_wire(report))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await drained(call)
            assert caught.value.code() is status


async def drained(call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
    """Read to the end of a call."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def fetched(stub: packs_pb2_grpc.PackServiceStub, digest: str, offset: int = 0, limit: int = 0) -> bytes:
    """A blob, or a part of it, whose chunks follow each other."""
    data = b""
    async for wire in stub.ReadBlob(packs_pb2.ReadBlobRequest(digest=digest, offset=offset, limit=limit)):
        chunk = chunk_from_wire(wire)
        assert chunk.offset == offset + len(data)
        assert len(chunk.data) <= 256 * 1024
        data += chunk.data
    return data


@in_loop
async def test_a_published_pack_arrives_whole_and_verifies_with_the_pinned_key(
    site: HubSite, token: JoinToken, tmp_path: Path
) -> None:
    """Metadata and blobs, one of them in two parts, make a pack that the site key from enrolment verifies."""
    async with site.running() as listening:
        identity = identity_of(*await enrol(listening.enrolment_port, token))
        ref = PackRef.parse(EDGE_PACK)
        async with device_channel(listening.grpc_port, identity) as channel:
            stub = packs_pb2_grpc.PackServiceStub(channel)
            request = packs_pb2.PackMetadataRequest(name=ref.name, version=ref.version)
            metadata = metadata_from_wire(await stub.GetMetadata(request))
            assert digest_of(metadata.manifest) == metadata.manifest_digest
            store = PackStore(tmp_path / "device")
            store.open()
            for blob in read_image_manifest(metadata.manifest).blobs:
                if store.has_whole_blob(blob.digest, blob.size_bytes):
                    continue
                half = blob.size_bytes // 2
                first = await fetched(stub, blob.digest, 0, half) if half else b""
                with store.receive(blob.digest, blob.size_bytes) as receiver:
                    receiver.append(first + await fetched(stub, blob.digest, half))
                    receiver.commit()
            store.add_manifest(ref, metadata.manifest)
    assert store.load(ref, (PublicKey.from_pem(identity.site_key_pem),)).ref == ref


@in_loop
async def test_unknown_packs_and_blobs_are_not_found(site: HubSite, token: JoinToken) -> None:
    """The status tells an unknown name, an unknown or malformed digest, and an offset behind the end apart."""
    async with site.running() as listening:
        identity: DeviceIdentity = identity_of(*await enrol(listening.enrolment_port, token))
        async with device_channel(listening.grpc_port, identity) as channel:
            stub = packs_pb2_grpc.PackServiceStub(channel)
            known = metadata_from_wire(
                await stub.GetMetadata(packs_pb2.PackMetadataRequest(name="motion-band-edge", version="1.0.0"))
            ).manifest_digest
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetMetadata(packs_pb2.PackMetadataRequest(name="nobody", version="1.0.0"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            for digest, offset, code in (
                ("sha256:" + "0" * 64, 0, grpc.StatusCode.NOT_FOUND),
                ("sha256:../../../site.key", 0, grpc.StatusCode.NOT_FOUND),
                (known, 1 << 40, grpc.StatusCode.OUT_OF_RANGE),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await fetched(stub, digest, offset)
                assert caught.value.code() is code


@in_loop
async def test_health_is_open_and_the_rest_needs_a_login(site: HubSite) -> None:
    """Machines ask for health without a login; a page leads to the form, the API says what it needs."""
    async with site.running() as listening, httpx.AsyncClient() as browser:
        http = f"http://127.0.0.1:{listening.http_port}"
        for path in ("/livez", "/readyz", "/metrics", "/login"):
            assert (await browser.get(f"{http}{path}")).status_code == 200
        assert (await browser.get(f"{http}/")).headers["location"] == "/login?next=%2F"
        assert (await browser.get(f"{http}/api/v1/devices")).status_code == 401
        assert (await browser.get(f"{http}/nowhere")).status_code == 404
