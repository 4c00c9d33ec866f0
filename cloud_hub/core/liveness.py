"""Owns what the age of the last heartbeat says about a device: silence counts as failure, unknown is unknown."""

from enum import StrEnum

STALE_AFTER_BEATS = 3
OFFLINE_AFTER_BEATS = 10


class Liveness(StrEnum):
    """Whether a device is heard."""

    ONLINE = "online"
    STALE = "stale"
    OFFLINE = "offline"
    NEVER_SEEN = "never_seen"


def liveness(age_s: float | None, interval_s: float) -> Liveness:
    """Judge a heartbeat's age.

    Args:
        age_s: Seconds since the latest heartbeat was stored; None when there was none.
        interval_s: How often the device was told to report.

    Returns:
        Stale after 3 missed beats, offline after 10.
    """
    if age_s is None:
        return Liveness.NEVER_SEEN
    missed = age_s / interval_s
    if missed > OFFLINE_AFTER_BEATS:
        return Liveness.OFFLINE
    return Liveness.STALE if missed > STALE_AFTER_BEATS else Liveness.ONLINE
