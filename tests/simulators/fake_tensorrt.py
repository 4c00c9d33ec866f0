"""Owns a TensorRT that asks ONNX Runtime, on the GPU of `fake_cuda`: those calls that our engine makes, no more.

What it offers is held to the names of the real one by tests/contract/test_tensorrt_names.py.
"""
# ruff: noqa: D102, ANN401 - names and meanings are TensorRT's own, and ONNX Runtime has no types

import ctypes
import json
from collections.abc import Sequence
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from model_packs.tensors import DTYPES
from tests.simulators.fake_cuda import FakeCuda

_ORT = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(uint8)": "UINT8", "tensor(int64)": "INT64"}
_OURS = {"FLOAT": "FP32", "HALF": "FP16", "UINT8": "UINT8", "INT64": "INT64", "INT32": "INT32", "BOOL": "BOOL"}


class NetworkDefinitionCreationFlag(IntEnum):
    """Flags of a network."""

    STRONGLY_TYPED = 1


class BuilderFlag(IntEnum):
    """Flags of a build."""

    TF32 = 7
    STRICT_NANS = 22


class TensorIOMode(IntEnum):
    """Kinds of tensors."""

    INPUT = 1
    OUTPUT = 2


class DataType(IntEnum):
    """Types of tensors."""

    FLOAT = 0
    HALF = 1
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 8


class ILogger:
    """What takes messages."""

    INTERNAL_ERROR = 0
    ERROR = 1

    def log(self, severity: int, message: str) -> None:
        """Take a message; the real one has none of its own, either."""


class IHostMemory(bytes):
    """What TensorRT serialises; its names are `bytes`' own."""


class ITensor:
    """A tensor of a network."""

    def __init__(self, node: Any) -> None:
        self.name = node.name
        self.dtype = DataType[_ORT[node.type]]
        self.shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)


class INetworkDefinition:
    """A parsed graph."""

    def __init__(self, flags: int) -> None:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self._graph = b""
        self._session: Any = None

    @property
    def num_inputs(self) -> int:
        return len(self._session.get_inputs())

    @property
    def num_outputs(self) -> int:
        return len(self._session.get_outputs())

    def get_input(self, place: int) -> ITensor:
        return ITensor(self._session.get_inputs()[place])

    def get_output(self, place: int) -> ITensor:
        return ITensor(self._session.get_outputs()[place])


class ParserError:
    """Why a graph is not read."""

    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    """Reads graphs."""

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        assert isinstance(logger, ILogger)
        self._network = network
        self._errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, place: int) -> ParserError:
        return ParserError(self._errors[place])

    def parse(self, graph: bytes) -> bool:
        try:
            self._network._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no root but Exception
            self._errors.append(str(error))
            return False
        self._network._graph = graph
        return True


class IOptimizationProfile:
    """Ranges of sizes."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[Sequence[int]]] = {}

    def set_shape(self, name: str, smallest: Sequence[int], best: Sequence[int], largest: Sequence[int]) -> None:
        self._ranges[name] = [smallest, best, largest]


class ITimingCache:
    """Measured times."""

    def __init__(self, serialized: bytes) -> None:
        self._serialized = serialized

    def serialize(self) -> bytes:
        return self._serialized or b"times"


class IBuilderConfig:
    """How an engine is built."""

    def __init__(self) -> None:
        self._profiles: list[IOptimizationProfile] = []
        self._times: ITimingCache | None = None
        self._flags = {BuilderFlag.TF32}

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(flag)

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized: bytes) -> ITimingCache:
        return ITimingCache(serialized)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:  # noqa: FBT001 - TensorRT's own order
        assert not ignore_mismatch
        self._times = cache
        return cache._serialized in (b"", b"times")


class Builder:
    """Builds engines, and counts them."""

    built = 0
    refuses = ""

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        if self.refuses:
            self._logger.log(ILogger.ERROR, self.refuses)
            return None
        assert config._flags == {BuilderFlag.STRICT_NANS}
        assert config._times is not None
        type(self).built += 1
        head = json.dumps([profile._ranges for profile in config._profiles])
        return IHostMemory(head.encode() + b"\n" + network._graph)


class ICudaEngine:
    """An engine on the GPU."""

    def __init__(self, cuda: FakeCuda, plan: bytes) -> None:
        head, _, graph = plan.partition(b"\n")
        self._cuda = cuda
        self._profiles: list[dict[str, list[list[int]]]] = json.loads(head)
        self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self._tensors = {
            node.name: ITensor(node) for node in (*self._session.get_inputs(), *self._session.get_outputs())
        }
        self._inputs = {node.name for node in self._session.get_inputs()}

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, place: int) -> str:
        return str(list(self._tensors)[place])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensors[name].dtype

    def create_execution_context(self) -> "IExecutionContext":
        return IExecutionContext(self)


class IExecutionContext:
    """A way to run an engine."""

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._profile: dict[str, list[list[int]]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, number: int, _stream: int) -> bool:
        self._profile = self._engine._profiles[number]
        return True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        smallest, _, largest = self._profile[name]
        if not all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)):
            return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._engine._inputs:
            return self._shapes[name]
        n_windows = next(iter(self._shapes.values()))[0]
        head, *rest = self._engine._tensors[name].shape
        return (n_windows if head < 0 else head, *rest)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if set(self._addresses) != set(self._engine._tensors):
            return False
        shapes = dict(self._shapes)
        self._engine._cuda.queue(stream, lambda: self._execute(shapes))
        return True

    def _execute(self, shapes: dict[str, tuple[int, ...]]) -> None:
        session = self._engine._session
        feed = {name: self._view(name, shape).copy() for name, shape in shapes.items()}
        for node, array in zip(session.get_outputs(), session.run(None, feed), strict=True):
            self._view(node.name, array.shape)[...] = array

    def _view(self, name: str, shape: Sequence[int]) -> Any:
        dtype = DTYPES[_OURS[self._engine._tensors[name].dtype.name]]
        size_bytes = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_uint8 * size_bytes).from_address(self._addresses[name])
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)


def fake_tensorrt(cuda: FakeCuda, version: str = "11.4.0.106", refuses: str = "") -> Any:
    """Make a module `tensorrt`.

    Args:
        cuda: The GPU that it runs on.
        version: What it calls itself.
        refuses: What its builder complains of; empty: it builds.

    Returns:
        An object with the module's names; `Builder.built` counts what was built.
    """

    class Runtime:
        """Loads engines."""

        def __init__(self, logger: ILogger) -> None:
            assert cuda.contexts, "TensorRT was called before the GPU was asked for"
            self._logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
            return ICudaEngine(cuda, bytes(plan)) if plan.startswith(b"[") else None

    counting = type("Builder", (Builder,), {"built": 0, "refuses": refuses})
    classes = (
        BuilderFlag, DataType, IBuilderConfig, ICudaEngine, IExecutionContext, ILogger, INetworkDefinition,
        IOptimizationProfile, ITensor, ITimingCache, NetworkDefinitionCreationFlag, OnnxParser, ParserError, Runtime,
        TensorIOMode,
    )  # fmt: skip
    return SimpleNamespace(__version__=version, Builder=counting, **{kind.__name__: kind for kind in classes})
