"""The fleet is told worst first; silence is never health; unknown is unknown."""

from dataclasses import replace

import pytest

from cloud_hub.core.console.fleet_view import (
    Counted,
    Lately,
    fleet,
    lately,
    matching,
    pack_changes,
    slot_state,
    standing,
    statuses,
)
from cloud_hub.core.console.wording import Shape
from cloud_hub.core.events import EventId, EventKind, HubEvent
from cloud_hub.core.registry import DeviceFacts
from cloud_hub.core.twin import Comparison
from protos.messages.fleet import FailureAction, PackFailure, SlotState
from tests.unit.cloud_hub.core.console.fleets import (
    DIGESTS,
    MOMENT,
    NOW_NS,
    V1,
    V2,
    S,
    binding,
    count,
    device,
    point,
    slot,
)

WELL = Lately(Counted(100, 10))
REFUSED = PackFailure(V2, DIGESTS[V2], FailureAction.REFUSED, "bad_digest", "why", NOW_NS)
DAY_NS = 86_400 * S


def word(one: DeviceFacts, known: Lately = WELL) -> tuple[Shape, str]:
    """How a device stands."""
    state = standing(one, statuses(one, MOMENT), known, MOMENT)
    return state.shape, state.word


@pytest.mark.parametrize(
    ("one", "known", "shape", "said"),
    [
        (device(), WELL, Shape.OK, "online"),
        (device(silent_s=None), WELL, Shape.IDLE, "never heard"),
        (device(silent_s=35), WELL, Shape.IDLE, "stale"),
        (device(silent_s=7200), WELL, Shape.BAD, "offline 2 h"),
        (device(silent_s=35, desired=V2, slots=(slot(failure=REFUSED),)), WELL, Shape.IDLE, "stale · pack failed"),
        (
            device(silent_s=7200, desired=V2, slots=(slot(failure=REFUSED),)),
            WELL,
            Shape.BAD,
            "offline 2 h · pack failed",
        ),
        (device(desired=V2, slots=(slot(is_pinned=True),)), WELL, Shape.WARN, "pinned → 2.0.0 waits"),
        (device(state="degraded"), WELL, Shape.WARN, "degraded"),
        (device(problems=("the disk is full",)), WELL, Shape.WARN, "degraded"),
        (device(bindings=(binding(certificate_state="void"),)), WELL, Shape.WARN, "certificate void"),
        (device(bindings=(binding(certificate_state="none"),)), WELL, Shape.OK, "online"),
        (device(desired=V2, slots=(slot(failure=REFUSED),)), WELL, Shape.WARN, "pack failed"),
        (device(desired=V2), WELL, Shape.OK, "pack waits"),
        (
            device(desired=V2, bindings=(binding(pack=V2),), slots=(slot(V2, state=SlotState.TRIAL),)),
            WELL,
            Shape.OK,
            "on trial",
        ),
        (device(slots=(slot(is_pinned=True),)), WELL, Shape.OK, "pinned"),
        (device(), Lately(Counted(100, 30), 10, 6), Shape.WARN, "hub corrects 18 %"),
        (device(), Lately(Counted(100, 10), 10, 6), Shape.OK, "online"),
        (device(), Lately(Counted(100, 24), 9, 9), Shape.OK, "online"),
        (device(), Lately(Counted(100, 39), 10, 0), Shape.WARN, "escalates 39 %"),
        (device(), Lately(Counted(10, 9)), Shape.OK, "online"),
        (device(), Lately(Counted(0, 0)), Shape.OK, "online"),
    ],
)
def test_a_device_is_the_worst_that_is_known_of_it(one: DeviceFacts, known: Lately, shape: Shape, said: str) -> None:
    """Silence first, then its identity, its packs, its own problems, and what the hub makes of its answers."""
    assert word(one, known) == (shape, said)


def test_an_identity_that_ends_is_told_in_time() -> None:
    """A week before, and after it is over; without a certificate there is nothing to end."""
    assert word(replace(device(), certificate_not_after_ns=NOW_NS - S)) == (Shape.BAD, "certificate ended")
    assert word(replace(device(), certificate_not_after_ns=NOW_NS + 3 * DAY_NS)) == (
        Shape.WARN,
        "certificate ends in 3 d",
    )
    assert word(replace(device(), certificate_not_after_ns=NOW_NS + 30 * DAY_NS)) == (Shape.OK, "online")


def test_rows_are_worst_first_then_what_keeps_least() -> None:
    """A fault, a doubt, what is not known, then by share at the edge and name; removed devices are gone."""
    devices = [
        device("a-fine"),
        device("b-busy"),
        device("c-stale", silent_s=35),
        device("d-sick", state="degraded"),
        device("e-gone", silent_s=7200),
        device("f-mute", bindings=(), slots=()),
        replace(device("g-removed"), is_removed=True),
    ]
    told = fleet(devices, [point("a-fine"), point("b-busy", escalated=20)], [], MOMENT)
    assert [row.device.device_id for row in told.rows] == ["e-gone", "d-sick", "c-stale", "b-busy", "a-fine", "f-mute"]
    assert told.figures.total == 6


def test_what_a_silent_device_has_not_said_is_unknown() -> None:
    """Latency and outbox are as of its last report, so they are not shown; its pack and age are."""
    row = fleet([device(silent_s=35, outbox_items=3)], [], [], MOMENT).rows[0]
    assert (row.p95_ms, row.unsent, row.is_heard, row.pack, row.seen_s) == (None, None, False, "band 1.0.0", 35.0)


