"""Owns what becomes of units that could not be committed: acknowledged as shed, and folded together when they grow.

Pure: units in, units out. When to do it is the writer's decision.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from edge_agent.core.accounting import DEVICE, Count, of_reason
from edge_agent.ports import BindingName, CounterKey, JournalRow, PolicyUse, Returned, RowId, Unit
from protos.messages.escalation import ItemClass

JOURNAL_UNAVAILABLE = "journal_unavailable"

_SHED = of_reason(Count.RECORDS_SHED, JOURNAL_UNAVAILABLE)


def undurable(unit: Unit) -> Unit:
    """The unit once its messages were acknowledged before a commit: what was journaled counts as shed instead."""
    counts: Counter[CounterKey] = Counter()
    for (binding, name), amount in unit.counts.items():
        counts[binding, _SHED if name == Count.RECORDS_JOURNALED else name] += amount
    return replace(unit, counts=dict(counts), acks=())


def shed(units: Sequence[Unit]) -> Unit:
    """Units that wait for a commit as one that holds no payloads; its messages are still to be acknowledged."""
    whole = as_one(units)
    return replace(undurable(whole), acks=whole.acks)


def as_one(units: Sequence[Unit]) -> Unit:
    """Any number of units `folded` into one, in order."""
    left = [folded(Unit(), units[0] if units else Unit()), *units[1:]]
    while len(left) > 1:  # neighbours first: one by one, the first would be copied for each of the others
        left = [folded(*left[at : at + 2]) if at + 1 < len(left) else left[at] for at in range(0, len(left), 2)]
    return left[0]


def size_bytes(unit: Unit) -> int:
    """Roughly the memory that a unit holds on to."""
    journal = sum(len(row.times_ns) + len(row.values) for row in unit.journal)
    decided = sum(
        2 * len(one.publish.payload) + (sum(len(t.data) for t in one.escalate.inputs) if one.escalate else 0)
        for one in unit.decided
    )
    buried = sum(len(letter.payload) for letter in unit.dead_letters)
    return journal + decided + buried + sum(len(given.payload) for given in unit.feedback)


def folded(first: Unit, second: Unit) -> Unit:
    """Two units as one that holds no payloads: counters stay whole, and what is lost is counted.

    Predictions count as evicted, feedback as shed.

    Journal rows stay as stubs without samples, and only while a window still needs them, so the memory of any number
    of folded units is bounded by the open windows.
    """
    counts: Counter[CounterKey] = Counter(first.counts)
    for key, amount in (*second.counts.items(), *_lost(first), *_lost(second)):
        counts[key] += amount
    rows: dict[RowId, JournalRow] = {
        row.row: replace(row, times_ns=b"", values=b"") for row in (*first.journal, *second.journal)
    }
    pending: dict[RowId, int] = {}
    for row_id, left in (*first.pending.items(), *second.pending.items()):
        if row_id in rows:
            rows[row_id] = replace(rows[row_id], pending=left)
        else:
            pending[row_id] = left
    released: list[RowId] = []
    for row_id in (*first.released, *second.released):
        pending.pop(row_id, None)
        if rows.pop(row_id, None) is None:
            released.append(row_id)
    return Unit(
        counts=dict(counts),
        journal=tuple(rows.values()),
        pending=pending,
        released=tuple(released),
        states={**first.states, **second.states},
        returned=_summed((*first.returned, *second.returned)),
        acks=first.acks + second.acks,
    )


def _summed(returned: Sequence[Returned]) -> tuple[Returned, ...]:
    """What callers hold, one for each policy: as many as there are policies, however long nothing is committed."""
    sums: Counter[tuple[BindingName, PolicyUse]] = Counter()
    for one in returned:
        sums[one.binding, one.decided_by] += one.amount
    return tuple(Returned(*key, amount) for key, amount in sums.items())


def _lost(unit: Unit) -> list[tuple[CounterKey, int]]:
    names: list[tuple[BindingName, str]] = []
    for one in unit.decided:
        evicted = of_reason(Count.PREDICTIONS_EVICTED, JOURNAL_UNAVAILABLE)
        fate = evicted if one.publish.broker else Count.PREDICTIONS_RETURNED  # its caller has it
        names += [(one.binding, Count.PREDICTIONS_DECIDED), (one.binding, fate)]
        names += [(one.binding, name) for name in one.counted]
        if one.alarm is not None:
            evicted = of_reason(Count.ALARMS_EVICTED, JOURNAL_UNAVAILABLE)
            names += [(one.binding, Count.ALARMS_MADE), (one.binding, evicted)]
        if one.escalate is not None and one.escalate_class is ItemClass.AUDIT:
            lost = of_reason(Count.AUDITS_LOST, JOURNAL_UNAVAILABLE)
            asked = (Count.AUDITS_DRAWN, Count.AUDITS_CREATED, lost)
            names += [(one.binding, name) for name in asked]
        elif one.escalate is not None:
            evicted = of_reason(Count.ESCALATIONS_EVICTED, JOURNAL_UNAVAILABLE)
            names += [(one.binding, name) for name in (Count.ESCALATIONS_WANTED, Count.ESCALATIONS_CREATED, evicted)]
    names += [(BindingName(DEVICE), of_reason(Count.FEEDBACK_SHED, JOURNAL_UNAVAILABLE))] * len(unit.feedback)
    return [(name, 1) for name in names]
