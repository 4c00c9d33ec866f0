"""How log records look, and how many of one kind get out."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from model_packs.process.logs import RateLimit, configure

logger = logging.getLogger("tests.logs")


@pytest.fixture
def restored_root() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers = handlers


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Claim it."""
        return True


@pytest.mark.usefixtures("restored_root")
def test_records_are_json_lines_when_nobody_watches() -> None:
    """Each line is one object with time, level, event, logger and the record's facts."""
    stream = io.StringIO()
    configure("info", stream=stream)
    logger.info("hub_connected", extra={"hub": "10.0.0.1:8443", "attempt": 2})
    logger.debug("unseen")
    line = json.loads(stream.getvalue())
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "event": "hub_connected",
        "logger": "tests.logs",
        "hub": "10.0.0.1:8443",
        "attempt": 2,
    }


@pytest.mark.usefixtures("restored_root")
def test_records_are_plain_lines_on_a_terminal() -> None:
    """A person sees event and facts, not JSON."""
    stream = Terminal()
    configure("info", stream=stream)
    logger.warning("disk_low", extra={"free_bytes": 12})
    assert stream.getvalue().endswith("warning disk_low free_bytes=12\n")


@pytest.mark.usefixtures("restored_root")
def test_a_traceback_travels_inside_its_line() -> None:
    """An exception does not break the one-line-one-record form."""
    stream = io.StringIO()
    configure("info", json=True, stream=stream)
    try:
        int("broken")
    except ValueError:
        logger.exception("loop_failed")
    assert "ValueError: invalid literal" in json.loads(stream.getvalue())["traceback"]


@pytest.mark.usefixtures("restored_root")
def test_configuring_again_does_not_double_the_lines() -> None:
    """The earlier handler is replaced."""
    first, second = io.StringIO(), io.StringIO()
    configure("info", stream=first)
    configure("info", stream=second)
    logger.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def record(event: str) -> logging.LogRecord:
    """A record of an event."""
    return logging.LogRecord("tests", logging.INFO, "", 0, event, (), None)


def test_one_noisy_event_is_held_back_and_counted() -> None:
    """After the burst nothing gets out until the interval ends; then the gap is told, and other events never wait."""
    now_s = [0.0]
    limit = RateLimit(burst=2, interval_s=10.0, clock=lambda: now_s[0])
    assert [limit.filter(record("lost")) for _ in range(5)] == [True, True, False, False, False]
    assert limit.filter(record("other"))
    now_s[0] = 10.0
    late = record("lost")
    assert limit.filter(late)
    assert vars(late)["suppressed"] == 3


def test_event_names_without_end_do_not_grow_the_limit() -> None:
    """A logger that formats values into its event names cannot exhaust memory."""
    limit = RateLimit(clock=lambda: 0.0)
    assert all(limit.filter(record(f"value {index}")) for index in range(3000))
    assert len(vars(limit)["_seen"]) <= 1024
