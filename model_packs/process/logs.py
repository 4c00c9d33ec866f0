"""Owns how log records look and how many of one kind get out: JSON lines for machines, plain lines on a terminal.

Programs log an event name and facts: `logger.info("hub_connected", extra={"hub": address})`. What is worth
logging is the caller's to decide. Nothing here touches logging before `configure` is called.
"""

import json as json_codec
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

DEFAULT_BURST = 20
DEFAULT_INTERVAL_S = 10.0

_MAX_TRACKED_EVENTS = 1024
_STANDARD_FIELDS = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


class RateLimit(logging.Filter):
    """Lets at most `burst` records of one event through per interval; the next one says how many were held back.

    Args:
        burst: Records of one event (one logger and one message template) per interval.
        interval_s: Length of an interval in seconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        burst: int = DEFAULT_BURST,
        interval_s: float = DEFAULT_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._burst = burst
        self._interval_s = interval_s
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide whether a record gets out.

        Args:
            record: The record; `suppressed` is added to it when earlier ones of its kind were held back.

        Returns:
            True if it may be written.
        """
        key = (record.name, str(record.msg))
        now_s = self._clock()
        began_s, count = self._seen.get(key, (now_s, 0))
        if now_s - began_s >= self._interval_s:
            if count > self._burst:
                record.suppressed = count - self._burst
            began_s, count = now_s, 0
        if key not in self._seen and len(self._seen) >= _MAX_TRACKED_EVENTS:
            self._seen.clear()  # a logger that puts values into its event names must not grow us for ever
        self._seen[key] = (began_s, count + 1)
        return count < self._burst


class JsonLines(logging.Formatter):
    """One JSON object a record: `ts`, `level`, `event`, `logger`, then the record's own facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record.

        Args:
            record: The record.

        Returns:
            One line of JSON, without a line end.
        """
        line: dict[str, Any] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **_facts(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json_codec.dumps(line, default=str, ensure_ascii=False)


class HumanLines(logging.Formatter):
    """One line a record for a person at a terminal: time, level, event, then `key=value` facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record.

        Args:
            record: The record.

        Returns:
            The line; a traceback follows on lines of its own.
        """
        facts = "".join(f" {key}={value}" for key, value in _facts(record).items())
        line = f"{_timestamp(record)[11:23]} {record.levelname.lower():<8}{record.getMessage()}{facts}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(level: str | int, *, json: bool | None = None, stream: TextIO | None = None) -> None:
    """Send every logger's records to one place; call it once, at the start of a program.

    Args:
        level: Lowest level that gets out, as a name (`"info"`) or a number of the logging module.
        json: True for JSON lines, False for human ones, None for JSON exactly when the stream is no terminal.
        stream: Where to write; stderr by default.

    Raises:
        ValueError: The level's name is unknown.
    """
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    as_json = not out.isatty() if json is None else json
    handler.setFormatter(JsonLines() if as_json else HumanLines())
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    root.setLevel(level.upper() if isinstance(level, str) else level)
    for old in list(root.handlers):
        if isinstance(old.formatter, JsonLines | HumanLines):
            root.removeHandler(old)
    root.addHandler(handler)


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
