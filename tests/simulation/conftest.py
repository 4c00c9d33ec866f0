"""Owns counting the histories of a run, and saying how many there were."""

import logging
from collections.abc import Iterator

import pytest

from tests.simulation.lives import LivedHistories

_LIVED = pytest.StashKey[LivedHistories]()


@pytest.fixture(scope="session")
def lived(request: pytest.FixtureRequest) -> LivedHistories:
    """Counts the histories of the whole run."""
    return request.config.stash.setdefault(_LIVED, LivedHistories())


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Refusals and crashes are what is simulated: nobody reads of them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many histories were lived."""
    counted = config.stash.get(_LIVED, None)
    if counted is not None:
        terminalreporter.write_line(f"simulation: {counted.total:,} random histories lived")
