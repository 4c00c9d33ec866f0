"""Owns what came and changed, in order, for those who watch: the newest event of each prediction, read from the store.

The place of a prediction moves to the end whenever its event changes, so whoever goes on from a place gets everything
since then, each prediction once, at its newest. Watchers read with a connection of their own, each at its own pace;
nothing is kept for them. How they are told is `adapters/watch_api.py`.
"""

import json
import threading
from pathlib import Path
from typing import Any

from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.ports import Event, NewsItem

_NEWEST = (
    "SELECT n.number, p.event, e.state FROM news AS n JOIN prediction AS p ON p.id = n.prediction_id "
    "LEFT JOIN escalation AS e ON e.prediction_id = p.id"
)


class News:
    """The predictions as watchers see them; any thread may call anything.

    Args:
        path: edge.db.
    """

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path, is_marking=True)
        self._changed = threading.Condition()
        self._commits = 0

    def open(self) -> None:
        """Connect.

        Raises:
            StoreError: The file cannot be read.
        """
        self._reader.open()

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._reader.close()

    def wake(self) -> None:
        """Something came or changed, and is committed."""
        with self._changed:
            self._commits += 1
            self._changed.notify_all()

    def wait(self, seen: int, timeout_s: float) -> int:
        """Block until more was committed than `seen`, or the time is over; return how often there was."""
        with self._changed:
            self._changed.wait_for(lambda: self._commits != seen, timeout_s)
            return self._commits

    def last(self) -> int:
        """The place of what came or changed last; 0 when nothing did."""
        with self._reader.transaction() as read:
            return int(read("SELECT coalesce(max(number), 0) FROM news")[0][0])

    def since(self, place: int, limit: int) -> list[NewsItem]:
        """What came or changed after a place, in order."""
        with self._reader.transaction() as read:
            found = read(f"{_NEWEST} WHERE n.number > ? ORDER BY n.number LIMIT ?", place, limit)
        return [NewsItem(number, _event(event, state)) for number, event, state in found]

    def newest(self, prediction_id: str) -> Event | None:
        """The newest event of a prediction; None when it never was, or is forgotten."""
        with self._reader.transaction() as read:
            found = read(f"{_NEWEST} WHERE n.prediction_id = ?", prediction_id)
        return _event(*found[0][1:]) if found else None


def _event(text: str, state: str | None) -> Event:
    """The event with its escalation as it stands now: `sent` and `acked` change no published event."""
    event: dict[str, Any] = json.loads(text)
    if state is not None:
        event["escalation"]["outcome"] = state
    return event
