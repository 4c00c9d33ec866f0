"""Owns what an alarm found, in a sentence for people: numbers first, what was allowed after them."""

from cloud_hub.core.monitoring.record import PolicyRecord, Stratum
from cloud_hub.core.monitoring.watch import WHOLE, Alarm, Limits, Measure, Promise

_PERCENT = 100


def found_by(alarm: Alarm, record: PolicyRecord, limits: Limits) -> str:
    """Say what an alarm found.

    Args:
        alarm: One that stands.
        record: Of the policy.
        limits: The hub's own.

    Returns:
        One sentence.
    """
    match alarm:
        case Alarm.VOID | Alarm.CHANGED if record.promise is not None:
            return _losses(record, record.promise.risk, record.promise)
        case Alarm.DISAGREEMENT if record.promise is not None:
            weaker = "" if record.promise.risk is Measure.DISAGREEMENT else " (the weaker statement)"
            return _losses(record, Measure.DISAGREEMENT, record.promise) + weaker
        case Alarm.HUB_FAILS:
            return "; ".join(
                f"{name} in {tally.losses} of {tally.n} audited windows, allowed {_share(allowed)}"
                for name, measure, allowed in (
                    ("people contradict the hub", Measure.HUB_ERROR, limits.hub_error),
                    ("the hub is in doubt", Measure.HUB_DOUBT, limits.hub_doubt),
                )
                if (tally := record.tally(measure, Stratum.KEPT)).n
            )
        case Alarm.ESCALATES_MORE | Alarm.ESCALATES_LESS:
            rates = record.rates
            share = rates.escalated / rates.windows if rates.windows else 0.0
            promised = "" if record.promise is None else _calibrated(record.promise)
            return f"{_share(share)} of {rates.windows} windows escalated{promised}"
        case _:
            return "an input statistic has changed"


def _losses(record: PolicyRecord, measure: Measure, promise: Promise) -> str:
    worst = max(
        (
            (place.group, tally)
            for place, tally in record.tallies.items()
            if (place.measure, place.stratum) == (measure, Stratum.KEPT) and place.group in promise.groups
        ),
        key=lambda found: (found[1].has_alarmed, found[1].losses),
        default=None,
    )
    if worst is None:
        return f"promised at most {_share(promise.target)}"
    group, tally = worst
    of_group = "" if group == WHOLE else f" answered {group}"
    what = "disagreed with" if measure is Measure.DISAGREEMENT else "wrong"
    return f"{tally.losses} of {tally.n} audited windows{of_group} {what}, promised at most {_share(promise.target)}"


def _calibrated(promise: Promise) -> str:
    return "" if promise.coverage is None else f", {_share(1.0 - promise.coverage)} at calibration"


def _share(share: float) -> str:
    return f"{share * _PERCENT:.3g} %"
