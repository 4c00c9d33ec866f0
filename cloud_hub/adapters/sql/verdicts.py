"""Owns the statements on the verdict log: one a device, numbered upwards. Revisions are `core.revisions`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import cases, identity, items, monitoring, sessions
from cloud_hub.adapters.sql.device_keys import AnyRow, AnySelect, belongs_to, columns, place, placed
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, verdict
from cloud_hub.adapters.sql.stored_json import models_text, output_text, read_models, read_output
from cloud_hub.core.cases import Case, CaseState, answered
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.response import Rules
from cloud_hub.core.restores import revision_floor, verdict_floor
from cloud_hub.core.revisions import Answered, next_revision
from cloud_hub.ports import Answer
from model_packs.outputs import Classification, Output
from protos.messages.escalation import PredictionId, Verdict
from protos.messages.inference import ModelUse, Tier

_LAST = (
    select(verdict.c.prediction_id, verdict.c.revision, verdict.c.tier)
    .where(placed(verdict, *DEVICE_COLUMNS), verdict.c.prediction_id.in_(bindparam("ids", expanding=True)))
    .order_by(verdict.c.revision)
)
_ADD = insert(verdict)


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer before it has its place in the log and its revision."""

    device: DeviceKey
    prediction_id: PredictionId
    input_digest: str
    tier: Tier
    output: Output | None
    confidence: float
    models: tuple[ModelUse, ...]
    decided_at_ns: int
    infer_ms: float


async def answer(
    connection: AsyncConnection, answers: Sequence[Answer], rules: Rules
) -> tuple[tuple[DeviceKey, Verdict], ...]:
    """Log verdicts, each at the end of its device's log, note them with their cases, and close the items."""
    logged = await log(connection, [_draft(one) for one in answers])
    await _note(connection, logged, rules, {(one.item.device, one.item.question.prediction_id): one for one in answers})
    await items.close(connection, [one.item.row_id for one in answers])
    return logged


async def log(connection: AsyncConnection, drafts: Sequence[Draft]) -> tuple[tuple[DeviceKey, Verdict], ...]:
    """Log answers, each at the end of its device's log; an answer of a lower tier than one before is left out."""
    last = await _last_revisions(connection, drafts)
    restored_at_ns = await identity.restored_at_ns(connection)
    keys = {one.device for one in drafts}
    counters = await sessions.verdict_counters(connection, keys, verdict_floor(restored_at_ns))
    logged: list[tuple[DeviceKey, Verdict]] = []
    for one in drafts:
        about = (one.device, one.prediction_id)
        revision = next_revision(last.get(about), one.tier, revision_floor(restored_at_ns))
        if revision is None:
            continue
        last[about] = Answered(revision, one.tier)
        counters[one.device] += 1
        logged.append((one.device, _verdict(one, counters[one.device], revision)))
    if logged:
        await connection.execute(_ADD, [_row(key, said) for key, said in logged])
        for key in {key for key, _ in logged}:
            await sessions.set_verdict_counter(connection, key, counters[key])
    return tuple(logged)


async def repeat(connection: AsyncConnection, key: DeviceKey, ids: Collection[str]) -> None:
    """Put the latest answer to each of these predictions at the end of the device's log; unanswered ones wait."""
    rows = await connection.execute(
        select(verdict.c.prediction_id, verdict.c.verdict_seq)
        .where(belongs_to(verdict, key), verdict.c.prediction_id.in_(ids))
        .order_by(verdict.c.revision)
    )
    latest = {row.prediction_id: row.verdict_seq for row in rows}
    if not latest:
        return
    floor = verdict_floor(await identity.restored_at_ns(connection))
    last = (await sessions.verdict_counters(connection, {key}, floor))[key]
    for seq, before in enumerate(sorted(latest.values()), start=last + 1):
        await connection.execute(
            update(verdict).where(belongs_to(verdict, key), verdict.c.verdict_seq == before).values(verdict_seq=seq)
        )
    await sessions.set_verdict_counter(connection, key, last + len(latest))


def select_log(key: DeviceKey, after_seq: int, limit: int) -> AnySelect:
    """A page of a device's log."""
    return (
        select(verdict)
        .where(belongs_to(verdict, key), verdict.c.verdict_seq > after_seq)
        .order_by(verdict.c.verdict_seq)
        .limit(limit)
    )


