"""What is told of a policy: its promise, estimates with intervals, alarms by name, and what is pending since when."""

from dataclasses import replace

from cloud_hub.core.console.policy_view import Told, lines, needs_a_look
from cloud_hub.core.console.wording import Shape
from cloud_hub.core.monitoring.record import Found, Overdue, PolicyKey, PolicyRecord, Stratum, Totals, judged
from cloud_hub.core.monitoring.watch import Alarm, Limits, Measure, Promise
from cloud_hub.core.policies import PolicyDesire
from cloud_hub.core.twin import with_policy
from protos.messages.fleet import DesiredPolicy, PolicyMode, PolicyReport, PolicyState
from tests.unit.cloud_hub.core.console.fleets import DIGESTS, NOW_NS, V1, V2, S, device, key

ON_ERROR = Promise(Measure.ERROR, 0.05, 0.05, 0.9, "sha256:c")
RECORD = PolicyRecord(
    PolicyKey(key("d1"), "wrist", "sha256:1", 0), V1, 5, promise=ON_ERROR, totals=Totals(1000, 900, 100, 90, 2)
)
REPORT = PolicyReport("wrist", 0, V1, "sha256:1", 1000, 900, 100, 90, 2, 0.1, 0.9, PolicyState.ACTIVE)
WANTED = PolicyDesire("wrist", DesiredPolicy(1, PolicyMode.HUB_ONLY), "void", "monitoring", NOW_NS - 60 * S)


def audited(record: PolicyRecord, n: int, losses: int) -> PolicyRecord:
    """The record after audits by the hub and by people."""
    for place in range(n):
        told = {Measure.ERROR: place < losses, Measure.DISAGREEMENT: place < losses}
        record = judged(record, Found(Stratum.KEPT, told), Limits(), 7)
    return record


def test_a_promise_that_holds_is_told_with_its_estimate() -> None:
    """By people and by the hub, each with its interval and how much it rests on."""
    (line,) = lines(device(policies=(REPORT,)), (audited(RECORD, 90, 1),), {})
    assert (line.state.shape, line.state.word) == (Shape.OK, "holds so far")
    assert line.promise == "at most 5.0 % of what is kept wrong, by people's labels"
    assert line.estimates[0] == Told(
        "of what is kept, wrong, by people's labels", "1.1 %", line.estimates[0].interval, 90
    )
    assert line.estimates[0].interval.endswith(" %")
    assert [told.name.split(",")[0] for told in line.estimates] == ["of what is kept"] * 2 + ["of all answers"]
    assert line.lost == 2
    assert line.audits is not None
    assert not needs_a_look(line)


def test_what_nobody_audited_is_unknown() -> None:
    """Unknown is `?`, and has no interval."""
    (line,) = lines(device(), (RECORD,), {})
    assert line.estimates[0] == Told("of what is kept, wrong, by people's labels", "?", "", 0)


def test_a_void_certificate_is_bad_and_has_a_name() -> None:
    """The gravest alarm is the state; all that stand are named, and what they add up to."""
    (line,) = lines(device(policies=(REPORT,)), (audited(RECORD, 9, 9),), {})
    assert (line.state.shape, line.state.word) == (Shape.BAD, "certificate void")
    assert line.alarms == ("certificate void", "risk changed", "hub disagrees")
    assert line.drift == "silent failure"
    assert needs_a_look(line)


def test_an_alarm_that_breaks_nothing_is_a_warning() -> None:
    """A storm is dear, not wrong."""
    (line,) = lines(device(), (replace(RECORD, alarms={Alarm.ESCALATES_MORE: 5}),), {})
    assert (line.state.shape, line.state.word, line.drift) == (Shape.WARN, "escalates more", "escalation storm")


def test_a_policy_that_is_not_there_yet_is_pending_since_it_was_wanted() -> None:
    """Also of a device that is away, and of a binding that nothing was ever heard of."""
    away = replace(device(silent_s=3600.0, policies=(REPORT,)), desired=with_policy(None, key("d1"), WANTED))
    (line,) = lines(away, (RECORD,), {})
    assert (line.state.shape, line.state.word) == (Shape.WARN, "policy pending")
    assert line.wanted is not None
    assert (line.wanted.what, line.wanted.since_ns, line.wanted.why) == ("ask the hub always", NOW_NS - 60 * S, "void")
    (unheard,) = lines(replace(away, heartbeat=None), (), {})
    assert (unheard.pack, unheard.state.word) == ("", "policy pending")
    assert needs_a_look(unheard)


def test_a_policy_for_another_pack_is_pending_as_long_as_that_pack_is_wanted() -> None:
    """It names the pack with which it begins; without anybody who wants that pack there is nothing to wait for."""
    wanted = replace(WANTED, policy=replace(WANTED.policy, pack_digest=DIGESTS[V2]))
    installing = device(desired=V2, policies=(REPORT,))
    assert installing.desired is not None
    installing = replace(installing, desired=replace(installing.desired, policies=(wanted,)))
    (line,) = lines(installing, (RECORD,), {})
    assert line.state.word == "policy for another pack"
    assert line.wanted is not None
    assert (line.wanted.why, line.wanted.until) == (f"for another pack than {V1}", V2)
    back = replace(installing, desired=with_policy(None, key("d1"), wanted))
    (line,) = lines(back, (RECORD,), {})
    assert (line.state.word, line.wanted) == ("holds so far", None)
    assert not needs_a_look(line)


def test_a_policy_in_force_is_told_by_its_own_record() -> None:
    """The one that the device says is active, not a former one that answers still come for."""
    newer = replace(RECORD, key=replace(RECORD.key, version=1), promise=None)
    there = replace(device(policies=(replace(REPORT, policy_version=1),)), desired=with_policy(None, key("d1"), WANTED))
    other = replace(RECORD, key=replace(RECORD.key, device=key("d2")))
    for records in ((newer, RECORD, other), (RECORD, newer, other)):
        (line,) = lines(there, records, {})
        assert (line.version, line.wanted, line.state.word) == (1, None, "nothing promised")
        assert line.promise == ""
        assert len(line.estimates) == 2


def test_what_waits_too_long_is_told() -> None:
    """Audits that the hub owes, and windows that people owe."""
    (line,) = lines(device(), (RECORD,), {RECORD.key: Overdue(3, 4)})
    assert (line.unanswered, line.unlabelled) == (3, 4)


def test_groups_are_told_as_such() -> None:
    """A certificate by class promises it of each."""
    grouped = replace(RECORD, promise=replace(ON_ERROR, risk=Measure.DISAGREEMENT, groups=("a", "b")))
    (line,) = lines(device(), (grouped,), {})
    assert line.promise == "at most 5.0 % of what is kept otherwise than the hub, in each of 2 groups"
    assert len(line.estimates) == 2


def test_cost_and_what_nobody_answered_are_told() -> None:
    """Calls with what they bought, and the share for which no certificate speaks, known or not."""
    totals = Totals(1000, 700, 120, 30, suppressed=180, suppressed_asked=20, unanswered=5)
    record = replace(RECORD, totals=totals)
    asked = Found(Stratum.ESCALATED, {Measure.DISAGREEMENT: True})
    record = judged(record, asked, Limits(), 7)
    (line,) = lines(device(), (record,), {})
    assert line.cost == "150 calls, 30 of them audits; of 1 answers 1 corrected the edge's"
    assert line.nobody == "185 windows (18.5 %): 180 short of budget, 5 asked in vain"
    assert line.estimates[-2] == Told("of what was short of budget, otherwise than the hub", "?", "", 0)
    (line,) = lines(device(), (RECORD,), {})
    assert line.nobody == ""
