"""Owns how a policy in the field is told: what is promised, what audits say of it, which alarms stand, what is pending.

An estimate is never told without its interval, and what nobody has audited is `?`. What is known is
`core.monitoring.record`; what is wanted is `core.policies`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloud_hub.core.console.wording import UNKNOWN, Shape, State, percent
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.estimate import Estimate
from cloud_hub.core.monitoring.evidence import audits_to_refute
from cloud_hub.core.monitoring.record import Overdue, PolicyKey, PolicyRecord, Stratum, Totals
from cloud_hub.core.monitoring.watch import Alarm, Measure, Promise
from cloud_hub.core.policies import PolicyPhase, PolicyStatus, policy_states
from cloud_hub.core.registry import DeviceFacts
from protos.messages.fleet import PolicyMode, PolicyState

RISK_WORDS = {
    Measure.ERROR: "wrong, by people's labels",
    Measure.DISAGREEMENT: "otherwise than the hub",
    Measure.EXCESS: "wrong where the hub is right",
}
ALARM_WORDS = {
    Alarm.VOID: "certificate void",
    Alarm.CHANGED: "risk changed",
    Alarm.DISAGREEMENT: "hub disagrees",
    Alarm.HUB_FAILS: "hub fails",
    Alarm.ESCALATES_MORE: "escalates more",
    Alarm.ESCALATES_LESS: "escalates less",
    Alarm.INPUTS_MOVED: "inputs moved",
}
_MODE_WORDS = {
    PolicyMode.SERVE: "decide by its certificate",
    PolicyMode.TIGHTEN: "keep less",
    PolicyMode.HUB_ONLY: "ask the hub always",
}
_PHASE_WORDS = {
    PolicyPhase.PENDING: "policy pending",
    PolicyPhase.REFUSED: "policy refused",
    PolicyPhase.OTHER_PACK: "policy for another pack",
}
_BAD = frozenset({Alarm.VOID, Alarm.CHANGED, Alarm.DISAGREEMENT, Alarm.HUB_FAILS})


@dataclass(frozen=True, slots=True)
class Told:
    """One estimate: what it is of, its value and interval as text, and how many audits it rests on."""

    name: str
    value: str
    interval: str
    n: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A policy that is desired and not in force.

    Attributes:
        what: What it should do.
        since_ns: Since when it is wanted.
        why: Why it is wanted, or what stands in its way.
        until: The pack with which it begins, name@version; empty: with any report of the device.
    """

    what: str
    since_ns: int
    why: str
    until: str = ""


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """One binding's policy as it is shown.

    Attributes:
        wanted: What the hub wants instead; None: what it does is what is wanted.
        version: Of the policy in force, as last heard; 0: the pack's own.
        promise: What its certificate says, in words; empty: nothing.
        alarms: Names of those that stand, the gravest first.
        drift: The name that they add up to; empty: none.
        audits: How many a doubled risk would take to be refuted; None: it cannot be said.
        lost: Audits that ended without an answer.
        unanswered: Audits that have waited too long for an answer; `unlabelled`: chosen windows for a label.
        cost: How many calls it took, and what they bought, in words; empty: none yet.
        nobody: What it escalates and nobody answered, in words; empty: nothing.
    """

    device: DeviceKey
    binding: str
    state: State
    wanted: Wanted | None
    pack: str = ""
    version: int = 0
    promise: str = ""
    estimates: tuple[Told, ...] = ()
    alarms: tuple[str, ...] = ()
    drift: str = ""
    audits: int | None = None
    lost: int = 0
    unanswered: int = 0
    unlabelled: int = 0
    cost: str = ""
    nobody: str = ""


def lines(
    device: DeviceFacts, records: Iterable[PolicyRecord], overdue: Mapping[PolicyKey, Overdue]
) -> tuple[PolicyLine, ...]:
    """Tell the policies of one device.

    Args:
        device: Its facts, with what is desired and its latest heartbeat.
        records: Of its policies, the newest of a binding first; of each binding the one in force is told.
        overdue: What has waited too long, by policy.

    Returns:
        One line a binding that has a record, or a policy that is pending, by name.
    """
    open_ = _open(device)
    current = _in_force(device, records)
    return tuple(
        _line(device.key, binding, current.get(binding), open_.get(binding), overdue)
        for binding in sorted(current.keys() | open_.keys())
    )


def _open(device: DeviceFacts) -> dict[str, tuple[PolicyStatus, str]]:
    """What is wanted of a binding and not in force, with the pack that it waits for.

    A policy for a pack that neither runs there nor is wanted there has nothing to wait for, and is not told.
    """
    if device.desired is None:
        return {}
    coming = {(slot.binding, slot.digest): slot.pack for slot in device.desired.slots}
    found: dict[str, tuple[PolicyStatus, str]] = {}
    for status in policy_states(device.desired.policies, device.heartbeat):
        binding, waits = status.desire.binding, status.phase is PolicyPhase.OTHER_PACK
        until = coming.get((binding, status.desire.policy.pack_digest), "") if waits else ""
        if until or (status.phase is not PolicyPhase.IN_FORCE and not waits):
            found[binding] = (status, until)
    return found


