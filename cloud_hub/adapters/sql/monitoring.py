"""Owns what news does to the records of policies, in the transaction that stores the news: alarms, events, the twin.

    a verdict, a label, a heartbeat ─▶ the record of the version that decided ─▶ new alarms ─▶ an event each
                                                                                       └─▶ a tighter policy in the twin

The device's next heartbeat is answered with that twin. The rules are `core.monitoring`; the statements are those of
`policy_records`, `events` and `twins`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import events, policy_records, twins
from cloud_hub.core.cases import BINDING_CHARS, MAX_VERSION, PACK_CHARS, Case
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, Happening
from cloud_hub.core.monitoring.field_rows import in_edge_words
from cloud_hub.core.monitoring.findings import found_by
from cloud_hub.core.monitoring.promises import promise_in
from cloud_hub.core.monitoring.record import (
    Found,
    PolicyKey,
    PolicyRecord,
    Stratum,
    inputs_moved,
    judged,
    new_alarms,
    reported,
)
from cloud_hub.core.monitoring.response import AUTOMATIC, InForce, Rules, tightened
from cloud_hub.core.monitoring.watch import Alarm, Measure, Outcome, Promise, by_hub, by_human
from cloud_hub.core.policies import PolicyDesire, policy_of
from protos.messages.escalation import Reason
from protos.messages.fleet import Heartbeat, PolicyMode, PolicyReport, PolicyState

_KINDS: Final[Mapping[Alarm, EventKind]] = {
    Alarm.VOID: EventKind.CERTIFICATE_VOID,
    Alarm.CHANGED: EventKind.RISK_CHANGED,
    Alarm.DISAGREEMENT: EventKind.HUB_DISAGREES,
    Alarm.HUB_FAILS: EventKind.HUB_FAILS,
    Alarm.ESCALATES_MORE: EventKind.ESCALATES_MORE,
    Alarm.ESCALATES_LESS: EventKind.ESCALATES_LESS,
    Alarm.INPUTS_MOVED: EventKind.INPUTS_MOVED,
}


async def judged_by_hub(connection: AsyncConnection, cases: Iterable[Case], rules: Rules, now_ns: int) -> None:
    """Take what the full model said of windows, each once."""
    await _judge(connection, ((case, by_hub(_outcome(case))) for case in cases), rules, now_ns)


async def judged_by_person(connection: AsyncConnection, case: Case, rules: Rules, now_ns: int) -> None:
    """Take the first label that a person gave a window which the lottery had chosen."""
    await _judge(connection, ((case, by_human(_outcome(case))),), rules, now_ns)


@dataclass(frozen=True, slots=True)
class Reported:
    """What one heartbeat says of policies."""

    device: DeviceKey
    beat: Heartbeat
    at_ns: int


async def heard(connection: AsyncConnection, beats: Sequence[Reported], rules: Rules) -> bool:
    """Take what heartbeats of different devices say of policies; returns whether they set off an alarm.

    Records are read and written together, however many devices there are; only what is new costs more.
    """
    said = [
        (one, PolicyKey(one.device, report.binding, report.pack_digest, report.policy_version), report)
        for one in beats
        for report in one.beat.policies
        if report.state is not PolicyState.REFUSED and _fits(report)
    ]
    if not said:
        return False
    known = await policy_records.without_tallies(connection, {one.device for one in beats})
    lacking = {key.pack_digest for _, key, _ in said if key.version == 0 and not _is_promised(known.get(key))}
    promises = await policy_records.promises_of_packs(connection, lacking) if lacking else {}
    before: dict[PolicyKey, PolicyRecord] = {}
    after: dict[PolicyKey, PolicyRecord] = {}
    for one, key, report in said:
        record = known.get(key)
        if record is None:
            promise = promises.get(key.pack_digest) if key.version == 0 else await _promised(connection, key)
            record = PolicyRecord(key, report.pack, one.at_ns, promise=promise)
        elif record.promise is None and key.version == 0:
            record = replace(record, promise=promises.get(key.pack_digest))
        before[key] = record
        after[key] = reported(record, report, rules.limits, one.at_ns)
        if report.state is PolicyState.ACTIVE and _have_inputs_moved(one.beat, report.binding, record.since_ns):
            after[key] = inputs_moved(after[key], one.at_ns)
    await policy_records.save_without_tallies(connection, list(after.values()), known)
    has_news = False
    for key, record in after.items():
        has_news |= await _react(connection, before[key], record, rules)
    return has_news


def _is_promised(record: PolicyRecord | None) -> bool:
    return record is not None and record.promise is not None


def _have_inputs_moved(beat: Heartbeat, binding: str, since_ns: int) -> bool:
    return any(one.binding == binding and one.at_ns >= since_ns for one in beat.drift)


async def _judge(
    connection: AsyncConnection, told: Iterable[tuple[Case, Mapping[Measure, bool]]], rules: Rules, now_ns: int
) -> None:
    """Read each record once, take all that is told of it, write it once."""
    news: dict[PolicyKey, list[tuple[Case, Found]]] = {}
    for case, losses in told:
        if case.edge_label is None or not losses:
            continue
        key = PolicyKey(case.device, case.binding, case.edge_digest, case.policy_version)
        news.setdefault(key, []).append((case, Found(_stratum(case), losses, case.group)))
    for key, found in news.items():
        first = found[0][0]
        before = await _opened(connection, key, first.edge_pack, now_ns, threshold=first.threshold)
        after = before
        for _case, one in found:
            after = judged(after, one, rules.limits, now_ns)
        await policy_records.save(connection, after)
        await _react(connection, before, after, rules)


async def _opened(
    connection: AsyncConnection, key: PolicyKey, pack: str, now_ns: int, *, threshold: float | None = None
) -> PolicyRecord:
    """The record of a policy version; a new one where there is none, with its promise as soon as that is known."""
    record = await policy_records.find(connection, key)
    if record is None:
        record = PolicyRecord(key, pack[:PACK_CHARS], now_ns, threshold=threshold)
    if record.promise is not None:
        return record
    return replace(record, promise=await _promised(connection, key))


async def _promised(connection: AsyncConnection, key: PolicyKey) -> Promise | None:
    """What backs a policy version: the pack's certificate, or the one that travelled with it."""
    if key.version == 0:
        return await _promise_of_pack(connection, key)
    twin = await twins.find(connection, key.device)
    wanted = None if twin is None else policy_of(twin.policies, key.binding)
    if wanted is None or wanted.policy.version != key.version:
        return None
    if wanted.policy.mode is PolicyMode.SERVE and wanted.policy.threshold is None:
        return await _promise_of_pack(connection, key)
    return promise_in(wanted.policy.certificate)


