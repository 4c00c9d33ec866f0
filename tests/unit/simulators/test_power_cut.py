"""What was synced survives every cut; what was not survives in any way that a disk may choose, and no other."""

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.simulators.power_cut import (
    SECTOR_BYTES,
    Created,
    Event,
    FolderSynced,
    Promised,
    Removed,
    Synced,
    SyncFailed,
    Trace,
    Truncated,
    Written,
)
from tests.simulators.seeds import seeded

SEEDS = range(200)


def left(trace: Trace) -> list[dict[str, bytes]]:
    """What many cuts at the end of a trace leave."""
    return [trace.files_after(len(trace.events), seeded(seed)) for seed in SEEDS]


def in_file(*events: Event) -> Trace:
    """A trace on a durable file of two sectors of `a`."""
    return Trace({"f": b"a" * 2 * SECTOR_BYTES}, events)


def test_what_was_synced_survives() -> None:
    """Every cut after a sync leaves what was written before it."""
    written = Written("f", 10, b"b" * SECTOR_BYTES)
    whole = b"a" * 10 + b"b" * SECTOR_BYTES + b"a" * (SECTOR_BYTES - 10)
    assert all(files == {"f": whole} for files in left(in_file(written, Synced("f"))))


def test_a_write_that_was_not_synced_is_dropped_kept_or_torn_at_sectors() -> None:
    """Each sector is old or new: four outcomes of a write over two sectors, all of which come up."""
    sectors = [b"a" * SECTOR_BYTES, b"b" * SECTOR_BYTES]
    outcomes = {files["f"] for files in left(in_file(Written("f", 0, b"b" * 2 * SECTOR_BYTES)))}
    assert outcomes == {first + second for first in sectors for second in sectors}


def test_a_later_write_may_survive_without_an_earlier_one() -> None:
    """Nothing but a sync keeps an order."""
    outcomes = {files["f"] for files in left(in_file(Written("f", 0, b"b"), Written("f", SECTOR_BYTES, b"c")))}
    assert b"a" * SECTOR_BYTES + b"c" + b"a" * (SECTOR_BYTES - 1) in outcomes
    assert len(outcomes) == 4


def test_a_hole_is_read_as_zeros() -> None:
    """A write far behind the end that survives leaves zeros between, not rubbish."""
    trace = Trace({"f": b""}, (Written("f", 0, b"b" * SECTOR_BYTES), Written("f", SECTOR_BYTES, b"c")))
    assert {"f": bytes(SECTOR_BYTES) + b"c"} in left(trace)


def test_a_truncation_is_not_durable_before_its_sync() -> None:
    """A file may have its old length again after the cut; synced, it has not."""
    assert {len(files["f"]) for files in left(in_file(Truncated("f", 5)))} == {5, 2 * SECTOR_BYTES}
    assert {len(files["f"]) for files in left(in_file(Truncated("f", 5), Synced("f")))} == {5}


def test_what_a_failed_sync_dropped_comes_back_only_when_it_is_written_once_more() -> None:
    """The next sync succeeds without it, as the kernel's does; later bytes are durable after it, as ever."""
    failed = (Written("f", 0, b"b"), SyncFailed("f"))
    assert {files["f"][:1] for files in left(in_file(*failed, Synced("f")))} == {b"a"}
    assert {files["f"][:2] for files in left(in_file(*failed, Written("f", 1, b"c"), Synced("f")))} == {b"ac"}
    assert {files["f"][:1] for files in left(in_file(*failed, Written("f", 0, b"b"), Synced("f")))} == {b"b"}


def test_the_sync_of_one_file_says_nothing_of_another() -> None:
    """What another file holds unsynced may go."""
    trace = Trace({"f": b"a", "g": b"a"}, (Written("f", 0, b"b"), Written("g", 0, b"b"), Synced("g")))
    assert {(files["f"], files["g"]) for files in left(trace)} == {(b"a", b"b"), (b"b", b"b")}


def test_a_name_is_durable_after_the_sync_of_its_folder() -> None:
    """The content alone is not enough: a new file whose folder was not synced may be gone, an old one back."""
    made = (Created("new"), Written("new", 0, b"x"), Synced("new"), Removed("f"))
    outcomes = [sorted(files) for files in left(in_file(*made))]
    assert {tuple(names) for names in outcomes} == {("f",), ("f", "new"), ("new",)}
    assert all(sorted(files) == ["new"] for files in left(in_file(*made, FolderSynced())))


def test_a_name_that_is_used_again_is_another_file() -> None:
    """After the folder's sync the old content never shines through."""
    trace = in_file(Removed("f"), Created("f"), FolderSynced(), Written("f", 0, b"b"))
    assert {files["f"] for files in left(trace)} == {b"", b"b"}


def test_only_what_was_promised_before_the_cut_counts() -> None:
    """A promise that came after the cut never left the device."""
    first, second = Promised("one", "SELECT 1"), Promised("two", "SELECT 1")
    trace = in_file(first, Written("f", 0, b"b"), second)
    assert trace.promises(2) == [first]
    assert trace.promises(3) == [first, second]


def test_every_kind_of_event_gets_its_cuts() -> None:
    """One removal among a thousand writes is cut before and after."""
    trace = in_file(*[Written("f", 0, b"b")] * 500, Removed("f"), *[FolderSynced()] * 500)
    moments = [trace.moment(seeded(seed)) for seed in SEEDS]
    assert {500, 501} <= set(moments)
    assert all(0 <= moment <= len(trace.events) for moment in moments)
    assert len(set(moments)) > len(SEEDS) // 4


@given(
    st.lists(st.tuples(st.integers(0, 1200), st.binary(max_size=700), st.booleans()), max_size=8),
    st.randoms(use_true_random=False),
)
def test_without_a_cut_the_files_are_what_was_written(
    writes: list[tuple[int, bytes, bool]], rng: random.Random
) -> None:
    """Nothing lost means the plain result; and every byte after a cut is one that was at its place at some time."""
    events: list[Event] = []
    plain = bytearray(2000)
    ever = [bytes(plain)]
    for offset, data, is_synced in writes:
        plain[offset : offset + len(data)] = data
        ever.append(bytes(plain))
        events += [Written("f", offset, data), *([Synced("f")] if is_synced else [])]
    trace = Trace({"f": b""}, tuple(events))
    assert trace.files_after(len(events))["f"].ljust(2000, b"\0") == plain
    after = trace.files_after(len(events), rng)["f"]
    assert all(any(state[at] == byte for state in ever) for at, byte in enumerate(after))
