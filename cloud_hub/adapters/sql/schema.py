"""Owns the hub's tables as they are now; how a database gets here is `migrations/`.

Every device key holds the organisation and the site. Times are nanoseconds since the Unix epoch, UTC.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()

DEVICE_COLUMNS = ("org_id", "site_id", "device_id")

_ROW_ID: TypeEngine[int] = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows itself only for INTEGER


def _device_columns() -> list[Column[str]]:
    return [Column(name, String(64), nullable=False) for name in DEVICE_COLUMNS]


hub = Table(
    "hub",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("hub_incarnation", String(36), nullable=False),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("restored_at_ns", BigInteger, nullable=False, server_default="0"),  # 0: never put back from a backup
)

device = Table(
    "device",
    metadata,
    *_device_columns(),
    Column("public_key_digest", String(64), nullable=False),  # of the latest enrolment; empty: never enrolled
    Column("is_removed", Boolean, nullable=False),
    Column("enrolled_at_ns", BigInteger, nullable=False),
    Column("agent_version", String(64), nullable=False),
    PrimaryKeyConstraint(*DEVICE_COLUMNS),
)

token = Table(
    "token",
    metadata,
    Column("token_id", String(64), primary_key=True),
    Column("secret_digest", String(64), nullable=False),
    Column("org_id", String(64), nullable=False),
    Column("site_id", String(64), nullable=False),
    Column("device_id", String(64), nullable=True),  # set: for this device only
    Column("created_at_ns", BigInteger, nullable=False),
    Column("expires_at_ns", BigInteger, nullable=False),
    Column("max_uses", Integer, nullable=False),
)

token_use = Table(
    "token_use",
    metadata,
    Column("token_id", String(64), nullable=False),
    Column("public_key_digest", String(64), nullable=False),
    Column("device_id", String(64), nullable=False),
    Column("used_at_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("token_id", "public_key_digest"),
)

certificate = Table(
    "certificate",
    metadata,
    Column("serial", String(64), primary_key=True),
    *_device_columns(),
    Column("token_id", String(64), nullable=False),
    Column("public_key_digest", String(64), nullable=False),
    Column("not_before_ns", BigInteger, nullable=False),
    Column("not_after_ns", BigInteger, nullable=False),
    Column("chain_pem", Text, nullable=False),
    Index("certificate_device", *DEVICE_COLUMNS),
)

device_session = Table(
    "device_session",
    metadata,
    *_device_columns(),
    Column("session_epoch", BigInteger, nullable=False),
    Column("store_id", String(64), nullable=False),
    Column("opened_at_ns", BigInteger, nullable=False),
    Column("verdict_seq", BigInteger, nullable=False),  # the last that was given out
    Column("verdict_acked", BigInteger, nullable=False),  # the device's durable cursor
    PrimaryKeyConstraint(*DEVICE_COLUMNS),
)

item = Table(
    "item",
    metadata,
    Column("row_id", _ROW_ID, primary_key=True, autoincrement=True),
    *_device_columns(),
    Column("store_id", String(64), nullable=False),
    Column("item_class", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("prediction_id", String(64), nullable=False),
    Column("input_digest", String(128), nullable=False),
    Column("hub_pack", String(128), nullable=False),
    Column("state", String(8), nullable=False),  # waiting | answered | repeated
    Column("payload", LargeBinary, nullable=False),
    Column("received_at_ns", BigInteger, nullable=False),
    UniqueConstraint(*DEVICE_COLUMNS, "store_id", "item_class", "seq", name="item_place"),
    Index("item_prediction", *DEVICE_COLUMNS, "prediction_id"),
    Index("item_state", "state", "row_id"),
    Index("item_age", "state", "received_at_ns"),
    sqlite_autoincrement=True,
)

outbox_floor = Table(  # of each outbox that a device ever had; outlives the items
    "outbox_floor",
    metadata,
    *_device_columns(),
    Column("store_id", String(64), nullable=False),
    Column("item_class", Integer, nullable=False),
    Column("low_water", BigInteger, nullable=False),  # everything below is settled on the device
    Column("applied", BigInteger, nullable=False),  # the highest seq that was applied
    PrimaryKeyConstraint(*DEVICE_COLUMNS, "store_id", "item_class"),
)

verdict = Table(
    "verdict",
    metadata,
    *_device_columns(),
    Column("verdict_seq", BigInteger, nullable=False),
    Column("prediction_id", String(64), nullable=False),
    Column("input_digest", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("tier", String(8), nullable=False),
    Column("output", Text, nullable=True),  # JSON; NULL: could not be scored
    Column("confidence", Float, nullable=False),
    Column("models", Text, nullable=False),  # JSON
    Column("decided_at_ns", BigInteger, nullable=False),
    Column("infer_ms", Float, nullable=False),
    PrimaryKeyConstraint(*DEVICE_COLUMNS, "verdict_seq"),
    UniqueConstraint(*DEVICE_COLUMNS, "prediction_id", "revision", name="verdict_revision"),
)

heartbeat = Table(
    "heartbeat",
    metadata,
    *_device_columns(),
    Column("received_at_ns", BigInteger, nullable=False),
    Column("report", Text, nullable=False),  # JSON
    PrimaryKeyConstraint(*DEVICE_COLUMNS),
)

case_record = Table(  # what a list shows of an item, apart from its payload, so that no list reads through payloads
    "case_record",
    metadata,
    Column("case_id", _ROW_ID, primary_key=True, autoincrement=True),
    *_device_columns(),
    Column("prediction_id", String(64), nullable=False),
    Column("input_digest", String(128), nullable=False),
    Column("binding", String(128), nullable=False),
    Column("partition", String(256), nullable=False),
    Column("received_at_ns", BigInteger, nullable=False),
    Column("window_start_ns", BigInteger, nullable=False),
    Column("window_end_ns", BigInteger, nullable=False),
    Column("reason", String(24), nullable=False),
    Column("propensity", Float, nullable=False),
    Column("threshold", Float, nullable=True),
    Column("edge_pack", String(128), nullable=False),
    Column("edge_digest", String(128), nullable=False),
    Column("hub_pack", String(128), nullable=False),
    Column("edge_label", String(200), nullable=True),  # NULL: could not be scored
    Column("edge_confidence", Float, nullable=False),
    Column("hub_digest", String(128), nullable=False),
    Column("hub_label", String(200), nullable=True),
    Column("hub_confidence", Float, nullable=True),
    Column("human_label", String(200), nullable=True),
    Column("human_by", String(100), nullable=True),
    Column("state", String(8), nullable=False),  # waiting | answered | settled
    Column("agrees", Boolean, nullable=True),
    Column("unsure_n", Integer, nullable=False),
    Column("is_doubted", Boolean, nullable=False),
    Column("review_rank", Integer, nullable=True),  # NULL: labelled
    Column("policy_version", BigInteger, nullable=False, server_default="0"),  # that decided; 0: the pack's own policy
    Column("risk_group", String(200), nullable=False, server_default=""),
    Column("is_for_people", Boolean, nullable=False, server_default="0"),  # the hub's lottery chose it
    UniqueConstraint(*DEVICE_COLUMNS, "prediction_id", name="case_prediction"),
    Index("case_site", "site_id", "case_id"),
    Index("case_device", "site_id", "device_id", "case_id"),
    Index("case_review", "review_rank", "case_id"),
    Index("case_received", "received_at_ns"),
    Index("case_place", *DEVICE_COLUMNS, "binding", "edge_digest", "case_id"),
    sqlite_autoincrement=True,
)

feedback = Table(
    "feedback",
    metadata,
    Column("row_id", _ROW_ID, primary_key=True, autoincrement=True),
    *_device_columns(),
    Column("prediction_id", String(64), nullable=False),
    Column("source", String(16), nullable=False),  # console | operator
    Column("store_id", String(64), nullable=True),  # with seq: its place in the device's outbox; NULL: from the console
    Column("seq", BigInteger, nullable=True),
    Column("said", String(16), nullable=False),  # right | wrong | label | unsure
    Column("label", String(200), nullable=True),
    Column("given_by", String(100), nullable=False),
    Column("note", Text, nullable=False),
    Column("given_at_ns", BigInteger, nullable=False),
    Column("received_at_ns", BigInteger, nullable=False),
    Column("binding", String(128), nullable=False),
    Column("reason", String(24), nullable=True),  # NULL: never at the hub
    Column("propensity", Float, nullable=False),
    Column("edge_label", String(200), nullable=True),
    Column("edge_confidence", Float, nullable=False),
    Column("edge_pack", String(128), nullable=False),
    Column("edge_digest", String(128), nullable=False),
    Column("hub_label", String(200), nullable=True),
    Column("hub_confidence", Float, nullable=True),
    Column("hub_pack", String(128), nullable=False),
    Column("hub_digest", String(128), nullable=False),
    Column("revision", Integer, nullable=True),  # of the verdict that it made
    UniqueConstraint(*DEVICE_COLUMNS, "store_id", "seq", name="feedback_place"),
    Index("feedback_prediction", *DEVICE_COLUMNS, "prediction_id", "row_id"),
    sqlite_autoincrement=True,
)

person = Table(
    "person",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),  # viewer | labeler | operator
    Column("password_hash", String(256), nullable=False),
    Column("created_at_ns", BigInteger, nullable=False),
)

person_secret = Table(
    "person_secret",
    metadata,
    Column("secret_digest", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("kind", String(8), nullable=False),  # session | token
    Column("created_at_ns", BigInteger, nullable=False),
    Column("expires_at_ns", BigInteger, nullable=True),  # NULL: until it is revoked
    Index("person_secret_name", "name", "kind"),
)

desired_twin = Table(
    "desired_twin",
    metadata,
    *_device_columns(),
    Column("version", BigInteger, nullable=False),
    Column("slots", Text, nullable=False),  # JSON, one entry a binding
    Column("policies", Text, nullable=False, server_default="[]"),  # the same
    Column("set_by", String(64), nullable=False),
    Column("set_at_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint(*DEVICE_COLUMNS),
)

pack_promise = Table(  # what the certificates of published packs say, beside the packs themselves
    "pack_promise",
    metadata,
    Column("pack_digest", String(128), primary_key=True),
    Column("promise", Text, nullable=False),  # JSON
)

policy_record = Table(  # how a policy fares in the field; one for each version, so that none inherits evidence
    "policy_record",
    metadata,
    *_device_columns(),
    Column("binding", String(128), nullable=False),
    Column("pack_digest", String(128), nullable=False),
    Column("policy_version", BigInteger, nullable=False),  # 0: the pack's own policy
    Column("pack", String(128), nullable=False),
    Column("since_ns", BigInteger, nullable=False),
    Column("threshold", Float, nullable=True),
    Column("audit_rate", Float, nullable=True),
    Column("promise", Text, nullable=True),  # JSON; NULL: nothing is promised
    Column("totals", Text, nullable=False),  # JSON
    Column("rates", Text, nullable=False),  # JSON
    Column("alarms", Text, nullable=False),  # JSON, times by name
    Column("reported_at_ns", BigInteger, nullable=True),
    PrimaryKeyConstraint(*DEVICE_COLUMNS, "binding", "pack_digest", "policy_version"),
)

risk_tally = Table(  # of a policy record: one for each measure, stratum and group
    "risk_tally",
    metadata,
    *_device_columns(),
    Column("binding", String(128), nullable=False),
    Column("pack_digest", String(128), nullable=False),
    Column("policy_version", BigInteger, nullable=False),
    Column("measure", String(32), nullable=False),
    Column("stratum", String(16), nullable=False),  # kept | escalated | suppressed
    Column("risk_group", String(200), nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("losses", BigInteger, nullable=False),
    Column("cusum", Text, nullable=False),  # JSON
    Column("refuted_at_ns", BigInteger, nullable=True),
    Column("changed_at_ns", BigInteger, nullable=True),
    PrimaryKeyConstraint(
        *DEVICE_COLUMNS, "binding", "pack_digest", "policy_version", "measure", "stratum", "risk_group"
    ),
)

device_liveness = Table(
    "device_liveness",
    metadata,
    *_device_columns(),
    Column("liveness", String(16), nullable=False),  # as the latest event told it
    PrimaryKeyConstraint(*DEVICE_COLUMNS),
)

trend = Table(
    "trend",
    metadata,
    *_device_columns(),
    Column("binding", String(64), nullable=False),
    Column("bucket_ns", BigInteger, nullable=False),
    Column("decided", BigInteger, nullable=False),  # totals as of the bucket's last heartbeat
    Column("escalated", BigInteger, nullable=False),
    Column("answered", BigInteger, nullable=False),
    Column("p95_ms", Float, nullable=True),
    Column("outbox_items", BigInteger, nullable=False),
    PrimaryKeyConstraint(*DEVICE_COLUMNS, "bucket_ns", "binding"),
    Index("trend_bucket", "bucket_ns"),
)

request_cost = Table(
    "request_cost",
    metadata,
    Column("day", Integer, nullable=False),  # since 1970-01-01, UTC
    Column("tenant", String(64), nullable=False),
    Column("caller", String(128), nullable=False),
    Column("pack", String(128), nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("windows", BigInteger, nullable=False),
    Column("compute_ns", BigInteger, nullable=False),
    Column("input_bytes", BigInteger, nullable=False),
    Column("output_bytes", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "tenant", "caller", "pack"),
)

event = Table(
    "event",
    metadata,
    Column("event_id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    *(Column(name, String(64), nullable=True) for name in DEVICE_COLUMNS),  # NULL: about no single device
    Column("actor", String(64), nullable=False),  # empty: the device or the hub itself
    Column("subject", String(128), nullable=False),
    Column("detail", Text, nullable=False),  # JSON, texts by name
    Index("event_at", "at_ns"),
    Index("event_device", *DEVICE_COLUMNS, "event_id"),
    sqlite_autoincrement=True,
)
