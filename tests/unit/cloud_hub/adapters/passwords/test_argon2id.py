"""Passwords: hashed with argon2id, compared without telling who exists."""

from cloud_hub.adapters.passwords.argon2id import Argon2Hasher
from tests.simulators.loops import in_loop


def quick() -> Argon2Hasher:
    """The least cost that argon2 allows."""
    return Argon2Hasher(time_cost=1, memory_kib=8, lanes=1)


@in_loop
async def test_only_the_password_itself_opens() -> None:
    """Every hash has its own salt; another password, a cut one, and a damaged hash open nothing."""
    hasher = quick()
    first, second = await hasher.hash("correct horse"), await hasher.hash("correct horse")
    assert first != second
    assert first.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert await hasher.verify(first, "correct horse")
    assert await hasher.verify(second, "correct horse")
    assert not await hasher.verify(first, "correct hors")
    assert not await hasher.verify(first[:-4], "correct horse")
    assert not await hasher.verify("no hash", "correct horse")


@in_loop
async def test_nobody_has_no_password() -> None:
    """A name that nobody has is compared like any other, and never opens: not even with the stand-in's own password."""
    hasher = quick()
    for password in ("", "nobody", "correct horse"):
        assert not await hasher.verify(None, password)


@in_loop
async def test_a_hash_keeps_its_own_costs() -> None:
    """A hub that hashes at a higher cost goes on opening what was hashed before."""
    cheap = await quick().hash("correct horse")
    assert await Argon2Hasher(time_cost=2, memory_kib=16, lanes=1).verify(cheap, "correct horse")
