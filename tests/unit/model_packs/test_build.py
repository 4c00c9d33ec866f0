"""Building packs: the same sources give the same pack, and what cannot be loaded is not built."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_packs.build import build_pack, build_spec
from model_packs.errors import PackError
from model_packs.golden import write_npy
from model_packs.manifest import ImageSpec
from model_packs.pack_spec import ImageEntry, OutputEntry, PackSpec, TensorEntry
from model_packs.process.settings import SettingsError, load_toml, sample_toml
from tests.simulators.packs import SPEC, build_tiny, write_sources


def test_the_same_sources_give_the_same_pack(tmp_path: Path) -> None:
    """Two builds in two folders agree in every digest."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert build_tiny(tmp_path / "a").digest == build_tiny(tmp_path / "b").digest
    first, second = (sorted(p.name for p in (tmp_path / n / "layout/blobs/sha256").iterdir()) for n in ("a", "b"))
    assert first == second


def test_a_build_can_be_repeated_into_the_same_layout(tmp_path: Path) -> None:
    """Nothing changes the second time."""
    first = build_tiny(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert build_tiny(tmp_path).digest == first.digest
    assert sorted(tmp_path.rglob("*")) == before


PACK_TOML = """
name = "tiny-edge"
version = "1.0.0"
family = "tiny"
role = "edge"
labels = ["idle", "moving", "broken"]
license = "Apache-2.0"
escalates_to = "tiny-hub@1.0.0"
max_batch = 4
card = "CARD.md"
[[inputs]]
name = "window"
shape = [-1, 5, 2]
[[outputs]]
name = "logits"
shape = [-1, 3]
[window]
samples = 5
rate_hz = 5
channel_names = ["x", "y"]
[[variants]]
id = "fp32"
file = "model.onnx"
[golden]
inputs = { window = "golden/window.npy" }
outputs = { logits = "golden/logits.npy" }
"""


def test_a_file_and_code_declare_the_same_pack(tmp_path: Path) -> None:
    """pack.toml and PackSpec lead to one digest."""
    write_sources(tmp_path)
    (tmp_path / "pack.toml").write_text(PACK_TOML)
    assert (
        build_pack(tmp_path / "pack.toml", tmp_path / "a").digest == build_spec(SPEC, tmp_path, tmp_path / "b").digest
    )


def test_an_image_is_declared_beside_its_input(tmp_path: Path) -> None:
    """The image of a declaration stands in the manifest, and no window does."""
    pack = build_tiny(
        tmp_path,
        inputs=(TensorEntry(name="image", datatype="UINT8", shape=(-1, 28, 20, 3)),),
        window=None,
        image=ImageEntry(height=28, width=20, mode="RGB"),
        golden=None,
    )
    assert (pack.manifest.image, pack.manifest.window) == (ImageSpec(28, 20, "RGB"), None)


def test_the_sample_declaration_can_be_read(tmp_path: Path) -> None:
    """What `model-pack new` writes is a valid pack.toml."""
    path = tmp_path / "pack.toml"
    path.write_text(sample_toml(PackSpec))
    assert load_toml(path, PackSpec).name == "my-model-edge"


def test_mistakes_in_the_declaration_are_listed(tmp_path: Path) -> None:
    """Unknown and missing keys come together."""
    (tmp_path / "pack.toml").write_text(PACK_TOML.replace("family", "familly"))
    with pytest.raises(SettingsError) as caught:
        build_pack(tmp_path / "pack.toml", tmp_path / "out")
    assert {problem.nearest for problem in caught.value.problems} == {"family", None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "1.0"}, "not a pack reference"),
        ({"escalates_to": "hub"}, "not a pack reference"),
        ({"card": "../secret"}, "leaves the pack"),
        ({"card": "/etc/passwd"}, "is absolute"),
        ({"card": "nothing.md"}, "cannot be read: No such file"),
        ({"card": "golden"}, "is no regular file"),
        ({"labels": ("a", "b")}, "one logit per label"),
        ({"outputs": (OutputEntry(name="y", shape=(-1, 3)),)}, "golden.outputs: must give one file for each of y"),
        ({"variants": ()}, "at least one is needed"),
        ({"task": "poetry"}, "task: must be one of"),
    ],
)
def test_a_declaration_that_cannot_become_a_pack_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """The pack is named, and no layout is left behind."""
    with pytest.raises(PackError, match=message):
        build_tiny(tmp_path, **changes)
    assert not (tmp_path / "layout").exists()


def test_a_symbolic_link_among_the_sources_is_refused(tmp_path: Path) -> None:
    """Neither a linked file nor a linked folder can pull in what lies elsewhere."""
    write_sources(tmp_path)
    (tmp_path / "link.md").symlink_to(tmp_path / "CARD.md")
    (tmp_path / "folder").symlink_to(tmp_path / "golden")
    for card in ("link.md", "folder/window.npy"):
        with pytest.raises(PackError, match="is a symbolic link"):
            build_spec(dataclasses.replace(SPEC, card=card), tmp_path, tmp_path / "out")


def test_golden_files_must_belong_together(tmp_path: Path) -> None:
    """Unequal numbers of examples and files that are no arrays are refused."""
    write_sources(tmp_path)
    (tmp_path / "golden" / "logits.npy").write_bytes(write_npy(np.zeros((3, 3), np.float32)))
    with pytest.raises(PackError, match="equally many examples"):
        build_spec(SPEC, tmp_path, tmp_path / "out")
    (tmp_path / "golden" / "logits.npy").write_bytes(b"rubbish")
    with pytest.raises(PackError, match=r"golden/logits\.npy: not a \.npy file"):
        build_spec(SPEC, tmp_path, tmp_path / "out")
