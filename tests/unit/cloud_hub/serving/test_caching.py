"""A store of answers outside the process is asked second, checked, and costs no answer when it fails."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_hub.errors import StorageError
from cloud_hub.serving.caching import AnswerCaching, from_bytes, to_bytes
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
        self.closed = 0

    async def get(self, key: bytes) -> bytes | None:
        """Look one up."""
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
    key, found = await one.look_up("sha256:a", INPUTS)
    assert key is not None
    assert found is None
    await one.keep(key, OUTPUTS)
    _, found = await other.look_up("sha256:a", INPUTS)
    assert found is not None
    np.testing.assert_array_equal(found["y"], OUTPUTS["y"])
    far.kept.clear()
    assert (await other.look_up("sha256:a", INPUTS))[1] is not None
    await one.close()
    assert far.closed == 1


@in_loop
async def test_a_store_that_fails_or_lies_is_a_miss() -> None:
    """Refused connections and foreign bytes are no answer, and no failure."""
    far = Far()
    caching = AnswerCaching(10_000, far)
    key, _ = await caching.look_up("sha256:a", INPUTS)
    assert key is not None
    far.kept[key] = b"something else"
    assert (await caching.look_up("sha256:a", INPUTS))[1] is None
    far.is_broken = True
    assert (await caching.look_up("sha256:a", INPUTS))[1] is None
    await caching.keep(key, OUTPUTS)
    assert (await caching.look_up("sha256:a", INPUTS))[1] is not None


@in_loop
async def test_texts_are_not_kept() -> None:
    """They have no key."""
    assert await AnswerCaching(10_000, None).look_up("sha256:a", {"x": np.array([b"t"], object)}) == (None, None)
