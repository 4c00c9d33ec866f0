"""The fleet session: what the hub desires is handed on, and news is told before the interval is over."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.adapters.clock import SystemClock
from edge_agent.adapters.grpc.dialling import LoopbackPlain
from edge_agent.adapters.grpc.fleet_session import FleetSession
from model_packs.store import PackStore
from protos.link.backoff import Backoff
from protos.messages.escalation import StoreId
from protos.messages.fleet import Desired, DesiredSlot, DeviceHello, Heartbeat
from tests.simulators.fleet_hub import FleetHub
from tests.simulators.network import LOOPBACK
from tests.simulators.waiting import wait_until

DEADLINE_S = 30.0
WANTED = DesiredSlot("motion", "tiny-edge@2.0.0", "sha256:2")


class WatchedClock(SystemClock):
    """Counts how often somebody looks at it."""

    looks = 0

    def monotonic_s(self) -> float:
        """The real time."""
        self.looks += 1
        return super().monotonic_s()


class Device:
    """A device that reports the newest desire that it was told."""

    def __init__(self, port: int) -> None:
        self.clock = WatchedClock()
        self.states: list[bool] = []
        self.desires: list[Desired] = []
        self.failures: list[str] = []
        self.session = FleetSession(
            LoopbackPlain(f"{LOOPBACK}:{port}", "press-07"),
            hello=lambda: DeviceHello("1.0.0", StoreId("store-1"), ("desired",)),
            heartbeat=self._heartbeat,
            clock=self.clock,
            backoff=Backoff(0.05, 0.2),
            on_state=lambda is_up, _reason: self.states.append(is_up),
            on_desired=self.desires.append,
            on_failure=self.failures.append,
        )

    def _heartbeat(self, number: int) -> Heartbeat:
        version = self.desires[-1].version if self.desires else 0
        return Heartbeat(number, 1, "ok", (), 0, 0, None, (), desired_version=version)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FleetHub]:
    """A hub that wants a heartbeat every minute."""
    store = PackStore(tmp_path)
    store.open()
    with FleetHub(store, heartbeat_interval_s=60.0) as hub:
        yield hub


@pytest.fixture
def device(hub: FleetHub) -> Iterator[Device]:
    """A device that has sent its first heartbeat."""
    device = Device(hub.port)
    device.session.open()
    heard(hub, lambda beat: beat.number == 1)
    yield device
    device.session.close()
    assert device.failures == []


def heard(hub: FleetHub, fact: Callable[[Heartbeat], bool]) -> Heartbeat:
    """Wait for a heartbeat."""
    found = wait_until(lambda: next(filter(fact, hub.heartbeats), None), DEADLINE_S, "a heartbeat")
    assert found is not None
    return found


def test_a_desire_is_handed_on_and_reported_before_the_next_heartbeat_is_due(hub: FleetHub, device: Device) -> None:
    """The device says what it has kept as soon as there is news; the interval would be a minute."""
    hub.desire(7, WANTED)
    wait_until(lambda: device.desires, DEADLINE_S, "the desire")
    device.session.report_soon()
    assert heard(hub, lambda beat: beat.desired_version == 7).number == 2
    assert device.desires == [Desired(7, (WANTED,))]


def test_much_news_waits_for_the_hubs_answers(hub: FleetHub, device: Device) -> None:
    """A change a millisecond is no heartbeat a millisecond, and a slow hub is not taken for a silent one."""
    hub.withhold()
    device.session.report_soon()
    heard(hub, lambda beat: beat.number == 2)
    for _ in range(500):
        device.session.report_soon()
    looks = device.clock.looks
    wait_until(lambda: device.clock.looks > looks + 4, DEADLINE_S, "some turns of the session")
    assert [beat.number for beat in hub.heartbeats] == [1, 2]
    hub.answer()
    heard(hub, lambda beat: beat.number == 3)
    assert device.states == [True]
