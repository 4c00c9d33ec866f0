"""When the database was put back from a backup: what it numbers begins above everything from before that time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the time of the latest restore."""
    op.add_column("hub", sa.Column("restored_at_ns", sa.BigInteger(), nullable=False, server_default="0"))
