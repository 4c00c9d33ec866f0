"""Full models come out of the pack store only when they are published, signed and sound."""

from functools import partial
from pathlib import Path

import pytest

from cloud_hub.adapters.engine.pack_models import PackModels
from cloud_hub.errors import PackUnavailableError
from model_packs.engines.opening import open_session
from model_packs.engines.options import EngineOptions
from model_packs.signing import SiteKey, generate_site_key
from model_packs.store import PackStore
from tests.simulators.loops import in_loop
from tests.simulators.packs import build_tiny


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


def models(store: PackStore, key: SiteKey, inline_below_ms: float = 1.0) -> PackModels:
    """The models of the store, by onnxruntime."""
    return PackModels(
        store,
        (key.public,),
        open_session=partial(open_session, options=EngineOptions(threads=1)),
        max_batch=64,
        inline_below_ms=inline_below_ms,
    )


@pytest.mark.parametrize(("inline_below_ms", "is_quick"), [(0.0, False), (60_000.0, True)])
@in_loop
async def test_a_published_model_is_loaded_once_and_timed(
    store: PackStore,
    key: SiteKey,
    inline_below_ms: float,
    is_quick: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Asking twice gives the same session; whether it is quick follows from the measured batch."""
    found = models(store, key, inline_below_ms)
    model = await found.find("tiny-hub@1.0.0")
    assert await found.find("tiny-hub@1.0.0") is model
    assert model.is_quick is is_quick
    assert (model.manifest.role, model.digest) == ("hub", store.list()[-1].digest)
    found.close()
    found.close()


@pytest.mark.parametrize(
    ("pack", "word"),
    [
        ("nobody@1.0.0", "cloud-hub packs publish"),
        ("tiny-hub", "name@version"),
        ("tiny-edge@1.0.0", "edge pack"),
        ("tiny-bare@1.0.0", "signed by nobody"),
    ],
)
@in_loop
async def test_a_model_that_must_not_run_is_named_with_the_mend(
    store: PackStore, key: SiteKey, pack: str, word: str
) -> None:
    """Unknown, malformed, edge and unsigned packs are unavailable, each for its own reason, also when asked again."""
    found = models(store, key)
    for _ in range(2):
        with pytest.raises(PackUnavailableError, match=word) as caught:
            await found.find(pack)
        assert pack in str(caught.value)


@in_loop
async def test_a_damaged_pack_does_not_load_and_the_others_do(store: PackStore, key: SiteKey) -> None:
    """One flipped byte makes a pack unavailable; loading all of them goes on past it."""
    (bare, edge, hub) = store.list()
    assert (bare.ref.name, edge.ref.name) == ("tiny-bare", "tiny-edge")
    graph = store.load(hub.ref, None).path("model.onnx")
    graph.chmod(0o644)
    graph.write_bytes(bytes([graph.read_bytes()[0] ^ 1]) + graph.read_bytes()[1:])
    found = models(store, key)
    await found.load_all()
    with pytest.raises(PackUnavailableError, match=r"model\.onnx"):
        await found.find("tiny-hub@1.0.0")
    found.close()


@in_loop
async def test_loading_all_makes_the_hub_packs_ready(store: PackStore, key: SiteKey) -> None:
    """After the start the first question finds its model open; edge packs are not opened."""
    opened: list[str] = []

    def remember(pack: object) -> object:
        opened.append(str(pack.ref))  # type: ignore[attr-defined] # a Pack
        return open_session(pack)  # type: ignore[arg-type] # a Pack

    found = PackModels(store, (key.public,), open_session=remember, max_batch=4, inline_below_ms=1.0)  # type: ignore[arg-type] # a Session
    await found.load_all()
    await found.find("tiny-hub@1.0.0")
    assert opened == ["tiny-hub@1.0.0"]
    found.close()
