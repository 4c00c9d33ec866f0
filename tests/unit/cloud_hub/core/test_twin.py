"""The twin: desires merge and only grow, both sides compare, silence fails, and what is news is told once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind
from cloud_hub.core.twin import (
    DOWNLOAD_FAILED,
    MAX_TEXT_CHARS,
    MAX_VERSION,
    Comparison,
    DesiredTwin,
    LastWord,
    SlotDesire,
    SlotStatus,
    lifted,
    merged,
    slot_news,
    slot_states,
    told_s,
    without,
)
from protos.messages.fleet import (
    BindingReport,
    Desired,
    DesiredSlot,
    FailureAction,
    Heartbeat,
    InstallPhase,
    PackFailure,
    SlotReport,
    SlotState,
)
from protos.messages.inference import ModelUse

PRESS = DeviceKey("o", "s", "press-07")
V1, V2 = ("band@1.0.0", "sha256:1"), ("band@2.0.0", "sha256:2")
S = 1_000_000_000
SET_AT_NS = 1_000 * S
TIMEOUT_S = 100.0

WANTS_V2 = DesiredTwin(PRESS, 4, (SlotDesire("band", *V2, "ada", SET_AT_NS),), "ada", SET_AT_NS)
RUNS_V1 = SlotReport("band", *V1, SlotState.COMMITTED, None, is_pinned=False, phase=InstallPhase.IDLE)
RUNS_V2 = replace(RUNS_V1, pack=V2[0], digest=V2[1])
ON_TRIAL = replace(RUNS_V2, state=SlotState.TRIAL, previous_pack=V1[0], phase=InstallPhase.BAKING)
REFUSED = PackFailure(*V2, FailureAction.REFUSED, "bad_digest", "a blob holds other bytes", 77)
ROLLED_BACK = PackFailure(*V2, FailureAction.ROLLED_BACK, "engine_failures", "3 of 3 runs failed", 78)
CUT = PackFailure(*V2, FailureAction.REFUSED, DOWNLOAD_FAILED, "the hub went away", 79)


def beat(*slots: SlotReport, version: int = 4, binding: tuple[str, str] | None = V1) -> Heartbeat:
    """A heartbeat; `binding` is what the report of the binding itself says it runs."""
    reports = () if binding is None else (BindingReport("band", ModelUse(*binding), 1, 1, 1, "certified"),)
    return Heartbeat(1, 1, "ok", (), 0, 0, None, reports, version, slots)


def status(
    heartbeat: Heartbeat | None, *, desired: DesiredTwin | None = WANTS_V2, age_s: float = 1.0, waited_s: float = 2.0
) -> SlotStatus:
    """The one binding's status, `waited_s` after the desire, `age_s` after the heartbeat."""
    now_ns = SET_AT_NS + round(waited_s * S)
    word = None if heartbeat is None else LastWord(heartbeat, now_ns - round(age_s * S))
    (one,) = slot_states(desired, word, now_ns=now_ns, install_timeout_s=TIMEOUT_S)
    return one


def test_desires_merge_by_binding_under_the_next_version() -> None:
    """A named binding gets the new pack, the others keep theirs with who wanted it; the message holds all of them."""
    first = merged(None, PRESS, [DesiredSlot("b", *V1), DesiredSlot("a", *V1)], actor="ada", now_ns=1)
    assert (first.version, [slot.binding for slot in first.slots]) == (1, ["a", "b"])
    second = merged(first, PRESS, [DesiredSlot("b", *V2)], actor="bob", now_ns=2)
    assert (second.version, second.set_by, second.set_at_ns) == (2, "bob", 2)
    assert second.slots == (SlotDesire("a", *V1, "ada", 1), SlotDesire("b", *V2, "bob", 2))
    assert second.message() == Desired(2, (DesiredSlot("a", *V1), DesiredSlot("b", *V2)))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([V1, V2])), min_size=1, max_size=20))
