"""Owns the few calls of NVIDIA's driver that a native engine needs: the GPU's name, memory, copies, streams, graphs.

It calls libcuda.so.1 through ctypes (CUDA Driver API, https://docs.nvidia.com/cuda/cuda-driver-api): the one library
that every driver brings, on servers and on Jetson, under a name and with symbols that never change, so that no CUDA
toolkit and no binding of the right version need be installed. TensorRT shares the GPU's primary context with it.
What runs on the GPU is `tensorrt_session.py`'s.
"""

import ctypes
from dataclasses import dataclass
from typing import Any, Final, NewType

import numpy as np
from numpy.typing import NDArray

from model_packs.errors import EngineError, MissingEngineError

LIBRARY: Final = "libcuda.so.1"

Address = NewType("Address", int)
"""Where memory of the GPU lies, in bytes."""
Stream = NewType("Stream", int)
"""A queue of work on the GPU; TensorRT takes it as it is."""
Graph = NewType("Graph", int)
"""Work that was captured once and is launched as one."""

_ABSENT_MEND: Final = "install NVIDIA's driver for this GPU, or use a pack with an onnxruntime variant"
_FAILED_MEND: Final = "restart the program; if it stays, look at dmesg for Xid messages of the driver"

# Numbers of cuda.h.
_SUCCESS: Final = 0
_CAPABILITY_MAJOR: Final = 75
_CAPABILITY_MINOR: Final = 76
_NAME_BYTES: Final = 256
_NON_BLOCKING: Final = 1
_CAPTURE_THREAD_LOCAL: Final = 1


