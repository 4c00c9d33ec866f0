"""Messages of samples: what is read, and what is refused under which name."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.missing import Missing
from edge_agent.core.payload import MAX_DEPTH, PayloadSpec, StartFormat, Vectors, decode_vectors
from edge_agent.core.timestamps import NS_PER_S, from_text, to_text
from edge_agent.errors import InputFault, InputFaultError
from protos.status import Status

START = "2026-11-21T08:00:00.250Z"
START_NS = from_text(START)
SPEC = PayloadSpec(
    channels=2,
    rate_hz=50.0,
    samples="samples",
    start="t0",
    start_format=StartFormat.ISO8601,
    key=("seq",),
    valid_range=None,
    missing=Missing.REJECT,
    max_bytes=10_000,
    max_skew_s=300.0,
)


def message(**fields: Any) -> bytes:  # noqa: ANN401 - any JSON
    """A good message, but for the given fields."""
    return json.dumps({"t0": START, "seq": 7, "samples": [[1, 2.5], [3, -4]], **fields}).encode()


def decode(payload: bytes, spec: PayloadSpec = SPEC, topic: str = "a", received_ns: int | None = START_NS) -> Vectors:
    """Decode with the usual circumstances."""
    return decode_vectors(payload, spec, topic, received_ns)


def test_a_good_message() -> None:
    """Times go on from the start at the declared rate; values are 32-bit floats."""
    vectors = decode(message())
    assert vectors.times_ns.tolist() == [START_NS, START_NS + 20_000_000]
    assert vectors.times_ns.dtype == np.int64
    assert vectors.values.tolist() == [[1.0, 2.5], [3.0, -4.0]]
    assert vectors.values.dtype == np.float32
    assert (vectors.out_of_range, len(vectors.key)) == (0, 16)


@pytest.mark.parametrize(
    ("payload", "reason", "says"),
    [
        (b" " * 10_001, InputFault.TOO_LARGE, "10001 bytes; at most 10000"),
        (b"", InputFault.MALFORMED, "not JSON"),
        (b'{"t0":', InputFault.MALFORMED, "not JSON"),
        (b"\xff{}", InputFault.MALFORMED, "not JSON in UTF-8"),
        ("\ufeff{}".encode(), InputFault.MALFORMED, "not JSON"),
        (message().decode().encode("utf-16"), InputFault.MALFORMED, "not JSON in UTF-8"),
        (b"[1]", InputFault.WRONG_TYPE, "an array instead of an object"),
        (b"7", InputFault.WRONG_TYPE, "a number instead"),
        (b"null", InputFault.WRONG_TYPE, "null instead"),
        (b'{"x":' + b"[" * 16 + b"]" * 16 + b"}", InputFault.TOO_DEEP, "more than 16 levels"),
        (b"[" * 5000, InputFault.TOO_DEEP, "more than 16 levels"),
        (b'{"t0":"' + START.encode() + b'"}', InputFault.MISSING_FIELD, "'seq'"),
        (b'{"t0":"' + START.encode() + b'","seq":1}', InputFault.MISSING_FIELD, "'samples'"),
        (b'{"samples":[[1,2]],"seq":1}', InputFault.MISSING_FIELD, "'t0'"),
        (message(samples={}), InputFault.WRONG_TYPE, "'samples' is an object"),
        (message(samples="1 2"), InputFault.WRONG_TYPE, "'samples' is a text"),
        (message(samples=[1, 2]), InputFault.WRONG_TYPE, "sample 0 is a number"),
        (message(samples=[]), InputFault.EMPTY, "no sample"),
        (message(samples=[[1, 2], [1]]), InputFault.WRONG_WIDTH, "sample 1 has 1 values; the pack has 2 channels"),
        (message(samples=[[1, 2, 3]]), InputFault.WRONG_WIDTH, "sample 0 has 3 values"),
        (message(samples=[[1, 2], [1, "2"]]), InputFault.NOT_NUMERIC, "sample 1 holds a text"),
        (message(samples=[[True, 2]]), InputFault.NOT_NUMERIC, "sample 0 holds true"),
        (message(samples=[[[1], 2]]), InputFault.NOT_NUMERIC, "sample 0 holds an array"),
        (message(samples=[[1, None]]), InputFault.MISSING_VALUE, "sample 0 has a null"),
        (message(samples=[[1, float("nan")]]), InputFault.NOT_FINITE, "NaN"),
        (message(samples=[[1, float("-inf")]]), InputFault.NOT_FINITE, "-Infinity"),
        (message(samples=[[1, 2], [1e39, 0]]), InputFault.NOT_FINITE, "sample 1"),
        (message(samples=[[10**400, 0]]), InputFault.NOT_FINITE, "sample 0"),
        (message().replace(b"2.5", b"1e999"), InputFault.NOT_FINITE, "sample 0"),
        (message(seq=1.5), InputFault.WRONG_TYPE, "key field 'seq' is a number"),
        (message(seq=None), InputFault.WRONG_TYPE, "key field 'seq' is null"),
        (message(seq=True), InputFault.WRONG_TYPE, "key field 'seq' is true"),
        (message(t0=START[:-1]), InputFault.BAD_TIME, "no RFC 3339 time"),
        (message(t0=1), InputFault.BAD_TIME, "is a number instead of a text"),
        (message(t0="1969-12-31T23:59:59Z"), InputFault.BAD_TIME, "between 1970 and 2262"),
        (message(t0="2262-04-11T23:47:16.85Z"), InputFault.BAD_TIME, "too late to count from"),
        (message(t0="9999-01-01T00:00:00Z"), InputFault.BAD_TIME, "between 1970 and 2262"),
        (message(t0="2026-11-21T08:05:00.251Z"), InputFault.FUTURE_TIME, "300.0 s ahead"),
    ],
)
def test_faults_have_names(payload: bytes, reason: InputFault, says: str) -> None:
    """Each message is refused for its reason, with words for a person and a mend."""
    with pytest.raises(InputFaultError) as caught:
        decode(payload)
    assert caught.value.reason is reason
    assert says in caught.value.message
    assert caught.value.mend
    assert caught.value.status is Status.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("form", "start", "start_ns"),
    [
        (StartFormat.UNIX_S, 1_764_000_000, 1_764_000_000 * NS_PER_S),
        (StartFormat.UNIX_S, 1_764_000_000.25, 1_764_000_000 * NS_PER_S + 250_000_000),
        (StartFormat.UNIX_MS, 1_764_000_000_123, 1_764_000_000 * NS_PER_S + 123_000_000),
        (StartFormat.UNIX_MS, 1_764_000_000_123.5, 1_764_000_000 * NS_PER_S + 123_500_000),
        (StartFormat.ISO8601, "2026-11-21T10:00:00.250+02:00", START_NS),
    ],
)
def test_start_formats(form: StartFormat, start: object, start_ns: int) -> None:
    """Whole and fractional, exact to the nanosecond where the number is."""
    assert decode(message(t0=start), replace(SPEC, start_format=form), received_ns=None).times_ns[0] == start_ns


@pytest.mark.parametrize("start", ["1764000000", True, None, 10**400, -1, [1]])
def test_a_number_is_needed_for_unix_times(start: object) -> None:
    """Texts, booleans, nulls and absurd numbers are no times."""
    with pytest.raises(InputFaultError) as caught:
        decode(message(t0=start), replace(SPEC, start_format=StartFormat.UNIX_S))
    assert caught.value.reason is InputFault.BAD_TIME


def test_an_infinite_time_is_no_time() -> None:
    """JSON can write a number that no float holds."""
    payload = message(t0=1).replace(b'"t0": 1', b'"t0": 1e999')
    with pytest.raises(InputFaultError) as caught:
        decode(payload, replace(SPEC, start_format=StartFormat.UNIX_S))
    assert caught.value.reason is InputFault.BAD_TIME


def test_without_a_trusted_clock_no_time_is_too_far_ahead() -> None:
    """A device that booted in 1970 still works."""
    assert decode(message(), received_ns=None).times_ns[0] == START_NS
    with pytest.raises(InputFaultError):
        decode(message(), received_ns=0)


@pytest.mark.parametrize("policy", [Missing.HOLD, Missing.LINEAR])
def test_a_declared_missing_value_is_nan(policy: Missing) -> None:
    """What fills it is the window's business."""
    vectors = decode(message(samples=[[1, None], [None, 2]]), replace(SPEC, missing=policy))
    assert np.isnan(vectors.values).tolist() == [[False, True], [True, False]]