def test_the_newest_desire_of_each_binding_wins(steps: list[tuple[str, tuple[str, str]]]) -> None:
    """Whatever is wanted in whatever order, versions count the changes and each binding holds its last wish."""
    twin: DesiredTwin | None = None
    for at_ns, (binding, pack) in enumerate(steps):
        twin = merged(twin, PRESS, [DesiredSlot(binding, *pack)], actor="ada", now_ns=at_ns)
    assert twin is not None
    assert twin.version == len(steps)
    assert {slot.binding: (slot.pack, slot.digest) for slot in twin.slots} == dict(steps)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [(0, None), (4, None), (5, 6), (9, 10), (MAX_VERSION, MAX_VERSION + 1), (MAX_VERSION + 1, None)],
)
def test_a_twin_is_lifted_above_what_the_device_holds(reported: int, expected: int | None) -> None:
    """A restored hub counts on above the device's floor; an absurd floor of a peer is no version."""
    higher = lifted(WANTS_V2, reported)
    assert (None if higher is None else higher.version) == expected
    assert higher is None or higher.slots == WANTS_V2.slots


@pytest.mark.parametrize(
    ("heartbeat", "state", "word"),
    [
        (None, Comparison.UNKNOWN, "never reported"),
        (beat(RUNS_V1, version=3), Comparison.PENDING, "not taken the desire yet"),
        (beat(RUNS_V1, version=9), Comparison.PENDING, "newer desire than this hub"),
        (beat(RUNS_V1), Comparison.PENDING, "has not begun"),
        (beat(binding=None), Comparison.PENDING, "reports no binding band"),
        (beat(), Comparison.PENDING, "takes no packs from the hub"),
        (beat(binding=V2), Comparison.IN_SYNC, ""),
        (beat(replace(RUNS_V1, phase=InstallPhase.DOWNLOADING)), Comparison.INSTALLING, "downloading"),
        (
            beat(replace(RUNS_V1, phase=InstallPhase.DOWNLOADING, done_bytes=1, total_bytes=3)),
            Comparison.INSTALLING,
            "downloading, 33 %",
        ),
        (beat(replace(RUNS_V1, phase=InstallPhase.PROBING)), Comparison.INSTALLING, "probing"),
        (beat(replace(RUNS_V1, failure=CUT)), Comparison.INSTALLING, "the hub went away"),
        (beat(ON_TRIAL), Comparison.TRIAL, "not yet committed"),
        (beat(replace(ON_TRIAL, phase=InstallPhase.WAITING)), Comparison.TRIAL, "waits for its first answers"),
        (beat(RUNS_V2), Comparison.IN_SYNC, ""),
        (beat(replace(RUNS_V2, is_pinned=True)), Comparison.IN_SYNC, "pinned on the device"),
        (beat(replace(RUNS_V1, is_pinned=True)), Comparison.PINNED, "the desire waits"),
        (beat(replace(RUNS_V1, failure=REFUSED)), Comparison.FAILED, "a blob holds other bytes"),
        (beat(replace(RUNS_V1, failure=ROLLED_BACK)), Comparison.FAILED, "3 of 3 runs failed"),
        (beat(replace(RUNS_V1, failure=replace(REFUSED, digest="sha256:9"))), Comparison.PENDING, "has not begun"),
    ],
)
def test_both_sides_compare_in_one_of_seven_states(heartbeat: Heartbeat | None, state: Comparison, word: str) -> None:
    """Each state follows from the device's own words; a failure counts for the desired digest only."""
    found = status(heartbeat)
    assert found.state is state
    assert word in found.detail
    assert (found.binding, found.desired_pack) == ("band", V2[0])


def test_a_failure_names_its_reason_and_time() -> None:
    """The reason is the device's, for programs; the time is when it happened there."""
    found = status(beat(replace(RUNS_V1, failure=REFUSED)))
    assert (found.reason, found.since_ns, found.reported_pack) == ("bad_digest", 77, V1[0])


@pytest.mark.parametrize(
    ("slot", "state"),
    [
        (RUNS_V1, Comparison.IN_SYNC),
        (replace(RUNS_V1, state=SlotState.TRIAL), Comparison.TRIAL),
        (replace(RUNS_V1, is_pinned=True), Comparison.PINNED),
    ],
)
def test_where_nothing_is_desired_the_device_runs_what_it_has(slot: SlotReport, state: Comparison) -> None:
    """Such a binding never fails, however long ago it spoke."""
    found = status(beat(slot), desired=None, age_s=9_999.0, waited_s=99_999.0)
    assert (found.desired_pack, found.reported_pack, found.state) == (None, V1[0], state)
    assert status(beat(), desired=None).state is Comparison.IN_SYNC


