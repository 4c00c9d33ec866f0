"""The split by time: no row in two parts, no window across a cut."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import Recording, Wrist
from model_packs.shipped.motion_band.split import Part


def a_recording(n_rows: int) -> Recording:
    """A recording whose values tell their row."""
    samples = np.repeat(np.arange(n_rows, dtype=np.float32)[:, None], 6, axis=1)
    return Recording(index=0, subject=1, wrist=Wrist.RIGHT, exercise="PEN", samples=samples)


@settings(deadline=None)
@given(st.integers(0, 5000))
def test_no_row_is_in_two_parts(n_rows: int) -> None:
    """Whatever the length, the parts follow each other and do not meet."""
    parts = [split.rows(part, n_rows) for part in Part]

    assert all(part.start >= 0 and part.stop <= n_rows for part in parts)
    assert all(before.stop <= after.start for before, after in itertools.pairwise(parts))


@settings(deadline=None)
@given(st.integers(0, 5000))
def test_no_window_crosses_a_cut(n_rows: int) -> None:
    """Every window lies whole inside its part."""
    for part in Part:
        inside = split.rows(part, n_rows)
        assert all(
            start in inside and start + split.WINDOW_ROWS - 1 in inside for start in split.window_starts(part, n_rows)
        )


@settings(deadline=None)
@given(st.integers(0, 5000))
def test_windows_overlap_in_training_only(n_rows: int) -> None:
    """Outside training each row is in one window at most, and less than a window is left over."""
    for part in (Part.TUNING, Part.CALIBRATION, Part.FIELD):
        starts = split.window_starts(part, n_rows)
        assert all(after - before == split.WINDOW_ROWS for before, after in itertools.pairwise(starts))
        assert len(split.rows(part, n_rows)) - split.WINDOW_ROWS * len(starts) < split.WINDOW_ROWS


@pytest.mark.parametrize("n_rows", [0, 49, 217, 1000, 2618])
def test_windows_are_the_rows_that_they_say(n_rows: int) -> None:
    """A window holds consecutive rows from its start, and is a copy."""
    recording = a_recording(n_rows)

    for part in Part:
        windows = split.windows(part, recording)
        assert windows.dtype == np.float32
        assert windows.shape == (len(split.window_starts(part, n_rows)), 50, 6)
        assert windows[:, :, 0].tolist() == [
            list(range(start, start + 50)) for start in split.window_starts(part, n_rows)
        ]
        assert not np.shares_memory(windows, recording.samples)


def test_the_field_in_one_piece_is_the_field_windows() -> None:
    """A sensor that sends the field samples fills exactly the field windows."""
    recording = a_recording(1333)

    samples = split.field_samples(recording)

    assert samples.shape == (6 * 50, 6)
    assert np.array_equal(samples.reshape(-1, 50, 6), split.field_windows(recording))
    assert samples[0, 0] == 1020  # the first row at or after 76.5 % of 1333
