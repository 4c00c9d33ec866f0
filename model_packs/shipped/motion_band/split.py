"""Which rows of a recording train, tune, calibrate and are shown as the field.

Owns the split of the motion-band family and the windows cut from it. The split is by time inside each recording, with a
gap before each later part; it was fixed before any figure was seen. All persons and exercises are in all parts: figures
on the field part are *within-subject*.

    0        500 510    585 590        755 765              1000   permille of the recording's rows
    |training| . |tuning| . |calibration| . |     field      |

What the rows look like and where they come from is `dataset`'s business.
"""

from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.shipped.motion_band.dataset import Recording

WINDOW_ROWS: Final = 50  # one second
TRAINING_HOP_ROWS: Final = 16


class Part(Enum):
    """A part of every recording: first and last bound in permille of its rows, and the hop between windows in rows."""

    TRAINING = (0, 500, TRAINING_HOP_ROWS)
    TUNING = (510, 585, WINDOW_ROWS)
    CALIBRATION = (590, 755, WINDOW_ROWS)
    FIELD = (765, 1000, WINDOW_ROWS)


def rows(part: Part, n_rows: int) -> range:
    """The rows of a recording that belong to a part.

    Args:
        part: The part.
        n_rows: Rows in the whole recording.

    Returns:
        Consecutive row numbers; a row is in one part at most, and rows in the gaps are in none.
    """
    first, last, _hop = part.value
    return range(-(-n_rows * first // 1000), n_rows * last // 1000)


def window_starts(part: Part, n_rows: int) -> range:
    """First rows of the windows of a part: each window lies inside the part, what does not fill a window is left out.

    Args:
        part: The part. Windows overlap in training only.
        n_rows: Rows in the whole recording.

    Returns:
        Start rows, counted from the start of the recording.
    """
    inside = rows(part, n_rows)
    _first, _last, hop = part.value
    return range(inside.start, inside.stop - WINDOW_ROWS + 1, hop)


def windows(part: Part, recording: Recording) -> NDArray[np.float32]:
    """The windows of a part of a recording.

    Args:
        part: The part.
        recording: The recording.

    Returns:
        float32 [windows, rows, channels] = [n, 50, 6], raw units, a copy that the caller owns; n may be 0.
    """
    starts = np.asarray(window_starts(part, len(recording.samples)), dtype=np.intp)
    cut: NDArray[np.float32] = recording.samples[starts[:, None] + np.arange(WINDOW_ROWS)]
    return cut


def field_windows(recording: Recording) -> NDArray[np.float32]:
    """The field windows of a recording, float32 [n, 50, 6]: all field figures count these."""
    return windows(Part.FIELD, recording)


def field_samples(recording: Recording) -> NDArray[np.float32]:
    """The same rows as `field_windows`, in one piece, float32 [n * 50, 6]: a sensor sends them one after the other."""
    found = field_windows(recording)
    return found.reshape(-1, found.shape[-1])
