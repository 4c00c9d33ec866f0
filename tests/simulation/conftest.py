"""Owns counting the histories of a test; `tests/conftest.py` says how many there were in all."""

import logging
from collections.abc import Callable, Iterator

import pytest

from tests.simulation.lived import PROPERTY, LivedHistories


@pytest.fixture
def lived(record_property: Callable[[str, object], None]) -> Iterator[LivedHistories]:
    """Counts the histories of one test."""
    counted = LivedHistories()
    yield counted
    record_property(PROPERTY, counted.total)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Refusals and crashes are what is simulated: nobody reads of them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
