"""`cloud-hub packs`: what is published, listed and refused."""

import json
from pathlib import Path

import pytest

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import CONFIG_NAME, load_config
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import COMMAND_LINE, EventId, EventKind, HubEvent
from model_packs.process.exits import CliError, Exit
from protos.messages.fleet import BindingReport, Heartbeat
from protos.messages.inference import ModelUse
from tests.simulators.hubs import EDGE_PACK, HUB_PACK
from tests.simulators.hubs import layout as shipped
from tests.unit.cloud_hub.commands.calls import documented, on

PRESS = DeviceKey("default", "hall-1", "press-07")


def events(hub: Path) -> tuple[HubEvent, ...]:
    """Everything in the outbox."""

    async def read(store: SqlStore) -> tuple[HubEvent, ...]:
        return await store.events(EventId(0), 100)

    return with_store(load_config(hub / CONFIG_NAME), read)


def test_packs_are_published_signed_and_listed(hub: Path, layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Publishing twice changes nothing; the list names the pack, its digest and the site key."""
    for _ in range(2):
        assert on(hub, "packs", "publish", str(layout)) == Exit.OK
    published = capsys.readouterr().out.splitlines()
    assert published[0] == published[1]
    (event,) = events(hub)
    assert (event.kind, event.actor, event.subject) == (EventKind.PACK_PUBLISHED, COMMAND_LINE, "tiny-hub@1.0.0")
    assert published[0].endswith(event.detail["digest"])
    assert on(hub, "packs", "list", "--json") == Exit.OK
    (pack,) = documented(capsys.readouterr().out, "packs")["packs"]
    assert published[0] == f"published {pack['ref']} {pack['digest']}"
    assert len(pack["signed_by"]) == 1
    assert on(hub, "packs", "list") == Exit.OK
    assert "tiny-hub@1.0.0" in capsys.readouterr().out


def test_an_empty_pack_store_says_what_to_do(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without packs, the list is a hint."""
    assert on(hub, "packs", "list") == Exit.OK
    assert "cloud-hub packs publish" in capsys.readouterr().out


def biggest_blob(store: Path) -> Path:
    """The weights, to be hurt."""
    blob = max((store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    return blob


def test_publishing_again_heals_the_hubs_own_copy(hub: Path, layout: Path) -> None:
    """A whole layout replaces what is damaged in the hub's store."""
    assert on(hub, "packs", "publish", str(layout)) == Exit.OK
    blob = biggest_blob(hub / "packs")
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b"!")
    assert on(hub, "packs", "publish", str(layout)) == Exit.OK
    assert blob.read_bytes() == whole


def test_a_damaged_layout_is_refused_though_the_hub_has_its_pack(hub: Path, layout: Path) -> None:
    """The mend is a whole copy of that layout."""
    assert on(hub, "packs", "publish", str(layout)) == Exit.OK
    blob = biggest_blob(layout)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(CliError, match="holds other bytes") as caught:
        on(hub, "packs", "publish", str(layout))
    assert caught.value.exit is Exit.DATA
    assert f"a whole copy of the layout {layout}" in caught.value.mend


def test_a_damaged_layout_is_not_published(hub: Path, layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped byte is bad data; nothing is listed afterwards."""
    blob = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(CliError) as caught:
        on(hub, "packs", "publish", str(layout))
    assert caught.value.exit is Exit.DATA
    assert caught.value.mend
    capsys.readouterr()
    on(hub, "packs", "list", "--json")
    assert json.loads(capsys.readouterr().out)["packs"] == []


@pytest.fixture
def fleet(hub: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A hub with the shipped packs and one device that runs the edge pack."""
    on(hub, "packs", "publish", str(shipped(EDGE_PACK)), str(shipped(HUB_PACK)))
    report = BindingReport("band", ModelUse(EDGE_PACK, "sha256:1"), 0, 0, 0, "certified")

    async def heard(store: SqlStore) -> None:
        await store.register_local(PRESS, 1)
        await store.save_heartbeat(PRESS, Heartbeat(1, 1, "ok", (), 0, 0, None, (report,)), 2)

    with_store(load_config(hub / CONFIG_NAME), heard)
    capsys.readouterr()
    return hub


def assign(hub: Path, pack: str = EDGE_PACK, device: str = "hall-1/press-07", binding: str = "band") -> int:
    """Run `packs assign`."""
    return on(hub, "packs", "assign", pack, "--device", device, "--binding", binding)


def test_an_assigned_pack_is_desired_and_listed_there(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The desire is durable, with who stated it; the list tells where the pack should run and does."""
    assert assign(fleet) == Exit.OK
    printed = capsys.readouterr().out
    assert printed == f"device press-07 of site hall-1 should run {EDGE_PACK} in band (desired version 1)\n"
    (event,) = [event for event in events(fleet) if event.kind is EventKind.PACK_DESIRED]
    assert (event.device, event.actor, event.subject) == (PRESS, COMMAND_LINE, EDGE_PACK)
    on(fleet, "packs", "list", "--json")
    edge, full = documented(capsys.readouterr().out, "packs")["packs"]
    here = [{"site": "hall-1", "device": "press-07", "binding": "band"}]
    assert (edge["desired_on"], edge["running_on"]) == (here, here)
    assert (full["desired_on"], full["running_on"]) == ([], [])
    on(fleet, "packs", "list")
    assert "desired 1, running 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"pack": "nobody@1.0.0"}, "nobody@1.0.0 is not published"),
        ({"pack": HUB_PACK}, "is a hub pack"),
        ({"pack": "motion"}, "not a pack reference"),
        ({"device": "hall-1/saw-01"}, "device saw-01 of site hall-1 is not accepted"),
        ({"device": "press-07"}, "names no site"),
        ({"device": "hall-1/Press 07"}, "cannot be a name"),
        ({"binding": "door"}, "has no binding 'door'"),
    ],
)
def test_what_cannot_be_assigned_is_refused_by_name(fleet: Path, changes: dict[str, str], word: str) -> None:
    """Exit code 64, the fault in the message, the way out beside it; nothing is stored."""
    with pytest.raises(CliError, match=word) as caught:
        assign(fleet, **changes)
    assert caught.value.exit is Exit.USAGE
    assert caught.value.mend
    assert EventKind.PACK_DESIRED not in [event.kind for event in events(fleet)]


def test_a_desire_is_ended_once_with_an_event_and_refused_by_name_after(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next version does without the binding; what is not desired cannot be ended."""
    assign(fleet)
    capsys.readouterr()
    ending = ("packs", "unassign", "--device", "hall-1/press-07", "--binding", "band")
    assert on(fleet, *ending) == Exit.OK
    printed = capsys.readouterr().out
    assert printed == "nothing is desired for band of device press-07 of site hall-1 (desired version 2)\n"
    (event,) = [event for event in events(fleet) if event.kind is EventKind.DESIRE_ENDED]
    assert (event.device, event.actor, event.subject) == (PRESS, COMMAND_LINE, EDGE_PACK)
    for device, word in (("hall-1/press-07", "nothing is desired for 'band'"), ("hall-1/saw-01", "is not accepted")):
        with pytest.raises(CliError, match=word):
            on(fleet, "packs", "unassign", "--device", device, "--binding", "band")
