"""What was measured is kept for one graph on one machine, and read back; a damaged file is as good as none."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from model_packs.digests import digest_of
from model_packs.engines.machine import Machine
from model_packs.engines.session import SessionFacts, batch_limit
from model_packs.engines.tuning import BatchPoint, Tuning, Tunings, add_tunings, paying_batch, read_tunings
from tests.simulators.packs import build_tiny

HERE, THERE = Machine("EPYC", "avx2", 2), Machine("Cortex", "asimd", 4)
GRAPH = digest_of(b"graph")
CURVE = (BatchPoint(1, 6.0, 6.0), BatchPoint(4, 8.0, 8.0), BatchPoint(16, 16.0, 20.0))
TUNING = Tuning(GRAPH, "1.31.1", "CPUExecutionProvider", 2, 16, CURVE, "", "2026-11-22T10:00:00Z")


def curve(*run_us: float) -> tuple[BatchPoint, ...]:
    """A curve over the batches 1, 2, 4 and so on."""
    return tuple(BatchPoint(1 << step, each, each) for step, each in enumerate(run_us))


@pytest.mark.parametrize(
    ("run_us", "batch"),
    [
        ((5.7, 6.0, 6.1, 7.0, 9.6), 16),  # a small network: the call is the cost
        ((5063.0, 9822.0, 19976.0, 43942.0), 1),  # a convolutional one: nothing is gained
        ((10.0, 12.0, 13.0, 26.5), 4),  # the curve bends
        ((10.0,), 1),
    ],
)
def test_the_smallest_batch_that_is_as_good_as_the_best_pays(run_us: tuple[float, ...], batch: int) -> None:
    """Within a tenth; where windows take as long alone, batching is not claimed to help."""
    assert paying_batch(curve(*run_us)) == batch


@pytest.mark.parametrize(("batch", "run_us"), [(1, 6.0), (4, 8.0), (10, 12.0), (16, 16.0), (32, 32.0)])
def test_runs_between_and_beyond_the_points_are_estimated(batch: int, run_us: float) -> None:
    """On a line between two, and in proportion beyond the last."""
    assert TUNING.run_us(batch) == pytest.approx(run_us)
    assert replace(TUNING, curve=CURVE[1:]).run_us(1) == pytest.approx(2.0)


def test_what_was_written_is_read_on_its_own_machine_only(tmp_path: Path) -> None:
    """Entries of two machines live in one file."""
    path = tmp_path / "tuning.json"
    add_tunings(path, HERE, [TUNING])
    add_tunings(path, THERE, [replace(TUNING, threads=4)])
    assert read_tunings(path, HERE).find(GRAPH, TUNING.provider, TUNING.engine_version) == TUNING
    found = read_tunings(path, THERE).find(GRAPH, TUNING.provider, TUNING.engine_version)
    assert found is not None
    assert found.threads == 4


def test_a_later_measurement_takes_the_place_of_an_earlier(tmp_path: Path) -> None:
    """Of the same graph, provider and version; others stay."""
    path = tmp_path / "tuning.json"
    other = replace(TUNING, provider="CUDAExecutionProvider")
    add_tunings(path, HERE, [TUNING, other])
    add_tunings(path, HERE, [replace(TUNING, max_batch=1)])
    tunings = read_tunings(path, HERE)
    found = tunings.find(GRAPH, TUNING.provider, TUNING.engine_version)
    assert found is not None
    assert found.max_batch == 1
    assert tunings.find(GRAPH, other.provider, other.engine_version) == other


def test_another_version_of_the_engine_was_not_measured() -> None:
    """A new kernel may be faster or slower."""
    assert Tunings.of([TUNING]).find(GRAPH, TUNING.provider, "1.32.0") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("tandem.tuning/1", "tandem.tuning/9"),
        lambda text: text.replace('"threads":2', '"threads":0'),
        lambda text: text.replace('"batch":4', '"batch":1'),
        lambda text: text.replace('"run_us":8.0', '"run_us":"8"'),
        lambda text: json.dumps({**json.loads(text), "extra": 1}),
    ],
)
def test_a_damaged_file_is_told_and_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object) -> None:
    """Nothing is measured then; the next bench writes it anew."""
    path = tmp_path / "tuning.json"
    add_tunings(path, HERE, [TUNING])
    assert callable(damage)
    path.write_text(damage(path.read_text()))
    with caplog.at_level(logging.WARNING):
        assert read_tunings(path, HERE) == Tunings()
    assert [record.msg for record in caplog.records] == ["tuning_ignored"]
    add_tunings(path, HERE, [TUNING])
    assert read_tunings(path, HERE).find(GRAPH, TUNING.provider, TUNING.engine_version) == TUNING


def test_a_batch_is_limited_by_the_pack_and_by_what_was_measured(tmp_path: Path) -> None:
    """Without a measurement the pack's limit stands; a graph with a fixed batch has no choice."""
    manifest = build_tiny(tmp_path).manifest  # takes 4 windows
    facts = SessionFacts("onnxruntime", "1.31.1", "CPUExecutionProvider", "fp32", "fp32", GRAPH, 1)
    assert batch_limit(manifest, facts) == 4
    assert batch_limit(manifest, replace(facts, tuning=replace(TUNING, max_batch=1))) == 1
    assert batch_limit(manifest, replace(facts, tuning=TUNING)) == 4
    fixed = replace(manifest, inputs=(replace(manifest.inputs[0], shape=(4, 5, 2)),))
    assert batch_limit(fixed, replace(facts, tuning=replace(TUNING, max_batch=1))) == 4
