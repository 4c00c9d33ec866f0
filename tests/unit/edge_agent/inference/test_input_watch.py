"""Watching inputs: alarms are told once each, change no answer, and references outlive the process."""

from dataclasses import replace

import numpy as np

from edge_agent.core.input_statistics import LEARNT_FROM
from edge_agent.inference.input_watch import InputWatch
from edge_agent.ports import BindingName
from model_packs.input_reference import features_of, learnt
from model_packs.manifest import PackManifest
from tests.unit.edge_agent.packs.manifests import MANIFEST

BINDING = BindingName("press")
DIGEST = MANIFEST.digest


def watched(
    notes: dict[str, str],
    told: list[tuple[str, str]],
    seed: int,
    count: int,
    shift: float,
    *,
    manifest: PackManifest = MANIFEST,
) -> InputWatch:
    """A watch that has seen so many windows."""
    watch = InputWatch(notes.get, notes.__setitem__, lambda binding, signal: told.append((binding, signal)))
    generator = np.random.default_rng(seed)
    for second in range(count):
        values = generator.normal(size=(5, 2)).astype(np.float32)
        values[:, 0] += shift
        watch.look(BINDING, manifest.digest, manifest, values, second)
    return watch


def test_a_reference_is_kept_once_and_read_by_the_next_process() -> None:
    """So a change over a restart is seen."""
    notes: dict[str, str] = {}
    told: list[tuple[str, str]] = []
    watch = watched(notes, told, 1, LEARNT_FROM - 1, 0.0)
    watch.keep()
    assert notes == {}
    watch = watched(notes, told, 1, LEARNT_FROM, 0.0)
    watch.keep()
    (name,) = notes
    notes[name] += " "
    watch.keep()
    assert notes[name].endswith(" "), "what is kept is not written again"
    assert watch.reports() == ()
    again = watched(notes, told, 2, 60, 3.0)
    signals = {one.signal for one in again.reports()}
    assert {signal for _, signal in told} == signals
    assert any(signal.startswith("mean:x") for signal in signals)
    assert all(one.binding == BINDING and one.at_ns >= 0 for one in again.reports())


def test_an_unreadable_reference_is_learnt_anew() -> None:
    """Damage costs the reference and nothing else."""
    notes = {f"input_reference:{BINDING}:{DIGEST}": "{"}
    watch = watched(notes, [], 3, LEARNT_FROM, 0.0)
    watch.keep()
    assert notes[f"input_reference:{BINDING}:{DIGEST}"].startswith('{"mean"')


def test_a_reference_of_other_channels_is_not_used() -> None:
    """The binding may have changed its pack's shape under the same name."""
    other = '{"mean": [0, 0], "std": [1, 1], "precision": [[1, 0], [0, 1]], "usual": [1, 1]}'
    notes = {f"input_reference:{BINDING}:{DIGEST}": other}
    watch = watched(notes, [], 4, 1, 0.0)
    assert watch.look(BINDING, DIGEST, MANIFEST, np.zeros((5, 2), np.float32), 9) is None


def test_what_a_pack_states_is_the_reference_from_the_first_input_on() -> None:
    """A fault that was there from the start is no normal state; nothing is learnt, and nothing kept."""
    rows = np.random.default_rng(5).normal(size=(LEARNT_FROM, 5, 2))
    stated = replace(MANIFEST, input_reference=learnt(np.stack([features_of(row, 2) for row in rows])))
    notes: dict[str, str] = {}
    calm = watched(notes, [], 6, 300, 0.0, manifest=stated)
    distance = calm.look(BINDING, stated.digest, stated, rows[0], 301)
    assert distance is not None
    assert distance < 2.0
    assert calm.reports() == ()
    faulty = watched(notes, [], 6, 60, 3.0, manifest=stated)
    assert any(one.signal.startswith("mean:x") for one in faulty.reports())
    assert watched(notes, [], 6, 60, 3.0).reports() == (), "a pack that states nothing takes it for normal"
    faulty.keep()
    assert notes == {}
