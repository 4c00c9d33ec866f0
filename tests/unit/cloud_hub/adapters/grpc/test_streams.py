"""Of several streams of one device the newest counts."""

import asyncio

from cloud_hub.adapters.grpc.streams import SPREAD_MS, Streams
from cloud_hub.core.devices import DeviceKey
from cloud_hub.metrics import HubMetrics
from model_packs.process.metrics import Registry
from protos.messages.escalation import GoAway, PredictionId, Verdict
from protos.messages.inference import Tier
from tests.simulators.loops import in_loop

PRESS = DeviceKey("o", "s", "press-07")
SAW = DeviceKey("o", "s", "saw-01")
STOPPING = GoAway("stopping", 1000)


class FakeStream:
    """Remembers what it was told."""

    def __init__(self, device: DeviceKey, epoch: int) -> None:
        self.device = device
        self.epoch = epoch
        self.farewells: list[GoAway] = []
        self.rung: list[int] = []

    def ring(self, verdict: Verdict) -> None:
        """Remember."""
        self.rung.append(verdict.verdict_seq)

    def send_away(self, farewell: GoAway) -> None:
        """Remember."""
        self.farewells.append(farewell)


def verdict(seq: int) -> Verdict:
    """A verdict at a place in a log."""
    return Verdict(seq, PredictionId("p"), "d", 1, Tier.HUB, None, 0.0, (), 1, 1.0)


def test_the_newest_epoch_stays_in_whatever_order_they_come() -> None:
    """An older stream is sent away, also when it arrives after the newer one; other devices are left alone."""
    registry = Registry()
    streams = Streams(HubMetrics(registry))
    first, second, late, other = (
        FakeStream(PRESS, 1),
        FakeStream(PRESS, 3),
        FakeStream(PRESS, 2),
        FakeStream(SAW, 1),
    )
    for stream in (first, other, second, late):
        streams.enter(stream)
    assert [len(stream.farewells) for stream in (first, second, late, other)] == [1, 0, 1, 0]
    assert "session 3" in late.farewells[0].reason
    streams.leave(first)
    streams.ring([(PRESS, verdict(7)), (SAW, verdict(2)), (PRESS, verdict(8))])
    assert (first.rung, second.rung, other.rung) == ([], [7, 8], [2])
    assert "hub_streams_open 2.0" in registry.expose().decode()


def test_every_stream_ends_when_the_database_turns_out_to_be_a_restored_one() -> None:
    """Its devices say Hello again and learn of it; new streams are welcome."""
    streams = Streams(HubMetrics(Registry()))
    first, other, later = FakeStream(PRESS, 1), FakeStream(SAW, 1), FakeStream(PRESS, 2)
    streams.enter(first)
    streams.enter(other)
    streams.tell_restored()
    assert ["backup" in stream.farewells[0].reason for stream in (first, other)] == [True, True]
    streams.enter(later)
    assert later.farewells == []


def test_devices_that_are_sent_away_together_come_back_one_after_the_other() -> None:
    """Each is told a moment of its own, so that a restart is not met by all of them at once."""
    streams = Streams(HubMetrics(Registry()))
    many = [FakeStream(DeviceKey("o", "s", f"d{number}"), 1) for number in range(200)]
    for stream in many:
        streams.enter(stream)
    streams.tell_restored()
    moments_ms = [stream.farewells[0].retry_after_ms for stream in many]
    assert moments_ms == [SPREAD_MS * place for place in range(200)]


@in_loop
async def test_closing_waits_until_the_streams_have_left() -> None:
    """Everybody is told; close returns when the last one is gone; who still comes is told at once."""
    streams = Streams(HubMetrics(Registry()))
    stream = FakeStream(PRESS, 1)
    streams.enter(stream)
    closing = asyncio.create_task(streams.close(STOPPING, drain_s=30.0))
    await asyncio.sleep(0)
    assert stream.farewells == [STOPPING]
    assert not closing.done()
    streams.leave(stream)
    await closing
    late = FakeStream(SAW, 1)
    streams.enter(late)
    assert late.farewells == [STOPPING]


@in_loop
async def test_closing_does_not_wait_for_ever() -> None:
    """A stream whose device does not read is cut after the drain time."""
    streams = Streams(HubMetrics(Registry()))
    streams.enter(FakeStream(PRESS, 1))
    await streams.close(STOPPING, drain_s=0.01)
