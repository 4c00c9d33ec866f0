"""The doctor looks at the pack that a binding runs, wherever it came from."""

from pathlib import Path

from edge_agent.config import load
from edge_agent.examination.packs import examine_packs
from model_packs.manifest import PackRef
from protos.messages.fleet import SlotState
from tests.simulators.pack_device import booted, settled, write_device


def test_the_pack_of_the_slot_is_examined(tmp_path: Path) -> None:
    """Not the factory pack that bindings.toml names; and a copy that went bad since is found."""
    key = write_device(tmp_path)
    with booted(tmp_path) as device:
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
        device.desire(wanted)
        settled(device, lambda slot: slot.state is SlotState.COMMITTED and slot.active == wanted)
        config = load(tmp_path / "agent.toml")
        first, *_ = examine_packs(config)
        assert "tiny-edge@2.0.0 verified" in first.message
        device.store.load(PackRef.parse(wanted.pack), None).path("model.onnx").write_bytes(b"damaged")
        (only,) = examine_packs(config)
        assert "tiny-edge@2.0.0" in only.message
        assert "model.onnx" in only.message
