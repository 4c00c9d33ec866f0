"""Packs on disk: visible all at once or not at all, and only when every byte is what pack.json names."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_packs.digests import digest_of
from model_packs.errors import BlobError, DamagedPackError, PackError
from model_packs.layout import read_image_manifest
from model_packs.manifest import PackRef
from model_packs.signing import SiteKey, generate_site_key
from model_packs.store import PackStore
from tests.simulators.packs import build_tiny

REF = PackRef("tiny-edge", "1.0.0")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SiteKey:
    """A site key."""
    return generate_site_key(tmp_path_factory.mktemp("key") / "site.key")


@pytest.fixture
def store(tmp_path: Path) -> PackStore:
    """A store that holds one tiny pack."""
    build_tiny(tmp_path)
    return PackStore(tmp_path / "layout")


@pytest.fixture
def empty(tmp_path: Path) -> PackStore:
    """An empty, open store."""
    store = PackStore(tmp_path / "other")
    store.open()
    return store


def test_an_opened_store_is_an_empty_oci_layout(empty: PackStore) -> None:
    """It carries the marker file and an index, and opening it again keeps what is there."""
    empty.open()
    assert json.loads((empty.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert empty.list() == ()
    assert empty.resolve(REF) is None


def test_a_pack_is_listed_and_loaded(store: PackStore) -> None:
    """The listing gives the pack digest; loading gives files, golden examples and the manifest."""
    (stored,) = store.list()
    pack = store.load(REF, None)
    assert stored.ref == pack.ref == REF
    assert stored.digest == pack.digest == digest_of(pack.manifest.canonical_json())
    assert stored.manifest_digest == store.resolve(REF)
    assert stored.size_bytes == sum(path.stat().st_size for path in (store.root / "blobs/sha256").iterdir())
    inputs, outputs = pack.golden()
    assert inputs["window"].shape == (7, 5, 2)
    assert outputs["logits"].shape == (7, 3)
    assert pack.certificate is None


def test_an_unknown_pack_or_file_is_named(store: PackStore) -> None:
    """The message says what is there instead."""
    with pytest.raises(PackError, match=r"which holds tiny-edge@1\.0\.0"):
        store.load(PackRef("other", "1.0.0"), None)
    with pytest.raises(PackError, match="has no file 'nothing'") as caught:
        store.load(REF, None).read("nothing")
    assert "model.onnx" in caught.value.mend


def test_only_a_trusted_signature_loads(store: PackStore, key: SiteKey, tmp_path: Path) -> None:
    """Unsigned, then signed by another site, then by the trusted one; trusting nobody never loads."""
    trusted = (key.public,)
    with pytest.raises(PackError, match="signed by nobody"):
        store.load(REF, trusted)
    store.sign(REF, generate_site_key(tmp_path / "other.key"))
    with pytest.raises(PackError, match="trusted here"):
        store.load(REF, trusted)
    store.sign(REF, key)
    assert key.public.key_id in store.load(REF, trusted).signed_by
    assert len(store.list()[0].signed_by) == 2
    with pytest.raises(PackError, match="trusted here: none"):
        store.load(REF, ())


def test_signing_changes_neither_the_pack_nor_a_second_time_anything(store: PackStore, key: SiteKey) -> None:
    """The pack digest stays; signing again gives the same image manifest."""
    before = store.list()[0]
    first = store.sign(REF, key)
    assert store.sign(REF, key) == first == store.resolve(REF)
    assert store.list()[0].digest == before.digest
    assert first != before.manifest_digest


def test_a_version_never_changes_its_content(store: PackStore, tmp_path: Path) -> None:
    """Building other weights under the same version is refused, and the first stays."""
    before = store.list()
    with pytest.raises(PackError, match="holds this version with other content"):
        build_tiny(tmp_path, seed=8)
    assert store.list() == before
    store.load(REF, None)


def test_importing_copies_a_pack_with_its_signatures(store: PackStore, empty: PackStore, key: SiteKey) -> None:
    """The copy has the same digests; importing the unsigned original over a signed copy keeps the signature."""
    assert empty.import_layout(store.root) == REF
    assert empty.list() == store.list()
    empty.sign(REF, key)
    signed = empty.list()
    empty.import_layout(store.root)
    assert empty.list() == signed


def damage(path: Path) -> bytes:
    """Flip the last bit of a blob; return what it held."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return whole


def test_importing_again_heals_every_damaged_blob(store: PackStore, empty: PackStore, key: SiteKey) -> None:
    """Weights, pack.json, and the image manifest with its signatures; a whole layout is what counts."""
    empty.import_layout(store.root)
    empty.sign(REF, key)
    for blob in sorted((empty.root / "blobs" / "sha256").iterdir()):
        damage(blob)
        empty.import_layout(store.root)
        empty.sign(REF, key)
        empty.load(REF, (key.public,))
    (empty.root / "blobs" / "sha256" / empty.list()[0].digest[7:]).unlink()
    empty.import_layout(store.root)
    empty.load(REF, (key.public,))


