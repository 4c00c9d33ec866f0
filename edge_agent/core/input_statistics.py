"""Owns the cheap statistics of a binding's inputs: what is normal, how far an input is from that, and what has changed.

The reference is mean and covariance of each channel's mean and logarithmic standard deviation. It comes with the pack
(`model_packs/input_reference.py`), or is learnt on the device from the first inputs that the pack sees. Each later
input gets a distance from it (an out-of-distribution statistic), and the numbers run through change detectors
(`drift.py`). They warn within windows, long before audits can; whether a change does harm, they cannot say, so an alarm
changes no answer.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.drift import Adwin, PageHinkley
from model_packs.input_reference import InputReference, features_of, learnt

LEARNT_FROM = 200
DISTANCE = "distance"

_RANGE_STDS = 4.0
_DISTANCE_RANGE = 10.0
_PAGE_HINKLEY_STDS = 25.0


@dataclass(frozen=True, slots=True)
class Drift:
    """A statistic has changed.

    Attributes:
        signal: `mean:` and the channel, or `distance`; with `:page_hinkley` where that test told it.
        at_ns: Event time of the input that told it, Unix epoch, UTC.
        statistic: Mean of the signal since the change, in standard deviations of the reference; of `distance` in its
            own unit.
    """

    signal: str
    at_ns: int
    statistic: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What one input says.

    Attributes:
        distance: From the reference; None while it is learnt.
        drifts: What it gave away.
    """

    distance: float | None
    drifts: tuple[Drift, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """What is normal.

    Attributes:
        mean: float64 [features]: the channels' means, then their logarithmic standard deviations.
        std: float64 [features].
        precision: float64 [features, features]: inverse of the shrunk covariance of the standardised features.
        usual: Mean and standard deviation of the distances that it was learnt from.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    precision: NDArray[np.float64]
    usual: tuple[float, float]

    @classmethod
    def learnt(cls, features: NDArray[np.float64]) -> "Reference":
        """Learn it; `features` are float64 [inputs, features], two inputs or more."""
        return cls.of(learnt(features))

    @classmethod
    def of(cls, stated: InputReference) -> "Reference":
        """Take what a pack states."""
        size = len(stated.mean)
        precision = np.array(stated.precision).reshape(size, size)
        return cls(np.array(stated.mean), np.array(stated.std), precision, stated.usual)

    def distance(self, features: NDArray[np.float64]) -> float:
        """Logarithm of 1 + the squared Mahalanobis distance for each feature: about 0.7 for what is normal."""
        scaled = (features - self.mean) / self.std
        return math.log1p(max(0.0, float(scaled @ self.precision @ scaled)) / len(scaled))

    def to_json(self) -> str:
        """Write it, to be read by `from_json`."""
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "std", "precision")}
        return json.dumps({**arrays, "usual": self.usual})

    @classmethod
    def from_json(cls, text: str) -> "Reference":
        """Read it.

        Raises:
            ValueError, KeyError, TypeError: It is not what `to_json` writes.
        """
        value = json.loads(text)
        mean, std, precision = (np.array(value[name], np.float64) for name in ("mean", "std", "precision"))
        if mean.ndim != 1 or std.shape != mean.shape or precision.shape != (len(mean), len(mean)):
            raise ValueError("the reference of the inputs has other shapes than it should")
        usual_mean, usual_std = value["usual"]
        return cls(mean, std, precision, (float(usual_mean), float(usual_std)))


class InputMonitor:
    """The statistics of one binding and pack.

    Args:
        names: Of the channels.
        reference: Of the pack, or learnt before; None: learn it from the next `LEARNT_FROM` inputs.
    """

    def __init__(self, names: Sequence[str], reference: Reference | None = None) -> None:
        self._names = tuple(names)
        self.reference = reference
        self._learning: list[NDArray[np.float64]] = []
        signals = [f"mean:{name}" for name in self._names]
        self._adwins = {signal: Adwin() for signal in [*signals, DISTANCE]}
        self._tests = {signal: PageHinkley(slack=0.5, threshold=_PAGE_HINKLEY_STDS) for signal in signals}
        if reference is not None:
            self._begin(reference)

    def observe(self, values: NDArray[np.generic], at_ns: int) -> Seen:
        """Look at one input, in the order in which they come.

        Args:
            values: As `features_of` takes them.
            at_ns: Its event time, Unix epoch, UTC.

        Returns:
            Its distance, and what has changed; an input that is not finite says nothing.
        """
        features = features_of(values, len(self._names))
        if not np.isfinite(features).all():
            return Seen(None)
        if self.reference is None:
            self._learn(features)
            return Seen(None)
        scaled = (features - self.reference.mean) / self.reference.std
        distance = self.reference.distance(features)
        drifts: list[Drift] = []
        for name, value in zip(self._names, scaled[: len(self._names)].tolist(), strict=True):
            drifts += self._told(f"mean:{name}", value, at_ns)
        adwin = self._adwins[DISTANCE]
        if adwin.update(min(distance / _DISTANCE_RANGE, 1.0)):
            drifts.append(Drift(DISTANCE, at_ns, adwin.mean * _DISTANCE_RANGE))
        return Seen(distance, tuple(drifts))

    def _told(self, signal: str, value: float, at_ns: int) -> list[Drift]:
        clipped = min(max(value, -_RANGE_STDS), _RANGE_STDS)
        adwin, found = self._adwins[signal], []
        if adwin.update(clipped / (2 * _RANGE_STDS) + 0.5):
            found.append(Drift(signal, at_ns, (adwin.mean - 0.5) * 2 * _RANGE_STDS))
        if self._tests[signal].update(clipped):
            found.append(Drift(f"{signal}:page_hinkley", at_ns, value))
        return found

    def _learn(self, features: NDArray[np.float64]) -> None:
        self._learning.append(features)
        if len(self._learning) >= LEARNT_FROM:
            self.reference, self._learning = Reference.learnt(np.stack(self._learning)), []
            self._begin(self.reference)

    def _begin(self, reference: Reference) -> None:
        """Let every detector start from the reference, so that a change since then is seen, over a restart, too."""
        for signal, test in self._tests.items():
            test.begin(LEARNT_FROM, 0.0)
            self._adwins[signal].begin(LEARNT_FROM, 0.5, 1.0 / (2 * _RANGE_STDS))
        mean, std = reference.usual
        self._adwins[DISTANCE].begin(LEARNT_FROM, mean / _DISTANCE_RANGE, std / _DISTANCE_RANGE)