def test_samples_out_of_range_are_left_out_and_counted() -> None:
    """The bounds are inclusive; a missing value is not outside."""
    spec = replace(SPEC, valid_range=(-1.0, 1.0), missing=Missing.HOLD)
    vectors = decode(message(samples=[[1, -1], [0, 1.5], [None, 0], [-2, 3]]), spec)
    assert vectors.times_ns.tolist() == [START_NS, START_NS + 40_000_000]
    assert vectors.out_of_range == 2


def test_keys_name_messages() -> None:
    """By topic and declared fields; by topic and start time when none are declared."""
    base = decode(message()).key
    assert decode(message(samples=[[0, 0]])).key == base
    assert decode(message(seq=8)).key != base
    assert decode(message(seq="7")).key != base
    assert decode(message(), topic="b").key != base
    timed = replace(SPEC, key=())
    assert decode(message(), timed).key == decode(message(seq=8), timed).key
    assert decode(message(), timed).key != decode(message(t0="2026-11-21T08:00:00Z"), timed).key


def test_other_fields_do_not_matter() -> None:
    """Not even brackets in texts, which are not depth."""
    decode(message(note="[" * 100 + '\\"[', nested={"a": [[]]}, long=list(range(50))))


@given(depth=st.integers(MAX_DEPTH + 1, 200), is_array=st.booleans())
def test_depth_is_bounded_whatever_brackets(depth: int, *, is_array: bool) -> None:
    """Arrays and objects alike; the bound itself is allowed."""
    opening, closing = (b"[", b"]") if is_array else (b'{"a":', b"}")
    with pytest.raises(InputFaultError) as caught:
        decode(opening * depth + b"1" + closing * depth)
    assert caught.value.reason is InputFault.TOO_DEEP
    allowed = opening * (MAX_DEPTH - 1) + b"1" + closing * (MAX_DEPTH - 1)
    decode(message()[:-1] + b', "x":' + allowed + b"}")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=60), st.builds(lambda v: json.dumps(v).encode(), JSON)))
