"""The batch that pays is measured; a model that gains nothing from company is not batched."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cloud_hub.serving.loading import OpenedPack, best_run_ns, measure
from model_packs.engines.session import REMOTE, SessionFacts
from model_packs.engines.tuning import BatchPoint, Tuning
from model_packs.manifest import PackManifest
from tests.simulators.packs import build_tiny
from tests.simulators.serving_source import ToldSession


class Factual(ToldSession):
    """A session with facts of its own."""

    def __init__(self, facts: SessionFacts) -> None:
        super().__init__(1)
        self._facts = facts

    @property
    def facts(self) -> SessionFacts:
        """As given."""
        return self._facts


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PackManifest:
    """A model of at most 64 windows."""
    folder: Path = tmp_path_factory.mktemp("pack")
    return replace(build_tiny(folder, name="tiny-hub", role="hub", escalates_to=None).manifest, max_batch=64)


def opened(manifest: PackManifest, **facts: Any) -> OpenedPack:  # noqa: ANN401 - handed on
    """A pack on a session with facts."""
    session = Factual(replace(ToldSession(1).facts, **facts))
    return OpenedPack(manifest, manifest.digest, session, 1)


def runs(pack: OpenedPack) -> list[int]:
    """The batches that its session ran."""
    return cast("Factual", pack.session).batches


def test_what_was_measured_on_this_machine_is_believed(manifest: PackManifest) -> None:
    """The install's tuning names the batch; only the run times are taken, of one window and of the largest batch."""
    tuning = Tuning(manifest.variants[0].graph_digest, "1", "cpu", 1, 1, (BatchPoint(1, 5000.0, 5000.0),))
    pack = opened(manifest, tuning=tuning)
    measured = measure(pack, 16)
    assert (measured.batch, set(runs(pack))) == (1, {1, 16})
    assert measured.times.run_s(1) > 0


@pytest.mark.parametrize(
    ("run_us", "batch", "largest"),
    [
        ({1: 100, 2: 110, 4: 120, 8: 140, 16: 180, 32: 260, 64: 420}, 64, 64),
        ({1: 100, 2: 200, 4: 410}, 1, 4),
        ({1: 100, 2: 120, 4: 236, 8: 470, 16: 950}, 2, 8),
    ],
)
def test_batches_are_tried_while_they_pay(
    manifest: PackManifest,
    run_us: dict[int, int],
    batch: int,
    largest: int,
) -> None:
    """Twice as large while windows get cheaper; where they do not, no larger run takes memory."""
    tried: list[int] = []

    def told(_opened: OpenedPack, size: int) -> int:
        tried.append(size)
        return run_us[size] * 1000

    measured = measure(opened(manifest), 64, told)
    assert (measured.batch, tried[-1]) == (batch, largest)


def test_a_session_on_another_machine_is_not_measured(manifest: PackManifest) -> None:
    """Its runs cost money, and zeros say nothing: nothing is run, and it never runs on the loop."""
    pack = opened(manifest, provider=REMOTE)
    measured = measure(pack, 16)
    assert (measured.batch, runs(pack)) == (16, [])
    assert measured.largest_ms > 1e9
    assert measured.times.run_s(1) == 0.0


def test_measuring_ends_with_its_time(manifest: PackManifest) -> None:
    """One run where it takes longer than there is time for, else a few."""
    pack = opened(manifest)
    assert best_run_ns(pack, 2, measure_s=0.0) > 0
    assert best_run_ns(pack, 1) > 0
    assert runs(pack) == [2, 1, 1, 1]
