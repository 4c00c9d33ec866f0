"""What is decided before TensorRT builds: profiles, keys, whether a kept engine fits, what speaks against it."""

from dataclasses import replace
from pathlib import Path

import pytest

from model_packs.digests import digest_of
from model_packs.engines.cuda_driver import Gpu
from model_packs.engines.tensorrt_plan import (
    EngineKey,
    Profile,
    profile_for,
    profiles_for,
    read_kept,
    reason_against,
    write_kept,
)
from model_packs.manifest import PackManifest
from model_packs.tensors import TensorSpec
from tests.simulators.packs import build_tiny

KEY = EngineKey(digest_of(b"graph"), "11.4.0.106", Gpu("Orin", "8.7"), "fp32", (Profile(1, 1, 1), Profile(2, 4, 4)))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PackManifest:
    """The tiny pack's: one input, up to four windows."""
    return build_tiny(tmp_path_factory.mktemp("pack")).manifest


def test_one_window_and_many_are_optimised_apart(manifest: PackManifest) -> None:
    """A quiet device asks for one window, and its kernels are chosen for that; every size has its profile."""
    profiles = profiles_for(manifest)
    assert profiles == (Profile(1, 1, 1), Profile(2, 4, 4))
    assert [profile.is_fixed for profile in profiles] == [True, False]
    assert [profile_for(profiles, n_windows) for n_windows in (1, 2, 3, 4)] == [0, 1, 1, 1]


@pytest.mark.parametrize(("shape", "max_batch", "profile"), [((-1, 5, 2), 1, 1), ((8, 5, 2), 8, 8)])
def test_a_pack_with_one_size_has_one_profile(
    manifest: PackManifest, shape: tuple[int, ...], max_batch: int, profile: int
) -> None:
    """Either the batch is one, or the graph was exported for a fixed one."""
    fixed = replace(manifest, inputs=(TensorSpec("window", "FP32", shape),), max_batch=max_batch)
    assert profiles_for(fixed) == (Profile(profile, profile, profile),)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(KEY, graph_digest=digest_of(b"other")), f"graph {KEY.graph_digest}, this is {digest_of(b'other')}"),
        (replace(KEY, tensorrt="10.3.0"), "TensorRT 11.4.0.106, this is 10.3.0"),
        (replace(KEY, gpu=Gpu("NVIDIA L4", "8.7")), "GPU Orin, this is NVIDIA L4"),
        (replace(KEY, gpu=Gpu("Orin", "8.9")), "compute capability 8.7, this is 8.9"),
        (replace(KEY, precision="int8"), "precision fp32, this is int8"),
        (replace(KEY, profiles=KEY.profiles[:1]), "batches 1-1-1 2-4-4, this is 1-1-1"),
    ],
)
def test_an_engine_for_another_place_is_not_taken(other: EngineKey, reason: str) -> None:
    """Graph, version, GPU, precision and profiles each decide, and the reason names the one that differs."""
    kept = write_kept(KEY.facts, b"engine")
    assert read_kept(kept, KEY.facts) == (b"engine", "")
    assert read_kept(kept, other.facts) == (None, f"it was made for {reason}")


KEPT = write_kept(KEY.facts, b"engine")


@pytest.mark.parametrize(
    "data",
    [b"", b"rubbish", b"\xff\xfe\n", b"{}\nengine", b"[]\nengine", KEPT[:-1], KEPT + b"x", KEPT[:-1] + b"E"],
)
def test_a_damaged_engine_is_not_taken(data: bytes) -> None:
    """Cut short, grown, changed or something else: it is built again instead of being loaded."""
    assert read_kept(data, KEY.facts) == (None, "it is damaged")


def test_kernel_times_are_good_for_other_batches(manifest: PackManifest) -> None:
    """The times are of kernels, so that another largest batch measures only what is new."""
    assert replace(KEY, profiles=profiles_for(manifest)[:1]).timing_facts == KEY.timing_facts


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("10.3.0", None),
        ("11.4.0.106", None),
        ("10.2.0", "is older than 10.3"),
        ("8.6.1", "is older than 10.3"),
        ("next", "is older than 10.3"),
    ],
)
def test_older_versions_are_left_alone(manifest: PackManifest, version: str, reason: str | None) -> None:
    """Their calls are others."""
    assert reason_against(manifest, version) == reason


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (TensorSpec("x", "FP32", (-1, 3, -1)), "must know every size of input 'x' beside the batch"),
        (TensorSpec("x", "FP64", (-1, 3)), "has no FP64, which input 'x' is"),
    ],
)
def test_what_tensorrt_cannot_run_is_known_before_a_build(
    manifest: PackManifest, spec: TensorSpec, reason: str
) -> None:
    """Open sizes without a range, and datatypes that it has not."""
    assert reason_against(replace(manifest, inputs=(spec,)), "10.3.0") == reason


def test_the_next_version_replaces_the_file(tmp_path: Path) -> None:
    """Engines do not pile up: a file's name tells the graph and its precision only."""
    assert (tmp_path / KEY.stem).name == (tmp_path / replace(KEY, tensorrt="12.0").stem).name
    assert replace(KEY, precision="fp16").stem != KEY.stem
