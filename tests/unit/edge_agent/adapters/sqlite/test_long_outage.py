"""A month without broker and hub, on a clock that is moved: the bound holds, and the oldest alarms are still there."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite.outbox import ROW_OVERHEAD_BYTES
from edge_agent.adapters.sqlite.store import FILE_NAME, StoreSettings
from edge_agent.core.accounting import Count, of_reason
from edge_agent.core.durability import Durability, JournalTerms
from edge_agent.core.outbox import Limits, OnFull
from edge_agent.ports import Decided, Publish, RowId, Unit
from protos.messages.escalation import ItemClass
from tests.unit.edge_agent.adapters.sqlite.builders import Opened, decided, open_store

DAYS = 30
STEP_S = 6 * 3600.0
ANSWERS_A_STEP = 10
MAX_BYTES = 128 << 10
PROCESS = JournalTerms(Durability.PROCESS)  # a month of syncs is not what is looked at


def month_limits() -> Limits:
    """The shares and policies that the agent has by default, of a small outbox."""
    shares = {
        ItemClass.ALARM: 0.05,
        ItemClass.PREDICTION: 0.35,
        ItemClass.ESCALATION: 0.45,
        ItemClass.AUDIT: 0.1,
        ItemClass.FEEDBACK: 0.05,
    }
    on_full = dict.fromkeys(shares, OnFull.DROP_OLDEST)
    kept = {ItemClass.ALARM: OnFull.DROP_NEWEST, ItemClass.FEEDBACK: OnFull.DROP_NEWEST}
    return Limits(MAX_BYTES, shares, on_full | kept)


def with_alarm(opened: Opened, one: Decided, number: int) -> Decided:
    """The same answer, having raised or cleared an alarm."""
    payload = json.dumps({"schema": "edge.alarm/1", "number": number}).encode()
    return replace(one, alarm=Publish(RowId(opened.store.new_row()), "plant", "press/alarm", payload, 1))


def test_a_month_offline_stays_within_the_bound_and_keeps_the_oldest_alarms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Thirty days of answers, questions and alarms, none of which can be delivered, and then the broker is back."""
    settings = StoreSettings(month_limits(), 86_400.0, 1 << 18, max_file_bytes=8 << 20)
    opened = open_store(tmp_path, settings=settings)
    steps, alarms, most_bytes, largest_file = int(DAYS * 86_400 / STEP_S), 0, 0, 0
    for step in range(steps):
        answers = [
            decided(opened.store, f"p{step}-{number}", escalate=number % 5 == 0) for number in range(ANSWERS_A_STEP)
        ]
        for number in range(1 if step % 3 else 2):
            answers[number] = with_alarm(opened, answers[number], alarms)
            alarms += 1
        opened.commit(Unit(decided=tuple(answers), terms=PROCESS))
        opened.clock.pass_s(STEP_S)
        most_bytes = max(most_bytes, sum(use.bytes for use in opened.store.outbox()))
        largest_file = max(largest_file, sum(path.stat().st_size for path in tmp_path.glob(f"{FILE_NAME}*")))
    counts = opened.counts()
    evicted = counts[of_reason(Count.PREDICTIONS_EVICTED, OnFull.DROP_OLDEST)]
    expired = counts[Count.ESCALATIONS_EXPIRED]
    refused = counts.get(of_reason(Count.ALARMS_EVICTED, OnFull.DROP_NEWEST), 0)
    kept = counts[Count.ALARMS_PENDING_PUBLISH]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{DAYS} days offline: {steps * ANSWERS_A_STEP} answers, {alarms} alarms; outbox at most {most_bytes} of "
            f"{MAX_BYTES} bytes, files at most {largest_file} bytes; evicted {evicted} answers, "
            f"expired {expired} questions; alarms kept {kept}, refused {refused}\n"
        )
    assert most_bytes <= MAX_BYTES
    assert largest_file <= settings.max_file_bytes + (4 << 20) + (64 << 10)  # with the log and its index
    assert evicted > 0
    assert expired > 0
    assert kept + refused == alarms
    assert kept > 0
    assert opened.broken_equations() == []
    waiting = opened.store.publishable("plant", 10 * alarms, ())
    found = [one for one in waiting if one.topic == "press/alarm"]
    told = [json.loads(one.payload)["number"] for one in found]
    assert told == sorted(told)
    within_share = month_limits().share_bytes(ItemClass.ALARM) // (
        max(len(one.payload) + len(one.topic) for one in found) + ROW_OVERHEAD_BYTES
    )
    assert told[:within_share] == list(range(within_share))
    opened.store.published([one.row for one in waiting])
    assert opened.counts()[Count.ALARMS_PUBLISHED] == len(told)
    assert opened.broken_equations() == []
    opened.store.close()
