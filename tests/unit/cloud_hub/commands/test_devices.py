"""`cloud-hub devices`: the registry on a screen and as a document."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.cli import execute
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import CONFIG_NAME, load_config
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventId, EventKind
from cloud_hub.ports import RegisteredDevice
from model_packs.process.exits import CliError, Exit
from protos.messages.fleet import (
    BindingReport,
    DesiredSlot,
    FailureAction,
    Heartbeat,
    InstallPhase,
    PackFailure,
    SlotReport,
    SlotState,
)
from protos.messages.inference import ModelUse
from tests.unit.cloud_hub.commands.calls import documented, on, without_database

FAILURE = PackFailure("band@2.0.0", "sha256:2", FailureAction.REFUSED, "bad_digest", "why", 7)


def test_an_empty_registry_is_a_document_and_a_hint(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without devices, JSON is an empty list and the table says what to do."""
    assert on(hub, "devices", "list", "--json") == Exit.OK
    assert documented(capsys.readouterr().out, "devices")["devices"] == []
    assert on(hub, "devices", "list") == Exit.OK
    assert "cloud-hub tokens create" in capsys.readouterr().out


def test_a_command_without_a_hub_says_so(tmp_path: Path) -> None:
    """A settings file that is not there is named, with exit code 78."""
    with pytest.raises(CliError, match="no such file") as caught:
        execute(["devices", "list", "--config", str(tmp_path / "hub.toml")])
    assert caught.value.exit is Exit.CONFIG


def test_a_database_that_is_not_made_is_unavailable(hub: Path) -> None:
    """Reading commands do not make tables: the message says how to get them."""
    without_database(hub)
    with pytest.raises(CliError, match="cloud-hub serve") as caught:
        on(hub, "devices", "list")
    assert caught.value.exit is Exit.UNAVAILABLE


def test_a_device_is_one_line_that_cannot_move_the_cursor(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """State, outbox, questions and packs stand in the line; control characters that the device wrote do not."""

    async def report(store: SqlStore) -> None:
        binding = BindingReport("b", ModelUse("tiny\x1b[2J@1.0.0", "sha256:0"), 5, 2, 1, "holds")
        await store.register_local(DeviceKey("o", "hall-1", "press-07"), 1)
        await store.save_heartbeat(
            DeviceKey("o", "hall-1", "press-07"), Heartbeat(1, 5, "ok", (), 300, 2, None, (binding,)), time.time_ns()
        )

    with_store(load_config(hub / CONFIG_NAME), report)
    assert on(hub, "devices", "list") == Exit.OK
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split()[0] == "DEVICE"
    assert line.split()[:2] == ["press-07", "hall-1"]
    assert line.split()[-5:] == ["ok", "2", "0", "0", "tiny?[2J@1.0.0"]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, "band@1.0.0 -> band@2.0.0 (pending)"),
        ({"phase": InstallPhase.PROBING}, "band@1.0.0 -> band@2.0.0 (installing)"),
        ({"pack": "band@2.0.0", "digest": "sha256:2", "state": SlotState.TRIAL}, "band@2.0.0 (trial)"),
        ({"pack": "band@2.0.0", "digest": "sha256:2"}, "band@2.0.0"),
        ({"failure": FAILURE}, "band@1.0.0 -> band@2.0.0 (failed: bad_digest)"),
    ],
)
def test_a_line_shows_what_becomes_of_a_desired_pack(
    hub: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], shown: str
) -> None:
    """What runs, what should, and how far it is; a pack in place stands alone."""
    slot = SlotReport(
        "b", "band@1.0.0", "sha256:1", SlotState.COMMITTED, None, is_pinned=False, phase=InstallPhase.IDLE
    )
    slot = replace(slot, **change)

    async def report(store: SqlStore) -> None:
        key = DeviceKey("o", "hall-1", "press-07")
        binding = BindingReport("b", ModelUse(slot.pack, slot.digest), 5, 2, 1, "holds")
        beat = Heartbeat(1, 5, "ok", (), 300, 2, None, (binding,), 1, (slot,))
        await store.register_local(key, 1)
        wanted = DesiredSlot("b", "band@2.0.0", "sha256:2")
        await store.desire(key, [wanted], actor="ada", now_ns=time.time_ns())
        await store.save_heartbeat(key, beat, time.time_ns())

    with_store(load_config(hub / CONFIG_NAME), report)
    assert on(hub, "devices", "list") == Exit.OK
    _, line = capsys.readouterr().out.splitlines()
    assert line.endswith(f"  {shown}")
    assert on(hub, "devices", "list", "--json") == Exit.OK
    (device,) = documented(capsys.readouterr().out, "devices")["devices"]
    assert device["slots"][0]["desired"] == "band@2.0.0"


def test_a_removed_device_stays_in_the_list_and_is_let_in_no_more(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told how to come back; the event is told once, however often somebody removes it."""
    key = DeviceKey(load_config(hub / CONFIG_NAME).identity.org_id, "hall-1", "press-07")

    async def enrol(store: SqlStore) -> None:
        await store.register_local(key, 1)

    async def read(store: SqlStore) -> tuple[RegisteredDevice | None, list[EventKind]]:
        return await store.device(key), [one.kind for one in await store.events(EventId(0), 10)]

    config = load_config(hub / CONFIG_NAME)
    with_store(config, enrol)
    for _ in range(2):
        assert on(hub, "devices", "remove", "hall-1/press-07") == Exit.OK
    assert "cloud-hub tokens create --site hall-1 --device press-07" in capsys.readouterr().err
    device, kinds = with_store(config, read)
    assert device is not None
    assert device.is_removed
    assert kinds == [EventKind.DEVICE_ENROLLED, EventKind.DEVICE_REMOVED]
    assert on(hub, "devices", "list") == Exit.OK
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["press-07", "hall-1", "removed"]


@pytest.mark.parametrize(
    ("device", "word"),
    [("hall-1/press-08", "not accepted"), ("press-07", "names no site")],
)
def test_what_cannot_be_removed_is_named(hub: Path, device: str, word: str) -> None:
    """A device that was never enrolled, and a name without its site."""
    with pytest.raises(CliError, match=word) as caught:
        on(hub, "devices", "remove", device)
    assert caught.value.exit is Exit.USAGE
