"""`edge-agent packs`: what each binding runs, and changing it by hand while no daemon runs."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_agent import config
from edge_agent.cli import parser
from edge_agent.core.pack_slots import FailureReason, PackRefusedError, SlotMoveError, pin
from model_packs.process.exits import CliError, Exit
from model_packs.signing import SiteKey
from protos.messages.fleet import SlotState
from tests.simulators.onnx_bytes import Fault
from tests.simulators.pack_device import BINDING, PackDevice, booted, settled, write_device

SCHEMAS = Path(config.__file__).parent / "schemas"
V1, V2 = "tiny-edge@1.0.0", "tiny-edge@2.0.0"


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    """A device's files."""
    return write_device(tmp_path)


@pytest.fixture
def device(tmp_path: Path, key: SiteKey) -> Iterator[PackDevice]:
    """A device that has installed the second version."""
    with booted(tmp_path) as device:
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
        device.desire(wanted)
        settled(device, lambda slot: slot.state is SlotState.COMMITTED and slot.active == wanted)
        yield device


def packs(folder: Path, *arguments: str) -> int:
    """Run the command."""
    args = parser().parse_args(["packs", *arguments, "--config", str(folder / "agent.toml")])
    return int(args.run(args))


def document(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run it with --json; the document fits its schema."""
    capsys.readouterr()
    assert packs(folder, *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, json.loads((SCHEMAS / "edge.packs.1.json").read_text()))
    return found


def slot_of(found: dict[str, Any]) -> dict[str, Any]:
    """The one binding's slot."""
    (binding,) = found["bindings"]
    slot: dict[str, Any] = binding["slot"]
    return slot


def test_both_schemas_describe_a_slot_alike() -> None:
    """`status` and `packs` say the same of it."""
    status, listing = (json.loads((SCHEMAS / f"edge.{name}.1.json").read_text()) for name in ("status", "packs"))
    assert status["$defs"]["slot"] == listing["$defs"]["slot"]


def test_a_device_that_never_changed_a_pack_runs_its_factory_pack(
    tmp_path: Path, key: SiteKey, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any state folder; and nothing is written."""
    del key
    found = document(tmp_path, capsys, "list")
    slot = slot_of(found)
    assert (slot["pack"], slot["state"], slot["previous_pack"], slot["desired"]) == (V1, "committed", None, None)
    assert (found["desired_version"], found["packs"]) == (0, [])
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("device")
def test_the_list_names_what_runs_what_was_before_and_what_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For programs and for people."""
    found = document(tmp_path, capsys, "list")
    slot = slot_of(found)
    assert (slot["pack"], slot["previous_pack"], slot["desired"]["pack"]) == (V2, V1, V2)
    assert found["packs"][0]["active_in"] == [BINDING]
    assert packs(tmp_path, "list") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"motion: {V2} (sha256:")
    assert f"before     {V1}" in shown


def test_a_rollback_goes_to_the_pack_before_and_stays_there(
    tmp_path: Path, device: PackDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    """A running daemon follows; what the hub still wants is not installed again, until the binding is released."""
    slot = slot_of(document(tmp_path, capsys, "rollback", BINDING))
    assert (slot["pack"], slot["failure"]["reason"], slot["failure"]["action"]) == (V1, "by_hand", "rolled_back")
    after = device.step()
    assert device.runs.pack == V1
    assert device.step() == after
    packs(tmp_path, "list")
    assert "rolled_back, by_hand: pack tiny-edge@2.0.0 was rolled back by hand" in capsys.readouterr().out
    assert slot_of(document(tmp_path, capsys, "release", BINDING))["failure"] is None
    settled(device, lambda slot: slot.active is not None)


def test_a_rollback_with_nowhere_to_go_is_refused(tmp_path: Path, key: SiteKey) -> None:
    """It runs the factory pack; the mend shows where to look."""
    del key
    with pytest.raises(SlotMoveError, match="no pack to go back to") as caught:
        packs(tmp_path, "rollback", BINDING)
    assert "packs list" in caught.value.mend


def test_a_rollback_of_a_slot_that_moved_meanwhile_is_refused(tmp_path: Path, device: PackDevice) -> None:
    """The daemon may have gone back itself: what would be left then is not what the person saw."""
    site_key = tmp_path / "state" / "identity" / "site.pub"
    site_key.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(site_key)  # whoever verifies a pack waits here for the key
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(packs, tmp_path, "rollback", BINDING)
        with site_key.open("wb") as key:
            moved = device.slots.change(BINDING, pin)
            key.write((tmp_path / "site.pub").read_bytes())
        with pytest.raises(CliError, match="slot of motion moved") as caught:
            asked.result(30.0)
    assert caught.value.exit is Exit.UNAVAILABLE
    assert "packs list" in caught.value.mend
    assert device.slot == moved


def test_a_rollback_to_a_damaged_pack_is_refused(tmp_path: Path, device: PackDevice, key: SiteKey) -> None:
    """What runs is better than what cannot."""
    third = device.publish(tmp_path / "v3", key, version="3.0.0", seed=9)
    device.desire(third)
    settled(device, lambda slot: slot.active == third and slot.state is SlotState.COMMITTED)
    graph = (tmp_path / "v2" / "sources" / "model.onnx").read_bytes()
    for blob in (device.store.root / "blobs" / "sha256").iterdir():
        if blob.read_bytes() == graph:
            blob.write_bytes(b"damaged")
    with pytest.raises(PackRefusedError) as caught:
        packs(tmp_path, "rollback", BINDING)
    assert caught.value.reason is FailureReason.BAD_DIGEST
    assert device.slot.active == third


def test_a_pin_holds_what_runs(tmp_path: Path, device: PackDevice, capsys: pytest.CaptureFixture[str]) -> None:
    """Until it is released."""
    assert slot_of(document(tmp_path, capsys, "pin", BINDING))["pinned"]
    packs(tmp_path, "list")
    assert "pinned: what the hub wants waits" in capsys.readouterr().out
    assert device.slot.is_pinned
    assert not slot_of(document(tmp_path, capsys, "release", BINDING))["pinned"]


def test_a_pin_of_another_pack_tries_it_first(
    tmp_path: Path, device: PackDevice, key: SiteKey, capsys: pytest.CaptureFixture[str]
) -> None:
    """Verified, compared and probed; then on trial, as after an install, and the factory pack by its name."""
    slot = slot_of(document(tmp_path, capsys, "pin", BINDING, V1))
    assert (slot["pack"], slot["state"], slot["pinned"], slot["previous_pack"]) == (V1, "trial", True, V2)
    settled(device, lambda slot: slot.state is SlotState.COMMITTED)
    assert device.runs.pack == V1
    assert slot_of(document(tmp_path, capsys, "pin", BINDING, V2))["pack"] == V2
    bad = device.publish(tmp_path / "v3", key, version="3.0.0", fault=Fault.OTHER_ANSWERS)
    device.store.import_layout(tmp_path / "v3" / "layout")
    with pytest.raises(PackRefusedError) as caught:
        packs(tmp_path, "pin", BINDING, bad.pack)
    assert caught.value.reason is FailureReason.GOLDEN_MISMATCH


@pytest.mark.usefixtures("device")
def test_a_pack_that_is_not_here_cannot_be_pinned(tmp_path: Path) -> None:
    """The mend names those that are."""
    with pytest.raises(PackRefusedError, match="not on this device") as caught:
        packs(tmp_path, "pin", BINDING, "tiny-edge@9.0.0")
    assert f"packs here: {V1}, {V2}" in caught.value.mend


def test_an_unknown_binding_is_a_mistake_of_usage(tmp_path: Path, key: SiteKey) -> None:
    """The mend names the known ones."""
    del key
    with pytest.raises(CliError, match="no binding 'motoin'") as caught:
        packs(tmp_path, "pin", "motoin")
    assert (caught.value.exit, "motion" in caught.value.mend) == (Exit.USAGE, True)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, key: SiteKey) -> None:
    """Somebody runs it as another user than the agent's."""
    del key
    (tmp_path / "state").write_text("no folder")
    with pytest.raises(CliError, match="state") as caught:
        packs(tmp_path, "pin", BINDING)
    assert caught.value.exit is Exit.UNAVAILABLE
