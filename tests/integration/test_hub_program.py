"""The installed `cloud-hub` as a process: ready file, signals, taken ports, a kill and its next start."""

import json
import os
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from model_packs.process.exits import Exit
from tests.simulators.hubs import HUB_PACK, HubSite
from tests.simulators.processes import Process
from tests.simulators.waiting import wait_until

STALE = "what an earlier run wrote"


@pytest.fixture
def site(tmp_path: Path) -> HubSite:
    """A hub with the full model published, on free ports."""
    return HubSite.found(tmp_path / "hub", HUB_PACK)


def ready(path: Path) -> dict[str, int]:
    """The ready file, as soon as it is there."""

    def written() -> dict[str, int] | None:
        if not path.exists() or path.read_text() == STALE:
            return None
        document: dict[str, int] = json.loads(path.read_text())
        return document

    return wait_until(written, 20.0, f"{path} was written") or {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_when_it_is_ready_and_stops_cleanly(
    site: HubSite, program: Callable[..., Process], tmp_path: Path, number: signal.Signals
) -> None:
    """The ready file holds the bound ports; they answer; a signal ends the program with 0."""
    file = tmp_path / "ready.json"
    file.write_text(STALE)
    hub = program("cloud-hub", "serve", "--config", str(site.config_path), "--ready-file", str(file))
    hub.wait_for_log("http       http://127.0.0.1:")
    document = ready(file)
    assert document["pid"] == hub.pid
    with urllib.request.urlopen(f"http://127.0.0.1:{document['http_port']}/readyz") as answer:
        assert answer.read() == b"ok\n"
    os.kill(hub.pid, number)
    assert hub.wait(15.0) == Exit.OK


def test_a_killed_hub_starts_again_on_its_database(
    site: HubSite, program: Callable[..., Process], tmp_path: Path
) -> None:
    """After SIGKILL the next start is the same hub."""
    incarnations = []
    for attempt in range(2):
        file = tmp_path / f"ready-{attempt}.json"
        hub = program("cloud-hub", "serve", "--config", str(site.config_path), "--ready-file", str(file))
        incarnations.append(ready(file)["hub_incarnation"])
        hub.kill()
    assert incarnations[0] == incarnations[1]


def test_a_hub_without_its_database_does_not_begin_anew(site: HubSite, program: Callable[..., Process]) -> None:
    """A folder that lost hub.db is named with its mends: an empty database would forget every device."""
    for file in site.config_path.parent.glob("hub.db*"):
        file.unlink()
    hub = program("cloud-hub", "serve", "--config", str(site.config_path))
    assert hub.wait(20.0) == Exit.UNAVAILABLE
    hub.wait_for_log("there is nothing in the hub's database")
    hub.wait_for_log("restore the database from a backup")


@pytest.mark.parametrize("key", ["grpc_port", "enrolment_port", "http_port"])
def test_a_taken_port_is_named(site: HubSite, program: Callable[..., Process], tmp_path: Path, key: str) -> None:
    """A second hub on a port of the first ends with 69 and names the address."""
    file = tmp_path / "ready.json"
    program("cloud-hub", "serve", "--config", str(site.config_path), "--ready-file", str(file))
    port = ready(file)[key]
    second = HubSite.found(tmp_path / "second")
    text = second.config_path.read_text()
    table, name = ("http", "port") if key == "http_port" else ("grpc", key.removeprefix("grpc_"))
    before, middle, after = text.partition(f"[{table}]\n")
    second.config_path.write_text(before + middle + after.replace(f"{name} = 0", f"{name} = {port}", 1))
    hub = program("cloud-hub", "serve", "--config", str(second.config_path))
    assert hub.wait(20.0) == Exit.UNAVAILABLE
    assert f"cannot listen on 127.0.0.1:{port}" in hub.log
    assert "mend: " in hub.log
