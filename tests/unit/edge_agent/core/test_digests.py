"""Digests of fields tell different fields apart."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.digests import digest_128

FIELDS = st.lists(st.one_of(st.text(), st.integers()), max_size=4)


@given(FIELDS, FIELDS)
def test_different_fields_have_different_digests(one: list[str | int], other: list[str | int]) -> None:
    """Neither where a field ends nor its type can be confused."""
    assert (digest_128(*one) == digest_128(*other)) == (one == other)


def test_the_digest_is_pinned() -> None:
    """Ids and dedupe keys in stores outlive this version of the program."""
    assert digest_128("a", "bc", 7).hex() == "fd8f60ad018223a5396ca12e58fe3814"


def test_odd_text_from_json_has_a_digest() -> None:
    """A lone surrogate is no reason to fail."""
    assert digest_128("\ud800") != digest_128("\udfff")
