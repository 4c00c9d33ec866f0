"""Ten thousand random histories of a device, a hub and a bad network: nothing is lost, doubled or out of its books.

A seed is a history. README.md tells how to read one that failed, and how to see it again.
"""

from collections import Counter

import pytest

from tests.simulation.lived import LivedHistories
from tests.simulation.lives import live
from tests.simulation.rule_database import RuleDatabase
from tests.simulation.sql_database import SqlDatabase

BLOCKS = 40
HISTORIES_OF_BLOCK = 250
"""Histories of one test, so that a failure shows after a few seconds; 10,000 together."""

SQL_BLOCKS = 5
SQL_HISTORIES_OF_BLOCK = 40


@pytest.mark.parametrize("block", range(BLOCKS))
def test_nothing_is_lost_and_nothing_comes_twice(block: int, lived: LivedHistories) -> None:
    """Whatever a seed does to both sides and to what lies between: at rest all is there, once, and all books agree."""
    for seed in range(block * HISTORIES_OF_BLOCK, (block + 1) * HISTORIES_OF_BLOCK):
        history = live(seed, RuleDatabase())
        assert history.problems == [], history.told
        lived.count(history)


@pytest.mark.parametrize("block", range(SQL_BLOCKS))
def test_the_real_tables_of_the_hub_keep_the_rules(block: int, lived: LivedHistories) -> None:
    """The same histories on the hub's statements end as well, and both hubs hold the same at every one's end."""
    for seed in range(block * SQL_HISTORIES_OF_BLOCK, (block + 1) * SQL_HISTORIES_OF_BLOCK):
        real, modelled = live(seed, SqlDatabase()), live(seed, RuleDatabase())
        assert real.problems == [], real.told
        assert real.trace == modelled.trace, real.told
        assert real.stored == modelled.stored, real.told
        lived.count(real)


def test_a_seed_is_one_history() -> None:
    """The same seed does the same things in the same order, so a failure can be looked at again."""
    assert live(7, RuleDatabase()).trace == live(7, RuleDatabase()).trace


def test_the_histories_meet_what_they_are_for(lived: LivedHistories) -> None:
    """Crashes at every kind of point, power cuts, restores, refusals and late answers do happen."""
    histories = [live(seed, RuleDatabase()) for seed in range(400)]
    ends = Counter(end for history in histories for end in history.ends)
    steps = Counter(step.strip() for history in histories for step in history.trace)
    assert {"answered", "answered_late", "expired", "evicted", "purged"} <= ends.keys(), ends
    for wanted in ("power cut", "hub restore", "agent restore", "long pause", "reject", "clock step", "by hand"):
        assert steps[wanted], (wanted, steps)
    assert len([step for step in steps if step.startswith("crash at ")]) >= 10, steps
    lived.count(*histories)
