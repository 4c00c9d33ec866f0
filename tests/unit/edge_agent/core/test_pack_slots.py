"""The pack slots: every move of the table, what a desire asks for, and what keeps a pack out."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.pack_slots import (
    MAX_TRIAL_STARTS,
    MOVES,
    FailureReason,
    Move,
    PackId,
    Slot,
    SlotMoveError,
    Slots,
    boot,
    commit,
    desire,
    is_blocked,
    is_crash_loop,
    needed,
    next_move,
    pin,
    reason_of,
    refuse,
    release,
    roll_back,
    start_trial,
    target,
    wait,
    withdraw,
)
from model_packs.errors import (
    BlobError,
    DamagedPackError,
    PackError,
    UntrustedPackError,
    VersionTakenError,
    WrongBytesError,
)
from protos.messages.fleet import Desired, DesiredSlot, FailureAction, PackFailure, SlotState

FACTORY, V2, V3 = (PackId(f"tiny-edge@{n}.0.0", f"sha256:{n}") for n in (1, 2, 3))
NAME = "motion"
NOW_NS = 5


def failure(
    pack: PackId = V2,
    action: FailureAction = FailureAction.REFUSED,
    reason: FailureReason = FailureReason.GOLDEN_MISMATCH,
) -> PackFailure:
    """A failure."""
    return PackFailure(pack.pack, pack.digest, action, reason, "told", NOW_NS)


def wanting(pack: PackId | None, slot: Slot | None = None, version: int = 1) -> Slots:
    """A binding's slot under a desire."""
    wanted = () if pack is None else (DesiredSlot(NAME, pack.pack, pack.digest),)
    return Slots(Desired(version, wanted), {} if slot is None else {NAME: slot})


TRIAL = start_trial(Slot(), V2, NOW_NS)
COMMITTED = commit(TRIAL)


def test_a_pack_proves_itself_from_trial_to_committed() -> None:
    """What ran before stays the way back, also after the commit."""
    assert (TRIAL.state, TRIAL.active, TRIAL.previous, TRIAL.trial_since_ns) == (SlotState.TRIAL, V2, None, NOW_NS)
    assert (COMMITTED.state, COMMITTED.active, COMMITTED.trial_since_ns) == (SlotState.COMMITTED, V2, 0)
    third = start_trial(COMMITTED, V3, NOW_NS)
    assert (third.active, third.previous) == (V3, V2)


def test_a_trial_that_is_replaced_never_becomes_the_way_back() -> None:
    """Only what was committed, or is the factory's, is gone back to."""
    assert start_trial(start_trial(COMMITTED, V3, NOW_NS), FACTORY, NOW_NS).previous == V2


def test_a_rollback_ends_at_the_factory_pack() -> None:
    """First the pack before, then the one that bindings.toml names, then there is nothing left."""
    third = start_trial(COMMITTED, V3, NOW_NS)
    second = roll_back(third, failure(V3))
    assert (second.active, second.previous, second.state, second.failure) == (
        V2,
        None,
        SlotState.COMMITTED,
        failure(V3),
    )
    first = roll_back(second, failure(V2))
    assert (first.active, first.has_way_back) == (None, False)
    with pytest.raises(SlotMoveError, match="no pack to go back to"):
        roll_back(first, failure(FACTORY))


def test_a_success_forgets_the_failure_before() -> None:
    """The last failure stands until another pack succeeds."""
    failed = refuse(COMMITTED, failure(V3))
    assert failed.failure == failure(V3)
    assert (failed.active, failed.state) == (V2, SlotState.COMMITTED)
    assert start_trial(failed, V3, NOW_NS).failure == failure(V3)
    assert commit(start_trial(failed, V3, NOW_NS)).failure is None


