"""What leaves a store of packs: what no pack names, and never anything that one does, wherever a crash falls."""

import threading
from pathlib import Path

import pytest

from model_packs.errors import PackError
from model_packs.manifest import PackRef
from model_packs.store import PackStore
from tests.simulators.packs import build_tiny

ONE, TWO = PackRef("tiny-edge", "1.0.0"), PackRef("tiny-edge", "2.0.0")


@pytest.fixture
def store(tmp_path: Path) -> PackStore:
    """A store with two packs, which share their model card and golden inputs."""
    store = PackStore(tmp_path / "store")
    store.open()
    for number, ref in enumerate((ONE, TWO)):
        folder = tmp_path / ref.version
        folder.mkdir()
        build_tiny(folder, version=ref.version, seed=number)
        store.import_layout(folder / "layout")
    return store


def blobs(store: PackStore) -> set[str]:
    """Names of all blobs."""
    return {path.name for path in (store.root / "blobs" / "sha256").iterdir()}


def test_a_removed_pack_takes_its_own_blobs_with_it(store: PackStore) -> None:
    """Those that the other one needs, too, stay; a second collection finds nothing."""
    before = sum(one.size_bytes for one in store.list())
    held = sum(path.stat().st_size for path in (store.root / "blobs" / "sha256").iterdir())
    assert held < before, "they share blobs"
    store.remove(ONE)
    assert [one.ref for one in store.list()] == [TWO]
    freed_bytes = store.collect()
    assert 0 < freed_bytes < before
    assert store.load(TWO, None).ref == TWO
    assert store.collect() == 0


def test_removing_an_unknown_pack_changes_nothing(store: PackStore) -> None:
    """It is gone already."""
    before = blobs(store)
    store.remove(PackRef("nobody", "1.0.0"))
    assert store.collect() == 0
    assert blobs(store) == before


def test_unfinished_work_is_collected(store: PackStore) -> None:
    """Blobs that no pack names, parts of blobs, and the temporary files of killed writers."""
    orphan = store.write_blob(b"named by nobody")
    with store.receive(store.write_blob(b"x" * 100), 100) as receiver:
        receiver.append(b"half")
    leftovers = [store.root / ".index.json.0badcafe.tmp", store.root / "blobs" / "sha256" / ".half.0badcafe.tmp"]
    for path in leftovers:
        path.write_bytes(b"half")
    store.collect()
    assert orphan.removeprefix("sha256:") not in blobs(store)
    assert not any(path.exists() for path in leftovers)
    assert list((store.root / "ingest").iterdir()) == []
    assert {store.load(ref, None).ref for ref in (ONE, TWO)} == {ONE, TWO}


def test_nothing_is_collected_while_somebody_fetches(store: PackStore) -> None:
    """Its blobs are not named yet; another thread, or another program, may be the one that fetches."""
    fetching, done = threading.Event(), threading.Event()

    def fetch() -> None:
        with PackStore(store.root).fetching():
            fetching.set()
            assert done.wait(30.0)

    thread = threading.Thread(target=fetch)
    thread.start()
    assert fetching.wait(30.0)
    orphan = store.write_blob(b"arrived, not named yet")
    assert store.collect() == 0
    assert orphan.removeprefix("sha256:") in blobs(store)
    done.set()
    thread.join()
    assert store.collect() > 0
    assert orphan.removeprefix("sha256:") not in blobs(store)


def test_a_damaged_manifest_stops_the_collection(store: PackStore) -> None:
    """Nobody can tell any more which blobs its pack needs."""
    digest = store.resolve(ONE)
    assert digest is not None
    store.blob_path(digest).write_bytes(b"{}")
    before = blobs(store)
    with pytest.raises(PackError):
        store.collect()
    assert blobs(store) == before


def test_a_part_is_counted(store: PackStore) -> None:
    """What an interrupted transfer left is not asked for again."""
    digest = store.write_blob(b"y" * 50)
    assert store.partial_bytes(digest) == 0
    with store.receive(digest, 50) as receiver:
        receiver.append(b"y" * 20)
    assert store.partial_bytes(digest) == 20
