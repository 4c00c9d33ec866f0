"""What people see and say: cases (one for each item that is there already), judgements, persons and their secrets."""

import json
import logging
from typing import Any

import sqlalchemy as sa
from alembic import op

from model_packs.outputs import Output
from protos.codec.errors import CodecError
from protos.codec.escalation import escalation_from_bytes

revision = "0003"
down_revision = "0002"

logger = logging.getLogger(__name__)

_PAGE = 200
_UNSURE_BELOW = 0.6
_SPLIT, _ORDINARY = 1, 2
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_device = ("org_id", "site_id", "device_id")
_item = sa.table(
    "item",
    *(sa.column(name) for name in ("row_id", *_device, "prediction_id", "hub_pack", "state", "payload")),
    sa.column("received_at_ns"),
)
_verdict = sa.table(
    "verdict",
    *(sa.column(name) for name in (*_device, "prediction_id", "revision", "tier", "output", "confidence", "models")),
)


def upgrade() -> None:
    """Make the tables, and a case of each item."""
    cases = _make_cases()
    _make_judgements()
    _make_people()
    _fill(cases)


def _make_cases() -> sa.Table:
    table = op.create_table(
        "case_record",
        sa.Column("case_id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("org_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("prediction_id", sa.String(length=64), nullable=False),
        sa.Column("input_digest", sa.String(length=128), nullable=False),
        sa.Column("binding", sa.String(length=128), nullable=False),
        sa.Column("partition", sa.String(length=256), nullable=False),
        sa.Column("received_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("window_start_ns", sa.BigInteger(), nullable=False),
        sa.Column("window_end_ns", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=24), nullable=False),
        sa.Column("propensity", sa.Float(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("edge_pack", sa.String(length=128), nullable=False),
        sa.Column("edge_digest", sa.String(length=128), nullable=False),
        sa.Column("hub_pack", sa.String(length=128), nullable=False),
        sa.Column("edge_label", sa.String(length=200), nullable=True),
        sa.Column("edge_confidence", sa.Float(), nullable=False),
        sa.Column("hub_digest", sa.String(length=128), nullable=False),
        sa.Column("hub_label", sa.String(length=200), nullable=True),
        sa.Column("hub_confidence", sa.Float(), nullable=True),
        sa.Column("human_label", sa.String(length=200), nullable=True),
        sa.Column("human_by", sa.String(length=100), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("agrees", sa.Boolean(), nullable=True),
        sa.Column("unsure_n", sa.Integer(), nullable=False),
        sa.Column("is_doubted", sa.Boolean(), nullable=False),
        sa.Column("review_rank", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("case_id"),
        sa.UniqueConstraint(*_device, "prediction_id", name="case_prediction"),
        sqlite_autoincrement=True,
    )
    op.create_index("case_site", "case_record", ["site_id", "case_id"], unique=False)
    op.create_index("case_device", "case_record", ["site_id", "device_id", "case_id"], unique=False)
    op.create_index("case_review", "case_record", ["review_rank", "case_id"], unique=False)
    op.create_index("case_received", "case_record", ["received_at_ns"], unique=False)
    return table


def _make_judgements() -> None:
    op.create_table(
        "feedback",
        sa.Column("row_id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("org_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("prediction_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("store_id", sa.String(length=64), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("said", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=True),
        sa.Column("given_by", sa.String(length=100), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("given_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("received_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("binding", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.String(length=24), nullable=True),
        sa.Column("propensity", sa.Float(), nullable=False),
        sa.Column("edge_label", sa.String(length=200), nullable=True),
        sa.Column("edge_confidence", sa.Float(), nullable=False),
        sa.Column("edge_pack", sa.String(length=128), nullable=False),
        sa.Column("edge_digest", sa.String(length=128), nullable=False),
        sa.Column("hub_label", sa.String(length=200), nullable=True),
        sa.Column("hub_confidence", sa.Float(), nullable=True),
        sa.Column("hub_pack", sa.String(length=128), nullable=False),
        sa.Column("hub_digest", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("row_id"),
        sa.UniqueConstraint(*_device, "store_id", "seq", name="feedback_place"),
        sqlite_autoincrement=True,
    )
    op.create_index("feedback_prediction", "feedback", [*_device, "prediction_id", "row_id"], unique=False)


def _make_people() -> None:
    op.create_table(
        "person",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.String(length=256), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "person_secret",
        sa.Column("secret_digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("secret_digest"),
    )
    op.create_index("person_secret_name", "person_secret", ["name", "kind"], unique=False)


def _fill(cases: sa.Table) -> None:
    """Decode every stored question once, a page at a time, so that no list ever has to."""
    connection = op.get_bind()
    last = 0
    while rows := connection.execute(
        sa.select(_item).where(_item.c.row_id > last, _item.c.state != "repeated").order_by(_item.c.row_id).limit(_PAGE)
    ).all():
        last = rows[-1].row_id
        made = [case for row in rows if (case := _case(connection, row)) is not None]
        if made:
            connection.execute(sa.insert(cases), made)


def _case(connection: sa.Connection, row: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a row of a table as it was
    try:
        asked = escalation_from_bytes(row.payload)
    except CodecError as error:  # it was answered as unreadable, too; the item stays
        logger.warning("item_has_no_case", extra={"prediction_id": row.prediction_id, "reason": str(error)})
        return None
    edge = _label(asked.edge_output)
    said = _hub_said(connection, row)
    hub = said["hub_label"]
    agrees = None if edge is None or hub is None else edge == hub
    confidence = said["hub_confidence"]
    is_split = agrees is False or (confidence is not None and (hub is None or confidence < _UNSURE_BELOW))
    return {
        **{name: getattr(row, name) for name in (*_device, "prediction_id", "hub_pack", "received_at_ns")},
        "input_digest": asked.input_digest,
        "binding": asked.binding[:128],
        "partition": asked.partition[:256],
        "window_start_ns": asked.window_start_ns,
        "window_end_ns": asked.window_end_ns,
        "reason": asked.reason.value,
        "propensity": asked.propensity,
        "threshold": asked.threshold,
        "edge_pack": asked.edge_model.pack[:128],
        "edge_digest": asked.edge_model.digest[:128],
        "edge_label": edge,
        "edge_confidence": asked.confidence,
        **said,
        "human_label": None,
        "human_by": None,
        "state": "waiting" if row.state == "waiting" else "answered",
        "agrees": agrees,
        "unsure_n": 0,
        "is_doubted": False,
        "review_rank": _SPLIT if is_split else _ORDINARY,
    }


def _hub_said(connection: sa.Connection, row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of a table as it was
    """What the full model said last, as the columns of a case."""
    found = connection.execute(
        sa.select(_verdict)
        .where(
            *(_verdict.c[name] == getattr(row, name) for name in (*_device, "prediction_id")), _verdict.c.tier == "hub"
        )
        .order_by(_verdict.c.revision.desc())
        .limit(1)
    ).first()
    if found is None:
        return {"hub_label": None, "hub_confidence": None, "hub_digest": ""}
    output, models = (None if text is None else json.loads(text) for text in (found.output, found.models))
    return {
        "hub_label": None if output is None else output["label"][:200],
        "hub_confidence": found.confidence,
        "hub_digest": models[0]["digest"][:128] if models else "",
    }


def _label(output: Output | None) -> str | None:
    return None if output is None else output.told[:200]
