"""The split and the certificates on the real recordings; skipped by name where the wheel cannot be fetched."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.scoring import score
from model_packs.shipped.motion_band import dataset, split
from model_packs.shipped.motion_band.dataset import Recording, Wrist
from model_packs.shipped.motion_band.split import Part
from model_packs.store import PackStore

REPOSITORY = Path(__file__).parents[5]
PACKS = REPOSITORY / "model_packs" / "shipped" / "motion_band" / "packs"


@pytest.fixture(scope="module")
def recordings() -> tuple[Recording, ...]:
    """All recordings, from the cache that the demo uses too."""
    try:
        return dataset.load(REPOSITORY / "build" / "data")
    except dataset.DatasetError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


def student(version: str) -> Pack:
    """A committed student."""
    store = PackStore(PACKS / f"motion-band-edge-{version}")
    store.open()
    return store.load(PackRef("motion-band-edge", version), None)


def answers(pack: Pack, windows: NDArray[np.float32]) -> tuple[list[float], list[str]]:
    """Confidences and labels, as an agent computes them."""
    session = open_session(pack)
    try:
        scored = [
            answer
            for batch in np.split(windows, range(pack.manifest.max_batch, len(windows), pack.manifest.max_batch))
            for answer in score(pack.manifest, session.run({"window": batch}))
        ]
    finally:
        session.close()
    return [answer.confidence for answer in scored], [answer.output.told for answer in scored if answer.output]


def test_the_recordings_are_the_ones_described(recordings: tuple[Recording, ...]) -> None:
    """Ten persons, two wrists, seven exercises, once each; read-only float32."""
    assert Counter((record.subject, record.wrist, record.exercise) for record in recordings) == {
        (subject, wrist, exercise): 1 for subject in range(1, 11) for wrist in Wrist for exercise in dataset.EXERCISES
    }
    assert [record.index for record in recordings] == list(range(140))
    assert sum(len(record.samples) for record in recordings) == 244_102
    assert {record.samples.dtype for record in recordings} == {np.dtype(np.float32)}
    assert not any(record.samples.flags.writeable for record in recordings)
    assert all(dataset.EXERCISES[record.exercise_index] == record.exercise for record in recordings)


def test_no_real_row_is_in_two_parts_and_no_real_window_crosses_a_cut(recordings: tuple[Recording, ...]) -> None:
    """Row by row, over all recordings: each row is used by windows of one part at most."""
    for record in recordings:
        used_by: dict[int, Part] = {}
        for part in Part:
            inside = split.rows(part, len(record.samples))
            for start in split.window_starts(part, len(record.samples)):
                for row in range(start, start + split.WINDOW_ROWS):
                    assert row in inside
                    assert used_by.setdefault(row, part) is part


@pytest.mark.parametrize(
    ("wrist", "counts"), [(Wrist.RIGHT, [3481, 141, 353, 517]), (Wrist.LEFT, [3781, 155, 380, 562])]
)
def test_the_parts_have_the_windows_that_the_card_counts(
    recordings: tuple[Recording, ...], wrist: Wrist, counts: list[int]
) -> None:
    """The number of windows by part and wrist is fixed by the split."""
    found = [sum(len(split.windows(part, r)) for r in recordings if r.wrist is wrist) for part in Part]

    assert found == counts


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_the_certificate_s_counts_come_out_of_the_calibration_rows_again(
    recordings: tuple[Recording, ...], version: str
) -> None:
    """The committed graph on the calibration rows, scored as an agent scores, gives the certificate's counts."""
    pack = student(version)
    certificate = pack.certificate
    assert certificate is not None
    assert certificate.threshold is not None
    population = [r for r in recordings if version == "2.0.0" or r.wrist is Wrist.RIGHT]
    windows = [split.windows(Part.CALIBRATION, record) for record in population]
    truth = [record.exercise for record, cut in zip(population, windows, strict=True) for _ in cut]

    confidences, labels = answers(pack, np.concatenate(windows))

    kept = [confidence >= certificate.threshold for confidence in confidences]
    wrong = [is_kept and label != true for is_kept, label, true in zip(kept, labels, truth, strict=True)]
    assert (len(kept), sum(kept), sum(wrong)) == (certificate.n_units, certificate.n_kept, certificate.k_errors)