def test_several_bindings_are_one_row() -> None:
    """The slowest binding counts, and the packs are summed up."""
    two = device(bindings=(binding(), binding("forms", answer_p95_ms=9.0), binding("mute", answer_p95_ms=None)))
    row = fleet([two], [], [], MOMENT).rows[0]
    assert (row.p95_ms, row.pack) == (9.0, "band 1.0.0 +2")
    assert fleet([device(bindings=(), slots=())], [], [], MOMENT).rows[0].pack == ""


def test_figures_are_of_what_is_heard_and_counted() -> None:
    """Shares over the given time, the slowest by name, the oldest unsent of those that are online."""
    devices = [
        device("d1", outbox_items=4, outbox_oldest_age_ms=12_000),
        device("d2", bindings=(binding(answer_p95_ms=8.0),)),
        device("d3", silent_s=35, outbox_items=99, outbox_oldest_age_ms=999_000),
        device("d4", silent_s=7200),
        device("d5", silent_s=None),
    ]
    figures = fleet(
        devices, [point("d1"), point("d1", escalated=30)], [count("d1", disagreed=3), count("d2")], MOMENT
    ).figures
    assert (figures.online, figures.stale, figures.offline, figures.never_seen) == (2, 1, 1, 1)
    assert (figures.p95_ms, figures.slowest) == (8.0, devices[1].key)
    assert (figures.unsent, figures.unsent_devices, figures.oldest_unsent_s) == (4, 1, 12.0)
    assert (figures.answered, figures.disagreed, figures.disagreement) == (20, 4, 0.2)
    assert figures.counted == Counted(200, 40)


def test_an_empty_fleet_has_no_figures() -> None:
    """Nothing is known of nobody."""
    figures = fleet([], [], [], MOMENT).figures
    assert (figures.total, figures.counted.coverage, figures.disagreement) == (0, None, None)
    assert (figures.p95_ms, figures.slowest, figures.oldest_unsent_s) == (None, None, None)


def test_what_was_not_said_lately_does_not_count() -> None:
    """The totals of all time that a silent device last reported are in no figure and in no row."""
    told = fleet([device("d1"), device("d2", silent_s=7200)], [point("d1")], [], MOMENT)
    assert told.figures.counted == Counted(100, 10)
    assert {row.device.device_id: row.coverage for row in told.rows} == {"d1": 0.9, "d2": None}


def test_what_is_known_of_a_time_is_a_sum() -> None:
    """Of nothing, nothing is known."""
    assert lately([point(decided=7, escalated=7), point()], [count()]) == Lately(Counted(107, 17), 10, 1)
    assert (lately([], []).counted.coverage, lately([], []).corrected) == (None, None)


def test_a_changed_device_is_judged_since_its_change_only() -> None:
    """Its row is calm at once; the figures of the fleet still count everything."""
    sick = [point(escalated=60)]
    before = fleet([device()], sick, [count(disagreed=9)], MOMENT)
    after = fleet([device()], sick, [count(disagreed=9)], MOMENT, {device().key: lately([], [])})
    assert (before.rows[0].state.word, after.rows[0].state.word) == ("hub corrects 54 %", "online")
    assert (after.rows[0].coverage, after.figures) == (None, before.figures)
    assert (before.rows[0].is_since_change, after.rows[0].is_since_change) == (False, True)


def news(kind: EventKind, at_ns: int, digest: str = "sha256:2", name: str = "d1") -> HubEvent:
    """An event of a pack on a device."""
    about = device(name).key
    return HubEvent(event_id=EventId(at_ns), at_ns=at_ns, kind=kind, device=about, detail={"digest": digest})


def test_a_change_began_when_what_runs_now_began() -> None:
    """Committing what was on trial is no new change; going back is; older ones and other events do not count."""
    trial, installed, back = EventKind.PACK_TRIAL, EventKind.PACK_INSTALLED, EventKind.PACK_ROLLED_BACK
    d1, d2 = device("d1").key, device("d2").key
    assert pack_changes([news(installed, 9), news(trial, 7), news(installed, 5, "sha256:1")], 1) == {d1: 7}
    assert pack_changes([news(back, 9), news(trial, 7)], 1) == {d1: 9}
    assert pack_changes([news(trial, 8, name="d2"), news(trial, 7)], 8) == {d2: 8}
    others = [news(EventKind.PACK_DESIRED, 9), replace(news(trial, 9), device=None)]
    assert pack_changes(others, 1) == {}


def test_a_filter_needs_every_word_somewhere() -> None:
    """In site, name, state, pack or binding, in any case of letters."""
    rows = fleet([device("left-1"), device("left-2", state="degraded"), device("right-1")], [], [], MOMENT).rows
    assert [row.device.device_id for row in matching(rows, "LEFT degraded")] == ["left-2"]
    assert len(matching(rows, "wrist lyon 1.0.0")) == 3
    assert matching(rows, "") == rows
    assert matching(rows, "nowhere") == ()


def test_every_comparison_has_a_word() -> None:
    """The twin's rows are told for all of its states."""
    (status,) = statuses(device(), MOMENT)
    assert all(slot_state(replace(status, state=state), device(), MOMENT).word for state in Comparison)
    assert status.reported_pack == V1


def test_the_packs_of_a_silent_device_are_never_well() -> None:
    """What it last said has its age and is a ring; a fault stays one."""
    stale, mute = device(silent_s=95), device(silent_s=None, desired=V2)
    refused = device(silent_s=95, desired=V2, slots=(slot(failure=REFUSED),))
    told = [slot_state(statuses(one, MOMENT)[0], one, MOMENT) for one in (device(), stale, refused, mute)]
    assert [(one.shape, one.word) for one in told] == [
        (Shape.OK, "in step"),
        (Shape.IDLE, "in step, as of 1 min"),
        (Shape.WARN, "pack failed, as of 1 min"),
        (Shape.IDLE, "not known"),
    ]
