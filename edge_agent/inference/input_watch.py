"""Owns watching the inputs of every binding: a monitor for each binding and pack, its reference, and the newest alarms.

What is computed is `core/input_statistics.py`. A pack that states what its inputs look like is watched against that
from the first input on. References that are learnt here are kept by the store, so that a change over a restart is seen,
too; they are written by the upkeep, never by the thread that answers.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from edge_agent.core.input_statistics import InputMonitor, Reference
from edge_agent.errors import StoreError
from edge_agent.ports import BindingName
from model_packs.manifest import PackManifest
from protos.messages.fleet import DriftReport

OnDrift = Callable[[str, str], None]
"""(binding, signal): a statistic of the inputs has changed."""

logger = logging.getLogger(__name__)


class InputWatch:
    """All monitors.

    Args:
        read: Asks the store for a note; None: there is none.
        write: Lets the store keep a note; returns after the commit.
        on_drift: Told of every alarm.
    """

    def __init__(self, read: Callable[[str], str | None], write: Callable[[str, str], None], on_drift: OnDrift) -> None:
        self._read = read
        self._write = write
        self._on_drift = on_drift
        self._looking = threading.Lock()  # one input at a time, of all bindings
        self._lock = threading.Lock()
        self._monitors: dict[tuple[str, str], InputMonitor] = {}
        self._kept: set[tuple[str, str]] = set()
        self._newest: dict[tuple[str, str], DriftReport] = {}

    def look(
        self, binding: BindingName, digest: str, manifest: PackManifest, values: NDArray[Any], at_ns: int
    ) -> float | None:
        """Look at one input; any thread may.

        Args:
            binding: Whose.
            digest: Of the pack that is to answer it.
            manifest: Of the pack that is to answer it.
            values: Without the batch axis.
            at_ns: Its event time, Unix epoch, UTC.

        Returns:
            Its distance from the reference; None while that is learnt, or for an input that is not finite.
        """
        with self._looking:
            seen = self._monitor((binding, digest), manifest).observe(values, at_ns)
        for drift in seen.drifts:
            told = {"binding": binding, "signal": drift.signal, "statistic": round(drift.statistic, 3)}
            logger.warning("input_drift", extra=told)
            self._on_drift(binding, drift.signal)
            with self._lock:
                self._newest[binding, drift.signal] = DriftReport(binding, drift.signal, at_ns, drift.statistic)
        return seen.distance

    def reports(self) -> tuple[DriftReport, ...]:
        """The newest alarm of each statistic of each binding since the start."""
        with self._lock:
            return tuple(self._newest.values())

    def keep(self) -> None:
        """Write references that were learnt since the last call.

        Raises:
            StoreError: The store is closed.
        """
        with self._lock:
            learnt = {
                key: monitor.reference
                for key, monitor in self._monitors.items()
                if monitor.reference is not None and key not in self._kept
            }
        for (binding, digest), reference in learnt.items():
            self._write(_note(binding, digest), reference.to_json())
            with self._lock:
                self._kept.add((binding, digest))

    def _monitor(self, key: tuple[str, str], manifest: PackManifest) -> InputMonitor:
        found = self._monitors.get(key)
        if found is None:
            names = _channels(manifest)
            stated = manifest.input_reference
            reference = self._reference(key, len(names)) if stated is None else Reference.of(stated)
            found = InputMonitor(names, reference)
            with self._lock:
                self._monitors[key] = found
                if reference is not None:
                    self._kept.add(key)
        return found

    def _reference(self, key: tuple[str, str], channels: int) -> Reference | None:
        try:
            text = self._read(_note(*key))
            if text is None:
                return None
            reference = Reference.from_json(text)
        except (ValueError, KeyError, TypeError, StoreError):
            logger.warning("input_reference_unreadable", extra={"binding": key[0]})
            return None
        return reference if len(reference.mean) == 2 * channels else None


def _channels(manifest: PackManifest) -> tuple[str, ...]:
    """Names of an input's channels: a window's own, or the colours of a picture."""
    if manifest.window is not None:
        return manifest.window.channel_names
    return ("red", "green", "blue") if manifest.image is not None and manifest.image.mode == "RGB" else ("grey",)


def _note(binding: str, digest: str) -> str:
    return f"input_reference:{binding}:{digest}"