def test_whatever_comes_is_a_fault_or_samples(payload: bytes) -> None:
    """No other error gets out."""
    with pytest.raises(InputFaultError):
        decode(payload)


@given(JSON, JSON, JSON, st.sampled_from(list(StartFormat)), st.sampled_from(list(Missing)))
def test_whatever_stands_in_the_fields_is_a_fault_or_samples(
    samples: object, start: object, seq: object, form: StartFormat, missing: Missing
) -> None:
    """The same for messages that look right from outside."""
    spec = replace(SPEC, start_format=form, missing=missing)
    for payload in (message(samples=samples), message(t0=start), message(seq=seq), message(samples=[samples, samples])):
        try:
            vectors = decode(payload, spec)
        except InputFaultError:
            continue
        assert vectors.values.shape == (len(vectors.times_ns), 2)


ROWS = st.lists(st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-1000, 1000)))


@given(ROWS.filter(bool), st.integers(0, 2_000_000_000_000))
def test_what_was_sent_is_what_is_read(rows: list[tuple[float, int]], start_ms: int) -> None:
    """Every finite 32-bit value and every millisecond survives."""
    start_ns = start_ms * 1_000_000
    vectors = decode(message(t0=to_text(start_ns), samples=rows), replace(SPEC, max_bytes=1 << 20), received_ns=None)
    assert vectors.values.tolist() == [list(map(float, row)) for row in rows]
    assert vectors.times_ns.tolist() == [start_ns + 20_000_000 * index for index in range(len(rows))]
