"""Owns one run: windows of several requests put together once, the session, answers taken apart once.

For quick models it is called in the thread that read the requests or on the event loop, for others in a worker's; it
knows none of them. Which requests run together is `batcher.py`. Where a run fails, its requests run one by one: a bad
one takes nobody along.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cloud_hub.errors import HubError
from cloud_hub.serving.errors import InputRefusedError, ModelFailedError
from model_packs.errors import EngineError, RunTimeoutError, TensorError
from model_packs.manifest import PackManifest
from model_packs.scoring import Scored, score
from model_packs.tensors import DTYPES, DYNAMIC

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]

_MAX_BUFFER_BYTES: Final = 64 << 20


class Asked(Protocol):
    """What a run needs of a request."""

    @property
    def inputs(self) -> Arrays:
        """One array per declared input."""

    @property
    def rows(self) -> int:
        """Windows."""

    @property
    def is_scored(self) -> bool:
        """Label and confidence are wanted."""


class Runs(Protocol):
    """What a run needs of a session."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run one batch."""


class Part(NamedTuple):
    """One request's part of a run."""

    outputs: Arrays
    scored: tuple[Scored, ...] | None


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a batch.

    Attributes:
        parts: For each request its part, or why it has none.
        rows: Windows in each session run, in order: one, but where requests ran one by one.
        input_ns: Putting together.
        compute_ns: The session, scoring included.
        output_ns: Taking apart.
        input_bytes: What went into the session, all runs together.
        output_bytes: What came out of it.
    """

    parts: Sequence[Part | HubError]
    rows: Sequence[int]
    input_ns: int
    compute_ns: int
    output_ns: int
    input_bytes: int
    output_bytes: int

    @property
    def largest(self) -> int:
        """Windows in the largest session run."""
        return max(self.rows, default=0)


@dataclass(slots=True)
class _Times:
    rows: list[int] = field(default_factory=list)
    input_ns: int = 0
    compute_ns: int = 0
    output_ns: int = 0
    input_bytes: int = 0
    output_bytes: int = 0


class Instance:
    """One place where a model runs, with arrays to put windows into; one run at a time.

    Args:
        manifest: The pack.
        session: Open and warm; other instances may share it.
        batch: Most windows that are put together.
    """

    def __init__(self, manifest: PackManifest, session: Runs, batch: int) -> None:
        self._manifest = manifest
        self._pack = str(manifest.ref)
        self._session = session
        self._names = tuple(spec.name for spec in manifest.inputs)
        self._buffers = _buffers(manifest, batch)

    def run(self, requests: Sequence[Asked]) -> Ran:
        """Run requests together.

        Args:
            requests: At least one; of equal form.

        Returns:
            What became of each.
        """
        times = _Times()
        parts: Sequence[Part | HubError]
        if len(requests) == 1:
            parts = (self._alone(requests[0], times),)
        else:
            try:
                parts = self._together(requests, times)
            except RunTimeoutError as error:  # one by one they might each take as long
                parts = [self._failure(error) for _ in requests]
            except Exception:  # calling an engine: whatever it does, each request gets its own answer
                logger.exception("full_model_failed", extra={"pack": self._pack, "requests": len(requests)})
                parts = [self._alone(request, times) for request in requests]
        return Ran(
            parts,
            times.rows,
            times.input_ns,
            times.compute_ns,
            times.output_ns,
            times.input_bytes,
            times.output_bytes,
        )

    def _alone(self, request: Asked, times: _Times) -> Part | HubError:
        try:
            return self._together((request,), times)[0]
        except TensorError as error:
            refusal = InputRefusedError(str(error))
            refusal.__cause__ = error
            return refusal
        except Exception as error:  # calling an engine: this one is the bad one, its neighbours are not
            logger.exception("full_model_failed", extra={"pack": self._pack})
            return self._failure(error)

    def _failure(self, error: Exception) -> ModelFailedError:
        failure = ModelFailedError(self._pack, str(error))
        failure.__cause__ = error
        return failure

    def _together(self, requests: Sequence[Asked], times: _Times) -> list[Part]:
        began_ns = time.perf_counter_ns()
        rows = sum([request.rows for request in requests])
        inputs = requests[0].inputs if len(requests) == 1 else self._stacked(requests, rows)
        stacked_ns = time.perf_counter_ns()
        times.rows.append(rows)
        times.input_ns += stacked_ns - began_ns
        times.input_bytes += sum([array.nbytes for array in inputs.values()])
        try:
            outputs = self._session.run(inputs)
            scored = self._scored(outputs) if any(request.is_scored for request in requests) else None
        finally:
            ran_ns = time.perf_counter_ns()
            times.compute_ns += ran_ns - stacked_ns
        parts = _split(requests, outputs, scored)
        times.output_bytes += sum([array.nbytes for array in outputs.values()])
        times.output_ns += time.perf_counter_ns() - ran_ns
        return parts

    def _scored(self, outputs: Arrays) -> tuple[Scored, ...]:
        try:
            return score(self._manifest, outputs)
        except TensorError as error:
            raise EngineError(f"other outputs than declared: {error}", "run model-pack verify on the pack") from error

    def _stacked(self, requests: Sequence[Asked], rows: int) -> dict[str, NDArray[Any]]:
        """One array an input; into the arrays that are kept for it where they are large enough."""
        stacked: dict[str, NDArray[Any]] = {}
        for name in self._names:
            arrays = [request.inputs[name] for request in requests]
            kept = self._buffers.get(name)
            if kept is None or rows > len(kept):
                stacked[name] = np.concatenate(arrays)
            else:
                into = kept[:rows]
                np.concatenate(arrays, out=into, casting="no")
                stacked[name] = into
        return stacked


def _split(requests: Sequence[Asked], outputs: Arrays, scored: tuple[Scored, ...] | None) -> list[Part]:
    """Take answers apart: views, in the requests' order."""
    if len(requests) == 1:
        return [Part(outputs, scored if requests[0].is_scored else None)]
    parts = []
    items = tuple(outputs.items())
    rows = sum([request.rows for request in requests])
    for name, array in items:
        if len(array) != rows:
            raise TypeError(f"output {name!r} has {len(array)} rows for {rows} windows")
    first = 0
    for request in requests:
        end = first + request.rows
        mine = scored[first:end] if scored is not None and request.is_scored else None
        parts.append(Part({name: array[first:end] for name, array in items}, mine))
        first = end
    return parts


def _buffers(manifest: PackManifest, batch: int) -> dict[str, NDArray[Any]]:
    """An array of a whole batch for each input of fixed sizes, unless they would be very large together."""
    if batch <= 1:
        return {}
    buffers: dict[str, NDArray[Any]] = {}
    left = _MAX_BUFFER_BYTES
    for spec in manifest.inputs:
        dtype = DTYPES.get(spec.datatype)
        if dtype is None or DYNAMIC in spec.shape[1:]:
            continue
        size_bytes = batch * dtype.itemsize
        for size in spec.shape[1:]:
            size_bytes *= size
        left -= size_bytes
        if left < 0:
            return {}
        buffers[spec.name] = np.zeros((batch, *spec.shape[1:]), dtype)
    return buffers
