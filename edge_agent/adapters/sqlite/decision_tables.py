"""Owns the tables of decisions: what each policy came to (`policy_totals.py`), and the budget (`budget_ledger.py`).

Two migrations of `schema.py`; older programs leave these tables alone.
"""

TABLES = (
    """CREATE TABLE policy_total (
        binding TEXT NOT NULL, digest TEXT NOT NULL, version INTEGER NOT NULL, pack TEXT NOT NULL,
        decided INTEGER NOT NULL, kept INTEGER NOT NULL, escalated INTEGER NOT NULL, suppressed INTEGER NOT NULL,
        audits_drawn INTEGER NOT NULL, audits_answered INTEGER NOT NULL, audits_lost INTEGER NOT NULL,
        suppressed_asked INTEGER NOT NULL, threshold REAL, audit_rate REAL NOT NULL, changed_ns INTEGER NOT NULL,
        PRIMARY KEY (binding, digest, version)
    ) WITHOUT ROWID""",
    """CREATE TABLE budget (
        resource TEXT NOT NULL, pool TEXT NOT NULL, level REAL NOT NULL, leased REAL NOT NULL, spent REAL NOT NULL,
        wall_ns INTEGER NOT NULL, monotonic_s REAL NOT NULL, boot_id TEXT NOT NULL, synced INTEGER NOT NULL,
        PRIMARY KEY (resource, pool)
    ) WITHOUT ROWID""",
    # A long backlog is counted by class from the index alone.
    "DROP INDEX escalation_pending",
    """CREATE INDEX escalation_pending_by_class ON escalation (binding, class, state)
    WHERE state IN ('queued', 'sent', 'acked')""",
)

OUTCOMES = (
    """CREATE TABLE policy_outcome (
        binding TEXT NOT NULL, digest TEXT NOT NULL, version INTEGER NOT NULL,
        answered INTEGER NOT NULL, corrected INTEGER NOT NULL, sampled INTEGER NOT NULL,
        sampled_wrong INTEGER NOT NULL, unanswered INTEGER NOT NULL,
        PRIMARY KEY (binding, digest, version)
    ) WITHOUT ROWID""",
)
