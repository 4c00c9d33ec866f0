"""Every kind of bad input, from its arrival to the store: named, kept, counted, acknowledged, and the flow goes on.

Which payload breaks which rule, rule by rule, is tests/unit/edge_agent/core/test_payload.py; pictures are in
tests/unit/edge_agent/core/test_image.py, feedback in test_feedback_lane.py.
"""

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite.dead_letters import HEAD_BYTES
from edge_agent.adapters.sqlite.store import FILE_NAME
from edge_agent.core.accounting import Count, of_reason
from tests.unit.edge_agent.adapters.sqlite.builders import open_store
from tests.unit.edge_agent.inference.pipeline_parts import BINDING, SAMPLES, Bench, message

TOPIC = "plant/m1/raw"
LARGE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store keeps of a dead letter."""

    binding: str
    topic: str
    reason: str
    digest: str
    length: int
    is_truncated: bool


def with_samples(samples: object) -> bytes:
    """A record of the second 1 with something else in place of its samples."""
    return json.dumps(json.loads(message(1)) | {"samples": samples}).encode()


def with_start(start: object) -> bytes:
    """A record with another time."""
    return json.dumps(json.loads(message(1)) | {"t0": start}).encode()


def kept_by_a_store(bench: Bench, folder: Path) -> list[Kept]:
    """Commit the bench's passes to a real store, and read the dead letters back."""
    opened = open_store(folder)
    try:
        for unit in bench.units:
            opened.commit(unit)
    finally:
        opened.store.close()
    connection = sqlite3.connect(folder / FILE_NAME)
    try:
        found = connection.execute("SELECT binding, topic, reason, digest, length, truncated FROM dead_letter")
        return [
            Kept(binding, topic, reason, digest, length, bool(is_truncated))
            for binding, topic, reason, digest, length, is_truncated in found
        ]
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"\xff\xfe garbage", "malformed", id="malformed"),
        pytest.param(b'{"t0":', "malformed", id="cut-off"),
        pytest.param(b"[]", "wrong_type", id="wrong-type"),
        pytest.param(b"{}", "missing_field", id="field-missing"),
        pytest.param(with_samples([["x", 0.5]] * SAMPLES), "not_numeric", id="text-for-a-number"),
        pytest.param(with_samples([[1.0, 0.5, 2.0]] * SAMPLES), "wrong_width", id="wrong-shape"),
        pytest.param(with_samples([]), "empty", id="empty"),
        pytest.param(with_samples([[float("nan"), 0.5]] * SAMPLES), "not_finite", id="nan"),
        pytest.param(with_samples([[None, 0.5]] * SAMPLES), "missing_value", id="null"),
        pytest.param(b'{"x":"' + b"a" * LARGE_BYTES + b'"}', "too_large", id="64-mib"),
        pytest.param(b"[" * 5000, "too_deep", id="deep-json"),
        pytest.param(with_start("yesterday"), "bad_time", id="no-time"),
        pytest.param(with_start("2036-01-01T00:00:00Z"), "future_time", id="from-the-future"),
    ],
)
def test_bad_input_is_named_kept_counted_acknowledged_and_costs_nothing_else(
    payload: bytes, reason: str, tmp_path: Path
) -> None:
    """Reason, topic and digest are on disk, the counter is 1, the message is acknowledged, its neighbours answered."""
    bench = Bench()
    bench.send(0)
    bench.send(1, payload)
    bench.send(2)
    bench.run()
    assert bench.count(of_reason(Count.RECORDS_DEAD_LETTERED, reason)) == 1
    assert bench.count(Count.RECORDS_RECEIVED) == 3
    assert sorted(bench.broker.acknowledged) == [0, 1, 2]
    assert len(bench.events()) == 2
    assert bench.store.broken_equations() == []
    digest = f"sha256:{hashlib.sha256(payload).hexdigest()}"
    wanted = Kept(BINDING, TOPIC, reason, digest, len(payload), len(payload) > HEAD_BYTES)
    assert kept_by_a_store(bench, tmp_path) == [wanted]


def test_a_duplicate_is_counted_and_acknowledged_and_answers_nothing_twice() -> None:
    """It is no fault of the payload, so it is no dead letter: it has a term of its own in the equation of records."""
    bench = Bench()
    for number in (1, 1, 2):
        bench.send(number)
        bench.run()
    assert bench.count(Count.RECORDS_DUPLICATE) == 1
    assert bench.broker.unacknowledged == {}
    assert len(bench.events()) == 2
    assert [unit.dead_letters for unit in bench.units if unit.dead_letters] == []
    assert bench.store.broken_equations() == []


def test_what_comes_out_of_order_is_counted_late_and_acknowledged() -> None:
    """A record whose window is closed already is journaled and counted; its samples are late, and the flow goes on."""
    bench = Bench()
    for number in (0, 5, 1, 6):
        bench.send(number)
        bench.run()
    assert bench.count(Count.SAMPLES_LATE) == SAMPLES
    assert bench.count(Count.RECORDS_JOURNALED) == 4
    assert bench.broker.unacknowledged == {}
    assert len(bench.events()) == 3
    assert [unit.dead_letters for unit in bench.units if unit.dead_letters] == []
    assert bench.store.broken_equations() == []