@pytest.mark.parametrize(
    "heartbeat",
    [None, beat(RUNS_V1, version=3), beat(replace(RUNS_V1, phase=InstallPhase.PROBING)), beat(ON_TRIAL)],
)
def test_silence_counts_as_failure_after_a_stated_time(heartbeat: Heartbeat | None) -> None:
    """What is on its way has failed when nothing was heard for the timeout; until then it is as it was."""
    assert status(heartbeat, age_s=TIMEOUT_S, waited_s=TIMEOUT_S).state is not Comparison.FAILED
    found = status(heartbeat, age_s=150.0, waited_s=150.0)
    assert (found.state, found.since_ns) == (Comparison.FAILED, SET_AT_NS)
    assert found.detail.startswith("no word for 2 min: ")


def test_silence_counts_from_the_desire_at_the_earliest() -> None:
    """A device that was off for days has the whole timeout to take a new desire."""
    assert status(beat(RUNS_V1, version=3), age_s=9_999.0, waited_s=50.0).state is Comparison.PENDING


def test_a_desire_that_is_not_begun_fails_though_the_device_speaks() -> None:
    """A pending desire has a deadline of its own; an install that moves, and a pin, have not."""
    found = status(beat(RUNS_V1, version=3), waited_s=150.0)
    assert found.state is Comparison.FAILED
    assert found.detail.startswith("not begun for 2 min: ")
    for slot, state in (
        (replace(RUNS_V1, phase=InstallPhase.DOWNLOADING), Comparison.INSTALLING),
        (replace(RUNS_V1, is_pinned=True), Comparison.PINNED),
        (RUNS_V2, Comparison.IN_SYNC),
    ):
        assert status(beat(slot), waited_s=99_999.0).state is state


def test_a_status_has_both_sides_of_every_binding() -> None:
    """Bindings that only one side knows are listed, too, by name."""
    other = replace(RUNS_V1, binding="other")
    word = LastWord(beat(other, binding=None), SET_AT_NS)
    found = slot_states(WANTS_V2, word, now_ns=SET_AT_NS, install_timeout_s=TIMEOUT_S)
    assert [(one.binding, one.desired_pack, one.reported_pack) for one in found] == [
        ("band", V2[0], None),
        ("other", None, V1[0]),
    ]
    assert slot_states(None, None, now_ns=1, install_timeout_s=1.0) == ()


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1.0, "0 s"), (59.9, "59 s"), (60.0, "1 min"), (7200.0, "2 h"), (90_000.0, "1 d")]
)
def test_a_span_is_said_in_one_unit(seconds: float, text: str) -> None:
    """Rounded down, never negative."""
    assert told_s(seconds) == text


def news(before: SlotReport | None, after: SlotReport) -> list[tuple[EventKind, str]]:
    """Kinds and packs of what is told."""
    told = slot_news(PRESS, None if before is None else [before], [after], 5)
    assert all((one.at_ns, one.device, one.detail["binding"]) == (5, PRESS, "band") for one in told)
    return [(one.kind, one.subject) for one in told]


