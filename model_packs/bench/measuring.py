"""Owns measuring a pack on this machine: how many threads pay, which batches pay, and which variant is worth having.

It runs the real sessions on the pack's golden inputs (zeros without any), each figure the median of several rounds that
alternate between all sizes, so that what slows the machine for a while slows all alike. Printing is `command.py`, the
rules are `engines/tuning.py` and `quantising.py`.
"""

import datetime as dt
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.engines.opening import open_session
from model_packs.engines.options import EngineOptions, PassedOver
from model_packs.engines.providers import CPU
from model_packs.engines.session import Session, SessionFacts, zero_inputs
from model_packs.engines.tuning import BatchPoint, Tuning, Tunings, paying_batch
from model_packs.errors import MissingEngineError
from model_packs.manifest import PackManifest, Variant
from model_packs.pack import Pack
from model_packs.quantising import Form, is_worth

MOST_WINDOWS: Final = 256
"""Larger batches are not measured: what pays there pays here."""

THREADS_PAY: Final = 0.75
"""Twice the threads pay when a run takes at most this share of the time."""

_PLAIN: Final = ("fp32", "fp64")
_NS_PER_US: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: Rounds over all sizes.
        round_s: How long one size runs in a round, in seconds; at least one run.
    """

    rounds: int
    round_s: float


FULL: Final = Effort(rounds=7, round_s=0.05)
QUICK: Final = Effort(rounds=3, round_s=0.01)


@dataclass(frozen=True, slots=True)
class ThreadPoint:
    """One window alone, by threads.

    Attributes:
        threads: Threads inside one run.
        run_us: Median wall time of one run, microseconds.
        cpu_us: CPU time of one run, all threads, microseconds.
    """

    threads: int
    run_us: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found of one variant.

    Attributes:
        facts: What it ran on.
        form: Its size, the time of one window, and the share of golden examples that it answers as recorded.
        threads: One window alone, by threads.
        tuning: What is kept of it.
    """

    facts: SessionFacts
    form: Form
    threads: tuple[ThreadPoint, ...]
    tuning: Tuning


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a pack.

    Attributes:
        pack: The pack.
        variants: What ran, by rank.
        not_run: Variants that have no engine here.
    """

    pack: Pack
    variants: tuple[Measured, ...]
    not_run: tuple[PassedOver, ...]


def measure(pack: Pack, options: EngineOptions, effort: Effort, advance: Callable[[], None]) -> Found:
    """Measure every variant of a pack that runs here.

    Args:
        pack: The pack.
        options: Providers and device; threads and earlier measurements are left aside.
        effort: How much.
        advance: Called after each step; there are `steps` of them.

    Returns:
        What was found; a quantised variant that is not worth having names the one that is better.

    Raises:
        EngineError: An engine failed.
        PackError: A golden file is damaged.
    """
    plain = replace(options, threads=None, tunings=Tunings(), run_limit_s=None, cache_dir=None)
    found: list[Measured] = []
    not_run: list[PassedOver] = []
    for variant in pack.manifest.variants:
        opened = _open(pack, variant, plain)
        if isinstance(opened, PassedOver):
            not_run.append(opened)
        else:
            opened.close()
            found.append(_variant(pack, variant, plain, effort, advance))
    return Found(pack, _judged(found), tuple(not_run))


def steps(pack: Pack, effort: Effort) -> int:
    """How many steps `measure` takes at most."""
    a_variant = effort.rounds * (len(_thread_counts()) + len(_batches(pack.manifest)))
    return a_variant * len(pack.manifest.variants)


def paying_threads(points: Sequence[ThreadPoint]) -> int:
    """Read off how many threads pay.

    Args:
        points: By threads, each with more than the one before.

    Returns:
        As many as each doubling up to there saved a quarter of the time; the cores are other programs', too.
    """
    best = points[0]
    for point in points[1:]:
        if point.run_us > THREADS_PAY * best.run_us:
            break
        best = point
    return best.threads


def _variant(
    pack: Pack, variant: Variant, options: EngineOptions, effort: Effort, advance: Callable[[], None]
) -> Measured:
    by_threads = dict(_sessions(pack, variant, options))
    try:
        sides = {count: (session, _inputs(pack, 1)) for count, session in by_threads.items()}
        threads = tuple(ThreadPoint(count, *times) for count, times in _times(sides, effort, advance).items())
        chosen = paying_threads(threads)
        session = by_threads[chosen]
        batches = {size: (session, _inputs(pack, size)) for size in _batches(pack.manifest)}
        curve = tuple(BatchPoint(size, *times) for size, times in _times(batches, effort, advance).items())
        right, facts = _share_right(session, pack), session.facts
    finally:
        for each in by_threads.values():
            each.close()
    now = dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    tuning = Tuning(
        graph_digest=variant.graph_digest,
        engine_version=facts.engine_version,
        provider=facts.provider,
        threads=chosen,
        max_batch=paying_batch(curve),
        curve=curve,
        measured_at=now,
    )
    alone_us = next(point.run_us for point in threads if point.threads == chosen)
    size_bytes = pack.manifest.file(variant.file).size_bytes
    return Measured(facts, Form(size_bytes, alone_us, right), threads, tuning)


def _sessions(pack: Pack, variant: Variant, options: EngineOptions) -> Iterator[tuple[int, Session]]:
    """A session for each number of threads; on a GPU its own threads are what counts."""
    for count in _thread_counts():
        session = open_session(pack, replace(options, threads=count), variant=variant.id)
        yield count, session
        if session.facts.provider != CPU:
            return


def _open(pack: Pack, variant: Variant, options: EngineOptions) -> Session | PassedOver:
    try:
        return open_session(pack, options, variant=variant.id)
    except MissingEngineError as error:
        return PassedOver(variant.id, error.reason)


def _judged(found: Sequence[Measured]) -> tuple[Measured, ...]:
    """Name, for each variant of fewer bits that is not worth having, the plain one."""
    plain = next((one for one in found if one.facts.precision in _PLAIN), None)
    if plain is None:
        return tuple(found)
    return tuple(
        one
        if one.facts.precision in _PLAIN or is_worth(plain.form, one.form)
        else replace(one, tuning=replace(one.tuning, better_variant=plain.facts.variant))
        for one in found
    )


def _times(
    sides: Mapping[int, tuple[Session, dict[str, NDArray[Any]]]], effort: Effort, advance: Callable[[], None]
) -> dict[int, tuple[float, float]]:
    """Median wall and mean CPU microseconds of one run, by side."""
    walls: dict[int, list[float]] = {key: [] for key in sides}
    cpus: dict[int, list[float]] = {key: [] for key in sides}
    for session, inputs in sides.values():
        session.run(inputs)  # the first run of a size is not like the others
    for _ in range(effort.rounds):
        for key, (session, inputs) in sides.items():
            wall_us, cpu_us = _round(session, inputs, effort.round_s)
            walls[key].append(wall_us)
            cpus[key].append(cpu_us)
            advance()
    return {key: (round(statistics.median(walls[key]), 3), round(statistics.median(cpus[key]), 3)) for key in sides}


def _round(session: Session, inputs: Mapping[str, NDArray[Any]], round_s: float) -> tuple[float, float]:
    """Run for a while; microseconds of one run, by the wall and by the processor."""
    until_ns = time.perf_counter_ns() + int(round_s * 1e9)
    taken_ns: list[int] = []
    cpu_ns = time.process_time_ns()
    now_ns = time.perf_counter_ns()
    while not taken_ns or now_ns < until_ns:
        session.run(inputs)
        before_ns, now_ns = now_ns, time.perf_counter_ns()
        taken_ns.append(now_ns - before_ns)
    cpu_ns = time.process_time_ns() - cpu_ns
    return statistics.median(taken_ns) / _NS_PER_US, cpu_ns / len(taken_ns) / _NS_PER_US


def _inputs(pack: Pack, n_windows: int) -> dict[str, NDArray[Any]]:
    """Golden inputs, repeated as often as needed; zeros without any."""
    golden, _ = pack.golden()
    if not golden:
        return zero_inputs(pack.manifest, n_windows)
    return {name: np.ascontiguousarray(array[np.arange(n_windows) % len(array)]) for name, array in golden.items()}


def _share_right(session: Session, pack: Pack) -> float:
    """Share of golden examples answered as recorded: the same class; for other tasks, within the tolerance."""
    golden, (inputs, outputs) = pack.manifest.golden, pack.golden()
    if golden is None:
        return 1.0
    size = pack.manifest.max_batch
    n_right = 0
    for start in range(0, golden.n_examples, size):
        rows = slice(start, start + size)
        produced = session.run({name: array[rows] for name, array in inputs.items()})
        n_right += sum(_right_rows(pack.manifest, produced, {name: array[rows] for name, array in outputs.items()}))
    return n_right / golden.n_examples


def _right_rows(
    manifest: PackManifest, produced: Mapping[str, NDArray[Any]], recorded: Mapping[str, NDArray[Any]]
) -> list[bool]:
    first = manifest.outputs[0].name
    if manifest.task == "classification":
        return list(produced[first].argmax(axis=-1) == recorded[first].argmax(axis=-1))
    tolerance = 0.0 if manifest.golden is None else manifest.golden.tolerance
    return [
        bool(np.all(np.abs(got - want) <= tolerance))
        for got, want in zip(produced[first], recorded[first], strict=True)
    ]


def _thread_counts() -> list[int]:
    """1, 2, 4 … up to the cores that this process may use."""
    cores = len(os.sched_getaffinity(0))
    return [1 << step for step in range(cores.bit_length()) if 1 << step <= cores]


def _batches(manifest: PackManifest) -> list[int]:
    """1, 2, 4 … and the pack's own limit; only that where the graph has a fixed batch."""
    most = min(manifest.max_batch, MOST_WINDOWS)
    if any(spec.shape[0] > 0 for spec in manifest.inputs):
        return [manifest.max_batch]
    return sorted({most, *(1 << step for step in range(most.bit_length()))})