def select_of_prediction(key: DeviceKey, prediction_id: PredictionId) -> AnySelect:
    """Every answer to one prediction, oldest first."""
    return (
        select(verdict)
        .where(belongs_to(verdict, key), verdict.c.prediction_id == prediction_id)
        .order_by(verdict.c.revision)
    )


def read_verdict(row: AnyRow) -> Verdict:
    """What a row of `select_log` says."""
    return Verdict(
        verdict_seq=row.verdict_seq,
        prediction_id=PredictionId(row.prediction_id),
        input_digest=row.input_digest,
        revision=row.revision,
        tier=Tier(row.tier),
        output=read_output(row.output),
        confidence=row.confidence,
        models=read_models(row.models),
        decided_at_ns=row.decided_at_ns,
        infer_ms=row.infer_ms,
    )


async def _note(
    connection: AsyncConnection,
    logged: Sequence[tuple[DeviceKey, Verdict]],
    rules: Rules,
    answers: Mapping[tuple[DeviceKey, str], Answer],
) -> None:
    """Tell the cases what the full model said; its first word on each counts for the policy that decided."""
    said: dict[DeviceKey, dict[str, Verdict]] = {}
    for key, one in logged:
        if one.tier is Tier.HUB:
            said.setdefault(key, {})[one.prediction_id] = one
    first: list[Case] = []
    for key, by_id in said.items():
        found = await cases.of_predictions(connection, key, by_id)
        changed = [answered(case, by_id[at], _edge_output(answers.get((key, at)))) for at, case in found.items()]
        await cases.save(connection, changed)
        first += [case for case in changed if found[case.prediction_id].state is CaseState.WAITING]
    if first:
        now_ns = max(one.decided_at_ns for _, one in logged)
        await monitoring.judged_by_hub(connection, first, rules, now_ns)


def _edge_output(answer: Answer | None) -> Output | None:
    """What the edge said, where the case's label does not tell enough to compare it."""
    if answer is None or answer.output is None or isinstance(answer.output, Classification):
        return None
    asked = items.read_payload(answer.item.payload)
    return None if asked is None else asked.edge_output


async def _last_revisions(
    connection: AsyncConnection, drafts: Sequence[Draft]
) -> dict[tuple[DeviceKey, str], Answered]:
    """The latest logged answer by prediction; device by device, since the index begins with the device."""
    asked: dict[DeviceKey, set[str]] = {}
    for one in drafts:
        asked.setdefault(one.device, set()).add(one.prediction_id)
    last: dict[tuple[DeviceKey, str], Answered] = {}
    for key, ids in asked.items():
        rows = await connection.execute(_LAST, {**place(columns(key)), "ids": list(ids)})
        last |= {(key, row.prediction_id): Answered(row.revision, Tier(row.tier)) for row in rows}
    return last


def _draft(one: Answer) -> Draft:
    return Draft(
        device=one.item.device,
        prediction_id=one.item.question.prediction_id,
        input_digest=one.item.question.input_digest,
        tier=one.tier,
        output=one.output,
        confidence=one.confidence,
        models=one.models,
        decided_at_ns=one.decided_at_ns,
        infer_ms=one.infer_ms,
    )


def _verdict(one: Draft, verdict_seq: int, revision: int) -> Verdict:
    return Verdict(
        verdict_seq=verdict_seq,
        prediction_id=one.prediction_id,
        input_digest=one.input_digest,
        revision=revision,
        tier=one.tier,
        output=one.output,
        confidence=one.confidence,
        models=one.models,
        decided_at_ns=one.decided_at_ns,
        infer_ms=one.infer_ms,
    )


def _row(key: DeviceKey, said: Verdict) -> dict[str, Any]:
    return {
        **columns(key),
        "verdict_seq": said.verdict_seq,
        "prediction_id": said.prediction_id,
        "input_digest": said.input_digest,
        "revision": said.revision,
        "tier": said.tier.value,
        "output": output_text(said.output),
        "confidence": said.confidence,
        "models": models_text(said.models),
        "decided_at_ns": said.decided_at_ns,
        "infer_ms": said.infer_ms,
    }
