"""The file of the pack slots: what is written is read, damage is as good as none, and no change is lost."""

import errno
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.adapters.slot_file import FILE_NAME, SlotFile, document_of, slots_of
from edge_agent.core.pack_slots import FailureReason, PackId, Slot, Slots
from edge_agent.core.policy import PolicySlot, RefusedPolicy
from protos.messages.fleet import (
    Desired,
    DesiredPolicy,
    DesiredSlot,
    FailureAction,
    PackFailure,
    PolicyMode,
    SlotState,
)

V2 = PackId("tiny-edge@2.0.0", "sha256:2")
FULL = Slots(
    Desired(7, (DesiredSlot("motion", V2.pack, V2.digest),)),
    {
        "motion": Slot(
            SlotState.TRIAL,
            V2,
            None,
            attempts=2,
            trial_since_ns=11,
            is_pinned=True,
            failure=PackFailure("p@3.0.0", "sha256:3", FailureAction.REFUSED, FailureReason.NO_SPACE, "full", 9),
        ),
        "other": Slot(previous=V2),
    },
)

packs = st.none() | st.builds(PackId, st.text(), st.text())
failures = st.none() | st.builds(
    PackFailure, st.text(), st.text(), st.sampled_from(FailureAction), st.text(), st.text(), st.integers()
)
slots = st.builds(Slot, st.sampled_from(SlotState), packs, packs, st.integers(), st.integers(), st.booleans(), failures)
desires = st.builds(
    Desired, st.integers(), st.lists(st.builds(DesiredSlot, st.text(), st.text(), st.text())).map(tuple)
)


policies = st.none() | st.builds(
    DesiredPolicy,
    st.integers(),
    st.sampled_from(PolicyMode),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0, 1),
    st.binary(),
    st.binary(),
    st.text(),
    st.text(),
)
refusals = st.none() | st.builds(RefusedPolicy, policies.filter(lambda one: one is not None), st.text())
orders = st.builds(PolicySlot, policies, policies, refusals)


@given(
    st.builds(
        Slots, desires, st.dictionaries(st.text(), slots, max_size=3), st.dictionaries(st.text(), orders, max_size=3)
    )
)
def test_what_is_written_is_read(known: Slots) -> None:
    """Through JSON and back, nothing is lost."""
    assert slots_of(json.loads(json.dumps(document_of(known)))) == known


def test_a_file_of_an_agent_without_policies_is_read() -> None:
    """The key is younger than the schema."""
    document = document_of(FULL)
    del document["policies"]
    assert slots_of(document) == FULL


def test_a_desire_of_a_policy_alone_leaves_the_pack(tmp_path: Path) -> None:
    """A slot without a pack wants none."""
    desired = Desired(8, (DesiredSlot("motion", "", "", DesiredPolicy(1, PolicyMode.HUB_ONLY)),))
    file = opened(tmp_path)
    assert file.change(lambda slots: replace(slots, desired=desired)).wanted("motion") is None


def opened(folder: Path) -> SlotFile:
    """The file in a folder."""
    file = SlotFile(folder / "packs")
    file.open()
    return file


def test_a_change_is_there_for_the_next_reader(tmp_path: Path) -> None:
    """Another reader of the same file sees it; a change that changes nothing writes nothing."""
    file = opened(tmp_path)
    assert file.read() == Slots()
    assert file.change(lambda _: FULL) == FULL
    written = (tmp_path / "packs" / FILE_NAME).stat().st_mtime_ns
    assert SlotFile(tmp_path / "packs").change(replace) == FULL
    assert (tmp_path / "packs" / FILE_NAME).stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 700,
        b"[]",
        b"{}",
        b'{"schema": "edge.slots/2", "desired": {"version": 1, "slots": []}, "slots": {}}',
        json.dumps(document_of(FULL)).replace('"trial"', '"maybe"').encode(),
        json.dumps(document_of(FULL)).encode()[:-9],
        json.dumps({**document_of(FULL), "slots": {"motion": None}}).encode(),
    ],
)
def test_a_damaged_file_is_as_good_as_none(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The factory packs run; it is told once, and the next change writes a whole file again."""
    file = opened(tmp_path)
    (tmp_path / "packs" / FILE_NAME).write_bytes(content)
    assert file.read() == Slots()
    assert file.read() == Slots()
    assert [record.message for record in caplog.records] == ["slots_damaged"]
    file.change(lambda slots: slots.having("motion", Slot(is_pinned=True)))
    assert file.read().of("motion").is_pinned


def test_while_the_disk_does_not_give_the_file_what_it_said_last_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cough of the disk costs no pin and no pack: told once, nothing is written over it, and it is read again."""

    def cough(path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    file = opened(tmp_path)
    file.change(lambda _: FULL)
    assert file.read() == FULL
    with monkeypatch.context() as coughing:
        coughing.setattr(Path, "read_bytes", cough)
        assert [file.read(), file.read()] == [FULL, FULL]
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            file.change(lambda _: Slots())
    assert [record.message for record in caplog.records] == ["slots_unreadable"]
    SlotFile(tmp_path / "packs").change(lambda slots: slots.having("other", Slot()))
    assert file.read().of("other") == Slot()
    (tmp_path / "packs" / FILE_NAME).unlink()
    assert file.read() == Slots()


def test_two_writers_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Each change sees the one before: the daemon and a command may write at once."""
    file = opened(tmp_path)

    def count() -> None:
        own = SlotFile(tmp_path / "packs")
        for _ in range(20):
            own.change(lambda slots: slots.having("motion", Slot(attempts=slots.of("motion").attempts + 1)))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read().of("motion").attempts == 60


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    """Its temporary file; nothing else in the folder is touched."""
    opened(tmp_path).change(lambda _: FULL)
    leftover = tmp_path / "packs" / f".{FILE_NAME}.0badcafe.tmp"
    leftover.write_bytes(b"half")
    other = tmp_path / "packs" / ".index.json.0badcafe.tmp"
    other.write_bytes(b"the store's")
    assert opened(tmp_path).read() == FULL
    assert not leftover.exists()
    assert other.exists()