def needs_a_look(line: PolicyLine) -> bool:
    """Tell whether a line belongs on the fleet page: an alarm stands, or a policy is not in force."""
    return bool(line.alarms or line.wanted)


def _in_force(device: DeviceFacts, records: Iterable[PolicyRecord]) -> dict[str, PolicyRecord]:
    """The record of each binding's active policy; where the device does not say, the newest."""
    reports = () if device.heartbeat is None else device.heartbeat.policies
    active = {(one.binding, one.pack_digest, one.policy_version) for one in reports if one.state is PolicyState.ACTIVE}
    found: dict[str, PolicyRecord] = {}
    for record in records:
        key = record.key
        is_active = (key.binding, key.pack_digest, key.version) in active
        if key.device == device.key and (is_active or key.binding not in found):
            found[key.binding] = record
    return found


def _line(
    device: DeviceKey,
    binding: str,
    record: PolicyRecord | None,
    open_: tuple[PolicyStatus, str] | None,
    overdue: Mapping[PolicyKey, Overdue],
) -> PolicyLine:
    wanted, until = open_ or (None, "")
    told = None if wanted is None else _wanted(wanted, until)
    if record is None:
        return PolicyLine(device, binding, _state(None, wanted), told)
    late = overdue.get(record.key, Overdue())
    return PolicyLine(
        device=device,
        binding=binding,
        state=_state(record, wanted),
        wanted=told,
        pack=record.pack,
        version=record.key.version,
        promise="" if record.promise is None else _promised(record.promise),
        estimates=_estimates(record),
        alarms=tuple(ALARM_WORDS[one] for one in Alarm if one in record.alarms),
        drift="" if record.drift is None else record.drift.value.replace("_", " "),
        audits=None if record.promise is None else _audits(record.promise),
        lost=record.totals.lost,
        unanswered=late.unanswered,
        unlabelled=late.unlabelled,
        cost=_cost(record),
        nobody=_nobody(record.totals),
    )


def _state(record: PolicyRecord | None, wanted: PolicyStatus | None) -> State:
    """The gravest of what is known: an alarm, then a policy that is not in force, then whether anything is promised."""
    alarms = [] if record is None else [one for one in Alarm if one in record.alarms]
    if alarms and alarms[0] in _BAD:
        return State(Shape.BAD, ALARM_WORDS[alarms[0]])
    if wanted is not None:
        return State(Shape.WARN, _PHASE_WORDS[wanted.phase])
    if alarms:
        return State(Shape.WARN, ALARM_WORDS[alarms[0]])
    if record is None or record.promise is None:
        return State(Shape.IDLE, "nothing promised")
    return State(Shape.OK, "holds so far")


def _wanted(status: PolicyStatus, until: str) -> Wanted:
    return Wanted(_MODE_WORDS[status.desire.policy.mode], status.since_ns, _why(status), until)


def _why(wanted: PolicyStatus) -> str:
    return wanted.detail or wanted.desire.reason.replace("_", " ")


def _promised(promise: Promise) -> str:
    by_group = "" if len(promise.groups) == 1 else f", in each of {len(promise.groups)} groups"
    return f"at most {percent(promise.target)} % of what is kept {RISK_WORDS[promise.risk]}{by_group}"


def _estimates(record: PolicyRecord) -> tuple[Told, ...]:
    measures = [Measure.DISAGREEMENT]
    if record.promise is not None and record.promise.risk is not Measure.DISAGREEMENT:
        measures.insert(0, record.promise.risk)
    kept = [_told(f"of what is kept, {RISK_WORDS[one]}", record.kept_risk(one)) for one in measures]
    whole = _told("of all answers, otherwise than the hub", record.edge_risk(Measure.DISAGREEMENT))
    if not record.totals.sampled:
        return (*kept, whole)
    short = record.suppressed_risk(Measure.DISAGREEMENT)
    return (*kept, _told("of what was short of budget, otherwise than the hub", short), whole)


def _cost(record: PolicyRecord) -> str:
    """What the policy spent and what that bought: corrections, and evidence."""
    totals = record.totals
    calls = totals.escalated + totals.drawn
    if not calls:
        return ""
    told = record.tally(Measure.DISAGREEMENT, Stratum.ESCALATED)
    return f"{calls} calls, {totals.drawn} of them audits; of {told.n} answers {told.losses} corrected the edge's"


def _nobody(totals: Totals) -> str:
    """What the policy escalates and nobody answered; no certificate speaks for it."""
    windows = totals.suppressed + totals.unanswered
    if not windows:
        return ""
    share = percent(windows / max(totals.decided, windows))
    return f"{windows} windows ({share} %): {totals.suppressed} short of budget, {totals.unanswered} asked in vain"


def _told(name: str, estimate: Estimate) -> Told:
    value = UNKNOWN if estimate.value is None else f"{percent(estimate.value)} %"
    interval = f"{percent(estimate.low)} to {percent(estimate.high)} %" if estimate.n else ""
    return Told(name, value, interval, estimate.n)


def _audits(promise: Promise) -> int | None:
    doubled = min(2 * promise.target, (1.0 + promise.target) / 2)
    return audits_to_refute(promise.target, promise.level, doubled)
