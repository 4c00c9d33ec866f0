"""The baselines: each shipped pack alone on the very windows that the watches send."""

from pathlib import Path

import numpy as np
import pytest

from deploy.demo.baselines import EDGE_PACK, HUB_PACK, alone, layout, questions
from deploy.demo.fleet import AgentName, Member
from deploy.demo.sensors import tracks, window_keys
from model_packs.manifest import PackRef
from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import EXERCISES, Wrist
from model_packs.store import PackStore
from tests.unit.deploy.test_sensors import START_NS, recording

MEMBER = Member(AgentName("right-x"), Wrist.RIGHT, (1, 2))


@pytest.mark.parametrize("ref", [EDGE_PACK, HUB_PACK])
def test_a_pack_answers_each_window_alike_whatever_the_batch(run_folder: Path, ref: PackRef) -> None:
    """More windows than fit into one run are all answered, in order."""
    store = PackStore(run_folder / "store")
    store.open()
    pack = store.load(store.import_layout(layout(ref)), None)
    count = pack.manifest.max_batch + 3
    windows = np.random.default_rng(0).normal(size=(count, 50, 6)).astype(np.float32)
    labels = alone(pack, windows)
    assert len(labels) == count
    assert set(labels) <= set(EXERCISES)
    assert labels[-3:] == [label for window in windows[-3:] for label in alone(pack, window[None])]


def test_every_window_of_the_plan_has_its_own_truth_and_baselines(run_folder: Path) -> None:
    """Questions are joined to windows by place, so the labels are those of the recording's own field windows."""
    watches = tracks([recording(0, 1), recording(1, 2), recording(2, 1)], [MEMBER])
    asked = questions(watches, START_NS, run_folder / "driver")
    assert list(asked) == [key for key, _, _ in window_keys(watches, START_NS)]
    store = PackStore(run_folder / "store")
    store.open()
    hub = store.load(store.import_layout(layout(HUB_PACK)), None)
    for key, source, place in window_keys(watches, START_NS):
        question = asked[key]
        assert (question.truth, question.recording) == (source.exercise, source.index)
        assert question.hub_label == alone(hub, split.field_windows(source)[place][None])[0]
