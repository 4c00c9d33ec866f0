"""`cloud-hub doctor`: a healthy hub passes, a damaged one is told what to mend."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import CONFIG_NAME, load_config
from cloud_hub.core.devices import DeviceKey
from model_packs.process.exits import Exit
from model_packs.signing import generate_site_key
from protos.messages.fleet import DesiredSlot
from tests.unit.cloud_hub.commands.calls import documented, on, use_free_ports, without_database


def test_a_healthy_hub_passes_its_examination(hub: Path, layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every check is ok; the document follows its schema."""
    use_free_ports(hub)
    on(hub, "packs", "publish", str(layout))
    on(hub, "people", "add", "ada", "--role", "operator")
    capsys.readouterr()
    assert on(hub, "doctor", "--json") == Exit.OK
    document = documented(capsys.readouterr().out, "doctor")
    assert document["ok"]
    states = {check["name"]: check["state"] for check in document["checks"] if check["name"] != "disk"}
    assert set(states.values()) == {"ok"}
    examined = {
        "authority",
        "server certificate",
        "site key",
        "database",
        "people",
        "desired packs",
        "pack tiny-hub@1.0.0",
        "device port",
    }
    assert examined <= set(states)


def _no_authority(hub: Path) -> None:
    (hub / "ca" / "ca.key").unlink()


def _no_server_key(hub: Path) -> None:
    (hub / "server" / "server.key").unlink()


def _no_site_key(hub: Path) -> None:
    (hub / "site.key").unlink()


def _other_site_key(hub: Path) -> None:
    (hub / "site.key").unlink()
    generate_site_key(hub / "site.key")


def _broken_database(hub: Path) -> None:
    without_database(hub)
    (hub / "hub.db").write_text("this is no database at all, but long enough to be looked at as one")


def _broken_index(hub: Path) -> None:
    (hub / "packs" / "index.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (_no_authority, "authority"),
        (_no_server_key, "server certificate"),
        (_no_site_key, "site key"),
        (_other_site_key, "pack tiny-hub@1.0.0"),
        (without_database, "database"),
        (_broken_database, "database"),
        (_broken_index, "packs"),
    ],
)
def test_an_examination_names_what_is_broken(
    hub: Path, layout: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], check: str
) -> None:
    """The failed check carries the name of the part and a mend; the exit code tells scripts."""
    use_free_ports(hub)
    on(hub, "packs", "publish", str(layout))
    damage(hub)
    capsys.readouterr()
    assert on(hub, "doctor") == Exit.UNAVAILABLE
    printed = capsys.readouterr().out
    assert f"failed   {check}: " in printed
    assert "mend: " in printed


def test_an_examination_says_when_nobody_can_log_in_or_change_anything(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without people, and with viewers only, it warns and names the command; the hub runs all the same."""
    use_free_ports(hub)
    assert on(hub, "doctor") == Exit.OK
    assert "warning  people: nobody can log in to the console\n           mend: " in capsys.readouterr().out
    on(hub, "people", "add", "eva", "--role", "viewer")
    assert on(hub, "doctor") == Exit.OK
    printed = capsys.readouterr().out
    assert "warning  people: nobody who can log in may change anything" in printed
    assert "cloud-hub people add NAME --role operator" in printed


def test_an_examination_sees_a_port_that_another_program_has(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A listener that is no hub on one of the ports is a failed check that names the port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = f'[grpc]\nhost = "127.0.0.1"\nport = {port}\nenrolment_port = 0\n[http]\nport = 0\n'
        (hub / CONFIG_NAME).write_text(text)
        assert on(hub, "doctor") == Exit.UNAVAILABLE
    assert f"failed   device port: another program listens on {port}" in capsys.readouterr().out


def test_an_examination_names_where_a_desired_pack_did_not_arrive(
    hub: Path, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device that said nothing of its desire for too long is a warning with the first bindings; the hub is well."""
    use_free_ports(hub)
    on(hub, "packs", "publish", str(layout))

    async def desire(store: SqlStore) -> None:
        key = DeviceKey("default", "hall-1", "press-07")
        await store.register_local(key, 1)
        slots = [DesiredSlot(f"b{n}", "band@1.0.0", "sha256:1") for n in range(7)]
        await store.desire(key, slots, actor="ada", now_ns=1)

    with_store(load_config(hub / CONFIG_NAME), desire)
    assert on(hub, "doctor") == Exit.OK
    printed = capsys.readouterr().out
    assert "warning  desired packs: did not arrive at hall-1/press-07 b0, hall-1/press-07 b1" in printed
    assert "b4 and 2 more\n" in printed
