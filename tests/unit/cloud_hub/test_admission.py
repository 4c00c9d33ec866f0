"""What is let in is counted at once; what left is seen with the next count, which is made when it is needed."""

from collections.abc import Mapping
from typing import cast

from cloud_hub.admission import RECOUNT_S, Admission
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.waiting_room import WaitingRoom
from cloud_hub.ports import EscalationStore
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.escalations import PRESS, SAW


class Queue:
    """What waits, and how often somebody counted it."""

    def __init__(self) -> None:
        self.waiting: dict[DeviceKey, int] = {}
        self.counts = 0

    async def waiting_by_device(self) -> Mapping[DeviceKey, int]:
        """Count."""
        self.counts += 1
        return self.waiting


class Machine:
    """A clock that stands still until a test moves it."""

    now_s = 100.0

    def monotonic_s(self) -> float:
        """Seconds."""
        return self.now_s


@in_loop
async def test_places_are_given_until_there_are_none() -> None:
    """What waited before a start counts; a device that is full leaves the others their places, until all are taken."""
    queue, machine = Queue(), Machine()
    queue.waiting = {PRESS: 4}
    admission = Admission(cast("EscalationStore", queue), WaitingRoom(5, 7), machine.monotonic_s)
    assert [await admission.admit(PRESS, 3), await admission.admit(PRESS, 1)] == [1, 0]
    assert [await admission.admit(SAW, 1), await admission.admit(SAW, 9)] == [1, 1]
    assert queue.counts == 1


@in_loop
async def test_a_full_room_is_counted_again_after_a_while_and_a_free_one_never() -> None:
    """Counting costs a look at all that waits, so it is made only while somebody is turned away, and seldom."""
    queue, machine = Queue(), Machine()
    admission = Admission(cast("EscalationStore", queue), WaitingRoom(5, 7), machine.monotonic_s)
    assert await admission.admit(PRESS, 5) == 5
    machine.now_s += RECOUNT_S / 2
    assert await admission.admit(PRESS, 5) == 0
    machine.now_s += RECOUNT_S
    queue.waiting = {PRESS: 2}
    assert await admission.admit(PRESS, 5) == 3
    machine.now_s += 100.0
    assert await admission.admit(SAW, 1) == 1
    assert queue.counts == 2
