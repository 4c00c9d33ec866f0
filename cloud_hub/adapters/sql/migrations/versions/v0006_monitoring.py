"""Policies of devices and how they fare: promises, records, tallies; and what a case needs to count for them."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_DEVICE = ("org_id", "site_id", "device_id")
_POLICY = (*_DEVICE, "binding", "pack_digest", "policy_version")

# What the full model was in doubt about stood among what edge and hub disagree on; 0.6 as it was at this step.
_MAKE_ROOM = """
    UPDATE case_record SET review_rank = CASE
        WHEN review_rank = 1 AND state = 'answered' AND (hub_label IS NULL OR hub_confidence < 0.6) THEN 2
        ELSE review_rank + 2
    END WHERE review_rank > 0
"""


def upgrade() -> None:
    """Make the tables, add the columns, and make room in the review queue."""
    op.create_table(
        "pack_promise",
        sa.Column("pack_digest", sa.String(length=128), primary_key=True),
        sa.Column("promise", sa.Text(), nullable=False),
    )
    op.create_table(
        "policy_record",
        *_place(),
        sa.Column("pack", sa.String(length=128), nullable=False),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("audit_rate", sa.Float(), nullable=True),
        sa.Column("promise", sa.Text(), nullable=True),
        sa.Column("totals", sa.Text(), nullable=False),
        sa.Column("rates", sa.Text(), nullable=False),
        sa.Column("alarms", sa.Text(), nullable=False),
        sa.Column("reported_at_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint(*_POLICY),
    )
    op.create_table(
        "risk_tally",
        *_place(),
        sa.Column("measure", sa.String(length=32), nullable=False),
        sa.Column("stratum", sa.String(length=16), nullable=False),
        sa.Column("risk_group", sa.String(length=200), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("losses", sa.BigInteger(), nullable=False),
        sa.Column("cusum", sa.Text(), nullable=False),
        sa.Column("refuted_at_ns", sa.BigInteger(), nullable=True),
        sa.Column("changed_at_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint(*_POLICY, "measure", "stratum", "risk_group"),
    )
    op.add_column("desired_twin", sa.Column("policies", sa.Text(), nullable=False, server_default="[]"))
    for column in (
        sa.Column("policy_version", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("risk_group", sa.String(length=200), nullable=False, server_default=""),
        sa.Column("is_for_people", sa.Boolean(), nullable=False, server_default="0"),
    ):
        op.add_column("case_record", column)
    op.create_index("case_place", "case_record", [*_DEVICE, "binding", "edge_digest", "case_id"], unique=False)
    op.execute(_MAKE_ROOM)


def _place() -> tuple[sa.Column[Any], ...]:
    return (
        *(sa.Column(name, sa.String(length=64), nullable=False) for name in _DEVICE),
        sa.Column("binding", sa.String(length=128), nullable=False),
        sa.Column("pack_digest", sa.String(length=128), nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
    )
