"""What gives a restored database away, and above what it counts."""

import pytest

from cloud_hub.core.restores import NEVER_NS, is_older_than, revision_floor, verdict_floor
from protos.messages.escalation import Hello, HubIncarnation, StoreId

HUB = HubIncarnation("hub-1")
NOW_NS = 1_763_000_000_000_000_000


@pytest.mark.parametrize(
    ("known", "cursor", "is_older"),
    [(HUB, 8, True), (HUB, 7, False), (HubIncarnation("hub-2"), 8, False), (None, 8, False)],
)
def test_a_device_that_holds_more_of_this_log_gives_an_older_copy_away(
    known: HubIncarnation | None, cursor: int, *, is_older: bool
) -> None:
    """Its cursor counts in the log of this incarnation only."""
    assert is_older_than(Hello(StoreId("s"), (), cursor, known, "1"), HUB, 7) is is_older


def test_floors_are_above_what_an_earlier_life_can_have_reached() -> None:
    """They grow with the clock, so the same backup may be put back twice, and fit the wire and the tables."""
    assert (verdict_floor(NEVER_NS), revision_floor(NEVER_NS)) == (0, 0)
    assert 10**12 < verdict_floor(NOW_NS) < 2**62
    assert 10**7 < revision_floor(NOW_NS) < 2**31
    minute_ns = 60_000_000_000
    assert revision_floor(NOW_NS + minute_ns) == revision_floor(NOW_NS) + 1
    assert verdict_floor(NOW_NS + minute_ns) == verdict_floor(NOW_NS) + 60_000
