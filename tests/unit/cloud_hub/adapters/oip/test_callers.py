"""Callers: tokens of people's programs, taken for seconds without asking again; operators change what is served."""

import asyncio
from typing import cast

import pytest

from cloud_hub.adapters.oip.callers import ANYBODY, TRUSTED_S, Callers
from cloud_hub.core.people import Person, Role
from cloud_hub.errors import RoleTooLowError, SignInNeededError
from cloud_hub.ports import People


class Tokens:
    """People with tokens; counts how often it is asked."""

    def __init__(self) -> None:
        self.owners = {"v": Person("vera", Role.VIEWER, 0), "o": Person("otto", Role.OPERATOR, 0)}
        self.asked = 0

    async def api_token(self, secret: str) -> Person | None:
        """Find whose token it is."""
        self.asked += 1
        return self.owners.get(secret)


class Now:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Read it."""
        return self.now_s


def callers(tokens: Tokens, now: Now, *, needs_token: bool = True) -> Callers:
    """What is under test."""
    return Callers(cast("People", tokens), needs_token=needs_token, monotonic_s=now)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer x", "Basic v", "v"])
def test_who_brings_no_known_token_is_refused(authorization: str | None) -> None:
    """Nothing, another scheme and an unknown secret are one refusal."""
    with pytest.raises(SignInNeededError):
        asyncio.run(callers(Tokens(), Now()).admit(authorization))


def test_a_good_token_names_its_owner() -> None:
    """Costs go to the person, by role; the scheme's letter case does not matter."""
    admitted = asyncio.run(callers(Tokens(), Now()).admit("bearer v"))
    assert (admitted.caller.tenant, admitted.caller.name, admitted.role) == ("viewer", "vera", Role.VIEWER)


def test_a_revoked_token_is_refused_in_seconds() -> None:
    """A token is taken without asking for a bounded time, then asked about again."""
    tokens, now = Tokens(), Now()
    under_test = callers(tokens, now)
    first = asyncio.run(under_test.admit("Bearer v"))
    assert asyncio.run(under_test.admit("Bearer v")) is first
    assert tokens.asked == 1
    del tokens.owners["v"]
    now.now_s += TRUSTED_S
    with pytest.raises(SignInNeededError):
        asyncio.run(under_test.admit("Bearer v"))


def test_a_token_that_was_good_is_known_by_a_look_up_for_seconds() -> None:
    """Whoever must not wait asks nobody; a token that is new, or old, goes the long way."""
    tokens, now = Tokens(), Now()
    under_test = callers(tokens, now)
    assert under_test.admitted("Bearer v") is None
    first = asyncio.run(under_test.admit("Bearer v"))
    assert under_test.admitted("Bearer v") is first
    assert (under_test.admitted(None), under_test.admitted("Bearer o")) == (None, None)
    now.now_s += TRUSTED_S
    assert under_test.admitted("Bearer v") is None
    assert tokens.asked == 1


def test_anybody_on_this_machine_may_infer_and_only_operators_change_what_is_served() -> None:
    """Where callers need no token none is asked for; loading and unloading need an operator's everywhere."""
    under_test = callers(Tokens(), Now(), needs_token=False)
    assert asyncio.run(under_test.admit(None)) is ANYBODY
    with pytest.raises(SignInNeededError):
        asyncio.run(under_test.admit_operator(None))
    with pytest.raises(RoleTooLowError, match="vera has the role viewer, and this needs operator"):
        asyncio.run(under_test.admit_operator("Bearer v"))
    assert asyncio.run(under_test.admit_operator("Bearer o")).caller.name == "otto"
