"""Owns running ONNX graphs with TensorRT on an NVIDIA GPU: engines are built on the device and kept beside the packs.

What TensorRT does not take is passed over, by a reason, for another variant of the pack. The decisions are
`tensorrt_plan.py`'s, building `tensorrt_build.py`'s, the way of a batch `tensorrt_lanes.py`'s, the GPU
`cuda_driver.py`'s; the behaviour that is promised is `session.py`. The GPU is asked for before TensorRT is imported:
without one, TensorRT's own calls can end the process.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from model_packs.engines.cuda_driver import CudaDriver, CudaError, Gpu
from model_packs.engines.graph_file import check_io, name_of, read_graph
from model_packs.engines.options import EngineOptions
from model_packs.engines.session import SessionFacts, check_inputs, zero_inputs
from model_packs.engines.tensorrt_build import TensorRtRefusalError, build_engine, make_logger
from model_packs.engines.tensorrt_files import EngineFiles
from model_packs.engines.tensorrt_lanes import FAILED_MEND, Lanes
from model_packs.engines.tensorrt_plan import EngineKey, profiles_for, reason_against
from model_packs.errors import EngineError, MissingEngineError
from model_packs.manifest import PackManifest, Variant

ENGINE: Final = "tensorrt"
FOLDER: Final = "tensorrt"
"""Name of the folder below the install's cache."""

_OTHER_VARIANT: Final = "give the pack an onnxruntime variant of the same graph"


def import_tensorrt() -> Any:  # noqa: ANN401 - the library ships no types
    """Import the library.

    Returns:
        The module `tensorrt`.

    Raises:
        MissingEngineError: It is not installed.
    """
    try:
        import tensorrt  # noqa: PLC0415 - engines are imported only where a session opens
    except ImportError as error:
        raise MissingEngineError(
            "TensorRT is not installed",
            "pip install 'tandem-edge[tensorrt]'; on a Jetson, apt-get install python3-libnvinfer",
        ) from error
    return tensorrt


