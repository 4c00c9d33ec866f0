"""Full models come out of the pack store only when they are published, signed and sound."""

import logging
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.adapters.engine.pack_source import StoredPackSource
from cloud_hub.adapters.shelf import StoredPackShelf
from cloud_hub.errors import PackUnavailableError
from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.signing import SiteKey, generate_site_key
from model_packs.store import PackStore
from tests.simulators.loops import in_loop
from tests.simulators.packs import build_tiny

HUB = PackRef("tiny-hub", "1.0.0")


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    """The site key."""
    return generate_site_key(tmp_path / "site.key")


@pytest.fixture
def store(tmp_path: Path, key: SiteKey) -> PackStore:
    """A signed hub pack, a signed edge pack, and an unsigned hub pack."""
    packs = PackStore(tmp_path / "packs")
    packs.open()
    for name, role in (("tiny-hub", "hub"), ("tiny-edge", "edge"), ("tiny-bare", "hub")):
        folder = tmp_path / name
        folder.mkdir()
        escalates_to = "tiny-hub@1.0.0" if role == "edge" else None
        pack = build_tiny(folder, name=name, role=role, escalates_to=escalates_to)
        packs.import_layout(folder / "layout")
        if name != "tiny-bare":
            packs.sign(pack.ref, key)
    return packs


def source(store: PackStore, key: SiteKey) -> StoredPackSource:
    """The hub packs of the store, by onnxruntime."""
    return StoredPackSource(store, StoredPackShelf(store), (key.public,), open_session=open_session)


@in_loop
async def test_the_hub_packs_are_listed_and_opened(store: PackStore, key: SiteKey) -> None:
    """Edge packs are not listed; an opened pack runs, and says what it takes in memory."""
    packs = source(store, key)
    published = await packs.published()
    assert sorted(map(str, published)) == ["tiny-bare@1.0.0", "tiny-hub@1.0.0"]
    opened = packs.open(HUB)
    assert (opened.manifest, opened.digest) == (published[HUB], published[HUB].digest)
    assert opened.size_bytes == packs.size_bytes(published[HUB]) > 0
    outputs = opened.session.run({"window": np.zeros((1, 5, 2), np.float32)})
    assert outputs["logits"].shape == (1, 3)
    opened.session.close()


@pytest.mark.parametrize(("name", "word"), [("nobody", "nobody@1.0.0"), ("tiny-bare", "signed by nobody")])
def test_a_pack_that_must_not_run_is_named_with_the_mend(store: PackStore, key: SiteKey, name: str, word: str) -> None:
    """Unknown and unsigned packs are unavailable, each for its own reason."""
    with pytest.raises(PackUnavailableError, match=word):
        source(store, key).open(PackRef(name, "1.0.0"))


def test_a_damaged_pack_does_not_open(store: PackStore, key: SiteKey) -> None:
    """One flipped byte of the graph makes a pack unavailable."""
    graph = store.load(HUB, None).path("model.onnx")
    graph.chmod(0o644)
    graph.write_bytes(bytes([graph.read_bytes()[0] ^ 1]) + graph.read_bytes()[1:])
    with pytest.raises(PackUnavailableError, match=r"model\.onnx"):
        source(store, key).open(HUB)


@in_loop
async def test_a_pack_whose_documents_are_damaged_is_told_once(
    store: PackStore, key: SiteKey, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out of the list, with one line in the log however often the list is read; the others stay."""
    document = store.blob_path(store.load(HUB, None).digest)
    document.chmod(0o644)
    document.write_bytes(b"{}")
    packs = source(store, key)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert [ref.name for ref in await packs.published()] == ["tiny-bare"]
    assert [line.message for line in caplog.records] == ["pack_unavailable"]
