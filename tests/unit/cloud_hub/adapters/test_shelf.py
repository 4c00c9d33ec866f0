"""The shelf: published packs as people see them, damaged ones named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cloud_hub.adapters.shelf import StoredPackShelf
from cloud_hub.errors import StorageError
from cloud_hub.ports import PackFacts, UnreadablePack
from model_packs.manifest import PackRef
from model_packs.signing import SiteKey, generate_site_key
from model_packs.store import PackStore
from tests.simulators.hubs import EDGE_PACK, layout
from tests.simulators.loops import in_loop

REF = PackRef.parse(EDGE_PACK)


@pytest.fixture
def site_key(tmp_path: Path) -> SiteKey:
    """A key that signs."""
    generate_site_key(tmp_path / "site.key")
    return SiteKey.load(tmp_path / "site.key")


@pytest.fixture
def store(tmp_path: Path, site_key: SiteKey) -> PackStore:
    """A store with a shipped edge pack, signed."""
    store = PackStore(tmp_path / "packs")
    store.open()
    store.import_layout(layout(EDGE_PACK))
    store.sign(REF, site_key)
    return store


@in_loop
async def test_a_pack_is_shown_with_its_documents(store: PackStore, site_key: SiteKey) -> None:
    """Digest, size, manifest, certificate, card and signers; the same by listing and by name."""
    shelf = StoredPackShelf(store)
    (facts,) = await shelf.packs()
    assert isinstance(facts, PackFacts)
    (stored,) = store.list()
    assert (facts.ref, facts.digest, facts.size_bytes) == (REF, stored.digest, stored.size_bytes)
    assert facts.signed_by == (site_key.public.key_id,)
    assert (facts.manifest.role, facts.manifest.task, facts.manifest.digest) == ("edge", "classification", facts.digest)
    assert facts.certificate is not None
    assert facts.certificate.threshold is not None
    assert facts.card.startswith("#")
    assert await shelf.pack(REF) == facts
    assert await shelf.pack(PackRef("nobody", "1.0.0")) is None


@in_loop
async def test_a_new_signature_is_seen_though_documents_are_kept(store: PackStore, tmp_path: Path) -> None:
    """What was read once is kept under the digest of its manifest, which a signature changes."""
    shelf = StoredPackShelf(store)
    (before,) = await shelf.packs()
    assert (await shelf.packs())[0] is before
    generate_site_key(tmp_path / "other.key")
    store.sign(REF, SiteKey.load(tmp_path / "other.key"))
    (after,) = await shelf.packs()
    assert isinstance(after, PackFacts)
    assert len(after.signed_by) == 2


def _other_bytes(blob: Path) -> None:
    blob.write_bytes(b"{}")


@pytest.mark.parametrize("damage", [_other_bytes, Path.unlink])
@pytest.mark.parametrize("role", ["image manifest", "pack.json", "certificate", "card"])
@in_loop
async def test_a_damaged_document_is_named_with_a_mend(
    store: PackStore, role: str, damage: Callable[[Path], None]
) -> None:
    """The pack stays in the list, without facts that nobody could check."""
    (stored,) = store.list()
    files = store.load(REF, None).manifest.files
    digests = {"image manifest": stored.manifest_digest, "pack.json": stored.digest}
    digest = digests.get(role) or next(file.digest for file in files if file.role == role)
    blob = store.blob_path(digest)
    blob.chmod(0o644)
    damage(blob)
    (found,) = await StoredPackShelf(store).packs()
    assert isinstance(found, UnreadablePack)
    assert found.ref == REF
    assert found.reason
    assert "cloud-hub packs publish" in found.mend


@in_loop
async def test_damaged_weights_do_not_hide_a_pack(store: PackStore) -> None:
    """Weights are not read here: who installs the pack checks them."""
    manifest = store.load(REF, None).manifest
    blob = store.blob_path(next(file.digest for file in manifest.files if file.role == "weights"))
    blob.chmod(0o644)
    _other_bytes(blob)
    (found,) = await StoredPackShelf(store).packs()
    assert isinstance(found, PackFacts)


@in_loop
async def test_a_damaged_index_is_a_storage_error(store: PackStore) -> None:
    """Then nothing is known of any pack."""
    (store.root / "index.json").write_text("{")
    shelf = StoredPackShelf(store)
    with pytest.raises(StorageError, match=r"index\.json"):
        await shelf.packs()
    with pytest.raises(StorageError, match=r"index\.json"):
        await shelf.pack(REF)
