"""Owns what a running program costs: memory, file descriptors, threads; and what lies in an agent's store over time."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulators.waiting import wait_until

_EVERY_S = 0.25
_SETTLE_S = 20.0
_SPARE = 3
_MIB = 1 << 20
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Vitals:
    """One process at one moment."""

    rss_bytes: int
    fds: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Vitals":
        """Read them from /proc."""
        proc = Path("/proc") / str(pid)
        return cls(
            int(proc.joinpath("statm").read_text().split()[1]) * _PAGE_BYTES,
            len(list(proc.joinpath("fd").iterdir())),
            len(list(proc.joinpath("task").iterdir())),
        )


def is_flat(before: Vitals, pid: int, grows_bytes: int) -> list[str]:
    """What has grown since `before` and does not fall back within a while: nothing, if all is well."""

    def problems() -> list[str]:
        now = Vitals.of(pid)
        found = []
        if now.fds > before.fds + _SPARE:
            found.append(f"file descriptors grew from {before.fds} to {now.fds}")
        if now.threads > before.threads + _SPARE:
            found.append(f"threads grew from {before.threads} to {now.threads}")
        if now.rss_bytes > before.rss_bytes + grows_bytes:
            found.append(f"memory grew from {before.rss_bytes // _MIB} to {now.rss_bytes // _MIB} MiB")
        return found

    try:
        wait_until(lambda: not problems(), _SETTLE_S, "flat figures")
    except AssertionError:
        return problems()
    return []


class StoreView:
    """Looks into an agent's edge.db from outside, whether the agent runs or not, and leaves every byte as it is.

    After a kill, whoever may write recovers the log, and empties it when they leave: the agent would not meet what the
    kill left. So the log's index, too, is only read.

    Args:
        path: edge.db.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, query: str) -> list[Any]:
        """The rows of a query; none while there is no store or its file is locked."""
        if not self._path.exists():
            return []
        has_log = self._path.with_name(f"{self._path.name}-wal").exists()
        how = "mode=ro&readonly_shm=1" if has_log else "mode=rw"  # without a log there is no index to read
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?{how}", uri=True, timeout=5)) as store:
                store.execute("PRAGMA query_only = ON")
                return store.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []

    def outbox_bytes(self) -> int:
        """What counts against the outbox's bound."""
        found = self.ask("SELECT coalesce(sum(bytes), 0) FROM usage")
        return int(found[0][0]) if found else 0

    def pending(self) -> int:
        """Rows that still must reach somebody, and questions without an answer; 1 when it cannot be told."""
        found = self.ask(
            "SELECT (SELECT count(*) FROM outbox WHERE state IN ('queued', 'sent'))"
            " + (SELECT count(*) FROM escalation WHERE state IN ('queued', 'sent', 'acked'))"
        )
        return int(found[0][0]) if found else 1

    def waiting(self) -> str:
        """What `pending` counts, in words: how many of each class and state, for whom."""
        rows = self.ask(
            "SELECT 'outbox', class, state, destination, count(*) FROM outbox WHERE state IN ('queued', 'sent')"
            " GROUP BY class, state, destination UNION ALL SELECT 'question', class, state, 'hub', count(*)"
            " FROM escalation WHERE state IN ('queued', 'sent', 'acked') GROUP BY class, state"
        )
        told = [f"{count} {state} of class {number} in {table} for {to}" for table, number, state, to, count in rows]
        return ", ".join(told) or "nothing, or it cannot be read"

    def seen_predictions(self) -> set[str]:
        """Every prediction that the store knows."""
        return {str(name) for (name,) in self.ask("SELECT id FROM prediction")}

    def revised(self) -> int:
        """Predictions that a verdict has changed."""
        found = self.ask("SELECT count(*) FROM prediction WHERE revision > 0")
        return int(found[0][0]) if found else 0

    def published_revisions(self) -> set[str]:
        """Predictions whose revised answer the broker has acknowledged."""
        waits = "SELECT prediction_id FROM outbox WHERE destination LIKE 'mqtt:%'"
        return {str(n) for (n,) in self.ask(f"SELECT id FROM prediction WHERE revision > 0 AND id NOT IN ({waits})")}  # noqa: S608 - our own words

    def unpublished(self) -> int:
        """Messages that the broker has not acknowledged; 1 when it cannot be told."""
        found = self.ask("SELECT count(*) FROM outbox WHERE destination LIKE 'mqtt:%'")
        return int(found[0][0]) if found else 1

    def open_questions(self) -> set[str]:
        """Predictions whose question still waits for an answer."""
        open_ones = "SELECT prediction_id FROM escalation WHERE state IN ('queued', 'sent', 'acked')"
        return {str(name) for (name,) in self.ask(open_ones)}

    def evicted_questions(self) -> set[str]:
        """Predictions whose question the outbox's policy gave up."""
        return {str(n) for (n,) in self.ask("SELECT prediction_id FROM escalation WHERE state = 'evicted'")}


class OutboxWatch:
    """Samples the outbox's bytes until it is closed; remembers the most."""

    def __init__(self, store: StoreView) -> None:
        self._store = store
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox-watch")
        self.most_bytes = 0

    def open(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; may be called twice."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_EVERY_S):
            self.most_bytes = max(self.most_bytes, self._store.outbox_bytes())
