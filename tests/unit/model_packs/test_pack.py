"""A loaded pack whose digests hold may still contradict itself; what it gives out is checked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_packs.build import build_spec
from model_packs.errors import PackError
from model_packs.golden import write_npy
from model_packs.pack import Pack
from tests.simulators.packs import SPEC, write_sources


def build_with(folder: Path, path: str, data: bytes, certificate: str | None = None) -> Pack:
    """Build the tiny pack with one source replaced."""
    write_sources(folder)
    (folder / path).write_bytes(data)
    return build_spec(replace(SPEC, certificate=certificate), folder, folder / "layout")


def test_golden_inputs_of_another_shape_are_refused(tmp_path: Path) -> None:
    """They would fail in the engine with a message that helps nobody."""
    pack = build_with(tmp_path, "golden/window.npy", write_npy(np.zeros((7, 2, 5), np.float32)))
    with pytest.raises(PackError, match=r"golden/window\.npy: tensor 'window' must be FP32"):
        pack.golden()


def test_golden_outputs_of_another_datatype_are_refused(tmp_path: Path) -> None:
    """Datatypes are declared, too."""
    pack = build_with(tmp_path, "golden/logits.npy", write_npy(np.zeros((7, 3), np.float64)))
    with pytest.raises(PackError, match=r"golden/logits\.npy: tensor 'logits' must be FP32"):
        pack.golden()


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    """The file is named; a pack without one simply has none."""
    pack = build_with(tmp_path, "certificate.json", b"{}", certificate="certificate.json")
    with pytest.raises(PackError, match=r"certificate\.json: .*schema must be"):
        _ = pack.certificate
