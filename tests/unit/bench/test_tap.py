"""The benches' own MQTT, against a real broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.flood import Flood
from tests.bench.tap import Tap
from tests.simulators.brokers import Iotcore

DEADLINE_S = 30.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Iotcore]:
    """A broker that every machine has."""
    made = Iotcore(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_poured_is_seen(broker: Iotcore, qos: int) -> None:
    """Every message once, with its topic and payload, also those longer than a length byte says."""
    address = (broker.host, broker.port)
    tap, flood = Tap(address, "a/+", "tap", keeps=True), Flood(address)
    tap.open()
    flood.open()
    try:
        messages = [(f"a/{number}", bytes([number]) * (100 * number)) for number in range(20)]
        flood.pour(flood.packets(messages, qos), lambda: tap.count, backlog=5, deadline_s=DEADLINE_S, qos=qos)
        assert [content for _, content in tap.arrived] == [topic.encode() + payload for topic, payload in messages]
    finally:
        flood.close()
        tap.close()