BACK_ON_V1 = replace(RUNS_V1, failure=ROLLED_BACK)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, RUNS_V1, []),
        (RUNS_V1, RUNS_V1, []),
        (RUNS_V1, replace(RUNS_V1, phase=InstallPhase.DOWNLOADING, done_bytes=5), []),
        (None, ON_TRIAL, [(EventKind.PACK_TRIAL, V2[0])]),
        (RUNS_V1, ON_TRIAL, [(EventKind.PACK_TRIAL, V2[0])]),
        (ON_TRIAL, ON_TRIAL, []),
        (ON_TRIAL, RUNS_V2, [(EventKind.PACK_INSTALLED, V2[0])]),
        (RUNS_V1, RUNS_V2, [(EventKind.PACK_INSTALLED, V2[0])]),
        (RUNS_V2, RUNS_V1, [(EventKind.PACK_INSTALLED, V1[0])]),
        (RUNS_V1, replace(RUNS_V1, failure=REFUSED), [(EventKind.PACK_REFUSED, V2[0])]),
        (None, replace(RUNS_V1, failure=REFUSED), [(EventKind.PACK_REFUSED, V2[0])]),
        (replace(RUNS_V1, failure=REFUSED), replace(RUNS_V1, failure=REFUSED), []),
        (
            replace(RUNS_V1, failure=REFUSED),
            replace(RUNS_V1, failure=replace(REFUSED, at_ns=99)),
            [(EventKind.PACK_REFUSED, V2[0])],
        ),
        (ON_TRIAL, BACK_ON_V1, [(EventKind.PACK_ROLLED_BACK, V2[0])]),
        (RUNS_V1, BACK_ON_V1, [(EventKind.PACK_ROLLED_BACK, V2[0])]),
        (RUNS_V1, replace(RUNS_V1, failure=CUT), [(EventKind.PACK_DELAYED, V2[0])]),
        (replace(RUNS_V1, failure=CUT), replace(RUNS_V1, failure=replace(CUT, at_ns=80, detail="again")), []),
        (
            replace(RUNS_V1, failure=replace(REFUSED, reason="no_space")),
            replace(RUNS_V1, failure=replace(REFUSED, reason="no_space", at_ns=99)),
            [],
        ),
        (
            replace(RUNS_V1, failure=CUT),
            replace(RUNS_V1, failure=replace(REFUSED, reason="no_space")),
            [(EventKind.PACK_REFUSED, V2[0])],
        ),
        (replace(RUNS_V1, failure=CUT), ON_TRIAL, [(EventKind.PACK_TRIAL, V2[0])]),
        (
            BACK_ON_V1,
            replace(ON_TRIAL, failure=replace(ROLLED_BACK, at_ns=99)),
            [(EventKind.PACK_ROLLED_BACK, V2[0]), (EventKind.PACK_TRIAL, V2[0])],
        ),
    ],
)
def test_each_change_of_a_slot_is_told_once(
    before: SlotReport | None, after: SlotReport, expected: list[tuple[EventKind, str]]
) -> None:
    """Trials, installs, refusals and rollbacks are news; progress, repeats and what is tried again are not."""
    assert news(before, after) == expected


def test_news_say_why_and_what_ran_before() -> None:
    """A failure carries reason and detail, an install what it replaced; without an earlier report that is empty."""
    (refused,) = slot_news(PRESS, [RUNS_V1], [replace(RUNS_V1, failure=REFUSED)], 5)
    assert dict(refused.detail) == {
        "binding": "band",
        "digest": V2[1],
        "reason": "bad_digest",
        "detail": "a blob holds other bytes",
    }
    (installed,) = slot_news(PRESS, [RUNS_V1], [RUNS_V2], 5)
    assert dict(installed.detail) == {"binding": "band", "digest": V2[1], "before": V1[0]}
    (trial,) = slot_news(PRESS, None, [ON_TRIAL], 5)
    assert trial.detail["before"] == ""


def test_a_peers_texts_are_cut_and_cannot_move_a_terminal() -> None:
    """What a device wrote is told with its control characters replaced and at a bounded length."""
    hostile = replace(REFUSED, pack="\x1b[2J\x00evil", detail="x" * 9_999)
    (told,) = slot_news(PRESS, [RUNS_V1], [replace(RUNS_V1, failure=hostile)], 5)
    assert told.subject == "?[2J?evil"
    assert len(told.detail["detail"]) == MAX_TEXT_CHARS


def test_a_desire_for_a_binding_that_is_gone_can_end() -> None:
    """The next version does without it, the others keep theirs, and what is gone is shown no more."""
    gone = merged(WANTS_V2, PRESS, [DesiredSlot("old-name", *V2)], actor="ada", now_ns=SET_AT_NS)
    ended = without(gone, "old-name", actor="bob", now_ns=SET_AT_NS + 1)
    assert (ended.version, ended.slots, ended.set_by) == (6, WANTS_V2.slots, "bob")
    word = LastWord(beat(RUNS_V2, binding=V2), SET_AT_NS + 500 * S)
    (band,) = slot_states(ended, word, now_ns=SET_AT_NS + 500 * S, install_timeout_s=TIMEOUT_S)
    assert (band.binding, band.state) == ("band", Comparison.IN_SYNC)
