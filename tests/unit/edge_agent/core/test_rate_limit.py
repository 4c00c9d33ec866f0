"""How often each key may pass."""

from edge_agent.core.budget import BucketSpec
from edge_agent.core.rate_limit import MAX_KEYS, RateLimit


def test_each_key_has_a_burst_and_then_its_rate() -> None:
    """What one uses up is no other's."""
    limit = RateLimit(BucketSpec(2.0, 0.5))
    assert [limit.takes("a", 0.0) for _ in range(3)] == [True, True, False]
    assert limit.takes("b", 0.0)
    assert not limit.takes("a", 1.0)
    assert limit.takes("a", 2.0)


def test_time_that_goes_back_gives_nothing() -> None:
    """Nor is it given twice when time comes to the same point again."""
    limit = RateLimit(BucketSpec(1.0, 1.0))
    assert limit.takes("a", 10.0)
    assert not limit.takes("a", 5.0)
    assert not limit.takes("a", 10.5)
    assert limit.takes("a", 11.0)


def test_its_memory_is_bounded() -> None:
    """The key that was looked at longest ago is forgotten."""
    limit = RateLimit(BucketSpec(1.0, 1e-9))
    for number in range(MAX_KEYS + 1):
        assert limit.takes(str(number), 0.0)
    assert not limit.takes("1", 0.0)
    assert limit.takes("0", 0.0)