class CudaError(EngineError):
    """The driver refuses or fails; what ran before on this GPU may have caused it."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """Which GPU it is.

    Attributes:
        name: The product, e.g. `Orin` or `NVIDIA L4`.
        capability: Compute capability, e.g. `8.7`.
    """

    name: str
    capability: str


class CudaDriver:
    """One GPU; every call may raise `CudaError`.

    The context is the calling thread's: call `use` first in each thread.

    Args:
        library: The loaded library; `load` finds the machine's.
    """

    def __init__(self, library: Any) -> None:  # noqa: ANN401 - ctypes.CDLL, or what a test puts in its place
        self._library = library
        self._device = ctypes.c_int(0)
        self._context = ctypes.c_void_p(0)

    @classmethod
    def load(cls) -> "CudaDriver":
        """Load the driver's library; nothing is asked of it yet.

        Returns:
            The driver, not open.

        Raises:
            MissingEngineError: This machine has none.
        """
        try:
            return cls(ctypes.CDLL(LIBRARY))
        except OSError as error:
            raise MissingEngineError(f"no NVIDIA driver: {LIBRARY} cannot be loaded", _ABSENT_MEND) from error

    def open(self, number: int = 0) -> Gpu:
        """Take a GPU; its primary context is kept until `close`.

        Args:
            number: Which one of those that the driver shows.

        Returns:
            Which GPU it is.

        Raises:
            MissingEngineError: The driver finds none, or fewer.
        """
        try:
            self._call("cuInit", ctypes.c_uint(0))
            self._call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(number))
            name = ctypes.create_string_buffer(_NAME_BYTES)
            self._call("cuDeviceGetName", name, ctypes.c_int(_NAME_BYTES), self._device)
            capability = f"{self._attribute(_CAPABILITY_MAJOR)}.{self._attribute(_CAPABILITY_MINOR)}"
            if not self._context:
                self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        except CudaError as error:
            raise MissingEngineError(f"no GPU that can be used: {error.reason}", _ABSENT_MEND) from error
        self.use()
        return Gpu(name.value.decode("utf-8", "replace"), capability)

    def close(self) -> None:
        """Let go of the context; a second call does nothing."""
        if self._context:
            self._context = ctypes.c_void_p(0)
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def use(self) -> None:
        """Make the GPU the calling thread's."""
        self._call("cuCtxSetCurrent", self._context)

    def reserve(self, size_bytes: int) -> Address:
        """Reserve memory of the GPU, at least one byte.

        Args:
            size_bytes: How much.

        Returns:
            Where it lies; `free` gives it back.
        """
        address = ctypes.c_uint64(0)
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(1, size_bytes)))
        return Address(address.value)

    def free(self, address: Address) -> None:
        """Give memory of the GPU back."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def pin(self, size_bytes: int) -> NDArray[np.uint8]:
        """Reserve memory of the machine that the GPU copies from and to without a detour.

        Args:
            size_bytes: How much; at least one byte is reserved.

        Returns:
            uint8 [size_bytes], writable, zeros; `unpin` gives it back, and nobody may read it afterwards.
        """
        address = ctypes.c_void_p(0)
        self._call("cuMemAllocHost_v2", ctypes.byref(address), ctypes.c_size_t(max(1, size_bytes)))
        memory = (ctypes.c_uint8 * size_bytes).from_address(address.value or 0)
        array = np.ctypeslib.as_array(memory)
        array.fill(0)
        return array

    def unpin(self, memory: NDArray[np.uint8]) -> None:
        """Give pinned memory back."""
        self._call("cuMemFreeHost", ctypes.c_void_p(memory.ctypes.data))

    def stream(self) -> Stream:
        """Make a queue of work."""
        stream = ctypes.c_void_p(0)
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(_NON_BLOCKING))
        return Stream(stream.value or 0)

    def destroy(self, stream: Stream) -> None:
        """Give a queue back, once its work is done."""
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def to_gpu(self, target: Address, source: NDArray[np.uint8], size_bytes: int, stream: Stream) -> None:
        """Queue a copy from pinned memory to the GPU."""
        where = ctypes.c_void_p(source.ctypes.data)
        self._call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(target),
            where,
            ctypes.c_size_t(size_bytes),
            ctypes.c_void_p(stream),
        )

    def to_host(self, target: NDArray[np.uint8], source: Address, size_bytes: int, stream: Stream) -> None:
        """Queue a copy from the GPU to pinned memory."""
        where = ctypes.c_void_p(target.ctypes.data)
        self._call(
            "cuMemcpyDtoHAsync_v2",
            where,
            ctypes.c_uint64(source),
            ctypes.c_size_t(size_bytes),
            ctypes.c_void_p(stream),
        )

    def wait(self, stream: Stream) -> None:
        """Wait until the queue is done; what failed in it fails here."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def begin_capture(self, stream: Stream) -> None:
        """From here on the queue's work is written down instead of done, as far as this thread queues it."""
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_CAPTURE_THREAD_LOCAL))

    def end_capture(self, stream: Stream) -> Graph:
        """Make what was written down launchable.

        Returns:
            The graph; `forget` gives it back.
        """
        template, graph = ctypes.c_void_p(0), ctypes.c_void_p(0)
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(template))
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(graph), template, ctypes.c_ulonglong(0))
        finally:
            self._call("cuGraphDestroy", template)
        return Graph(graph.value or 0)

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Queue a graph."""
        self._call("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def forget(self, graph: Graph) -> None:
        """Give a graph back."""
        self._call("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int(0)
        self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), self._device)
        return value.value

    def _call(self, function: str, *arguments: Any) -> None:  # noqa: ANN401 - ctypes values
        try:
            code = int(getattr(self._library, function)(*arguments))
        except AttributeError as error:
            raise MissingEngineError(
                f"the NVIDIA driver has no {function}", "install a driver for CUDA 11.4 or newer"
            ) from error
        if code != _SUCCESS:
            raise CudaError(f"{function} failed: {self._name(code)}", _FAILED_MEND)

    def _name(self, code: int) -> str:
        name = ctypes.c_char_p()
        if self._library.cuGetErrorName(ctypes.c_int(code), ctypes.byref(name)) != _SUCCESS or name.value is None:
            return f"error {code}"
        return name.value.decode("ascii", "replace")
