"""Owns loading a graph into ONNX Runtime: on which execution provider, with how many threads, from the cache or anew.

Providers are tried in the order of the options, and the first that carries out one real inference is taken: lists of
what a library was built with, and sessions that fall back in silence, say nothing about this machine. Each one that was
passed over has a reason. Running the graph is `onnxruntime_session.py`.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model_packs.engines.graph_cache import GraphCache, GraphKey
from model_packs.engines.graph_file import name_of
from model_packs.engines.machine import this_machine
from model_packs.engines.options import EngineOptions, PassedOver
from model_packs.engines.providers import CPU, DRIVER, PROVIDERS, Provider, missing_part
from model_packs.engines.session import zero_inputs
from model_packs.engines.tuning import Tuning
from model_packs.errors import EngineError, MissingEngineError
from model_packs.manifest import PackManifest, Variant

_ERRORS_ONLY: Final = 3
_SILENT: Final = 4
_WARNINGS: Final = 2  # the library's own default
_WORTH_KEEPING_BYTES: Final = 1 << 20
"""A smaller graph is optimised in less time than a file takes."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A graph in the engine.

    Attributes:
        engine: The `onnxruntime.InferenceSession`.
        provider: What it runs on, by ONNX Runtime's name.
        threads: Threads inside one run.
        tuning: What was measured of the graph here; None: nothing.
        passed_over: The providers that were preferred, and why they were not taken.
    """

    engine: Any
    provider: str
    threads: int
    tuning: Tuning | None
    passed_over: tuple[PassedOver, ...]


class GraphLoader:
    """Loads the graph of one variant.

    Args:
        library: The module `onnxruntime`.
        manifest: The pack.
        variant: The variant.
        options: How sessions are opened on this machine.
        worth_keeping_bytes: Smallest graph whose optimised form is kept.
        driver: Library that a GPU's driver brings.
    """

    def __init__(
        self,
        library: Any,  # noqa: ANN401 - the library ships no types
        manifest: PackManifest,
        variant: Variant,
        options: EngineOptions,
        *,
        worth_keeping_bytes: int = _WORTH_KEEPING_BYTES,
        driver: str = DRIVER,
    ) -> None:
        self._library = library
        self._version = str(library.__version__)
        self._manifest = manifest
        self._variant = variant
        self._options = options
        self._worth_keeping_bytes = worth_keeping_bytes
        self._driver = driver

    def load(self, graph: bytes, check: Callable[[Any], None]) -> Loaded:
        """Load the graph on the first provider that carries out an inference.

        Args:
            graph: The checked graph.
            check: Compares an engine with the manifest, and raises `EngineError` if they differ.

        Returns:
            The engine, and what was passed over.

        Raises:
            MissingEngineError: No provider of the options is here.
            EngineError: The last provider cannot load the graph, or `check` refused it.
        """
        passed: list[PassedOver] = []
        wanted = [PROVIDERS[name] for name in self._options.providers]
        built_in = tuple(self._library.get_available_providers())
        for provider in wanted:
            reason = missing_part(provider, built_in, self._version, self._driver)
            if not reason:
                loaded, reason = self._tried(provider, graph, check, is_last=provider is wanted[-1])
                if loaded is not None:
                    return Loaded(*loaded, passed_over=(*self._options.passed_over, *passed))
            passed.append(PassedOver(provider.engine_name, reason))
        raise MissingEngineError(
            f"{self._name}: {'; '.join(f'{one.what}: {one.reason}' for one in passed)}",
            "install what is missing, or add cpu to the providers of the engine's settings",
        )

    @property
    def _name(self) -> str:
        return name_of(self._manifest, self._variant)

    def _tried(
        self, provider: Provider, graph: bytes, check: Callable[[Any], None], *, is_last: bool
    ) -> tuple[tuple[Any, str, int, Tuning | None] | None, str]:
        """The engine on a provider, or why it does not run there; the last provider's failure is the graph's."""
        tuning = self._options.tunings.find(self._variant.graph_digest, provider.engine_name, self._version)
        threads = self._options.threads or (1 if tuning is None else tuning.threads)
        try:
            with self._quiet(provider):
                engine = self._cached(graph, threads) if provider.engine_name == CPU else None
                engine = engine or self._engine(graph, provider, threads)
        except Exception as error:  # calling an engine: its errors share no root but Exception
            if is_last:
                raise EngineError(
                    f"{self._name}: ONNX Runtime {self._version} cannot load the graph: {first_line(error)}",
                    "export the graph for an opset that this version knows, and build the pack again",
                ) from error
            return None, first_line(error)
        check(engine)
        reason = "" if is_last else self._refusal(engine, provider)
        return (None, reason) if reason else ((engine, provider.engine_name, threads, tuning), "")

    def _refusal(self, engine: Any, provider: Provider) -> str:  # noqa: ANN401 - the library ships no types
        """Why an engine does not run on the provider that it was asked to; empty: it does."""
        if provider.engine_name not in engine.get_providers():
            return "its libraries cannot be loaded (CUDA, cuDNN or TensorRT of the version that this build takes)"
        names = [spec.name for spec in self._manifest.outputs]
        try:
            engine.run(names, zero_inputs(self._manifest, 1))
        except Exception as error:  # noqa: BLE001 - calling an engine: its errors share no root but Exception
            return f"an inference on it failed: {first_line(error)}"
        if provider.engine_name not in _assigned(engine, provider.engine_name):
            return "it takes no part of this graph"
        return ""

    def _engine(self, graph: bytes, provider: Provider, threads: int, *, optimised: Path | None = None) -> Any:  # noqa: ANN401
        """Make an inference session.

        Args:
            graph: The graph as the pack has it.
            provider: What it is to run on; the CPU takes what it does not.
            threads: Threads inside one run.
            optimised: File to write the optimised graph to.
        """
        options = self._session_options(threads)
        if optimised is not None:
            options.optimized_model_filepath = str(optimised)
        given = dict(provider.options(self._manifest, self._options))
        providers = [(provider.engine_name, given), *([] if provider.engine_name == CPU else [(CPU, {})])]
        return self._session(graph, options, providers)

    def _cached(self, graph: bytes, threads: int) -> Any:  # noqa: ANN401 - None: the cache has no part in this one
        """An engine for the CPU from the optimised graph that is kept, or one that is kept from now on."""
        if self._options.cache_dir is None or len(graph) < self._worth_keeping_bytes:
            return None
        cache = GraphCache(self._options.cache_dir / "graphs")
        key = GraphKey(self._variant.graph_digest, self._version, CPU, "optimised: all", this_machine())
        if (kept := cache.read(key)) is not None:
            options = self._session_options(threads)
            options.graph_optimization_level = self._library.GraphOptimizationLevel.ORT_DISABLE_ALL
            try:
                return self._session(kept, options, [(CPU, {})])
            except Exception:  # noqa: BLE001 - calling an engine: whatever it says, the graph is made anew below
                cache.forget(key)
        made: list[Any] = []
        with contextlib.suppress(Exception):  # calling an engine: what cannot be written is loaded without
            cache.build(
                key,
                len(graph),
                lambda path: made.append(self._engine(graph, PROVIDERS["cpu"], threads, optimised=path)),
            )
        return made[0] if made else None

    def _session_options(self, threads: int) -> Any:  # noqa: ANN401 - the library ships no types
        options = self._library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _session(self, graph: bytes, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:  # noqa: ANN401
        if len(providers) > 1:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        engine = self._library.InferenceSession(graph, options, providers=providers, enable_fallback=0)
        engine._model_bytes = None  # noqa: SLF001 - else the wrapper keeps a copy of the whole graph for ever
        return engine

    @contextlib.contextmanager
    def _quiet(self, provider: Provider) -> Iterator[None]:
        """While a GPU's provider is tried, the library's complaints stay out of the program's output."""
        if not provider.needs_driver:
            yield
            return
        self._library.set_default_logger_severity(_SILENT)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it cannot find
                if hasattr(self._library, "preload_dlls"):  # since 1.21: finds CUDA in NVIDIA's wheels
                    self._library.preload_dlls()
                yield
        finally:
            self._library.set_default_logger_severity(_WARNINGS)


def first_line(error: Exception) -> str:
    """The first line of what an engine says, or what kind of error it is."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _assigned(engine: Any, provider: str) -> set[str]:  # noqa: ANN401 - the library ships no types
    """The providers that have a part of the graph; where the library cannot tell (before 1.24), the one asked for."""
    if not hasattr(engine, "get_provider_graph_assignment_info"):
        return {provider}
    return {str(part.ep_name) for part in engine.get_provider_graph_assignment_info()}
