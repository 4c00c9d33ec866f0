"""Owns an engine that lies on the GPU: its contexts, one a profile, its buffers, and the way of a batch through them.

Pinned memory, copy in, kernels, copy out, pinned memory: all on one stream. A profile of one size becomes one CUDA
graph after its first run, which saves the launches of a small model; a context whose shapes change must not be captured
(TensorRT, "CUDA Graphs"), so the other profile is launched kernel by kernel. One batch at a time: the caller locks.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.engines.cuda_driver import Address, CudaDriver, Graph, Stream
from model_packs.engines.tensorrt_build import TensorRtRefusalError, datatype
from model_packs.engines.tensorrt_plan import Profile, profile_for
from model_packs.errors import EngineError
from model_packs.tensors import DTYPES, DYNAMIC, TensorSpec

logger = logging.getLogger(__name__)

FAILED_MEND: Final = "run model-pack verify on the pack; if that passes, report the input that fails"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies: on the GPU, and in pinned memory."""

    spec: TensorSpec
    is_input: bool
    gpu: Address
    pinned: NDArray[np.uint8]

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.spec.datatype]


@dataclass(frozen=True, slots=True)
class _Bound:
    """A tensor of a batch of one size: the pinned memory in its shape."""

    place: _Place
    array: NDArray[Any]


@dataclass(slots=True)
class _Lane:
    """A profile with its context."""

    profile: Profile
    context: Any
    n_windows: int = 0
    bound: dict[int, tuple[_Bound, ...]] = field(default_factory=dict)
    graph: Graph | None = None
    may_capture: bool = True


