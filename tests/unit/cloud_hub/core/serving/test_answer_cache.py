"""Answers are given again for equal inputs only, and take no more than they may."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.serving.answer_cache import AnswerCache, answer_key

WINDOW = np.arange(6, dtype=np.float32).reshape(1, 6)


def test_a_key_tells_all_apart_that_an_answer_depends_on() -> None:
    """Pack, name, dtype, shape and bytes; the order of the inputs is nothing to it, texts have none."""
    key = answer_key("sha256:a", {"x": WINDOW, "z": WINDOW})
    assert key == answer_key("sha256:a", {"z": WINDOW.copy(), "x": WINDOW})
    others = [
        answer_key("sha256:b", {"x": WINDOW, "z": WINDOW}),
        answer_key("sha256:a", {"x": WINDOW, "y": WINDOW}),
        answer_key("sha256:a", {"x": WINDOW.reshape(6, 1), "z": WINDOW}),
        answer_key("sha256:a", {"x": WINDOW.view(np.int32), "z": WINDOW}),
        answer_key("sha256:a", {"x": WINDOW + 1, "z": WINDOW}),
    ]
    assert len({key, *others}) == 6
    assert answer_key("sha256:a", {"x": np.array([[b"text"]], dtype=object)}) is None


def test_an_answer_is_kept_as_it_was() -> None:
    """It is a copy of the batch's view, cannot be written to, and leaves when others are asked for more."""
    cache = AnswerCache(4 * 600)
    batch = np.ones((8, 10), np.float32)
    for name in (b"a", b"b", b"c"):
        cache.put(name, {"y": batch[:1]})
    batch[:] = 7.0
    found = cache.get(b"a")
    assert found is not None
    assert found["y"].tolist() == [[1.0] * 10]
    assert not found["y"].flags.writeable
    cache.put(b"d", {"y": batch[:1]})
    cache.put(b"e", {"y": batch[:1]})
    assert [cache.get(name) is None for name in (b"a", b"b", b"c", b"d", b"e")] == [False, True, False, False, False]


def test_what_is_too_large_or_no_number_is_not_kept() -> None:
    """One answer never takes more than a quarter."""
    cache = AnswerCache(2048)
    cache.put(b"large", {"y": np.ones((1, 100), np.float32)})
    cache.put(b"text", {"y": np.array([[b"text"]], dtype=object)})
    assert (len(cache), cache.size_bytes) == (0, 0)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.integers(0, 200)), max_size=80))
def test_the_bound_holds_whatever_is_kept(puts: list[tuple[bytes, int]]) -> None:
    """The size is the sum of what is inside, and never more than the bound."""
    cache = AnswerCache(3000)
    for key, size in puts:
        cache.put(key, {"y": np.zeros(size, np.uint8)})
        inside = {kept: cache.get(kept) for kept, _ in puts}
        assert cache.size_bytes == sum(512 + found["y"].nbytes for found in inside.values() if found) <= 3000
