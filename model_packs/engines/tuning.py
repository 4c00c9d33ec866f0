"""Owns what was measured about a graph on one machine: threads, the curve of batches, and which batches pay.

`model-pack bench` measures and writes the install's tuning file; programs read it when they open sessions. An entry
holds for one graph, provider and engine version on one machine; what is of another is left alone. A file that cannot be
read costs speed, never an answer.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from model_packs.digests import PATTERN, Digest
from model_packs.engines.machine import Machine
from model_packs.process.durable import write_file
from model_packs.strict_json import Table, canonical, parse

SCHEMA: Final = "tandem.tuning/1"
FILE_NAME: Final = "tuning.json"
"""What the file is called in the state folder of an install."""

WORTH: Final = 1.1
"""A batch pays while its windows take less than the best batch's, times this: what is closer is noise."""

_MAX_FILE_BYTES: Final = 4 << 20
_MAX_BATCH: Final = 1 << 16
_MAX_THREADS: Final = 1024
_TEXT: Final = r"(?s).{0,8000}"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchPoint:
    """One point of the curve.

    Attributes:
        batch: Windows in one run.
        run_us: Median wall time of one run, microseconds.
        cpu_us: CPU time of one run, all threads, microseconds.
    """

    batch: int
    run_us: float
    cpu_us: float

    @property
    def window_us(self) -> float:
        """Wall time of one window."""
        return self.run_us / self.batch


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured of one graph.

    Attributes:
        graph_digest: The graph.
        engine_version: Version of the engine's library.
        provider: Execution provider.
        threads: Threads inside one run that pay.
        max_batch: Most windows in one run that pay; 1: batching buys nothing here.
        curve: What it was read off, by batch.
        better_variant: Variant of the same pack that was measured better than this quantised one; empty: none was.
        measured_at: RFC 3339 UTC, to the second.
    """

    graph_digest: Digest
    engine_version: str
    provider: str
    threads: int
    max_batch: int
    curve: tuple[BatchPoint, ...]
    better_variant: str = ""
    measured_at: str = ""

    def run_us(self, batch: int) -> float:
        """Estimate how long a run takes, between and beyond the points that were measured.

        Args:
            batch: Windows in it.

        Returns:
            Microseconds.
        """
        below = [point for point in self.curve if point.batch <= batch]
        above = [point for point in self.curve if point.batch >= batch]
        if not below or not above:
            nearest = self.curve[-1] if below else self.curve[0]
            return nearest.window_us * batch
        left, right = below[-1], above[0]
        if left.batch == right.batch:
            return left.run_us
        share = (batch - left.batch) / (right.batch - left.batch)
        return left.run_us + share * (right.run_us - left.run_us)


@dataclass(frozen=True, slots=True)
class Tunings:
    """What was measured on this machine."""

    by_graph: Mapping[tuple[Digest, str, str], Tuning] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @classmethod
    def of(cls, measured: Iterable[Tuning]) -> "Tunings":
        """Gather measurements; of two of the same thing the later one counts."""
        return cls({(one.graph_digest, one.provider, one.engine_version): one for one in measured})

    def find(self, graph: Digest, provider: str, engine_version: str) -> Tuning | None:
        """What is known of a graph.

        Args:
            graph: Its digest.
            provider: Where it is to run.
            engine_version: With which library.

        Returns:
            The measurement; None if there is none of exactly this.
        """
        return self.by_graph.get((graph, provider, engine_version))

    def better_variant(self, graph: Digest) -> str:
        """Which variant was measured to be better than a quantised graph.

        Args:
            graph: Its digest.

        Returns:
            The variant's id; empty if none was, on any provider.
        """
        return next((one.better_variant for one in self.by_graph.values() if one.graph_digest == graph), "")


def paying_batch(curve: Sequence[BatchPoint]) -> int:
    """Read the largest batch that pays off a curve.

    Args:
        curve: At least one point.

    Returns:
        The smallest batch whose windows take at most `WORTH` times what those of the best one take: 1 where a window
        takes as long alone as in company.
    """
    best_us = min(point.window_us for point in curve)
    return min(point.batch for point in curve if point.window_us <= WORTH * best_us)


def read_tunings(path: Path, machine: Machine) -> Tunings:
    """Read what was measured on this machine.

    Args:
        path: The install's tuning file.
        machine: This one.

    Returns:
        The measurements; none if there is no file, or (with a line in the log) if it is damaged.
    """
    try:
        return Tunings.of(tuning for key, tuning in _read(path) if key == machine.key)
    except (OSError, ValueError) as error:
        mend = f"run `model-pack bench` again, or remove {path}"
        logger.warning("tuning_ignored", extra={"path": str(path), "error": str(error), "mend": mend})
        return Tunings()


def add_tunings(path: Path, machine: Machine, measured: Sequence[Tuning]) -> None:
    """Write measurements into the install's file; others in it stay, older ones of the same thing go.

    Args:
        path: The file; its folder must exist. A damaged one is made anew.
        machine: Where they were measured.
        measured: What was.

    Raises:
        OSError: The disk refuses.
    """
    try:
        kept = _read(path)
    except ValueError:
        kept = []
    entries = {(key, one.graph_digest, one.provider, one.engine_version): (key, one) for key, one in kept}
    for one in measured:
        entries[machine.key, one.graph_digest, one.provider, one.engine_version] = (machine.key, one)
    tunings = [{"machine": key, **asdict(one)} for key, one in entries.values()]
    write_file(path, canonical({"schema": SCHEMA, "tunings": tunings}) + b"\n")


def _read(path: Path) -> list[tuple[str, Tuning]]:
    """Every entry with its machine's key; none without a file."""
    if not path.exists():
        return []
    problems: list[str] = []
    document = Table(parse(path.read_bytes(), _MAX_FILE_BYTES), "", problems)
    document.text("schema", choices=(SCHEMA,))
    found = [_entry(table) for table in document.tables("tunings")]
    document.finish()
    if problems:
        raise ValueError("; ".join(problems))
    return found


def _entry(table: Table) -> tuple[str, Tuning]:
    curve = tuple(_point(point) for point in table.tables("curve"))
    if not curve or [point.batch for point in curve] != sorted({point.batch for point in curve}):
        table.note("curve", "must have points, each with a larger batch than the one before")
    tuning = Tuning(
        graph_digest=Digest(table.text("graph_digest", PATTERN)),
        engine_version=table.text("engine_version", _TEXT),
        provider=table.text("provider", _TEXT),
        threads=table.integer("threads", 1, _MAX_THREADS),
        max_batch=table.integer("max_batch", 1, _MAX_BATCH),
        curve=curve,
        better_variant=table.text("better_variant", _TEXT),
        measured_at=table.text("measured_at", _TEXT),
    )
    key = table.text("machine", _TEXT)
    table.finish()
    return key, tuning


def _point(table: Table) -> BatchPoint:
    point = BatchPoint(
        batch=table.integer("batch", 1, _MAX_BATCH),
        run_us=table.number("run_us", 0.0),
        cpu_us=table.number("cpu_us", 0.0),
    )
    table.finish()
    return point


def tuning_document(tuning: Tuning) -> dict[str, Any]:
    """Write a measurement as JSON.

    Args:
        tuning: What was measured.

    Returns:
        Its fields, and `window_us` for each point of the curve.
    """
    curve = [{**asdict(point), "window_us": point.window_us} for point in tuning.curve]
    return {**asdict(tuning), "curve": curve}
