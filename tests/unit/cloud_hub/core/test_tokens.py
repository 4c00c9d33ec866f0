"""Join tokens enrol whom they were made for, as often as they say, as long as they say."""

from dataclasses import replace

import pytest

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.tokens import Enrolled, Token, TokenState, Use, check, revoked, secret_digest, state
from cloud_hub.errors import (
    DeviceTakenError,
    HubError,
    TokenBoundError,
    TokenExpiredError,
    TokenUnknownError,
    TokenUsedUpError,
)

SECRET = "correct horse"  # noqa: S105 - a test's own
TOKEN = Token("t1", secret_digest(SECRET), "o", "s", None, expires_at_ns=1000, max_uses=1, used_by={})
TAKEN = Enrolled(DeviceKey("o", "s", "d"), "key-9")


def tried(
    token: Token | None = TOKEN,
    *,
    secret: str = SECRET,
    key: str = "key-1",
    enrolled: Enrolled | None = None,
    now_ns: int = 999,
) -> Use:
    """One enrolment of device d."""
    return check(token, secret=secret, public_key_digest=key, device_id="d", enrolled=enrolled, now_ns=now_ns)


def test_a_fresh_token_is_used_and_the_same_key_may_repeat() -> None:
    """The first use binds the key; the same key again is a repeat, also when no use is left."""
    assert tried() is Use.FIRST
    assert tried(replace(TOKEN, used_by={"key-1": "d"})) is Use.REPEAT


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (TokenUnknownError, {"token": None}),
        (TokenUnknownError, {"secret": "wrong"}),
        (TokenUnknownError, {"secret": "wrong", "now_ns": 2000}),
        (TokenExpiredError, {"now_ns": 1000}),
        (TokenExpiredError, {"token": replace(TOKEN, used_by={"key-1": "d"}), "now_ns": 1000}),
        (TokenUsedUpError, {"token": replace(TOKEN, used_by={"key-2": "e"})}),
        (TokenUsedUpError, {"token": replace(TOKEN, max_uses=2, used_by={"key-2": "e", "key-3": "f"})}),
        (TokenBoundError, {"token": replace(TOKEN, device_id="other")}),
        (TokenBoundError, {"token": replace(TOKEN, used_by={"key-1": "other"})}),
        (DeviceTakenError, {"enrolled": TAKEN}),
    ],
)
def test_everything_else_is_refused_by_its_own_error(error: type[HubError], arguments: dict[str, object]) -> None:
    """Each reason has its error; a wrong secret learns nothing about the token's state."""
    with pytest.raises(error):
        tried(**arguments)  # type: ignore[arg-type] # a table of keyword arguments


def test_a_token_for_one_device_may_replace_its_key() -> None:
    """Only a token made for the name may put another key in its place; the same key needs no such token."""
    assert tried(replace(TOKEN, device_id="d"), enrolled=TAKEN) is Use.FIRST
    assert tried(enrolled=replace(TAKEN, public_key_digest="key-1")) is Use.FIRST


def test_messages_name_the_token_and_the_mend() -> None:
    """A person can act on each refusal."""
    assert "3 times" in str(TokenUsedUpError("t1", 3))
    assert "cloud-hub tokens create" in str(TokenExpiredError("t1"))


@pytest.mark.parametrize(
    ("token", "now_ns", "found"),
    [
        (TOKEN, 999, TokenState.OPEN),
        (replace(TOKEN, max_uses=2, used_by={"key-2": "e"}), 999, TokenState.OPEN),
        (replace(TOKEN, used_by={"key-2": "e"}), 999, TokenState.USED_UP),
        (replace(TOKEN, used_by={"key-2": "e"}), 1000, TokenState.EXPIRED),
    ],
)
def test_a_token_is_open_as_long_as_it_lets_a_new_key_in(token: Token, now_ns: int, found: TokenState) -> None:
    """What a list says of a token is what an enrolment with it would meet."""
    assert state(token, now_ns) is found
    if found is TokenState.OPEN:
        assert tried(token, now_ns=now_ns) is Use.FIRST
    else:
        with pytest.raises(TokenExpiredError if found is TokenState.EXPIRED else TokenUsedUpError):
            tried(token, now_ns=now_ns)


def test_a_revoked_token_lets_nobody_in() -> None:
    """Neither a new key nor a repeat; revoking again, or after its end, changes nothing."""
    used = replace(TOKEN, max_uses=2, used_by={"key-1": "d"})
    ended = revoked(used, 500)
    assert (ended.expires_at_ns, state(ended, 500)) == (500, TokenState.EXPIRED)
    for key in ("key-1", "key-2"):
        with pytest.raises(TokenExpiredError):
            tried(ended, key=key, now_ns=500)
    assert revoked(ended, 600) == ended
    assert revoked(used, 2000) == used
