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
    sqlite_autoincrement=True,
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
