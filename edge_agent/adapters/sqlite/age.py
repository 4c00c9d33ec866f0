"""Owns the age of stored things: measured within a boot; across boots between synchronised clocks; else unknown."""

from dataclasses import dataclass
from typing import Self

from edge_agent.ports import Clock

_NS = 1_000_000_000

OLDER = """CASE
    WHEN boot_id = :boot_id THEN :monotonic_s - monotonic_s > {limit_s}
    WHEN synced AND :synced THEN (:wall_ns - wall_ns) / 1e9 > {limit_s}
    ELSE 0 END"""
"""`Stamp.age_s(now) > limit_s` as SQL over a row's stamp columns, with `Stamp.parameters` of now."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """When something was stored, on both clocks; `monotonic_s` means something only within `boot_id`."""

    wall_ns: int
    monotonic_s: float
    boot_id: str
    synced: bool

    @classmethod
    def now(cls, clock: Clock) -> Self:
        """The present, on `clock`."""
        return cls(clock.wall_ns(), clock.monotonic_s(), clock.boot_id(), clock.is_synced())

    def parameters(self) -> dict[str, object]:
        """Named parameters for `OLDER`."""
        return {
            "wall_ns": self.wall_ns,
            "monotonic_s": self.monotonic_s,
            "boot_id": self.boot_id,
            "synced": self.synced,
        }

    def age_s(self, now: "Stamp") -> float | None:
        """Seconds from this stamp to `now`; None when nothing trustworthy measures them."""
        if self.boot_id == now.boot_id:
            return max(0.0, now.monotonic_s - self.monotonic_s)
        if self.synced and now.synced:
            return max(0.0, (now.wall_ns - self.wall_ns) / _NS)
        return None
