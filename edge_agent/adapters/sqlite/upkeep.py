"""Owns keeping edge.db small and whole: what is done once at start, and forgetting predictions that nobody awaits."""

import secrets
import sqlite3

from edge_agent.adapters.sqlite.age import OLDER
from edge_agent.adapters.sqlite.book import STORE_ID, new_store_id
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.core.audit_lottery import KEY_BYTES

AUDIT_KEY = "audit_key"
"""The secret of the audit lottery, in hexadecimal: made once, and told nobody."""

_LOOKED_AT = 1000

_ADD_UNUSED = """
    INSERT INTO counter
    SELECT binding, 'samples_unused{journal_unavailable}', sum(pending) FROM journal
    WHERE length(times_ns) = 0 AND pending > 0 GROUP BY binding
    ON CONFLICT DO UPDATE SET value = value + excluded.value"""

_ROWS_OF_A_START = 1 << 40  # more than one start gives out; those that are never written are not known to the next one


def prepare(connection: sqlite3.Connection) -> int:
    """Make the store's identity and its audits' secret if there are none, and settle what a failing disk shed.

    Args:
        connection: The write connection, before the writer has it.

    Returns:
        The first row id that was never given out.
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", (STORE_ID, new_store_id()))
    connection.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", (AUDIT_KEY, secrets.token_hex(KEY_BYTES))
    )
    # Rows without samples cannot rebuild a window: their samples will not be used.
    connection.execute(_ADD_UNUSED)
    connection.execute("DELETE FROM journal WHERE length(times_ns) = 0")
    (last,) = connection.execute(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name IN ('journal', 'outbox')"
    ).fetchone()
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
    connection.execute("INSERT INTO sqlite_sequence VALUES ('outbox', ?)", (last + _ROWS_OF_A_START,))
    connection.execute("COMMIT")
    return int(last) + 1


class Pruner:
    """Forgets predictions beyond a count or an age, a piece at a time; never one whose escalation is open.

    Args:
        kept: Newest predictions that stay.
        max_age_s: Older ones go.
    """

    def __init__(self, kept: int, max_age_s: float) -> None:
        self._kept = kept
        self._max_age_s = max_age_s
        self._looked_up_to = 0

    def prune(self, tx: Transaction) -> None:
        """Look at the next piece of the table and forget what may go."""
        parameters = {
            **tx.now.parameters(), "after": self._looked_up_to, "looked_at": _LOOKED_AT,
            "kept": self._kept, "max_age_s": self._max_age_s,
        }  # fmt: skip
        piece = "SELECT * FROM prediction WHERE number > :after ORDER BY number LIMIT :looked_at"
        examined, last = tx.connection.execute(f"SELECT count(*), max(number) FROM ({piece})", parameters).fetchone()  # noqa: S608 - own text
        gone = tx.connection.execute(
            f"""DELETE FROM prediction WHERE number IN (
                SELECT number FROM ({piece}) AS p
                WHERE (number <= (SELECT max(number) FROM prediction) - :kept OR {OLDER.format(limit_s=":max_age_s")})
                AND NOT EXISTS (
                    SELECT 1 FROM escalation WHERE prediction_id = p.id AND state IN ('queued', 'sent', 'acked')
                )
            ) RETURNING id""",  # noqa: S608 - own text
            parameters,
        ).fetchall()
        tx.connection.executemany("DELETE FROM escalation WHERE prediction_id = ?", gone)
        tx.connection.executemany("DELETE FROM provenance WHERE prediction_id = ?", gone)
        self._looked_up_to = int(last) if examined == _LOOKED_AT else 0
