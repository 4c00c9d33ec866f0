"""Owns ONNX Runtime's execution providers: the names that a person writes, what each is given, what each needs.

That a build of the library lists a provider says nothing about this machine. A provider is taken after one real
inference on it (`onnxruntime_session.py`); here is what can be told before, and how its refusal is put into words.
"""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_packs.engines.options import EngineOptions
from model_packs.engines.session import batch_sizes
from model_packs.manifest import PackManifest
from model_packs.tensors import DYNAMIC

CPU: Final = "CPUExecutionProvider"
DRIVER: Final = "libcuda.so.1"
_GPU_EXTRA: Final = "pip install 'tandem-edge[gpu]'"

ProviderOptions = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider.

    Attributes:
        name: What a person writes in a config.
        engine_name: What ONNX Runtime calls it; certificates and facts name it so.
        options: What it is given for a pack.
        needs_driver: Whether it takes an NVIDIA driver.
    """

    name: str
    engine_name: str
    options: Callable[[PackManifest, EngineOptions], ProviderOptions]
    needs_driver: bool


def missing_part(provider: Provider, built_in: tuple[str, ...], version: str, driver: str = DRIVER) -> str:
    """Tell what a provider lacks before a graph is tried on it.

    Args:
        provider: The provider.
        built_in: Names of those that the library was built with.
        version: Version of the library.
        driver: Name of the driver's library.

    Returns:
        The reason; empty if nothing speaks against a try.
    """
    if provider.engine_name not in built_in:
        return f"ONNX Runtime {version} is built without it here ({_GPU_EXTRA})"
    if provider.needs_driver:
        try:
            ctypes.CDLL(driver)
        except OSError:
            return f"no NVIDIA driver on this machine ({driver} cannot be loaded)"
    return ""


def _none(_manifest: PackManifest, _options: EngineOptions) -> ProviderOptions:
    return {}


def _cuda(_manifest: PackManifest, options: EngineOptions) -> ProviderOptions:
    """FP32 stays FP32: TF32, which is on by default, drops 13 bits, and certificates are stated for a precision."""
    return {"device_id": str(options.device), "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}


def _tensorrt(manifest: PackManifest, options: EngineOptions) -> ProviderOptions:
    """One profile for all batches of the pack, and engines kept where there is a folder for them."""
    told = {"device_id": str(options.device)}
    if any(DYNAMIC in spec.shape for spec in manifest.inputs):
        told |= {
            "trt_profile_min_shapes": _shapes(manifest, 1),
            "trt_profile_opt_shapes": _shapes(manifest, manifest.max_batch),
            "trt_profile_max_shapes": _shapes(manifest, manifest.max_batch),
        }
    if options.cache_dir is not None:
        folder = _folder(options.cache_dir)
        told |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
        }
    return told


def _folder(cache_dir: Path) -> str:
    return str(cache_dir / "tensorrt-provider")


def _shapes(manifest: PackManifest, batch: int) -> str:
    """`name:1x5x2,…`, as TensorRT's provider wants it."""
    return ",".join(f"{spec.name}:{'x'.join(map(str, batch_sizes(spec, batch)))}" for spec in manifest.inputs)


PROVIDERS: Final[Mapping[str, Provider]] = {
    one.name: one
    for one in (
        Provider("tensorrt", "TensorrtExecutionProvider", _tensorrt, needs_driver=True),
        Provider("cuda", "CUDAExecutionProvider", _cuda, needs_driver=True),
        Provider("cpu", CPU, _none, needs_driver=False),
    )
}