class Lanes:
    """An engine on the GPU, ready to run.

    Args:
        driver: The open driver.
        engine: The deserialised `tensorrt.ICudaEngine`.
        profiles: What it was built for, in order.
        trt: The module `tensorrt`.
    """

    def __init__(self, driver: CudaDriver, engine: Any, profiles: tuple[Profile, ...], trt: Any) -> None:  # noqa: ANN401 - the library ships no types
        self._driver = driver
        self._engine = engine
        self._profiles = profiles
        self._trt = trt
        self._stream: Stream | None = None
        self._lanes: list[_Lane] = []
        self._places: list[_Place] = []

    def open(self) -> None:
        """Make the contexts, find every tensor's largest size and reserve memory for it.

        Raises:
            TensorRtRefusalError: No context can be made, or an output's size is known only after a run.
            EngineError: The GPU has no memory left.
        """
        stream = self._stream = self._driver.stream()
        for number, profile in enumerate(self._profiles):
            context = self._engine.create_execution_context()
            if context is None or not context.set_optimization_profile_async(number, stream):
                raise TensorRtRefusalError(f"cannot make a context for {profile.largest} windows")
            self._driver.wait(stream)
            self._lanes.append(_Lane(profile, context))
        widest = self._lanes[-1]
        inputs, outputs = self.io()
        for spec in inputs:
            widest.context.set_input_shape(spec.name, widest.profile.shape(spec, widest.profile.largest))
        for is_input, specs in ((True, inputs), (False, outputs)):
            for spec in specs:
                self._places.append(self._reserved(spec, widest, is_input=is_input))
        for lane in self._lanes:
            for place in self._places:
                lane.context.set_tensor_address(place.spec.name, place.gpu)

    def io(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        """Tell the engine's inputs and outputs, open sizes as `DYNAMIC`."""
        found: tuple[list[TensorSpec], list[TensorSpec]] = ([], [])
        for number in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(number)
            shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
            is_output = self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.OUTPUT
            found[is_output].append(TensorSpec(name, datatype(self._engine.get_tensor_dtype(name)), shape))
        return found

    def run(self, inputs: Mapping[str, NDArray[Any]], wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Run one batch.

        Args:
            inputs: Checked against the manifest; read only.
            wanted: Names of the outputs to give.

        Returns:
            New arrays by name.

        Raises:
            EngineError: TensorRT or the GPU failed.
        """
        stream = self._stream
        if stream is None:
            raise EngineError("the engine is closed", FAILED_MEND)
        self._driver.use()
        n_windows = len(next(iter(inputs.values())))
        lane = self._lanes[profile_for(self._profiles, n_windows)]
        bound = self._bound(lane, n_windows)
        for part in bound:
            if part.place.is_input:
                np.copyto(part.array, inputs[part.place.spec.name])
        if lane.graph is not None:
            self._driver.launch(lane.graph, stream)
        else:
            self._queue(lane, bound, stream)
        self._driver.wait(stream)
        outputs = {part.place.spec.name: part.array for part in bound if not part.place.is_input}
        answers = {name: outputs[name].copy() for name in wanted}
        if lane.profile.is_fixed and lane.may_capture:
            self._capture(lane, bound, stream)
        return answers

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        self._driver.use()
        for lane in self._lanes:
            if lane.graph is not None:
                self._driver.forget(lane.graph)
            lane.bound.clear()
            lane.context = None
        self._lanes.clear()
        self._engine = None
        for place in self._places:
            self._driver.free(place.gpu)
            self._driver.unpin(place.pinned)
        self._places.clear()
        if self._stream is not None:
            self._driver.destroy(self._stream)
            self._stream = None

    def _reserved(self, spec: TensorSpec, widest: _Lane, *, is_input: bool) -> _Place:
        shape = tuple(int(size) for size in widest.context.get_tensor_shape(spec.name))
        if DYNAMIC in shape:
            raise TensorRtRefusalError(f"knows the size of output {spec.name!r} only after a run")
        if spec.datatype not in DTYPES:
            raise TensorRtRefusalError(f"gives {spec.name!r} as {spec.datatype}")
        size_bytes = int(np.prod(shape, dtype=np.int64)) * DTYPES[spec.datatype].itemsize
        gpu = self._driver.reserve(size_bytes)
        try:
            return _Place(spec, is_input, gpu, self._driver.pin(size_bytes))
        except EngineError:
            self._driver.free(gpu)
            raise

    def _bound(self, lane: _Lane, n_windows: int) -> tuple[_Bound, ...]:
        """Set the batch's size, if it is another than the last, and shape the pinned memory for it."""
        if lane.n_windows != n_windows:
            for place in self._places:
                if place.is_input and not lane.context.set_input_shape(
                    place.spec.name, lane.profile.shape(place.spec, n_windows)
                ):
                    raise EngineError(f"TensorRT refuses a batch of {n_windows}", FAILED_MEND)
            lane.n_windows = n_windows
        if n_windows not in lane.bound:
            lane.bound[n_windows] = tuple(self._shaped(lane, place) for place in self._places)
        return lane.bound[n_windows]

    def _shaped(self, lane: _Lane, place: _Place) -> _Bound:
        shape = tuple(int(size) for size in lane.context.get_tensor_shape(place.spec.name))
        size_bytes = int(np.prod(shape, dtype=np.int64)) * place.dtype.itemsize
        return _Bound(place, place.pinned[:size_bytes].view(place.dtype).reshape(shape))

    def _queue(self, lane: _Lane, bound: Sequence[_Bound], stream: Stream) -> None:
        for part in bound:
            if part.place.is_input:
                self._driver.to_gpu(part.place.gpu, part.place.pinned, part.array.nbytes, stream)
        if not lane.context.execute_async_v3(stream):
            raise EngineError("TensorRT failed to run a batch", FAILED_MEND)
        for part in bound:
            if not part.place.is_input:
                self._driver.to_host(part.place.pinned, part.place.gpu, part.array.nbytes, stream)

    def _capture(self, lane: _Lane, bound: Sequence[_Bound], stream: Stream) -> None:
        """Write the batch's work down once; where that fails, it is launched piece by piece as before."""
        lane.may_capture = False
        failed: EngineError | None = None
        try:
            self._driver.begin_capture(stream)
            try:
                self._queue(lane, bound, stream)
            except EngineError as error:
                failed = error
            lane.graph = self._driver.end_capture(stream)
        except EngineError as error:
            failed = failed or error
        if failed is None:
            return
        if lane.graph is not None:
            self._driver.forget(lane.graph)
            lane.graph = None
        logger.info("cuda_graph_unused", extra={"reason": failed.reason})