class TensorRtSession:
    """A `Session` on TensorRT.

    Args:
        manifest: The pack.
        variant: The variant to run; its file is an ONNX graph.
        graph: Where its graph lies.
        options: What the program decided.
        load_driver: Finds the NVIDIA driver.
        load_tensorrt: Imports TensorRT.
    """

    def __init__(
        self,
        manifest: PackManifest,
        variant: Variant,
        graph: Path,
        options: EngineOptions,
        *,
        load_driver: Callable[[], CudaDriver] = CudaDriver.load,
        load_tensorrt: Callable[[], Any] = import_tensorrt,
    ) -> None:
        self._manifest = manifest
        self._variant = variant
        self._graph = graph
        self._options = options
        self._load_driver = load_driver
        self._load_tensorrt = load_tensorrt
        self._lock = threading.Lock()
        self._driver: CudaDriver | None = None
        self._lanes: Lanes | None = None
        self._facts: SessionFacts | None = None
        self._needed: list[object] = []  # TensorRT's logger and runtime must outlive what they made

    @property
    def facts(self) -> SessionFacts:
        """What it runs on; see `Session.facts`."""
        if self._facts is None:
            raise self._closed()
        return self._facts

    def open(self) -> None:
        """Load the engine, building it if none is kept for this place; see `Session.open`.

        Raises:
            MissingEngineError: There is no GPU, no memory on it, or no TensorRT, or it does not take the graph; says
                which.
            EngineError: The graph is not the manifest's.
        """
        if self._lanes is not None:
            return
        graph = read_graph(self._manifest, self._variant, self._graph)
        try:
            self._driver = self._load_driver()
            gpu = self._driver.open(self._options.device)
            trt = self._load_tensorrt()
            self._lanes = self._loaded(trt, gpu, graph)
        except (MissingEngineError, CudaError) as error:
            self.close()
            raise MissingEngineError(f"{self._name()}: {error.reason}", error.mend) from error
        except TensorRtRefusalError as error:
            self.close()
            reason = " ".join(f"TensorRT {trt.__version__} {error}".split())
            raise MissingEngineError(f"{self._name()}: {reason}", _OTHER_VARIANT) from error
        except EngineError:
            self.close()
            raise
        except Exception as error:  # calling an engine: its errors share no root but Exception
            self.close()
            raise MissingEngineError(f"{self._name()}: TensorRT failed: {error}", _OTHER_VARIANT) from error
        self._facts = self._described(str(trt.__version__), gpu)

    def warm_up(self) -> None:
        """Run on zeros, and capture CUDA graphs; see `Session.warm_up`."""
        for n_windows in sorted({1, self._manifest.max_batch}):
            self.run(zero_inputs(self._manifest, n_windows))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch; see `Session.run`."""
        if self._lanes is None:
            raise self._closed()
        check_inputs(self._manifest, inputs)
        with self._lock:
            lanes = self._lanes
            if lanes is None:
                raise self._closed()
            try:
                return lanes.run(inputs, [spec.name for spec in self._manifest.outputs])
            except EngineError as error:
                raise EngineError(f"{self._name()}: {error.reason}", error.mend) from error
            except Exception as error:  # calling an engine: its errors share no root but Exception
                raise EngineError(f"{self._name()}: TensorRT failed: {error}", FAILED_MEND) from error

    def close(self) -> None:
        """Let go of the engine and the GPU; a second call does nothing."""
        with self._lock:
            lanes, self._lanes, self._facts = self._lanes, None, None
            driver, self._driver = self._driver, None
            if lanes is not None:
                lanes.close()
            self._needed.clear()
            if driver is not None:
                driver.close()

    def _loaded(self, trt: Any, gpu: Gpu, graph: bytes) -> Lanes:  # noqa: ANN401 - the library ships no types
        """The kept engine, or a new one; a kept one that TensorRT itself does not take is built again, too."""
        version = str(trt.__version__)
        if reason := reason_against(self._manifest, version):
            raise TensorRtRefusalError(reason)
        key = EngineKey(self._variant.graph_digest, version, gpu, self._variant.precision, profiles_for(self._manifest))
        cache = self._options.cache_dir
        files = EngineFiles(None if cache is None else cache / FOLDER, key)
        logger = make_logger(trt)
        runtime = trt.Runtime(logger)
        self._needed += [logger, runtime]
        kept = files.engine()
        engine = None if kept is None else runtime.deserialize_cuda_engine(kept)
        if engine is None:
            check = partial(check_io, self._manifest, self._variant)
            built = build_engine(trt, logger, graph, key.profiles, check_io=check, timing=files.timing())
            files.keep_timing(built.timing)
            files.keep_engine(built.plan)
            engine = runtime.deserialize_cuda_engine(built.plan)
        if engine is None:
            raise TensorRtRefusalError(f"does not load the engine that it built: {logger.complaint}")
        return self._checked(Lanes(self._driver_of(), engine, key.profiles, trt))

    def _checked(self, lanes: Lanes) -> Lanes:
        try:
            check_io(self._manifest, self._variant, *lanes.io())
            lanes.open()
        except Exception:
            lanes.close()
            raise
        return lanes

    def _driver_of(self) -> CudaDriver:
        if self._driver is None:
            raise self._closed()
        return self._driver

    def _described(self, version: str, gpu: Gpu) -> SessionFacts:
        return SessionFacts(
            engine=ENGINE,
            engine_version=version,
            provider=f"{gpu.name} ({gpu.capability})",
            variant=self._variant.id,
            precision=self._variant.precision,
            graph_digest=self._variant.graph_digest,
            threads=1,
            passed_over=self._options.passed_over,
        )

    def _name(self) -> str:
        return name_of(self._manifest, self._variant)

    def _closed(self) -> EngineError:
        return EngineError(f"{self._name()}: the session is not open", "call open() first")


def open_tensorrt(manifest: PackManifest, variant: Variant, graph: Path, options: EngineOptions) -> TensorRtSession:
    """Make and open a session.

    Args:
        manifest: The pack.
        variant: The variant to run.
        graph: Where its graph lies.
        options: What the program decided.

    Returns:
        The open session, not warmed up.

    Raises:
        EngineError: As for `TensorRtSession.open`.
    """
    session = TensorRtSession(manifest, variant, graph, options)
    session.open()
    return session
