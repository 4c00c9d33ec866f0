"""What inputs say of themselves: distances, and that they have changed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.core.input_statistics import (
    DISTANCE,
    LEARNT_FROM,
    InputMonitor,
    Reference,
)
from model_packs.input_reference import features_of

NAMES = ("x", "y")


def windows(seed: int, count: int, shift: float = 0.0, scale: float = 1.0) -> list[NDArray[np.float64]]:
    """Windows [50, 2] whose level wanders a little; `shift` moves the first channel only."""
    generator = np.random.default_rng(seed)
    made = generator.normal(size=(count, 50, 2)) * scale + generator.normal(size=(count, 1, 2)) * 0.3
    made[:, :, 0] += shift
    return list(made)


def learnt() -> InputMonitor:
    """A monitor with its reference."""
    monitor = InputMonitor(NAMES)
    for values in windows(1, LEARNT_FROM):
        assert monitor.observe(values, 0).distance is None
    assert monitor.reference is not None
    return monitor


def signals(monitor: InputMonitor, made: list[NDArray[np.float64]]) -> list[tuple[int, str]]:
    """What it tells, and at which window."""
    return [(place, drift.signal) for place, one in enumerate(made) for drift in monitor.observe(one, place).drifts]


def test_features_are_means_and_logarithmic_deviations() -> None:
    """Of windows, of grey and of coloured pictures."""
    window = np.array([[1.0, 10.0], [3.0, 10.0]])
    assert features_of(window, 2) == pytest.approx([2.0, 10.0, 0.0, np.log(1e-6)], abs=1e-5)
    assert features_of(np.full((4, 6), 7, np.uint8), 1)[0] == 7.0
    assert features_of(np.zeros((4, 6, 3), np.uint8), 3).shape == (6,)


def test_what_is_normal_is_near_and_what_is_strange_is_far() -> None:
    """About 0.7 for inputs as before; several times that for a stuck, a shifted or a louder sensor."""
    monitor = learnt()
    normal = [monitor.observe(one, 0).distance for one in windows(2, 50)]
    assert 0.4 < float(np.mean([one for one in normal if one is not None])) < 1.0
    for strange in (np.zeros((50, 2)), windows(3, 1, shift=5.0)[0], windows(3, 1, scale=5.0)[0]):
        distance = monitor.observe(strange, 0).distance
        assert distance is not None
        assert distance > 2.0


def test_stable_inputs_raise_no_alarm() -> None:
    """A thousand windows."""
    assert signals(learnt(), windows(4, 1000)) == []


def test_a_moved_channel_is_told_by_name() -> None:
    """Within fifty windows, by the channel that moved; the other one is not accused."""
    told = signals(learnt(), windows(5, 100, shift=1.0))
    assert told
    assert told[0][0] < 50
    assert any(name.startswith("mean:x") for _, name in told)
    assert not any(name.startswith("mean:y") for _, name in told)


def test_a_change_of_loudness_is_told_by_the_distance() -> None:
    """The means stay where they are."""
    monitor = learnt()
    signals(monitor, windows(6, 300))
    told = [name for _, name in signals(monitor, windows(7, 300, scale=2.0))]
    assert DISTANCE in told


def test_an_input_that_is_not_finite_says_nothing() -> None:
    """It is neither learnt nor compared."""
    monitor = learnt()
    assert monitor.observe(np.full((50, 2), np.nan), 0).distance is None


def test_a_reference_outlives_the_process() -> None:
    """Through JSON and back, distances are the same; anything else is refused."""
    monitor = learnt()
    assert monitor.reference is not None
    again = InputMonitor(NAMES, Reference.from_json(monitor.reference.to_json()))
    (one,) = windows(8, 1)
    assert again.observe(one, 0).distance == pytest.approx(monitor.observe(one, 0).distance)
    for text in ('{"mean": [1], "std": [1, 2], "precision": [[1]], "usual": [0, 1]}', "[]", "{}"):
        with pytest.raises((ValueError, KeyError, TypeError)):
            Reference.from_json(text)


def test_a_channel_that_never_moves_can_be_learnt() -> None:
    """Its deviation is bounded from below, so that no number is infinite."""
    monitor = InputMonitor(NAMES)
    for values in windows(9, LEARNT_FROM + 5):
        values[:, 1] = 1.0
        seen = monitor.observe(values, 0)
    assert seen.distance is not None
    assert np.isfinite(seen.distance)
