"""People, sessions and tokens in a real database: valid as long as they should be, stored as digests."""

from pathlib import Path

import pytest

from cloud_hub.core.people import Person, Role
from cloud_hub.errors import PersonTakenError, PersonUnknownError
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.sql.test_store import opened

ADA = Person("ada", Role.LABELER, 5)
S = 1_000_000_000


@in_loop
async def test_a_web_session_names_its_person_until_it_ends(tmp_path: Path) -> None:
    """It survives a restart, and ends by its time or by a log-out; any other secret is nobody's."""
    async with opened(tmp_path) as store:
        await store.add_person(ADA, "hash", actor="bob")
        short, long = [await store.open_web_session("ada", 10 * S, life_s) for life_s in (1.0, 100.0)]
    async with opened(tmp_path) as store:
        assert await store.web_session(short, 10 * S) == ADA
        assert await store.web_session(short, 11 * S) is None
        assert await store.web_session(long, 109 * S) == ADA
        assert await store.web_session("x" + long, 11 * S) is None
        assert await store.api_token(long) is None
        await store.close_web_session(long)
        await store.close_web_session(long)
        assert await store.web_session(long, 11 * S) is None


@in_loop
async def test_a_token_is_no_session_and_closing_does_not_revoke_it(tmp_path: Path) -> None:
    """What is made for a program opens no page, and the other way round."""
    async with opened(tmp_path) as store:
        await store.add_person(ADA, "hash", actor="bob")
        token = await store.open_api_token("ada", actor="ada", now_ns=1)
        assert await store.web_session(token, 2) is None
        await store.close_web_session(token)
        assert await store.api_token(token) == ADA
        assert await store.revoke_api_tokens("ada") == 1
        assert await store.api_token(token) is None


def test_secrets_are_not_in_the_file(tmp_path: Path) -> None:
    """Whoever reads the database cannot log in with what stands there."""
    secrets: list[str] = []

    @in_loop
    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.add_person(ADA, "hash", actor="bob")
            secrets.append(await store.open_web_session("ada", 1, 60.0))
            secrets.append(await store.open_api_token("ada", actor="ada", now_ns=1))

    story()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ada" in stored
    assert [secret for secret in secrets if secret.encode() in stored] == []


@in_loop
async def test_expired_sessions_go_when_a_new_one_comes(tmp_path: Path) -> None:
    """The table does not grow with log-ins, and tokens stay."""
    async with opened(tmp_path) as store:
        await store.add_person(ADA, "hash", actor="bob")
        token = await store.open_api_token("ada", actor="ada", now_ns=1)
        old = await store.open_web_session("ada", 1, 1.0)
        await store.open_web_session("ada", 5 * S, 1.0)
        assert await store.web_session(old, 2) is None
        assert await store.api_token(token) == ADA


@in_loop
async def test_nobody_twice_and_nothing_for_nobody(tmp_path: Path) -> None:
    """A taken name is refused; an unknown one gets no session, token, or password."""
    async with opened(tmp_path) as store:
        await store.add_person(ADA, "hash", actor="bob")
        with pytest.raises(PersonTakenError):
            await store.add_person(ADA, "other", actor="bob")
        assert await store.password_hash("ada") == "hash"
        with pytest.raises(PersonUnknownError):
            await store.open_web_session("eva", 1, 1.0)
        with pytest.raises(PersonUnknownError):
            await store.open_api_token("eva", actor="x", now_ns=1)
        with pytest.raises(PersonUnknownError):
            await store.set_password("eva", "hash", actor="x", now_ns=1)
        assert await store.people() == (ADA,)


@in_loop
async def test_who_is_let_in_again_gets_nothing_from_before(tmp_path: Path) -> None:
    """A removed person's sessions and tokens do not come to life for the next one of that name."""
    async with opened(tmp_path) as store:
        await store.add_person(ADA, "hash", actor="bob")
        session = await store.open_web_session("ada", 1, 60.0)
        token = await store.open_api_token("ada", actor="ada", now_ns=1)
        await store.remove_person("ada", actor="bob", now_ns=2)
        await store.add_person(ADA, "hash", actor="bob")
        assert await store.web_session(session, 3) is None
        assert await store.api_token(token) is None
