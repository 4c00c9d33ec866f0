"""Owns a GPU in ordinary memory: those calls of NVIDIA's driver that `model_packs.engines.cuda_driver` makes.

Work on a stream is done when the stream is waited for, not before, so that a copy that nobody waits for is seen.
"""
# ruff: noqa: N802, D102, ANN401 - names and meanings are the driver's own, and ctypes' values have no common type

import ctypes
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

Work = Callable[[], object]

NO_DEVICE = 100
FAILED = 700
CONTEXT = 77


class FakeCuda:
    """What `ctypes.CDLL("libcuda.so.1")` would be.

    Args:
        name: The GPU's name.
        devices: How many GPUs there are.
        refuses: Functions that fail.
    """

    def __init__(self, name: str = "Orin", devices: int = 1, refuses: Sequence[str] = ()) -> None:
        self.name = name
        self.devices = devices
        self.refuses = set(refuses)
        self.live: dict[int, Any] = {}
        self.queues: dict[int, list[Work]] = {}
        self.captured: dict[int, list[Work]] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.launches = 0
        self.contexts = 0
        self._numbers = count(1)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("cu") and name in self.refuses:
            return lambda *_: FAILED
        return found

    def queue(self, stream: int, work: Work) -> None:
        """Take work: for later, or for a graph while the stream is captured."""
        (self.captured[stream] if stream in self.captured else self.queues[stream]).append(work)

    def cuInit(self, _flags: Any) -> int:
        return 0 if self.devices else NO_DEVICE

    def cuGetErrorName(self, code: Any, name: Any) -> int:
        texts = {NO_DEVICE: b"CUDA_ERROR_NO_DEVICE", FAILED: b"CUDA_ERROR_ILLEGAL_ADDRESS"}
        name._obj.value = texts.get(code.value, b"CUDA_ERROR_UNKNOWN")
        return 0

    def cuDeviceGet(self, device: Any, number: Any) -> int:
        device._obj.value = number.value
        return 0 if number.value < self.devices else NO_DEVICE

    def cuDeviceGetName(self, name: Any, _size: Any, _device: Any) -> int:
        name.value = self.name.encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, number: Any, _device: Any) -> int:
        value._obj.value = {75: 8, 76: 7}[number.value]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, _device: Any) -> int:
        context._obj.value = CONTEXT
        self.contexts += 1
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, _device: Any) -> int:
        self.contexts -= 1
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0 if context.value == CONTEXT else FAILED

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        address._obj.value = self._reserve(size.value)
        return 0

    def cuMemFree_v2(self, address: Any) -> int:
        del self.live[address.value]
        return 0

    def cuMemAllocHost_v2(self, address: Any, size: Any) -> int:
        address._obj.value = self._reserve(size.value)
        return 0

    def cuMemFreeHost(self, address: Any) -> int:
        del self.live[address.value]
        return 0

    def cuStreamCreate(self, stream: Any, _flags: Any) -> int:
        stream._obj.value = next(self._numbers)
        self.queues[stream._obj.value] = []
        return 0

    def cuStreamDestroy_v2(self, stream: Any) -> int:
        del self.queues[stream.value]
        return 0

    def cuMemcpyHtoDAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:
        return self._copy(target.value, source.value, size.value, stream.value)

    def cuMemcpyDtoHAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:
        return self._copy(target.value, source.value, size.value, stream.value)

    def cuStreamSynchronize(self, stream: Any) -> int:
        todo, self.queues[stream.value] = self.queues[stream.value], []
        for work in todo:
            work()
        return 0

    def cuStreamBeginCapture_v2(self, stream: Any, _mode: Any) -> int:
        self.captured[stream.value] = []
        return 0

    def cuStreamEndCapture(self, stream: Any, template: Any) -> int:
        template._obj.value = next(self._numbers)
        self.graphs[template._obj.value] = self.captured.pop(stream.value)
        return 0

    def cuGraphInstantiateWithFlags(self, graph: Any, template: Any, _flags: Any) -> int:
        graph._obj.value = next(self._numbers)
        self.graphs[graph._obj.value] = list(self.graphs[template.value])
        return 0

    def cuGraphDestroy(self, template: Any) -> int:
        del self.graphs[template.value]
        return 0

    def cuGraphLaunch(self, graph: Any, stream: Any) -> int:
        self.launches += 1
        self.queues[stream.value] += self.graphs[graph.value]
        return 0

    def cuGraphExecDestroy(self, graph: Any) -> int:
        del self.graphs[graph.value]
        return 0

    def _reserve(self, size_bytes: int) -> int:
        memory = (ctypes.c_uint8 * size_bytes)()
        self.live[ctypes.addressof(memory)] = memory
        return ctypes.addressof(memory)

    def _copy(self, target: int, source: int, size_bytes: int, stream: int) -> int:
        self.queue(stream, lambda: ctypes.memmove(target, source, size_bytes))
        return 0