def test_a_damaged_layout_is_refused_though_its_blobs_are_here(store: PackStore, empty: PackStore) -> None:
    """Every byte of what is given is checked, and a missing blob is no less a damage."""
    empty.import_layout(store.root)
    weights = store.load(REF, None).path("model.onnx")
    whole = damage(weights)
    with pytest.raises(DamagedPackError, match=r"model\.onnx: .* holds other bytes") as caught:
        empty.import_layout(store.root)
    assert str(store.root) in caught.value.mend
    weights.unlink()
    with pytest.raises(DamagedPackError, match=r"model\.onnx: the blob is missing"):
        empty.import_layout(store.root)
    weights.write_bytes(whole)
    assert empty.import_layout(store.root) == REF


def test_a_copied_pack_comes_alone(store: PackStore, empty: PackStore, tmp_path: Path) -> None:
    """Another version in the store does not come along."""
    build_tiny(tmp_path, version="1.1.0", seed=8)
    store.copy_to(empty, REF)
    assert [stored.ref for stored in empty.list()] == [REF]


def test_a_layout_with_two_packs_is_not_imported_by_guess(store: PackStore, empty: PackStore, tmp_path: Path) -> None:
    """Which of them was meant is not known."""
    build_tiny(tmp_path, version="1.1.0", seed=8)
    with pytest.raises(PackError, match="holds 2 packs"):
        empty.import_layout(store.root)


def test_a_pack_arrives_blob_by_blob(store: PackStore, empty: PackStore) -> None:
    """As a device does it: the manifest first, the missing blobs in ranges, then it becomes visible."""
    digest = store.resolve(REF)
    assert digest is not None
    manifest_bytes = store.read_blob(digest, 0, 1 << 20)
    with pytest.raises(PackError, match="is missing"):
        empty.add_manifest(REF, manifest_bytes)
    for blob in read_image_manifest(manifest_bytes).blobs:
        with empty.receive(blob.digest, blob.size_bytes) as receiver:
            while receiver.offset < blob.size_bytes:
                receiver.append(store.read_blob(blob.digest, receiver.offset, 100))
            receiver.commit()
    assert empty.list() == ()
    assert empty.add_manifest(REF, manifest_bytes) == digest
    assert empty.list() == store.list()


def test_reading_past_the_end_gives_nothing_and_an_unknown_blob_is_an_error(store: PackStore) -> None:
    """Ranges are clamped, never wrapped."""
    digest = store.list()[0].digest
    size_bytes = store.blob_size_bytes(digest)
    assert store.read_blob(digest, size_bytes, 10) == b""
    assert len(store.read_blob(digest, size_bytes - 3, 10)) == 3
    with pytest.raises(BlobError, match="missing"):
        store.read_blob(digest_of(b"unknown"), 0, 10)


def test_a_damaged_index_is_named(store: PackStore) -> None:
    """An empty index.json (a power cut without fsync) is an error with a mend, not an empty store."""
    (store.root / "index.json").write_bytes(b"")
    with pytest.raises(PackError, match=r"index\.json"):
        store.open()


def test_two_writers_do_not_lose_each_others_packs(tmp_path: Path) -> None:
    """Eight packs are added to one store at once; all are there."""
    target = PackStore(tmp_path / "target")
    target.open()
    layouts = []
    for patch in range(8):
        folder = tmp_path / str(patch)
        folder.mkdir()
        build_tiny(folder, version=f"1.0.{patch}", seed=patch)
        layouts.append(folder / "layout")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(target.import_layout, layouts))
    assert [stored.ref.version for stored in target.list()] == [f"1.0.{patch}" for patch in range(8)]


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path

# Die right before the rename that would make the new index visible.
real_replace = Path.replace
def replace(self, target):
    if Path(target).name == "index.json":
        os.kill(os.getpid(), signal.SIGKILL)
    return real_replace(self, target)
Path.replace = replace

from model_packs.store import PackStore
store = PackStore(Path(sys.argv[1]))
store.import_layout(Path(sys.argv[2]))
"""


def test_a_writer_killed_before_the_rename_leaves_the_old_index(store: PackStore, tmp_path: Path) -> None:
    """The store still holds exactly the old pack, and the same import afterwards succeeds."""
    folder = tmp_path / "new"
    folder.mkdir()
    build_tiny(folder, version="2.0.0", seed=9)
    arguments = [sys.executable, "-c", KILLED_WRITER, str(store.root), str(folder / "layout")]
    root = Path(__file__).parents[3]
    ended = subprocess.run(arguments, check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(root)})
    assert ended.returncode == -signal.SIGKILL
    assert [stored.ref for stored in store.list()] == [REF]
    store.load(REF, None)
    store.import_layout(folder / "layout")
    assert [stored.ref.version for stored in store.list()] == ["1.0.0", "2.0.0"]
