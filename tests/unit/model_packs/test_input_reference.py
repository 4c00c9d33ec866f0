"""A pack states what normal inputs look like: from rows that stay out of it, bound to its digest, and read strictly."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_packs.errors import ManifestError, PackError
from model_packs.golden import write_npy
from model_packs.input_reference import InputReference, features_of, learnt
from model_packs.manifest_reading import read_manifest
from model_packs.pack import Pack
from tests.simulators.packs import CHANNELS, SAMPLES, build_tiny
from tests.unit.edge_agent.packs.manifests import MANIFEST

ROWS = "tune.npy"


def inputs(count: int = 200, seed: int = 1) -> NDArray[np.float32]:
    """Windows of noise around 1."""
    return np.random.default_rng(seed).normal(1.0, 2.0, (count, SAMPLES, CHANNELS)).astype(np.float32)


def built(folder: Path, rows: NDArray[Any]) -> Pack:
    """A pack that states what these rows look like."""
    folder.joinpath("sources").mkdir()
    folder.joinpath("sources", ROWS).write_bytes(write_npy(rows))
    return build_tiny(folder, input_reference=ROWS)


def test_a_pack_states_its_inputs_without_carrying_them(tmp_path: Path) -> None:
    """The statement is part of pack.json, so of the digest; the rows are nobody's who installs it."""
    pack = built(tmp_path, inputs())
    stated = pack.manifest.input_reference
    assert stated == learnt(np.stack([features_of(row, CHANNELS) for row in inputs()]))
    assert stated is not None
    assert stated.mean[:CHANNELS] == pytest.approx((1.0, 1.0), abs=0.2)
    assert ROWS not in {one.path for one in pack.manifest.files}
    without = replace(pack.manifest, input_reference=None)
    assert without.digest != pack.manifest.digest
    assert "input_reference" not in without.to_document(), "packs that state none keep the digests that they had"
    assert read_manifest(pack.manifest.canonical_json()) == pack.manifest


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (inputs(199), "at least 200 inputs"),
        (inputs().reshape(200, CHANNELS, SAMPLES), r"\[5, 2\] each"),
        (np.full((200, SAMPLES, CHANNELS), np.nan, np.float32), "not finite"),
    ],
)
def test_rows_that_say_nothing_are_refused(tmp_path: Path, rows: NDArray[Any], problem: str) -> None:
    """Too few, of another shape, or no numbers."""
    with pytest.raises(PackError, match=problem):
        built(tmp_path, rows)


def test_rows_that_never_change_have_a_reference_that_can_be_inverted() -> None:
    """A sensor that is stuck in the tune split is no reason to fail."""
    stated = learnt(np.stack([features_of(np.zeros((5, 2)), 2)] * 200))
    assert np.isfinite(stated.precision).all()
    assert min(stated.std) > 0.0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"mean": [0.0]}, "channels take"),
        ({"std": [0.0] * 4}, "std"),
        ({"usual": [0.5]}, "2 usual"),
        ({"precision": ["much"] * 16}, "precision"),
        ({"more": 1}, "more"),
    ],
)
def test_a_statement_that_does_not_fit_the_inputs_is_refused(change: dict[str, Any], problem: str) -> None:
    """A stranger's pack.json never reaches the arithmetic."""
    fine = InputReference((0.0,) * 4, (1.0,) * 4, (0.0,) * 16, (0.7, 0.1))
    document = replace(MANIFEST, input_reference=fine).to_document()
    read_manifest(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    document["input_reference"] = {**fine.to_document(), **change}
    with pytest.raises(ManifestError, match=problem):
        read_manifest(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def test_what_has_no_channels_has_no_reference() -> None:
    """Raw tensors could be anything."""
    stated = InputReference((0.0,) * 4, (1.0,) * 4, (0.0,) * 16, (0.7, 0.1))
    with pytest.raises(ManifestError, match="belongs to a window or an image"):
        read_manifest(replace(MANIFEST, window=None, input_reference=stated).canonical_json())
