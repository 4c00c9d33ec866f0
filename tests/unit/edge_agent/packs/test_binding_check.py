"""A binding against its pack: every contradiction in one go."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.binding_config import BindingConfig
from edge_agent.binding_tables import AlarmConfig, EscalationConfig, PayloadConfig, ResultConfig, WindowConfig
from edge_agent.packs.binding_check import check_binding
from model_packs.manifest import PackManifest
from model_packs.tensors import TensorSpec
from tests.simulators.packs import build_tiny, build_tiny_image

BINDING = BindingConfig(
    name="tiny",
    broker="site",
    pack="tiny-edge@1.0.0",
    topic="a/{x}",
    partition=("x",),
    payload=PayloadConfig(rate_hz=5.0, channels=("x", "y")),
    window=WindowConfig(size_s=1.0, hop_s=1.0),
    result=ResultConfig(topic="r/{x}"),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PackManifest:
    """Five samples of x and y, five a second."""
    folder: Path = tmp_path_factory.mktemp("pack")
    return build_tiny(folder).manifest


def test_a_binding_that_fits(manifest: PackManifest) -> None:
    """Nothing to say; without names, channels are not compared."""
    assert check_binding(BINDING, manifest) == []
    assert check_binding(replace(BINDING, payload=PayloadConfig(rate_hz=5.0)), manifest) == []


def test_every_contradiction_is_told(manifest: PackManifest) -> None:
    """With both values."""
    binding = replace(
        BINDING,
        payload=PayloadConfig(rate_hz=5.0, channels=("y", "x")),
        window=WindowConfig(size_s=2.0, hop_s=1.0),
    )
    assert check_binding(binding, replace(manifest, role="hub")) == [
        "pack: tiny-edge@1.0.0 is a hub pack; a binding runs an edge pack",
        "window.size_s: 2 s are 10 samples; tiny-edge@1.0.0 takes 5 (1 s)",
        "payload.channels: y, x; tiny-edge@1.0.0 takes 2, in this order: x, y",
    ]


def test_a_rule_about_a_label_that_the_pack_never_answers_is_told(manifest: PackManifest) -> None:
    """It would protect nothing; a misspelt one is found before anything starts."""
    rules = EscalationConfig(always_escalate=("broken", "braken"), class_thresholds={"idel": 0.9, "idle": 0.9})
    assert check_binding(replace(BINDING, escalation=rules), manifest) == [
        "escalation.always_escalate: tiny-edge@1.0.0 has no label 'braken'; it has idle, moving, broken",
        "escalation.class_thresholds: tiny-edge@1.0.0 has no label 'idel'; it has idle, moving, broken",
    ]


def test_a_wrong_rate_is_told_before_the_size_that_follows_from_it(manifest: PackManifest) -> None:
    """One mistake, one problem."""
    binding = replace(BINDING, payload=PayloadConfig(rate_hz=10.0))
    assert check_binding(binding, manifest) == ["payload.rate_hz: 10 Hz; tiny-edge@1.0.0 takes 5 Hz"]


def test_a_pack_that_takes_no_window(manifest: PackManifest) -> None:
    """Samples cannot feed it."""
    (problem,) = check_binding(BINDING, replace(manifest, window=None))
    assert problem == "pack: tiny-edge@1.0.0 takes no window of samples; this binding makes windows"


def test_a_binding_of_images_and_its_pack(manifest: PackManifest, tmp_path: Path) -> None:
    """They fit when the pack takes one image; a pack of windows does not, and nor does one with another input."""
    images = replace(BINDING, payload=PayloadConfig(codec="image"), window=None)
    pack = build_tiny_image(tmp_path).manifest
    assert check_binding(images, pack) == []
    assert check_binding(images, manifest) == ['pack: tiny-edge@1.0.0 takes no image; this binding has codec "image"']
    assert check_binding(images, replace(pack, inputs=(*pack.inputs, TensorSpec("more", "FP32", (-1, 1))))) == [
        f"pack: {pack.ref} takes UINT8 [-1, 4, 6], FP32 [-1, 1]; this binding makes one input UINT8 [-1, 4, 6]"
    ]
    assert check_binding(BINDING, pack) == [
        "pack: tiny-image-edge@1.0.0 takes no window of samples; this binding makes windows"
    ]


def test_a_pack_with_another_input(manifest: PackManifest) -> None:
    """Its tensors are compared with what the binding makes."""
    other = replace(manifest, inputs=(TensorSpec("window", "FP64", (-1, 5, 2)),))
    assert check_binding(BINDING, other) == [
        "pack: tiny-edge@1.0.0 takes FP64 [-1, 5, 2]; this binding makes one input FP32 [-1, 5, 2]"
    ]


def test_rules_by_label_are_no_rules_for_boxes(manifest: PackManifest) -> None:
    """An answer of boxes has no label of its own: neither rule nor alarm would ever come of it."""
    boxes = replace(manifest, task="detection")
    assert check_binding(BINDING, boxes) == []
    rules = EscalationConfig(always_escalate=("broken",), class_thresholds={"idle": 0.9})
    alarm = AlarmConfig(topic="alarm/{x}", labels=("broken",))
    assert check_binding(replace(BINDING, escalation=rules, alarm=alarm), boxes) == [
        f"{key}: tiny-edge@1.0.0 tells boxes, and its answers have no label of their own; leave the key out"
        for key in ("escalation.always_escalate", "escalation.class_thresholds", "alarm")
    ]
