"""Owns chance in tests: generators that a seed decides, and the command that repeats what a seed did."""

import random

import pytest


def seeded(seed: int) -> random.Random:
    """A generator whose numbers are the same each time."""
    return random.Random(seed)  # noqa: S311 - to repeat a test, not to keep a secret


def again(request: pytest.FixtureRequest, seed: int) -> str:
    """For the message of a failure: the seed, and the exact command that runs this test once more."""
    return f"seed {seed}; again with: make test ARGS='{request.node.nodeid}'"
