"""Owns the port that every engine fills: a session runs one graph of one pack.

Which engine opens which variant is `opening.py`. An adapter takes and returns NumPy arrays; its library's types and
errors stop inside it. Adapters are held to one behaviour by tests/contract/test_session_contract.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model_packs.digests import Digest
from model_packs.engines.options import PassedOver
from model_packs.engines.tuning import Tuning
from model_packs.errors import TensorError
from model_packs.manifest import PackManifest
from model_packs.tensors import BYTES, DYNAMIC, TensorSpec, datatype_of, dtype_of

REMOTE: Final = "remote"
"""The provider of a session that asks another machine: a run waits for the network."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a session runs on; certificates are stated for exactly this.

    Attributes:
        engine: Engine name as in the variant.
        engine_version: Version of its library.
        provider: Execution provider.
        variant: Id of the variant.
        precision: Number format of the weights.
        graph_digest: Digest of the graph that was loaded.
        threads: Threads inside one run.
        passed_over: What would have been preferred, and why it does not run here.
        tuning: What was measured of this graph on this machine; None: nothing was.
    """

    engine: str
    engine_version: str
    provider: str
    variant: str
    precision: str
    graph_digest: Digest
    threads: int
    passed_over: tuple[PassedOver, ...] = ()
    tuning: Tuning | None = None


_MOST_FORMS: Final = 1024


class Session(Protocol):
    """Runs one graph. The constructor only stores; a session may be run from several threads once it is open."""

    @property
    def facts(self) -> SessionFacts:
        """What it runs on.

        Raises:
            EngineError: The session is not open.
        """

    def open(self) -> None:
        """Load the engine and the graph, and compare the graph with the manifest; opening twice does nothing.

        Raises:
            EngineError: The engine is not installed, or the graph is not the manifest's; `mend` says what to do.
        """

    def warm_up(self) -> None:
        """Run on zeros, for one window and for the largest batch, so that the first real run is not slow.

        Raises:
            EngineError: The engine failed.
        """

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch.

        Args:
            inputs: One array per declared input, [batch, …], dtype and shape as declared, C order preferred; read only.

        Returns:
            One new array per declared output, [batch, …].

        Raises:
            TensorError: An input is missing, unknown or of another shape or dtype (the caller's mistake).
            EngineError: The session is not open, or the engine failed.
            RunTimeoutError: The run took too long and was ended (an `EngineError`); the session still works.
        """

    def close(self) -> None:
        """Let go of the engine; a second call does nothing."""


def check_inputs(manifest: PackManifest, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Check a run's inputs against the declaration; every adapter calls it first.

    Args:
        manifest: The pack.
        inputs: What `Session.run` was given.

    Raises:
        TensorError: An input is missing, unknown, of another dtype or shape, or the batch is uneven or too large.
    """
    n_windows: int | None = None
    for spec in manifest.inputs:
        array = inputs.get(spec.name)
        if array is None:
            raise TensorError(f"{manifest.ref}: input {spec.name!r} is missing")
        if wrong := spec.mismatch(datatype_of(array.dtype), array.shape):
            raise TensorError(f"{manifest.ref}: {wrong}")
        n_windows = array.shape[0] if n_windows is None else n_windows
        if not 1 <= array.shape[0] <= manifest.max_batch or array.shape[0] != n_windows:
            limits = f"1 to {manifest.max_batch} windows, equally many in each input"
            raise TensorError(f"{manifest.ref}: one run takes {limits}, not {array.shape[0]} in {spec.name!r}")
    if len(inputs) != len(manifest.inputs):
        known = {spec.name for spec in manifest.inputs}
        raise TensorError(f"{manifest.ref}: unknown input {', '.join(sorted(inputs.keys() - known))}")


class InputForms:
    """Checks inputs, and remembers the forms that fitted: the same again costs next to nothing.

    Args:
        manifest: The pack.
    """

    def __init__(self, manifest: PackManifest) -> None:
        self._manifest = manifest
        self._known: set[tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]] = set()

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """As `check_inputs`.

        Args:
            inputs: What `Session.run` was given.

        Raises:
            TensorError: As for `check_inputs`.
        """
        form = tuple([(name, array.dtype, array.shape) for name, array in inputs.items()])
        if form in self._known:
            return
        check_inputs(self._manifest, inputs)
        if len(self._known) < _MOST_FORMS:
            self._known.add(form)


def batch_limit(manifest: PackManifest, facts: SessionFacts) -> int:
    """Tell how many windows one run should take at most.

    Args:
        manifest: The pack.
        facts: What its session runs on.

    Returns:
        The pack's own limit, or less where fewer were measured to be as quick: 1 where batching buys nothing.
    """
    if facts.tuning is None or any(spec.shape[0] != DYNAMIC for spec in manifest.inputs):
        return manifest.max_batch
    return min(manifest.max_batch, facts.tuning.max_batch)


def zero_inputs(manifest: PackManifest, n_windows: int) -> dict[str, NDArray[Any]]:
    """Make inputs of zeros, for warming up.

    Args:
        manifest: The pack.
        n_windows: Size of the batch.

    Returns:
        One array per declared input.
    """
    return {spec.name: _zeros(spec, batch_sizes(spec, n_windows)) for spec in manifest.inputs}


def _zeros(spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
    """Zeros; of texts, empty ones."""
    if spec.datatype == BYTES:
        return np.full(shape, b"", dtype=np.object_)
    return np.zeros(shape, dtype=dtype_of(spec.datatype))


def batch_sizes(spec: TensorSpec, n_windows: int) -> tuple[int, ...]:
    """Size a batch.

    Args:
        spec: An input.
        n_windows: Windows in the batch, where the input leaves it open.

    Returns:
        Sizes by axis; those inside a window that are open are 1.
    """
    inner = (1 if size == DYNAMIC else size for size in spec.shape[1:])
    return (n_windows if spec.shape[0] == DYNAMIC else spec.shape[0], *inner)
