"""How far each outbox of a device is settled, so that answered items can be forgotten, and an index by their age."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_PLACE = ("org_id", "site_id", "device_id", "store_id", "item_class")


def upgrade() -> None:
    """Make the table, with what was applied so far, and the index."""
    op.create_table(
        "outbox_floor",
        sa.Column("org_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("store_id", sa.String(length=64), nullable=False),
        sa.Column("item_class", sa.Integer(), nullable=False),
        sa.Column("low_water", sa.BigInteger(), nullable=False),
        sa.Column("applied", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*_PLACE),
    )
    place = ", ".join(_PLACE)
    op.execute(f"INSERT INTO outbox_floor SELECT {place}, 0, max(seq) FROM item GROUP BY {place}")  # noqa: S608 - own text
    op.create_index("item_age", "item", ["state", "received_at_ns"], unique=False)
