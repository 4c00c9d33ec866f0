"""The damaged patch: good when it is built, unmistakably damaged afterwards; the pack before it stays whole."""

from pathlib import Path

import pytest

from deploy.demo.baselines import layout
from deploy.demo.fleet import NEXT_EDGE_PACK, PATCH
from deploy.demo.patch_release import build, damage
from model_packs.errors import DamagedPackError
from model_packs.signing import generate_site_key
from model_packs.store import PackStore
from model_packs.verification import check_certificate, check_golden


@pytest.fixture
def store(tmp_path: Path) -> PackStore:
    """A store with the second student and its patch, both signed."""
    made = PackStore(tmp_path / "packs")
    made.open()
    build(tmp_path / "patch")
    key = generate_site_key(tmp_path / "site.key")
    for path in (layout(NEXT_EDGE_PACK), tmp_path / "patch"):
        made.sign(made.import_layout(path), key)
    return made


def test_the_patch_is_a_good_pack_until_somebody_damages_it(store: PackStore) -> None:
    """Digests, certificate and golden examples hold: a device has no other reason to refuse it."""
    pack = store.load(PATCH, None)
    assert [check.is_ok for check in (check_certificate(pack), check_golden(pack))] == [True, True]


def test_the_damage_is_found_and_touches_no_other_pack(store: PackStore) -> None:
    """The patch's weights are its own bytes; the second student can still be served."""
    damage(store.root, PATCH)
    with pytest.raises(DamagedPackError, match=r"model\.onnx"):
        store.load(PATCH, None)
    assert store.load(NEXT_EDGE_PACK, None).ref == NEXT_EDGE_PACK
