"""The waiting room is bounded for each device and for all."""

import pytest

from cloud_hub.core.waiting_room import WaitingRoom


@pytest.mark.parametrize(
    ("of_device", "in_all", "places"), [(0, 0, 3), (2, 2, 1), (3, 3, 0), (9, 9, 0), (0, 9, 1), (0, 10, 0), (0, 11, 0)]
)
def test_the_narrower_bound_holds(of_device: int, in_all: int, places: int) -> None:
    """No device takes all places, and all together no more than there are; never fewer than none."""
    assert WaitingRoom(3, 10).places(of_device, in_all) == places
