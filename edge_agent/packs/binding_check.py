"""Owns what a binding and the pack that it names must agree on; used by `edge-agent check` and at every start."""

from collections.abc import Iterator

from edge_agent.binding_config import BindingConfig
from edge_agent.core.grid import whole_slots
from model_packs.manifest import PackManifest, WindowSpec
from model_packs.tensors import DYNAMIC


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
    if manifest.window is None:
        problems.append(f"pack: {ref} takes no window of samples; this binding makes windows")
    else:
        problems += _window_problems(binding, manifest, manifest.window)
    return problems


def _window_problems(binding: BindingConfig, manifest: PackManifest, window: WindowSpec) -> Iterator[str]:
    ref, payload = manifest.ref, binding.payload
    samples = whole_slots(binding.window.size_s, payload.rate_hz)
    if payload.rate_hz != window.rate_hz:
        yield f"payload.rate_hz: {payload.rate_hz:g} Hz; {ref} takes {window.rate_hz:g} Hz"
    elif samples != window.samples:
        wanted = f"{window.samples} ({window.samples / window.rate_hz:g} s)"
        yield f"window.size_s: {binding.window.size_s:g} s are {samples} samples; {ref} takes {wanted}"
    if payload.channels and payload.channels != window.channel_names:
        names = ", ".join(window.channel_names)
        yield f"payload.channels: {', '.join(payload.channels)}; {ref} takes {window.channels}, in this order: {names}"
    expected = (DYNAMIC, window.samples, window.channels)
    if [(spec.datatype, spec.shape) for spec in manifest.inputs] != [("FP32", expected)]:
        shapes = ", ".join(f"{spec.datatype} {list(spec.shape)}" for spec in manifest.inputs)
        yield f"pack: {ref} takes {shapes}; this binding makes one input FP32 {list(expected)}"
