"""Owns the share that a policy escalates, watched in both directions: more may be a storm, less may be blindness.

When inputs drift, the escalation rate may fall as well as rise, since a model can be wrong and sure of it. So neither
direction is the good one. The tests are those of `evidence`; what a change means is `naming`.
"""

from dataclasses import dataclass, replace
from typing import Final

from cloud_hub.core.monitoring.evidence import UNBEGUN, Cusum, advanced, has_changed

_LOWEST: Final = 0.005
"""Below such a rate a fall cannot be told from nothing in any useful time."""
_LEAST_HIGH: Final = 0.02
_MOST: Final = 0.98


@dataclass(frozen=True, slots=True)
class Band:
    """Which escalation rates count as unchanged.

    Attributes:
        low: A lower rate is a fall; None: no fall is looked for.
        high: A higher one is a rise; None: no rise is looked for.
    """

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class RateWatch:
    """An escalation rate that is watched, as far as it went.

    Attributes:
        windows: That were looked at.
        escalated: Of them.
    """

    windows: int = 0
    escalated: int = 0
    up: Cusum = UNBEGUN
    down: Cusum = UNBEGUN


def band(coverage: float | None, factor: float) -> Band:
    """Say which rates a policy with a certificate may have.

    Args:
        coverage: Share that the certificate's calibration kept; None: there is no certificate to compare with.
        factor: How many times more or fewer escalations than at calibration count as changed; above 1.

    Returns:
        The band; without ends when nothing is known.
    """
    if coverage is None:
        return Band(None, None)
    rate = 1.0 - coverage
    low, high = rate / factor, max(rate * factor, _LEAST_HIGH)
    return Band(low if low >= _LOWEST else None, high if high <= _MOST else None)


def seen(watch: RateWatch, windows: int, escalated: int, within: Band) -> RateWatch:
    """Let the watch see one batch of decisions.

    Args:
        watch: Until now.
        windows: Decisions of the batch.
        escalated: Of them; audits not included. More than the windows counts as all.
        within: Rates that count as unchanged.

    Returns:
        The watch with the batch, which is one step of both e-CUSUMs.
    """
    if windows == 0:
        return watch
    some = min(escalated, windows)
    after = replace(watch, windows=watch.windows + windows, escalated=watch.escalated + some)
    if within.high is not None:
        after = replace(after, up=advanced(after.up, windows, some, within.high))
    if within.low is not None:
        after = replace(after, down=advanced(after.down, windows, windows - some, 1.0 - within.low))
    return after


def has_risen(watch: RateWatch, run_length: float) -> bool:
    """Whether more is escalated than the band allows; a false alarm takes `run_length` batches on average or more."""
    return has_changed(watch.up, run_length)


def has_fallen(watch: RateWatch, run_length: float) -> bool:
    """Whether less is escalated than the band allows; a false alarm takes `run_length` batches on average or more."""
    return has_changed(watch.down, run_length)
