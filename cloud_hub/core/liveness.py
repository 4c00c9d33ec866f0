"""Owns what the age of the last heartbeat says about a device: silence counts as failure, unknown is unknown.

And when a change of that is news: once, and never because the hub itself was away.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from cloud_hub.core.devices import DeviceKey

STALE_AFTER_BEATS = 3
OFFLINE_AFTER_BEATS = 10
MAX_AHEAD_S = 30.0
"""How far a heartbeat may seem to lie ahead; beyond it the hub's clock was wrong, and its stamp says nothing."""

_NS_PER_S = 1_000_000_000


class Liveness(StrEnum):
    """Whether a device is heard."""

    ONLINE = "online"
    STALE = "stale"
    OFFLINE = "offline"
    NEVER_SEEN = "never_seen"


def liveness(age_s: float | None, interval_s: float) -> Liveness:
    """Judge a heartbeat's age.

    Args:
        age_s: Seconds since the latest heartbeat was stored, negative if it lies ahead; None when there was none.
        interval_s: How often the device was told to report.

    Returns:
        Stale after 3 missed beats, offline after 10, or when nobody can say how long ago the heartbeat was.
    """
    if age_s is None:
        return Liveness.NEVER_SEEN
    missed = age_s / interval_s
    if missed > OFFLINE_AFTER_BEATS or age_s < -MAX_AHEAD_S:
        return Liveness.OFFLINE
    return Liveness.STALE if missed > STALE_AFTER_BEATS else Liveness.ONLINE


@dataclass(frozen=True, slots=True)
class Heard:
    """When a device was last heard, and what was told of it last.

    Attributes:
        last_heartbeat_at_ns: Wall clock of the hub, Unix epoch, UTC; None: never.
        told: What the last event about it said; None: there was none.
    """

    device: DeviceKey
    last_heartbeat_at_ns: int | None
    told: Liveness | None


@dataclass(frozen=True, slots=True)
class LivenessChange:
    """A device that is heard differently now."""

    device: DeviceKey
    before: Liveness | None
    now: Liveness


def liveness_changes(
    heard: Iterable[Heard], *, now_ns: int, listening_since_ns: int, interval_s: float
) -> tuple[LivenessChange, ...]:
    """Find what has to be told.

    A device counts as silent only for the time that the hub listened: after a restart nobody is, at first. Of one that
    was heard by a clock that was ahead, all of that time counts.

    Args:
        heard: The devices.
        now_ns: Wall clock, Unix epoch, UTC.
        listening_since_ns: When the hub began to listen.
        interval_s: How often devices were told to report.

    Returns:
        The changes, in the order of the devices.
    """
    changes: list[LivenessChange] = []
    for one in heard:
        if one.last_heartbeat_at_ns is None:
            continue
        age_s = (now_ns - one.last_heartbeat_at_ns) / _NS_PER_S
        now = liveness(age_s, interval_s)
        if _RANK[now] > _RANK[one.told]:
            listened_s = (now_ns - listening_since_ns) / _NS_PER_S
            now = liveness(listened_s if age_s < 0 else min(age_s, listened_s), interval_s)
            if _RANK[now] <= _RANK[one.told]:
                continue
        if now is not one.told:
            changes.append(LivenessChange(one.device, one.told, now))
    return tuple(changes)


_RANK = {None: 0, Liveness.ONLINE: 0, Liveness.STALE: 1, Liveness.OFFLINE: 2}
