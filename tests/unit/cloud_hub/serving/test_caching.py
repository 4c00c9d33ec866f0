"""A store of answers outside the process is asked second, checked, and costs no answer when it fails."""

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_hub.errors import StorageError
from cloud_hub.serving.caching import FIRST_PAUSE_S, LONGEST_PAUSE_S, AnswerCaching, from_bytes, to_bytes
from tests.simulators.loops import in_loop

INPUTS = {"x": np.ones((1, 3), np.float32)}
OUTPUTS: dict[str, NDArray[Any]] = {
    "y": np.arange(4, dtype=np.float32).reshape(1, 4),
    "a name": np.array([[1]], np.int64),
}


class Far:
    """A store in memory that can break."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.is_broken = False
        self.asked = 0
        self.began = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.closed = 0

    async def get(self, key: bytes) -> bytes | None:
        """Look one up."""
        self.began.set()
        await self.may_answer.wait()
        self._check()
        return self.kept.get(key)

    async def put(self, key: bytes, answer: bytes) -> None:
        """Keep one."""
        self._check()
        self.kept[key] = answer

    async def close(self) -> None:
        """Note it."""
        self.closed += 1

    def _check(self) -> None:
        self.asked += 1
        if self.is_broken:
            raise StorageError("connection refused")


def test_outputs_survive_their_bytes() -> None:
    """Names, dtypes, shapes and values."""
    found = from_bytes(to_bytes(OUTPUTS))
    assert list(found) == list(OUTPUTS)
    for name, array in OUTPUTS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("data", [b"", b"no zip", to_bytes(OUTPUTS)[:-30]])
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    """Whatever somebody wrote there."""
    with pytest.raises(ValueError, match="not an answer"):
        from_bytes(data)


@in_loop
async def test_what_one_process_kept_another_finds() -> None:
    """The second asks the store once, then knows itself."""
    far = Far()
    one, other = AnswerCaching(10_000, far), AnswerCaching(10_000, far)
    place, found = await one.look_up("sha256:a", INPUTS)
    assert place is not None
    assert found is None
    await one.keep(place, OUTPUTS)
    _, found = await other.look_up("sha256:a", INPUTS)
    assert found is not None
    np.testing.assert_array_equal(found["y"], OUTPUTS["y"])
    far.kept.clear()
    assert (await other.look_up("sha256:a", INPUTS))[1] is not None
    await one.close()
    assert far.closed == 1


class Now:
    """A clock that is told."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.s


@in_loop
async def test_a_store_that_fails_or_lies_is_a_miss() -> None:
    """Refused connections and foreign bytes are no answer, and no failure."""
    far = Far()
    caching = AnswerCaching(10_000, far)
    place, _ = await caching.look_up("sha256:a", INPUTS)
    assert place is not None
    far.kept[place.key] = b"something else"
    assert (await caching.look_up("sha256:a", INPUTS))[1] is None
    far.is_broken = True
    assert (await caching.look_up("sha256:a", INPUTS))[1] is None
    await caching.keep(place, OUTPUTS)
    assert (await caching.look_up("sha256:a", INPUTS))[1] is not None


@in_loop
async def test_a_store_that_failed_is_asked_once_for_a_miss_and_left_alone_ever_longer() -> None:
    """What waits for it waits once, not twice; between two tries nobody does; one that is back is used again."""
    far, now = Far(), Now()
    far.is_broken = True
    caching = AnswerCaching(0, far, now)

    async def missed() -> int:
        before = far.asked
        place, found = await caching.look_up("sha256:a", INPUTS)
        assert place is not None
        assert found is None
        await caching.keep(place, OUTPUTS)
        return far.asked - before

    assert [await missed(), await missed()] == [1, 0]
    for pause_s in (FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S):
        now.s += pause_s - 0.5
        assert await missed() == 0
        now.s += 0.5
        assert [await missed(), await missed()] == [1, 0]
    now.s += LONGEST_PAUSE_S
    far.is_broken = False
    assert await missed() == 2
    assert (await caching.look_up("sha256:a", INPUTS))[1] is not None
    far.is_broken = True
    assert await missed() == 1
    now.s += FIRST_PAUSE_S
    assert await missed() == 1


@in_loop
async def test_requests_that_wait_together_count_as_one_failure() -> None:
    """A burst does not keep the store away for a minute."""
    far, now = Far(), Now()
    far.is_broken = True
    caching = AnswerCaching(0, far, now)
    far.may_answer.clear()
    together = [asyncio.create_task(caching.look_up(f"sha256:{number}", INPUTS)) for number in range(8)]
    await asyncio.wait_for(far.began.wait(), 30)
    now.s += 0.25
    far.may_answer.set()
    await asyncio.gather(*together)
    now.s += FIRST_PAUSE_S
    before = far.asked
    await caching.look_up("sha256:a", INPUTS)
    assert far.asked == before + 1


@in_loop
async def test_while_one_request_finds_out_the_others_go_without_the_store() -> None:
    """A store that is still slow costs one of them its time."""
    far, now = Far(), Now()
    far.is_broken = True
    caching = AnswerCaching(0, far, now)
    await caching.look_up("sha256:a", INPUTS)
    now.s += FIRST_PAUSE_S
    far.began.clear()
    far.may_answer.clear()
    first = asyncio.create_task(caching.look_up("sha256:a", INPUTS))
    await asyncio.wait_for(far.began.wait(), 30)
    assert (await caching.look_up("sha256:a", INPUTS))[1] is None
    assert far.asked == 1
    far.may_answer.set()
    await first
    assert far.asked == 2


@in_loop
async def test_a_write_that_succeeds_brings_the_store_back_for_looking_up() -> None:
    """Its model ran so long that the store failed for another request and came back meanwhile."""
    far, now = Far(), Now()
    caching = AnswerCaching(0, far, now)
    place, _ = await caching.look_up("sha256:a", INPUTS)
    assert place is not None
    far.is_broken = True
    now.s += 0.5
    await caching.look_up("sha256:b", INPUTS)
    far.is_broken = False
    now.s += FIRST_PAUSE_S
    await caching.keep(place, OUTPUTS)
    before = far.asked
    await caching.look_up("sha256:b", INPUTS)
    assert far.asked == before + 1


@in_loop
async def test_texts_are_not_kept() -> None:
    """They have no key."""
    assert await AnswerCaching(10_000, None).look_up("sha256:a", {"x": np.array([b"t"], object)}) == (None, None)
