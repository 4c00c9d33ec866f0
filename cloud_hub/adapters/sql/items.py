"""Owns the statements on escalated items: stored once, waiting until they are answered. The rule is `core.delivery`."""

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import cases, judgements
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
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, item
from cloud_hub.core.cases import Case, CaseState, caught_up, opened
from cloud_hub.core.delivery import AlreadyApplied, Apply, Delivery, ItemKey, Question, decide
from cloud_hub.core.devices import DeviceKey
from cloud_hub.ports import Delivered, WaitingItem
from protos.codec.errors import CodecError
from protos.codec.escalation import escalation_from_bytes
from protos.messages.escalation import Escalation, ItemClass, PredictionId, StoreId

logger = logging.getLogger(__name__)

WAITING = "waiting"
ANSWERED = "answered"
REPEATED = "repeated"

_ADD = insert(item)
_CLOSE = update(item).where(item.c.row_id.in_(bindparam("row_ids", expanding=True))).values(state=ANSWERED)
_KNOWN = (item.c.store_id, item.c.item_class, item.c.seq, item.c.prediction_id, item.c.input_digest)
# One select a class, not one with row values or OR: only so is each looked up by its index, seq by seq.
_AT_PLACES = select(*_KNOWN).where(
    placed(item, *DEVICE_COLUMNS, "store_id", "item_class"), item.c.seq.in_(bindparam("seqs", expanding=True))
)
_OF_PREDICTIONS = select(*_KNOWN).where(
    placed(item, *DEVICE_COLUMNS), item.c.prediction_id.in_(bindparam("ids", expanding=True))
)


async def apply(
    connection: AsyncConnection, key: DeviceKey, items: Sequence[Delivered], now_ns: int, people_share: float
) -> tuple[Delivery, ...]:
    """Store items that came together, each at most once."""
    at_key, digests = await _known(connection, key, items)
    heard = await judgements.of_predictions(connection, key, {one.question.prediction_id for one in items})
    decided: list[Delivery] = []
    rows: list[dict[str, Any]] = []
    new: list[Case] = []
    for one in items:
        prediction_id = one.question.prediction_id
        delivery = decide(one.question, at_key=at_key.get(one.key), digest_of_prediction=digests.get(prediction_id))
        decided.append(delivery)
        if isinstance(delivery, Apply) or (isinstance(delivery, AlreadyApplied) and delivery.is_new_key):
            at_key[one.key] = one.question
            digests[prediction_id] = one.question.input_digest
            state = REPEATED
            if isinstance(delivery, Apply):
                case = caught_up(opened(key, one.escalation, now_ns, people_share), heard[prediction_id])
                state = WAITING if case.state is CaseState.WAITING else ANSWERED
                new.append(case)
            rows.append(_row(key, one, state, now_ns))
    if rows:
        await connection.execute(_ADD, rows)
    await cases.add(connection, new)
    return tuple(decided)


def select_waiting(limit: int, except_packs: Collection[str]) -> AnySelect:
    """The oldest items without an answer."""
    return _waiting(except_packs).order_by(item.c.row_id).limit(limit)


def select_newest_waiting(limit: int, except_packs: Collection[str]) -> AnySelect:
    """The newest items without an answer."""
    return _waiting(except_packs).order_by(item.c.row_id.desc()).limit(limit)


def select_waiting_counts() -> AnySelect:
    """How many items of each device have no answer."""
    query = select(*key_columns(item), func.count().label("n")).where(item.c.state == WAITING)
    return query.group_by(*key_columns(item))


def waiting_item(row: AnyRow) -> WaitingItem:
    """What a row of `select_waiting` says."""
    return WaitingItem(
        row_id=row.row_id,
        device=key_of(row),
        item_class=ItemClass(row.item_class),
        question=Question(PredictionId(row.prediction_id), row.input_digest),
        hub_pack=row.hub_pack,
        payload=row.payload,
    )


async def close(connection: AsyncConnection, row_ids: Iterable[int]) -> None:
    """Mark items as answered."""
    await connection.execute(_CLOSE, {"row_ids": list(row_ids)})


async def close_question(connection: AsyncConnection, key: DeviceKey, prediction_id: PredictionId) -> None:
    """Ask the full model no more about this prediction."""
    await connection.execute(
        update(item)
        .where(belongs_to(item, key), item.c.prediction_id == prediction_id, item.c.state == WAITING)
        .values(state=ANSWERED)
    )


def select_payload(key: DeviceKey, prediction_id: PredictionId) -> AnySelect:
    """The escalation of one prediction, as bytes."""
    return select(item.c.payload).where(
        belongs_to(item, key), item.c.prediction_id == prediction_id, item.c.state != REPEATED
    )


def read_payload(payload: bytes) -> Escalation | None:
    """What a device asked; None when the bytes cannot be read any more."""
    try:
        return escalation_from_bytes(payload)
    except CodecError:
        logger.exception("stored_question_unreadable")
        return None


def _waiting(except_packs: Collection[str]) -> AnySelect:
    query = select(item).where(item.c.state == WAITING)
    return query.where(item.c.hub_pack.not_in(except_packs)) if except_packs else query


async def _known(
    connection: AsyncConnection, key: DeviceKey, items: Sequence[Delivered]
) -> tuple[dict[ItemKey, Question], dict[str, str]]:
    """What is stored at these items' places, and for their predictions."""
    places: dict[tuple[str, int], list[int]] = {}
    for one in items:
        places.setdefault((one.key.store_id, int(one.key.item_class)), []).append(one.key.seq)
    ids = {one.question.prediction_id for one in items}
    device = columns(key)
    rows = list(await connection.execute(_OF_PREDICTIONS, {**place(device), "ids": list(ids)}))
    for (store_id, item_class), seqs in places.items():
        at = place({**device, "store_id": store_id, "item_class": item_class})
        rows += await connection.execute(_AT_PLACES, {**at, "seqs": seqs})
    at_key = {
        ItemKey(StoreId(row.store_id), ItemClass(row.item_class), row.seq): Question(
            PredictionId(row.prediction_id), row.input_digest
        )
        for row in rows
    }
    return at_key, {row.prediction_id: row.input_digest for row in rows}


def _row(key: DeviceKey, one: Delivered, state: str, now_ns: int) -> dict[str, Any]:
    return {
        **columns(key),
        "store_id": one.key.store_id,
        "item_class": int(one.key.item_class),
        "seq": one.key.seq,
        "prediction_id": one.question.prediction_id,
        "input_digest": one.question.input_digest,
        "hub_pack": one.hub_pack,
        "state": state,
        "payload": b"" if state == REPEATED else one.payload,
        "received_at_ns": now_ns,
    }
