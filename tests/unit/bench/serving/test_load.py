"""What is made of h2load's words."""

import pytest

from tests.bench.serving.load import LoadError, _judged

PRINTED = """\
finished in 2.00s, 8827.50 req/s, 1.21MB/s
requests: 17655 total, 17663 started, 17655 done, 17655 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 17655 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.42MB (2541000) total, 0.35MB (370000) headers (space savings 90.10%), 1.25MB (1306470) data
"""
REPLY_BYTES = 74


def test_a_run_is_read() -> None:
    """Private: requests answered and their rate."""
    assert _judged(PRINTED, 8, REPLY_BYTES) == (17655, 8827.5)


def test_a_reply_of_each_client_may_come_late() -> None:
    """Private: what comes as the time ends is counted in bytes and not in requests."""
    late = PRINTED.replace("1306470", str(1306470 + 8 * REPLY_BYTES))
    assert _judged(late, 8, REPLY_BYTES)[0] == 17655


def test_replies_of_another_size_are_no_answers() -> None:
    """Private: a gRPC error is a 200 without data."""
    with pytest.raises(LoadError, match="the right answer has 74"):
        _judged(PRINTED.replace("1306470", "0"), 8, REPLY_BYTES)


@pytest.mark.parametrize(
    ("said", "instead"), [("0 failed", "3 failed"), ("0 errored", "1 errored"), ("0 5xx", "2 5xx")]
)
def test_failed_requests_fail_the_run(said: str, instead: str) -> None:
    """Private: one is enough."""
    with pytest.raises(LoadError, match="failed"):
        _judged(PRINTED.replace(said, instead), 8, REPLY_BYTES)


def test_no_result_is_told() -> None:
    """Private: a wrong option, a server that ended."""
    with pytest.raises(LoadError, match="unrecognized"):
        _judged("h2load: unrecognized option", 8, REPLY_BYTES)
