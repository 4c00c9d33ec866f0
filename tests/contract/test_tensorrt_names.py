"""Holds every TensorRT name that our engine uses to the real ones, of TensorRT 10.3 (JetPack 6) and 11.

tests/contract/golden/tensorrt_api.json lists the names of the classes that we touch, as the bindings of these versions
print them; what can be imported without a GPU (the lean runtime) is compared with that list each time. The session is
tested against `fake_tensorrt`, which may offer nothing else.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.fake_cuda import FakeCuda
from tests.simulators.fake_tensorrt import fake_tensorrt
from tests.simulators.requirements import skip_or_fail

GOLDEN: dict[str, dict[str, list[str]]] = json.loads(
    (Path(__file__).parent / "golden" / "tensorrt_api.json").read_text(encoding="utf-8")
)
YOUNGER = {("BuilderFlag", "STRICT_NANS")}
"""Names that we use where they are, and do without where not."""

PYTHONS_OWN = {"conjugate", "denominator", "from_bytes", "imag", "numerator", "real"}


def used() -> dict[str, set[str]]:
    """Names of the fake, by class."""
    module = fake_tensorrt(FakeCuda())
    kinds = {name: kind for name, kind in vars(module).items() if isinstance(kind, type)}
    return {
        name: {each for each in dir(kind) if not each.startswith("_")} - set(dir(int)) - PYTHONS_OWN
        for name, kind in kinds.items()
    }


@pytest.mark.parametrize("version", sorted(GOLDEN))
def test_every_name_that_we_call_is_in_the_oldest_and_the_newest_tensorrt(version: str) -> None:
    """A call that only one of them knows would fail on a device that we cannot see."""
    ours = {"Builder": {"built", "refuses"}, "ILogger": set[str](), "ITensor": set[str]()}
    for name, names in used().items():
        missing = names - set(GOLDEN[version][name]) - ours.get(name, set())
        assert not {each for each in missing if (name, each) not in YOUNGER}, (version, name)


def test_the_list_of_names_is_what_the_installed_runtime_has() -> None:
    """The lean runtime is the part of TensorRT that can be imported without a GPU; it has what runs engines."""
    try:
        lean: Any = importlib.import_module("tensorrt_lean_bindings")
    except ImportError:
        skip_or_fail("tensorrt_lean_bindings is missing: pip install --editable '.[test]' (x86-64 Linux)")
    versions = [version for version in GOLDEN if version.split(".")[0] == lean.__version__.split(".")[0]]
    assert versions, f"no list of TensorRT {lean.__version__}"
    runtime = ("ICudaEngine", "IExecutionContext", "ILogger", "Runtime", "TensorIOMode", "DataType", "BuilderFlag")
    for name in (*runtime, "IOptimizationProfile", "ITimingCache"):
        here = set(dir(getattr(lean, name)))
        assert used()[name] <= here, name
        assert used()[name] <= {each for version in versions for each in GOLDEN[version][name]}, name


def test_no_function_of_the_driver_is_called_that_no_test_has_run() -> None:
    """The GPU in ordinary memory has each symbol that our adapter asks the driver for."""
    source = (Path(__file__).parents[2] / "model_packs" / "engines" / "cuda_driver.py").read_text(encoding="utf-8")
    called = {part.split('"')[0] for part in source.split('"cu')[1:]}
    assert called
    assert not {f"cu{name}" for name in called} - set(dir(FakeCuda))
