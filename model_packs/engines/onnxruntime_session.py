"""Owns running ONNX graphs with ONNX Runtime on the CPU; the library is imported when a session opens.

Choosing the variant is `opening.py`; the behaviour that is promised is `session.py`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from model_packs.digests import digest_of
from model_packs.engines.onnx_scan import names_external_data
from model_packs.engines.session import SessionFacts, check_inputs, zero_inputs
from model_packs.errors import EngineError, MissingEngineError
from model_packs.manifest import PackManifest, Variant
from model_packs.tensors import DYNAMIC, TensorSpec

ENGINE: Final = "onnxruntime"
PROVIDER: Final = "CPUExecutionProvider"

_ERRORS_ONLY = 3
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
    """A `Session` on ONNX Runtime's CPU execution provider.

    Args:
        manifest: The pack.
        variant: The variant to run.
        graph: Where its graph lies.
        threads: Threads inside one run.
    """

    def __init__(self, manifest: PackManifest, variant: Variant, graph: Path, threads: int) -> None:
        self._manifest = manifest
        self._variant = variant
        self._graph = graph
        self._threads = threads
        self._engine: Any = None  # onnxruntime.InferenceSession; the library ships no types
        self._version = ""

    @property
    def facts(self) -> SessionFacts:
        """What it runs on; see `Session.facts`."""
        if self._engine is None:
            raise self._closed()
        variant = self._variant
        return SessionFacts(
            engine=ENGINE,
            engine_version=self._version,
            provider=PROVIDER,
            variant=variant.id,
            precision=variant.precision,
            graph_digest=variant.graph_digest,
            threads=self._threads,
        )

    def open(self) -> None:
        """Load the library and the graph; see `Session.open`."""
        if self._engine is not None:
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
        graph = self._read_graph()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            engine = onnxruntime.InferenceSession(graph, options, providers=[PROVIDER])
        except Exception as error:  # calling an engine: its errors share no root but Exception
            raise EngineError(
                f"{self._name()}: ONNX Runtime {onnxruntime.__version__} cannot load the graph: {_first_line(error)}",
                "export the graph for an opset that this version knows, and build the pack again",
            ) from error
        self._compare("input", self._manifest.inputs, engine.get_inputs(), must_be_all=True)
        self._compare("output", self._manifest.outputs, engine.get_outputs(), must_be_all=False)
        self._version = str(onnxruntime.__version__)
        self._engine = engine

    def warm_up(self) -> None:
        """Run on zeros; see `Session.warm_up`."""
        for n_windows in sorted({1, self._manifest.max_batch}):
            self.run(zero_inputs(self._manifest, n_windows))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch; see `Session.run`."""
        engine = self._engine
        if engine is None:
            raise self._closed()
        check_inputs(self._manifest, inputs)
        names = [spec.name for spec in self._manifest.outputs]
        try:
            arrays = engine.run(names, dict(inputs))
        except Exception as error:  # calling an engine: its errors share no root but Exception
            raise EngineError(
                f"{self._name()}: ONNX Runtime {self._version} failed: {_first_line(error)}",
                "run model-pack verify on the pack; if that passes, report the input that fails",
            ) from error
        return dict(zip(names, arrays, strict=True))

    def close(self) -> None:
        """Let go of the graph; a second call does nothing."""
        self._engine = None

    def _read_graph(self) -> bytes:
        """Read the graph once, so that the bytes that are checked are the bytes that are loaded."""
        mend = "fetch or build the pack again"
        try:
            graph = self._graph.read_bytes()
        except OSError as error:
            raise EngineError(f"{self._name()}: cannot be read: {error.strerror}", mend) from error
        if digest_of(graph) != self._variant.graph_digest:
            raise EngineError(f"{self._name()}: the graph's digest is not the manifest's", mend)
        if names_external_data(graph):
            raise EngineError(
                f"{self._name()}: the graph keeps weights in other files",
                "export it with its weights inside (no external data)",
            )
        return graph

    def _compare(self, kind: str, specs: Sequence[TensorSpec], nodes: Sequence[Any], *, must_be_all: bool) -> None:
        found = {str(node.name): node for node in nodes}
        wrong = [f"{kind} {spec.name!r} is not in the graph" for spec in specs if spec.name not in found]
        if must_be_all:
            wrong += [f"the graph's {kind} {name!r} is not declared" for name in found.keys() - {s.name for s in specs}]
        for spec in specs:
            if spec.name in found:
                wrong += _differences(kind, spec, found[spec.name])
        if wrong:
            raise EngineError(
                f"{self._name()}: {'; '.join(wrong)}", "correct inputs and outputs in pack.toml, then build again"
            )

    def _name(self) -> str:
        return f"{self._manifest.ref} ({self._variant.file})"

    def _closed(self) -> EngineError:
        return EngineError(f"{self._name()}: the session is not open", "call open() first")


def open_onnxruntime(manifest: PackManifest, variant: Variant, graph: Path, threads: int) -> OnnxRuntimeSession:
    """Make and open a session.

    Args:
        manifest: The pack.
        variant: The variant to run.
        graph: Where its graph lies.
        threads: Threads inside one run.

    Returns:
        The open session, not warmed up.

    Raises:
        EngineError: As for `Session.open`.
    """
    session = OnnxRuntimeSession(manifest, variant, graph, threads)
    session.open()
    return session


def _differences(kind: str, spec: TensorSpec, node: Any) -> list[str]:  # noqa: ANN401 - the library ships no types
    wrong = []
    datatype = _DATATYPES.get(str(node.type), str(node.type))
    if datatype != spec.datatype:
        wrong.append(f"{kind} {spec.name!r} is {datatype} in the graph, {spec.datatype} in the manifest")
    sizes = [size if isinstance(size, int) else DYNAMIC for size in node.shape]
    if len(sizes) != len(spec.shape) or any(
        size not in (DYNAMIC, want) for size, want in zip(sizes, spec.shape, strict=True)
    ):
        wrong.append(f"{kind} {spec.name!r} has the shape {sizes} in the graph, {list(spec.shape)} in the manifest")
    return wrong


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
