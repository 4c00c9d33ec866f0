"""A binding's pack: from this disk if it is whole, else from the hub, else an error that names the way out."""

from pathlib import Path

import pytest

from edge_agent.adapters.slot_file import SlotFile
from edge_agent.config import Config, load
from edge_agent.core.pack_slots import FailureReason, PackId, PackRefusedError
from edge_agent.errors import HubError, PackUnusableError
from edge_agent.packs.pack_supply import FetchPack, Supplied, supply_pack
from edge_agent.packs.trusted_packs import TrustedPacks
from model_packs.manifest import PackRef
from model_packs.signing import PublicKey, SiteKey, generate_site_key
from model_packs.store import PackStore
from tests.simulators.packs import build_tiny
from tests.unit.edge_agent.commands.test_check import AGENT, BY_NAME, BY_PATH, HUB

AWAY = HubError("localhost:8443", "nothing listens at hub localhost:8443", "start the hub")


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    """A site's key, which signed the pack in `layout`."""
    key = generate_site_key(tmp_path / "site.key")
    build_tiny(tmp_path, sign=key)
    return key


def configured(folder: Path, bindings: str = BY_NAME) -> Config:
    """The configuration of a device with a hub."""
    (folder / "agent.toml").write_text(AGENT + HUB)
    (folder / "bindings.toml").write_text(bindings)
    return load(folder / "agent.toml")


def hub_of(config: Config, folder: Path) -> FetchPack:
    """A hub that has the layout."""

    def fetch(_ref: PackRef, _trusted: tuple[PublicKey, ...]) -> None:
        store = PackStore(config.agent.device.packs_dir)
        store.open()
        store.import_layout(folder / "layout")

    return fetch


def away(_ref: PackRef, _trusted: tuple[PublicKey, ...]) -> None:
    """A hub that is not there."""
    raise AWAY


def supply(config: Config, key: SiteKey, fetch: FetchPack | None) -> Supplied:
    """The one binding's pack."""
    return supply_pack(config, config.bindings.binding[0], (key.public,), fetch)


def damage(store: Path) -> Path:
    """Change one byte of the largest file."""
    blob = max((store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    return blob


def test_a_pack_is_fetched_once(tmp_path: Path, key: SiteKey) -> None:
    """Then it is here, and the hub is not asked."""
    config = configured(tmp_path)
    assert supply(config, key, hub_of(config, tmp_path)).was_fetched
    again = supply(config, key, away)
    assert (again.was_fetched, again.damage) == (False, None)


@pytest.mark.parametrize(("how", "told"), [("changed", "holds other bytes"), ("gone", "the blob is missing")])
def test_a_damaged_pack_is_fetched_again(how: str, told: str, tmp_path: Path, key: SiteKey) -> None:
    """What was wrong is told; afterwards it is whole."""
    config = configured(tmp_path)
    fetch = hub_of(config, tmp_path)
    supply(config, key, fetch)
    blob = damage(config.agent.device.packs_dir)
    if how == "gone":
        blob.unlink()
    healed = supply(config, key, fetch)
    assert healed.was_fetched
    assert told in str(healed.damage)
    assert supply(config, key, None).damage is None


def test_a_damaged_pack_and_no_hub_in_reach_names_the_command(tmp_path: Path, key: SiteKey) -> None:
    """The file, the hub's absence, and the command that fetches without a token."""
    config = configured(tmp_path)
    supply(config, key, hub_of(config, tmp_path))
    blob = damage(config.agent.device.packs_dir)
    with pytest.raises(PackUnusableError) as failure:
        supply(config, key, away)
    assert blob.name in failure.value.message
    assert AWAY.message in failure.value.message
    assert f"start the hub; then `edge-agent enrol --config {config.path}`" in failure.value.mend


def test_a_damaged_layout_given_by_path_is_the_operators(tmp_path: Path, key: SiteKey) -> None:
    """No hub is asked: the layout is not the agent's to change."""
    config = configured(tmp_path, BY_PATH)
    damage(tmp_path / "layout")
    with pytest.raises(PackUnusableError) as failure:
        supply(config, key, away)
    assert f"a whole copy of the layout {tmp_path / 'layout'}" in failure.value.mend


def test_a_missing_pack_and_no_hub_in_reach_is_the_hubs_error(tmp_path: Path, key: SiteKey) -> None:
    """There is no damage to tell."""
    with pytest.raises(HubError, match="nothing listens"):
        supply(configured(tmp_path), key, away)


def test_a_device_without_any_pack_is_told_that_it_is_not_here(tmp_path: Path, key: SiteKey) -> None:
    """Also after its slots were written beside where packs will lie: nothing is damaged, nothing was ever fetched."""
    config = configured(tmp_path)
    SlotFile(config.agent.device.packs_dir).open()
    with pytest.raises(PackUnusableError, match="is not on this device"):
        supply(config, key, None)
    with pytest.raises(PackRefusedError, match="is not on this device") as refused:
        TrustedPacks(config).verified(PackId(config.bindings.binding[0].pack, ""))
    assert refused.value.reason is FailureReason.NOT_FOUND
