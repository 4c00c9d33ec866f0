"""Owns what a binding and the pack that it names must agree on; used by `edge-agent check` and at every start."""

from collections.abc import Iterator, Sequence

from edge_agent.binding_config import BindingConfig
from edge_agent.core.grid import whole_slots
from model_packs.manifest import DETECTION, PackManifest, WindowSpec
from model_packs.tensors import DYNAMIC, TensorSpec


def check_binding(binding: BindingConfig, manifest: PackManifest) -> list[str]:
    """Compare a binding with its pack.

    Args:
        binding: Valid by itself.
        manifest: Of the pack that it names.

    Returns:
        Every contradiction, each a sentence that names the key and both values; empty when they fit.
    """
    ref = manifest.ref
    problems: list[str] = []
    if manifest.role != "edge":
        problems.append(f"pack: {ref} is a {manifest.role} pack; a binding runs an edge pack")
    if binding.is_fed:  # callers, in contrast, give the whole input, whatever the pack declares
        problems += _source_problems(binding, manifest)
    return [*problems, *_label_problems(binding, manifest)]


def _source_problems(binding: BindingConfig, manifest: PackManifest) -> Iterator[str]:
    if binding.takes_images:
        yield from _image_problems(manifest)
    elif manifest.window is None:
        yield f"pack: {manifest.ref} takes no window of samples; this binding makes windows"
    else:
        yield from _window_problems(binding, manifest, manifest.window)


def _label_problems(binding: BindingConfig, manifest: PackManifest) -> Iterator[str]:
    """A rule about a label that the pack never answers would protect nothing."""
    rules = binding.escalation
    if manifest.task == DETECTION:
        yield from _rules_by_label(binding, manifest)
        return
    for key, labels in (
        ("always_escalate", rules.always_escalate),
        ("class_thresholds", tuple(rules.class_thresholds)),
    ):
        for label in labels:
            if label not in manifest.labels:
                yield f"escalation.{key}: {manifest.ref} has no label {label!r}; it has {', '.join(manifest.labels)}"


def _rules_by_label(binding: BindingConfig, manifest: PackManifest) -> Iterator[str]:
    """An answer of boxes has no label of its own, so nothing would ever come of such a rule."""
    rules = binding.escalation
    for key, is_set in (
        ("escalation.always_escalate", bool(rules.always_escalate)),
        ("escalation.class_thresholds", bool(rules.class_thresholds)),
        ("alarm", binding.alarm is not None),
    ):
        if is_set:
            yield f"{key}: {manifest.ref} tells boxes, and its answers have no label of their own; leave the key out"


def _image_problems(manifest: PackManifest) -> Iterator[str]:
    ref, image = manifest.ref, manifest.image
    if image is None:
        yield f'pack: {ref} takes no image; this binding has codec "image"'
    else:
        yield from _input_problems(manifest, "UINT8", (DYNAMIC, *image.shape))


def check_successor(present: PackManifest, new: PackManifest) -> list[str]:
    """Compare a new pack with the one that runs: who reads its answers, and windows in flight, may not notice.

    Args:
        present: Of the pack that runs.
        new: Of the pack that is to run in its place.

    Returns:
        Every difference that they would notice; empty when there is none.
    """
    pairs = {
        "task": (present.task, new.task),
        "labels": (", ".join(present.labels), ", ".join(new.labels)),
        "window": (present.window, new.window),
        "image": (present.image, new.image),
        "inputs": (_signature(present.inputs), _signature(new.inputs)),
        "outputs": (_signature(present.outputs), _signature(new.outputs)),
    }
    return [
        f"{name}: {new.ref} has {now}; {present.ref}, which runs, has {before}"
        for name, (before, now) in pairs.items()
        if now != before
    ]


def _signature(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs)


def _window_problems(binding: BindingConfig, manifest: PackManifest, window: WindowSpec) -> Iterator[str]:
    ref, channels, spec = manifest.ref, binding.channel_names, binding.window_spec()
    samples = whole_slots(spec.size_s, spec.rate_hz)
    if spec.rate_hz != window.rate_hz:
        yield f"payload.rate_hz: {spec.rate_hz:g} Hz; {ref} takes {window.rate_hz:g} Hz"
    elif samples != window.samples:
        wanted = f"{window.samples} ({window.samples / window.rate_hz:g} s)"
        yield f"window.size_s: {spec.size_s:g} s are {samples} samples; {ref} takes {wanted}"
    if channels and channels != window.channel_names:
        names = ", ".join(window.channel_names)
        yield f"payload.channels: {', '.join(channels)}; {ref} takes {window.channels}, in this order: {names}"
    yield from _input_problems(manifest, "FP32", (DYNAMIC, window.samples, window.channels))


def _input_problems(manifest: PackManifest, datatype: str, shape: tuple[int, ...]) -> Iterator[str]:
    if [(spec.datatype, spec.shape) for spec in manifest.inputs] != [(datatype, shape)]:
        shapes = ", ".join(f"{spec.datatype} {list(spec.shape)}" for spec in manifest.inputs)
        yield f"pack: {manifest.ref} takes {shapes}; this binding makes one input {datatype} {list(shape)}"
