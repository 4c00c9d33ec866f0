"""The rows of bench_edge say what they name."""

import pytest

from tests.bench.bench_edge import AWAKE, RUN, Answers, Paced, Poured, mqtt_rows, paced_rows
from tests.bench.harness import Host


def test_what_serving_adds_is_counted_from_the_model_at_the_same_pace() -> None:
    """From its median, for both sides, at the median and in the tail; medians over the rounds."""
    rounds = {
        RUN: [Paced(0.2, 9.0), Paced(0.1, 9.0), Paced(0.9, 9.0)],
        "agent": [Paced(1.2, 4.2), Paced(1.0, 3.0), Paced(8.0, 5.0)],
        "bare": [Paced(0.7, 1.2)] * 3,
    }
    run, p50, p99 = paced_rows("QoS 0", rounds, is_judged=True)
    assert run.value == 0.2
    assert [p50.value, p50.baseline, p99.value, p99.baseline] == pytest.approx([1.0, 0.5, 4.0, 1.0])
    assert (p50.ok, p99.ok) == (False, False)


def test_a_pace_without_goals_is_not_judged() -> None:
    """QoS 1 has none."""
    rows = paced_rows("QoS 1 durable", {side: [Paced(1.0, 2.0)] for side in (RUN, "agent", "bare")}, is_judged=False)
    assert [row.ok for row in rows] == [None, None, None]


def test_processors_kept_awake_have_rows_of_their_own() -> None:
    """Or one that says why there are none."""
    asleep, awake = Paced(1.0, 2.0), Paced(0.5, 1.0)
    sides = (RUN, "agent", "bare")
    rounds = {side: [asleep] for side in sides} | {f"{side}{AWAKE}": [awake] for side in sides}
    run, *_ = paced_rows("QoS 0", rounds, AWAKE, is_judged=True)
    assert (AWAKE in run.case, run.value) == (True, 0.5)
    poured = {0: dict.fromkeys(("agent", "bare"), (Poured(1.0, 1.0),))}
    missing = mqtt_rows(Answers(poured, {0: rounds}, "no such file"), Host())
    assert [row.note for row in missing if AWAKE in row.case] == ["not run: no such file"]
