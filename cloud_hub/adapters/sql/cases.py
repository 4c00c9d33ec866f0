"""Owns the statements on cases: what a list shows of each escalated window. What happens to one is `core.cases`.

A case is written with its item and changed with its verdicts and labels, in their transactions; payloads stay in
`items`.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.device_keys import (
    AnyRow,
    AnySelect,
    belongs_to,
    columns,
    key_columns,
    key_of,
    place,
    placed,
)
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, case_record, feedback
from cloud_hub.core.cases import Case, CaseCount, CaseFilter, CaseState, ReviewRank, review_rank
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import Said, Source
from protos.messages.escalation import PredictionId, Reason

_CHANGING = ("hub_digest", "hub_label", "hub_confidence", "human_label", "human_by", "agrees", "unsure_n", "is_doubted")
_LASTING = (
    "prediction_id",
    "input_digest",
    "binding",
    "partition",
    "received_at_ns",
    "window_start_ns",
    "window_end_ns",
    "propensity",
    "threshold",
    "edge_pack",
    "edge_digest",
    "hub_pack",
    "edge_label",
    "edge_confidence",
    "policy_version",
    "is_for_people",
)
_OF_PREDICTIONS = select(case_record).where(
    placed(case_record, *DEVICE_COLUMNS), case_record.c.prediction_id.in_(bindparam("ids", expanding=True))
)
_ADD = insert(case_record)
_SAVE = update(case_record).where(case_record.c.case_id == bindparam("at_case_id"))


async def add(connection: AsyncConnection, cases: Sequence[Case]) -> None:
    """Store new cases."""
    if cases:
        await connection.execute(_ADD, [_row(case) for case in cases])


async def save(connection: AsyncConnection, cases: Sequence[Case]) -> None:
    """Store what changed of cases that are there."""
    if cases:
        values = [{"at_case_id": case.case_id, **_changing(case)} for case in cases]
        await connection.execute(_SAVE, values)


async def of_predictions(connection: AsyncConnection, key: DeviceKey, ids: Collection[str]) -> dict[str, Case]:
    """A device's cases by prediction id, as far as there are any."""
    rows = await connection.execute(_OF_PREDICTIONS, {**place(columns(key)), "ids": list(ids)})
    return {row.prediction_id: read_case(row) for row in rows}


def select_case(key: DeviceKey, prediction_id: PredictionId) -> AnySelect:
    """One case."""
    return select(case_record).where(belongs_to(case_record, key), case_record.c.prediction_id == prediction_id)


def select_cases(wanted: CaseFilter, limit: int) -> AnySelect:
    """A page of the list, newest first."""
    query = select(case_record).order_by(case_record.c.case_id.desc()).limit(limit)
    asked = {
        "site_id": wanted.site_id,
        "device_id": wanted.device_id,
        "binding": wanted.binding,
        "reason": wanted.reason,
        "agrees": wanted.agrees,
    }
    query = query.where(*(case_record.c[name] == value for name, value in asked.items() if value is not None))
    if wanted.labelled is not None:
        label = case_record.c.human_label
        query = query.where(label.is_not(None) if wanted.labelled else label.is_(None))
    return query if wanted.before is None else query.where(case_record.c.case_id < wanted.before)


def select_for_review(rank: ReviewRank, limit: int, by: str) -> AnySelect:
    """Cases of one rank, newest first, without those that this person could not tell."""
    own_unsure = (
        select(feedback.c.row_id)
        .where(
            *(feedback.c[name] == case_record.c[name] for name in (*DEVICE_COLUMNS, "prediction_id")),
            feedback.c.source == Source.CONSOLE.value,
            feedback.c.said == Said.UNSURE.value,
            feedback.c.given_by == by,
        )
        .exists()
    )
    return (
        select(case_record)
        .where(case_record.c.review_rank == int(rank), ~own_unsure)
        .order_by(case_record.c.case_id.desc())
        .limit(limit)
    )


def select_review_count() -> AnySelect:
    """How many cases have no label."""
    return select(func.count().label("n")).select_from(case_record).where(case_record.c.review_rank >= 0)


def select_trend(since_ns: int, bucket_ns: int, key: DeviceKey | None) -> AnySelect:
    """Cases by bucket, device, binding and reason, oldest first."""
    bucket = (case_record.c.received_at_ns // bucket_ns).label("bucket")
    by = (*key_columns(case_record), case_record.c.binding, case_record.c.reason)
    query = (
        select(
            bucket,
            *by,
            func.count().label("n_cases"),
            func.count().filter(case_record.c.state == CaseState.ANSWERED.value).label("n_answered"),
            func.count().filter(case_record.c.agrees.is_(False)).label("n_disagreed"),
        )
        .where(case_record.c.received_at_ns >= since_ns)
        .group_by("bucket", *by)
        .order_by("bucket", *by)
    )
    return query if key is None else query.where(belongs_to(case_record, key))


def read_case(row: AnyRow) -> Case:
    """What a row says."""
    as_they_are: dict[str, Any] = {name: getattr(row, name) for name in (*_LASTING, *_CHANGING)}
    return Case(
        case_id=row.case_id,
        device=key_of(row),
        reason=Reason(row.reason),
        state=CaseState(row.state),
        group=row.risk_group,
        **as_they_are,
    )


def read_count(row: AnyRow, bucket_ns: int) -> CaseCount:
    """What a row of `select_trend` says."""
    return CaseCount(
        bucket_ns=row.bucket * bucket_ns,
        device=key_of(row),
        binding=row.binding,
        reason=Reason(row.reason),
        cases=row.n_cases,
        answered=row.n_answered,
        disagreed=row.n_disagreed,
    )


def _row(case: Case) -> dict[str, Any]:
    lasting = {name: getattr(case, name) for name in _LASTING}
    said = {"reason": case.reason.value, "risk_group": case.group}
    return {**columns(case.device), **lasting, **said, **_changing(case)}


def _changing(case: Case) -> dict[str, Any]:
    rank = review_rank(case)
    changing = {name: getattr(case, name) for name in _CHANGING}
    return {**changing, "state": case.state.value, "review_rank": None if rank is None else int(rank)}
