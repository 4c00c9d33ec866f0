"""Owns running ONNX graphs with ONNX Runtime; the library is imported when a session opens.

Choosing the variant is `opening.py`, the provider `onnxruntime_loading.py`; the behaviour that is promised is
`session.py`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from model_packs.engines.graph_file import check_io, name_of, read_graph
from model_packs.engines.onnxruntime_loading import GraphLoader, Loaded, first_line
from model_packs.engines.options import EngineOptions
from model_packs.engines.run_watch import RunWatch
from model_packs.engines.session import InputForms, SessionFacts, zero_inputs
from model_packs.errors import EngineError, MissingEngineError, RunTimeoutError
from model_packs.manifest import PackManifest, Variant
from model_packs.tensors import DYNAMIC, TensorSpec

ENGINE: Final = "onnxruntime"

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


class OnnxRuntimeSession:
    """A `Session` on ONNX Runtime.

    Args:
        manifest: The pack.
        variant: The variant to run.
        graph: Where its graph lies.
        options: How sessions are opened on this machine.
    """

    def __init__(self, manifest: PackManifest, variant: Variant, graph: Path, options: EngineOptions) -> None:
        self._manifest = manifest
        self._variant = variant
        self._graph = graph
        self._options = options
        self._outputs = [spec.name for spec in manifest.outputs]
        self._forms = InputForms(manifest)
        self._loaded: Loaded | None = None
        self._watch: RunWatch | None = None
        self._version = ""

    @property
    def facts(self) -> SessionFacts:
        """What it runs on; see `Session.facts`."""
        loaded = self._loaded
        if loaded is None:
            raise self._closed()
        return SessionFacts(
            engine=ENGINE,
            engine_version=self._version,
            provider=loaded.provider,
            variant=self._variant.id,
            precision=self._variant.precision,
            graph_digest=self._variant.graph_digest,
            threads=loaded.threads,
            passed_over=loaded.passed_over,
            tuning=loaded.tuning,
        )

    def open(self) -> None:
        """Load the library and the graph; see `Session.open`."""
        if self._loaded is not None:
            return
        # A device calls nobody but its hub. Read once, when the library is loaded; the call below is for Windows.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime  # noqa: PLC0415 - engines are imported only where a session opens
        except ImportError as error:
            raise MissingEngineError(
                f"{self._manifest.ref} needs the engine {ENGINE}, which is not installed",
                "pip install 'tandem-edge[cpu]'",
            ) from error
        onnxruntime.disable_telemetry_events()
        self._version = str(onnxruntime.__version__)
        graph = read_graph(self._manifest, self._variant, self._graph)
        loaded = GraphLoader(onnxruntime, self._manifest, self._variant, self._options).load(graph, self._check)
        if self._options.run_limit_s is not None:
            self._watch = RunWatch(self._options.run_limit_s, onnxruntime.RunOptions)
            self._watch.open()
        self._loaded = loaded

    def warm_up(self) -> None:
        """Run on zeros, however long that takes; see `Session.warm_up`."""
        if self._loaded is None:
            raise self._closed()
        for n_windows in sorted({1, self._manifest.max_batch}):
            self._run(self._loaded.engine, zero_inputs(self._manifest, n_windows), None)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch; see `Session.run`."""
        if self._loaded is None:
            raise self._closed()
        self._forms.check(inputs)
        return self._run(self._loaded.engine, inputs, self._watch)

    def close(self) -> None:
        """Let go of the graph; a second call does nothing."""
        self._loaded = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _run(
        self,
        engine: Any,  # noqa: ANN401 - the library ships no types
        inputs: Mapping[str, NDArray[Any]],
        watch: RunWatch | None,
    ) -> dict[str, NDArray[Any]]:
        turn = None if watch is None else watch.begin()
        try:
            arrays = engine.run(self._outputs, dict(inputs), None if turn is None else turn.options)
        except Exception as error:  # calling an engine: its errors share no root but Exception
            if watch is not None and turn is not None and turn.options.terminate:
                raise RunTimeoutError(
                    f"{self._name()}: a run took more than {watch.limit_s:g} s and was ended",
                    "use a smaller model, or raise the engine's run_limit_s",
                ) from error
            raise EngineError(
                f"{self._name()}: ONNX Runtime {self._version} failed: {first_line(error)}",
                "run model-pack verify on the pack; if that passes, report the input that fails",
            ) from error
        finally:
            if watch is not None and turn is not None:
                watch.end(turn)
        return dict(zip(self._outputs, arrays, strict=True))

    def _check(self, engine: Any) -> None:  # noqa: ANN401 - the library ships no types
        inputs = [_spec(node) for node in engine.get_inputs()]
        check_io(self._manifest, self._variant, inputs, [_spec(node) for node in engine.get_outputs()])

    def _name(self) -> str:
        return name_of(self._manifest, self._variant)

    def _closed(self) -> EngineError:
        return EngineError(f"{self._name()}: the session is not open", "call open() first")


def open_onnxruntime(
    manifest: PackManifest, variant: Variant, graph: Path, options: EngineOptions
) -> OnnxRuntimeSession:
    """Make and open a session.

    Args:
        manifest: The pack.
        variant: The variant to run.
        graph: Where its graph lies.
        options: How sessions are opened on this machine.

    Returns:
        The open session, not warmed up.

    Raises:
        EngineError: As for `Session.open`.
    """
    session = OnnxRuntimeSession(manifest, variant, graph, options)
    session.open()
    return session


def _spec(node: Any) -> TensorSpec:  # noqa: ANN401 - the library ships no types
    """An input or output as a declaration; what the library leaves open, or does not know, stays as it says."""
    sizes = tuple(size if isinstance(size, int) else DYNAMIC for size in node.shape)
    return TensorSpec(str(node.name), _DATATYPES.get(str(node.type), str(node.type)), sizes)