def test_starts_are_counted_on_trial_only() -> None:
    """The third start since the trial began is one too many."""
    slot = TRIAL
    for start in range(1, MAX_TRIAL_STARTS + 1):
        assert not is_crash_loop(slot)
        slot = boot(slot)
        assert slot.attempts == start
    assert is_crash_loop(slot)
    assert boot(COMMITTED) == COMMITTED
    assert roll_back(slot, failure()).attempts == 0


def test_what_is_not_in_the_table_may_not_happen() -> None:
    """A committed slot has no trial to commit or to withdraw; the error names both."""
    for move, act in ((Move.COMMIT, commit), (Move.WITHDRAW, withdraw)):
        with pytest.raises(SlotMoveError) as caught:
            act(COMMITTED)
        assert (caught.value.state, caught.value.move) == (SlotState.COMMITTED, move)
    assert {move for _, move in MOVES} == set(Move)


def test_a_device_takes_what_the_hub_wants() -> None:
    """Unless nothing is wanted, it runs already, or the slot is pinned."""
    assert next_move(wanting(V2), NAME, FACTORY) is Move.TRY
    assert next_move(wanting(None), NAME, FACTORY) is None
    assert next_move(wanting(V2, COMMITTED), NAME, FACTORY) is None
    assert next_move(wanting(FACTORY), NAME, FACTORY) is None
    assert next_move(wanting(FACTORY, COMMITTED), NAME, FACTORY) is Move.TRY
    assert next_move(wanting(V3, pin(COMMITTED)), NAME, FACTORY) is None
    assert next_move(wanting(V3, release(pin(COMMITTED))), NAME, FACTORY) is Move.TRY
    assert target(FACTORY, FACTORY) is None
    assert target(V2, FACTORY) == V2


def test_a_desire_that_goes_back_withdraws_the_trial() -> None:
    """Nothing failed: the pack before is committed again, and nothing is kept against the other."""
    assert next_move(wanting(FACTORY, TRIAL), NAME, FACTORY) is Move.WITHDRAW
    assert next_move(wanting(V3, TRIAL), NAME, FACTORY) is Move.TRY
    back = withdraw(TRIAL)
    assert (back.active, back.state, back.failure) == (None, SlotState.COMMITTED, None)


@pytest.mark.parametrize(
    ("action", "reason", "blocks"),
    [
        (FailureAction.REFUSED, FailureReason.BAD_DIGEST, True),
        (FailureAction.REFUSED, FailureReason.PROBE_TIMEOUT, True),
        (FailureAction.REFUSED, FailureReason.DOWNLOAD_FAILED, False),
        (FailureAction.REFUSED, FailureReason.NO_SPACE, False),
        (FailureAction.ROLLED_BACK, FailureReason.ENGINE_FAILURES, True),
        (FailureAction.ROLLED_BACK, FailureReason.BY_HAND, True),
        (FailureAction.ROLLED_BACK, FailureReason.BAD_DIGEST, False),
        (FailureAction.ROLLED_BACK, FailureReason.DOWNLOAD_FAILED, False),
    ],
)
def test_a_failure_keeps_its_own_pack_out(action: FailureAction, reason: FailureReason, *, blocks: bool) -> None:
    """The world's troubles and a copy that went bad on this disk do not; another pack is free."""
    slot = replace(Slot(), failure=failure(V2, action, reason))
    assert is_blocked(slot, V2) is blocks
    assert not is_blocked(slot, V3)
    assert next_move(wanting(V2, slot), NAME, FACTORY) is (None if blocks else Move.TRY)


def test_an_older_desire_changes_nothing() -> None:
    """The newest version wins; the same again is no news."""
    slots = wanting(V2, version=4)
    for version in (3, 4):
        assert desire(slots, Desired(version, (DesiredSlot(NAME, V3.pack, V3.digest),))) is slots


