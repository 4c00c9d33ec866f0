"""The split by index: every digit in one part, every class alike, the same on every machine."""

from collections import Counter

import numpy as np
import pytest

from model_packs.shipped.form_digits import split
from model_packs.shipped.form_digits.split import Part

LABELS = np.repeat(np.arange(10, dtype=np.int64), split.PER_CLASS)  # as in the data set, which is sorted by label

# Written down when the split was fixed; the packs record them, too.
DIGESTS = {
    Part.TRAINING: "sha256:8455ad7665d5d7d85b113b64eccecd359d3ddd7e71745698fad3e0dc08565086",
    Part.TUNING: "sha256:f563c3c6eec3568b98db57bdd250f8386579017ebd71151135553dd9d7312882",
    Part.CALIBRATION: "sha256:7880d1c7017a778a7f8179077d3a99f88d54fd1626376dc95524625a5796c604",
    Part.FIELD: "sha256:720826f5cd03dca9483dd4cf81bf24ba1261d10a239f888ef1afb1ea42272cad",
}


def test_every_digit_is_in_exactly_one_part() -> None:
    """The parts together are the data set, without repetition."""
    together = np.concatenate([split.indices(part, LABELS) for part in Part])

    assert np.array_equal(np.sort(together), np.arange(len(LABELS)))


@pytest.mark.parametrize(
    ("part", "per_class"), [(Part.TRAINING, 260), (Part.TUNING, 40), (Part.CALIBRATION, 100), (Part.FIELD, 100)]
)
def test_every_class_has_its_share(part: Part, per_class: int) -> None:
    """A part holds equally many digits of each class."""
    assert Counter(LABELS[split.indices(part, LABELS)].tolist()) == dict.fromkeys(range(10), per_class)


@pytest.mark.parametrize("part", Part)
def test_the_split_never_changes(part: Part) -> None:
    """The parts are the ones that were written down, whatever libraries are installed."""
    assert split.digest(split.indices(part, LABELS)) == DIGESTS[part]


@pytest.mark.parametrize("part", Part)
def test_the_classes_of_a_part_are_mixed(part: Part) -> None:
    """Any hundred neighbours hold every class: who sends the first hundred sends a fair sample."""
    shown = LABELS[split.indices(part, LABELS)]

    assert all(len(set(shown[start : start + 100].tolist())) == 10 for start in range(0, len(shown), 100))


def test_a_digest_names_the_set_and_not_its_order() -> None:
    """Shuffled positions have the same digest, others another one."""
    assert split.digest(np.array([3, 1, 2])) == split.digest(np.array([1, 2, 3]))
    assert split.digest(np.array([1, 2, 3])) != split.digest(np.array([12, 3]))
