"""Owns the one browser of these tests and the seeded hub that most of them look at."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.simulators.chromium import chromium
from tests.simulators.console_hub import ConsoleHub, console_hub


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium; everybody's windows are apart from each other."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def hub(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleHub]:
    """A live hub with a past and three people, shared by tests that leave it as they found it, or nearly so."""
    assert browser.is_connected()
    seeded = apart(tmp_path_factory.mktemp("console"))
    seeded.start()
    yield seeded
    seeded.process.kill()


@pytest.fixture
def own_hub(browser: Browser, tmp_path: Path) -> Iterator[ConsoleHub]:
    """A hub of the test's own: it may label, kill and restart it."""
    assert browser.is_connected()
    seeded = apart(tmp_path)
    seeded.start()
    yield seeded
    seeded.process.kill()


def apart(folder: Path) -> ConsoleHub:
    """Make a hub in another thread: the browser's own event loop runs in this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(console_hub, folder).result()