@pytest.mark.parametrize(
    ("action", "wanted", "is_kept"),
    [
        (FailureAction.REFUSED, V2, False),
        (FailureAction.ROLLED_BACK, V2, True),
        (FailureAction.ROLLED_BACK, V3, False),
        (FailureAction.REFUSED, None, True),
    ],
)
def test_a_new_desire_is_a_new_chance(action: FailureAction, wanted: PackId | None, *, is_kept: bool) -> None:
    """A refused pack may have been mended; one that ran and failed is tried again after another was wanted."""
    slots = wanting(V2, replace(Slot(), failure=failure(V2, action)))
    newer = Desired(2, () if wanted is None else (DesiredSlot(NAME, wanted.pack, wanted.digest),))
    assert (desire(slots, newer).of(NAME).failure is not None) is is_kept
    assert desire(wanting(V2, COMMITTED), newer).of(NAME) == COMMITTED


def test_what_may_still_be_needed_stays_on_the_device() -> None:
    """Active, previous, factory, and what is wanted and not refused; also a pack that was rolled back: it was whole."""
    slot = start_trial(COMMITTED, V3, NOW_NS)
    four = PackId("tiny-edge@4.0.0", "sha256:4")
    assert needed(wanting(four, slot), {NAME: FACTORY}) == {FACTORY, V2, V3, four}
    assert needed(wanting(four, refuse(slot, failure(four))), {NAME: FACTORY}) == {FACTORY, V2, V3}
    back = roll_back(TRIAL, failure(V2, FailureAction.ROLLED_BACK, FailureReason.BY_HAND))
    assert needed(wanting(V2, back), {NAME: FACTORY}) == {FACTORY, V2}
    assert needed(Slots(), {NAME: FACTORY}) == {FACTORY}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UntrustedPackError("p", "r", "m"), FailureReason.BAD_SIGNATURE),
        (DamagedPackError("p", "r", "m"), FailureReason.BAD_DIGEST),
        (WrongBytesError("p", "r", "m"), FailureReason.BAD_DIGEST),
        (VersionTakenError("p", "r", "m"), FailureReason.WRONG_PACK),
        (BlobError("p", "r", "m"), FailureReason.DOWNLOAD_FAILED),
        (PackError("p", "r", "m"), FailureReason.DAMAGED_MANIFEST),
    ],
)
def test_every_fault_of_a_pack_has_its_reason(error: PackError, reason: FailureReason) -> None:
    """The hub is told a name of the contract."""
    assert reason_of(error) is reason


ACTS: dict[Move, Any] = {
    Move.REFUSE: lambda slot: refuse(slot, failure(V3)),
    Move.TRY: lambda slot: start_trial(slot, V3 if slot.active == V2 else V2, NOW_NS),
    Move.BOOT: boot,
    Move.WAIT: wait,
    Move.COMMIT: commit,
    Move.WITHDRAW: withdraw,
    Move.ROLL_BACK: lambda slot: roll_back(slot, failure()),
    Move.PIN: pin,
    Move.RELEASE: release,
}


@given(st.lists(st.sampled_from(Move), max_size=30))
def test_whatever_happens_the_way_back_was_proven(moves: list[Move]) -> None:
    """In any order of moves the pack to go back to was committed once, or is the factory's."""
    slot, proven = Slot(), {None}
    for move in moves:
        try:
            slot = ACTS[move](slot)
        except SlotMoveError:
            continue
        if slot.state is SlotState.COMMITTED:
            proven.add(slot.active)
        assert slot.previous in proven
        assert MOVES.get((slot.state, Move.BOOT)) is slot.state


DOCS = Path(__file__).parents[4] / "docs" / "packs.md"


def test_the_docs_draw_the_table() -> None:
    """docs/packs.md shows every move of the table, and none besides."""
    drawn = re.findall(r"^(\w+) --(\w+)--> (\w+)$", DOCS.read_text(), re.MULTILINE)
    assert sorted(drawn) == sorted((state.value, move.value, after.value) for (state, move), after in MOVES.items())


def test_the_docs_explain_every_reason() -> None:
    """docs/packs.md has a row for each reason that a hub may be told, and for no other."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", DOCS.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(reason.value for reason in FailureReason)
