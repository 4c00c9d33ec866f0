"""A power cut at any moment loses nothing that the store acknowledged: unsynced writes are dropped, kept, or torn.

`tests/simulators/power_cut.py` says what a cut may do. A seed is a life of the store, a moment and what survives; it
stands in the name of the test, so that a failed cut is repeated by that name.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.store_life import Recording, examine, lay, record_doubt, record_life, record_return
from tests.simulators.power_cut import Promised, SyncFailed, Written
from tests.simulators.seeds import again, seeded

LIVES = 4
CUTS = 96
CUTS_DURING_RETURN = 24
CUTS_AFTER_FAILED_SYNCS = 48
CONTROL_CUTS = 24

Lives = Callable[[int], Recording]


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Lives:
    """The life of the store that a seed stands for; each is lived once."""
    return lived_once(tmp_path_factory, is_failing=False)


@pytest.fixture(scope="module")
def failing_lives(tmp_path_factory: pytest.TempPathFactory) -> Lives:
    """As `lives`, on a disk whose syncs fail now and then."""
    return lived_once(tmp_path_factory, is_failing=True)


def lived_once(folders: pytest.TempPathFactory, *, is_failing: bool) -> Lives:
    """Lives by their seeds, recorded when they are first asked for."""
    lived: dict[int, Recording] = {}

    def life(seed: int) -> Recording:
        number = seed % LIVES
        if number not in lived:
            lived[number] = record_life(folders.mktemp(f"life-{number}"), number, is_failing=is_failing)
        return lived[number]

    return life


def cut_once(recording: Recording, rng: random.Random, folder: Path) -> int:
    """Cut the power at some moment and lay what is left in a new folder; how many events came before it."""
    cut = recording.trace.moment(rng)
    lay(folder, recording.trace.files_after(cut, rng), rng)
    return cut


@pytest.mark.parametrize("seed", range(CUTS))
def test_nothing_acknowledged_is_lost(seed: int, lives: Lives, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The store opens at one whole commit, none before the last that it acknowledged, and goes on."""
    recording, rng = lives(seed), seeded(seed)
    cut = cut_once(recording, rng, tmp_path / "cut")
    problems = examine(tmp_path / "cut", recording.trace.promises(cut), recording.commits)
    assert problems == [], again(request, seed)


@pytest.mark.parametrize("seed", range(CUTS_DURING_RETURN))
def test_a_second_cut_during_the_return_changes_nothing(
    seed: int, lives: Lives, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Power that fails again while the store comes back loses nothing either, of the life before and of the return."""
    recording, rng = lives(seed), seeded(1_000_000 + seed)
    cut = cut_once(recording, rng, tmp_path / "cut")
    returned = record_return(tmp_path / "cut", recording)
    second = cut_once(returned, rng, tmp_path / "second")
    promises = [*recording.trace.promises(cut), *returned.trace.promises(second)]
    assert examine(tmp_path / "second", promises, returned.commits) == [], again(request, seed)


@pytest.mark.parametrize("seed", range(CUTS_AFTER_FAILED_SYNCS))
def test_syncs_that_failed_before_lose_nothing_that_was_acknowledged_since(
    seed: int, failing_lives: Lives, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What the kernel dropped and calls clean is written once more before a later commit stands on it."""
    recording, rng = failing_lives(seed), seeded(2_000_000 + seed)
    cut = cut_once(recording, rng, tmp_path / "cut")
    problems = examine(tmp_path / "cut", recording.trace.promises(cut), recording.commits)
    assert problems == [], again(request, seed)


@pytest.mark.parametrize("failing_syncs", range(1, 6))
def test_a_commit_that_is_found_after_its_sync_failed_is_durable_before_it_is_acknowledged(
    failing_syncs: int, tmp_path: Path
) -> None:
    """The file is opened again and the commit is in it: whatever a cut leaves after the acknowledgement holds it."""
    folder = tmp_path / "life"
    folder.mkdir()
    recording = record_doubt(folder, failing_syncs)
    events = recording.trace.events
    assert sum(isinstance(event, SyncFailed) for event in events) == failing_syncs
    promised = [number for number, event in enumerate(events) if isinstance(event, Promised)]
    for moment in range(promised[-1] + 1, len(events) + 1):
        rng, cut = seeded(moment), tmp_path / f"cut-{moment}"
        lay(cut, recording.trace.files_after(moment, rng), rng)
        assert examine(cut, recording.trace.promises(moment), recording.commits) == [], moment


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_a_store_that_syncs_less_is_caught(synchronous: str, tmp_path: Path) -> None:
    """The control: the same life with a weaker setting does lose what it acknowledged, and the cuts show it."""
    folder = tmp_path / "life"
    folder.mkdir()
    recording = record_life(folder, seed=0, synchronous=synchronous)
    caught: list[str] = []
    for seed in range(CONTROL_CUTS):
        rng, cut_folder = seeded(seed), tmp_path / f"cut-{seed}"
        cut = cut_once(recording, rng, cut_folder)
        caught += examine(cut_folder, recording.trace.promises(cut), recording.commits)[:1]
    assert len(caught) >= CONTROL_CUTS // 4, caught


def test_one_seed_is_one_sequence_of_writes(lives: Lives, tmp_path: Path) -> None:
    """A life is lived the same way each time, so that the name of a failed cut repeats it."""
    assert _shape(record_life(tmp_path, seed=1)) == _shape(lives(1))


def _shape(recording: Recording) -> list[tuple[object, ...]]:
    """The events without their bytes, in which the store's random id stands."""
    shape: list[tuple[object, ...]] = []
    for event in recording.trace.events:
        match event:
            case Written(name, offset, data):
                shape.append((name, offset, len(data)))
            case Promised(fact):
                shape.append((fact,))
            case _:
                shape.append((event,))
    return shape