async def _promise_of_pack(connection: AsyncConnection, key: PolicyKey) -> Promise | None:
    return (await policy_records.promises_of_packs(connection, (key.pack_digest,))).get(key.pack_digest)


async def _react(connection: AsyncConnection, before: PolicyRecord, after: PolicyRecord, rules: Rules) -> bool:
    """Tell each new alarm, and tighten if that is what follows; returns whether there was one."""
    alarms = new_alarms(before, after)
    told = [
        Happening(
            at_ns=after.alarms[alarm],
            kind=_KINDS[alarm],
            device=after.key.device,
            subject=after.pack,
            detail={
                "binding": after.key.binding,
                "policy": str(after.key.version),
                "digest": after.key.pack_digest,
                "found": found_by(alarm, after, rules.limits),
                "drift": "" if after.drift is None else after.drift.value,
            },
        )
        for alarm in alarms
    ]
    await events.add(connection, told)
    for alarm in alarms:
        await _tighten(connection, alarm, after, rules)
    return bool(alarms)


async def _tighten(connection: AsyncConnection, alarm: Alarm, record: PolicyRecord, rules: Rules) -> None:
    key = record.key
    twin = await twins.find(connection, key.device)
    newest = None if twin is None else policy_of(twin.policies, key.binding)
    certificate = "" if record.promise is None else record.promise.certificate
    policy = tightened(
        alarm,
        InForce(key.version, record.threshold, key.pack_digest, certificate),
        None if newest is None else newest.policy,
        await policy_records.newest_version(connection, key.device, key.binding),
        rules.reaction,
    )
    if policy is not None:
        desire = PolicyDesire(key.binding, policy, alarm.value, AUTOMATIC, record.alarms[alarm])
        await twins.desire_policy(connection, key.device, desire)


def _outcome(case: Case) -> Outcome:
    """The hub's answer counts as the edge's where they agree, however it is written; as none where nobody can tell."""
    hub, human = in_edge_words(case.edge_label, case.hub_label, case.human_label, agrees=case.agrees)
    return Outcome(case.edge_label or "", hub, case.is_hub_sure, human)


def _stratum(case: Case) -> Stratum:
    """A policy's own escalation comes for sure; one that comes by chance was short of budget and drawn."""
    if case.reason is Reason.AUDIT:
        return Stratum.KEPT
    return Stratum.ESCALATED if case.propensity >= 1.0 else Stratum.SUPPRESSED


def _fits(report: PolicyReport) -> bool:
    """Whether the tables can hold what a peer says."""
    return (
        0 < len(report.binding) <= BINDING_CHARS
        and 0 < len(report.pack_digest) <= PACK_CHARS
        and len(report.pack) <= PACK_CHARS
        and report.policy_version <= MAX_VERSION
    )
