"""Assigning a pack to a binding: what is refused by name before anything is stored."""

from pathlib import Path

import pytest
from sqlalchemy import text

from cloud_hub.adapters.shelf import StoredPackShelf
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.assigning import assign
from cloud_hub.core.devices import DeviceKey
from cloud_hub.errors import AssignmentError, DeviceAbsentError
from model_packs.manifest import PackRef
from model_packs.store import PackStore
from protos.messages.fleet import BindingReport, DesiredSlot, Heartbeat
from protos.messages.inference import ModelUse
from tests.simulators.hubs import EDGE_PACK, HUB_PACK, layout
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.sql.test_store import opened
from tests.unit.cloud_hub.escalations import PRESS, SAW

REPORT = BindingReport("band", ModelUse(EDGE_PACK, "sha256:1"), 0, 0, 0, "certified")
BEAT = Heartbeat(1, 1, "ok", (), 0, 0, None, (REPORT,))


@pytest.fixture
def packs(tmp_path: Path) -> PackStore:
    """An edge pack and its hub pack."""
    store = PackStore(tmp_path / "packs")
    store.open()
    for pack in (EDGE_PACK, HUB_PACK):
        store.import_layout(layout(pack))
    return store


async def refusal(
    store: SqlStore, packs: PackStore, *, device: DeviceKey = PRESS, binding: str = "band", pack: str = EDGE_PACK
) -> AssignmentError:
    """Why this is refused."""
    with pytest.raises(AssignmentError) as caught:
        await assign(store, StoredPackShelf(packs), device, binding, pack, actor="ada", now_ns=5)
    return caught.value


@in_loop
async def test_a_published_edge_pack_is_desired_by_its_digest(tmp_path: Path, packs: PackStore) -> None:
    """The desire names the digest of the pack as published; a device that never spoke may have any binding."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        shelf = StoredPackShelf(packs)
        twin = await assign(store, shelf, PRESS, "band", EDGE_PACK, actor="ada", now_ns=5)
        (stored,) = [one for one in packs.list() if str(one.ref) == EDGE_PACK]
        assert twin.message().slots == (DesiredSlot("band", EDGE_PACK, stored.digest),)
        assert (twin.version, twin.set_by, twin.set_at_ns) == (1, "ada", 5)
        await store.save_heartbeat(PRESS, BEAT, 6)
        assert (await assign(store, shelf, PRESS, "band", EDGE_PACK, actor="ada", now_ns=7)).version == 2


@in_loop
async def test_what_cannot_be_wanted_is_refused_by_name(tmp_path: Path, packs: PackStore) -> None:
    """Unknown or unpublished packs, hub packs and bindings that the device does not report; nothing is stored."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        await store.save_heartbeat(PRESS, BEAT, 6)
        for pack, word in (
            ("no ref", "not a pack reference"),
            ("nobody@1.0.0", "nobody@1.0.0 is not published"),
            (HUB_PACK, "is a hub pack"),
        ):
            error = await refusal(store, packs, pack=pack)
            assert word in error.reason
            assert error.mend
        error = await refusal(store, packs, binding="door\x1b" * 99)
        assert "has no binding 'door\\x1bdoor" in error.reason
        assert len(error.reason) < 500
        assert "(band)" in error.mend
        await store.save_heartbeat(PRESS, Heartbeat(2, 1, "ok", (), 0, 0, None, ()), 7)
        assert "(none)" in (await refusal(store, packs)).mend
        assert await store.desired(PRESS) is None


@in_loop
async def test_a_pack_whose_documents_are_damaged_is_not_desired(tmp_path: Path, packs: PackStore) -> None:
    """The mend is to publish it again."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        (stored,) = [one for one in packs.list() if one.ref == PackRef.parse(EDGE_PACK)]
        packs.blob_path(stored.digest).unlink()
        error = await refusal(store, packs)
        assert "cannot be read" in error.reason
        assert "cloud-hub packs publish" in error.mend


@in_loop
async def test_a_device_that_is_not_accepted_cannot_be_told_anything(tmp_path: Path, packs: PackStore) -> None:
    """Unknown and removed ones are refused; who sees the devices finds the right name."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        async with store._engine.begin() as connection:
            await connection.execute(text("UPDATE device SET is_removed = true"))
        assert isinstance(await refusal(store, packs), DeviceAbsentError)
        error = await refusal(store, packs, device=SAW)
        assert isinstance(error, DeviceAbsentError)
        assert "device saw-01 of site s" in error.reason
        assert "cloud-hub devices list" in error.mend
