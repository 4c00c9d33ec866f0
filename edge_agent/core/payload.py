"""Owns reading one message of a vector stream: the codec `json_vectors`, its bounds, and its dedupe key.

    {"t0": "2026-11-21T08:00:00.250Z", "seq": 7, "samples": [[0.1, 9.8], [0.2, 9.7]]}

Sample `i` was taken at the start time plus `i / rate`. Bytes come from strangers: their size and depth are bounded
before they are decoded, and every way to be wrong has a name in `InputFault`. What becomes of samples is `windows.py`.
"""

import json
import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.digests import digest_128
from edge_agent.core.grid import Grid
from edge_agent.core.missing import Missing
from edge_agent.core.timestamps import MAX_NS, TimestampError, from_text, to_text
from edge_agent.errors import InputFault, InputFaultError

MAX_DEPTH = 16
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', flags=re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_LARGEST = float(np.finfo(np.float32).max)
_NS_PER_UNIT = {"unix_s": 1_000_000_000, "unix_ms": 1_000_000}


class StartFormat(StrEnum):
    """How a start time is written."""

    ISO8601 = "iso8601"
    UNIX_S = "unix_s"
    UNIX_MS = "unix_ms"


@dataclass(frozen=True, slots=True)
class PayloadSpec:
    """What a binding declares about its messages.

    Attributes:
        channels: Width of a sample, from the pack.
        rate_hz: Samples a second.
        samples: Field of the samples.
        start: Field of the first sample's time.
        start_format: How it is written.
        key: Fields that together never repeat on a topic; empty: the start time.
        valid_range: (lowest, highest) value; a sample with another value is counted as out of range and left out.
        missing: `reject` refuses messages with null.
        max_bytes: Largest message.
        max_skew_s: How far the last sample may lie ahead of the receive clock.
    """

    channels: int
    rate_hz: float
    samples: str
    start: str
    start_format: StartFormat
    key: tuple[str, ...]
    valid_range: tuple[float, float] | None
    missing: Missing
    max_bytes: int
    max_skew_s: float


@dataclass(slots=True)
class Vectors:
    """The samples of one message.

    Attributes:
        times_ns: int64 [n], Unix epoch, UTC.
        values: float32 [n, channels]; NaN is a declared missing value.
        out_of_range: Samples that were left out.
        key: 16 bytes that name the message among those of its binding.
        first_ns: Time of the first sample, where all are there and lie on the grid's steps from it on; else None.
    """

    times_ns: NDArray[np.int64] = field(repr=False)
    values: NDArray[np.float32] = field(repr=False)
    out_of_range: int
    key: bytes
    first_ns: int | None = None


def decode_vectors(payload: bytes, spec: PayloadSpec, topic: str, received_ns: int | None) -> Vectors:
    """Decode one message.

    Args:
        payload: As received.
        spec: What the binding declares.
        topic: Where it came from; part of the dedupe key.
        received_ns: Wall clock of the arrival, Unix epoch, UTC; None when the clock is not to be trusted: then no time
            is too far ahead.

    Returns:
        The samples that are in range.

    Raises:
        InputFaultError: The sender's fault: it is not what the binding declares.
    """
    mend = "send fewer samples a message, or raise max_bytes of the binding's payload"
    table = parse_object(payload, spec.max_bytes, mend)
    start_ns = _start_ns(_field(table, spec.start), spec)
    key = digest_128(topic, *(_key_part(table, name) for name in spec.key)) if spec.key else digest_128(topic, start_ns)
    values = _matrix(_field(table, spec.samples), spec)
    times_ns = _times(start_ns, len(values), spec.rate_hz, spec.start)
    if received_ns is not None:
        _check_skew(int(times_ns[-1]), received_ns, spec)
    if spec.valid_range is None:
        return Vectors(times_ns, values, 0, key, start_ns)
    is_kept = _in_range(values, spec.valid_range)
    if is_kept.all():
        return Vectors(times_ns, values, 0, key, start_ns)
    return Vectors(times_ns[is_kept], values[is_kept], int(len(values) - np.count_nonzero(is_kept)), key)


def parse_object(payload: bytes, max_bytes: int, mend: str) -> dict[str, Any]:
    """Parse one JSON object from a stranger; size and depth are bounded before it is decoded.

    Args:
        payload: As received.
        max_bytes: Longest payload that is read.
        mend: What to do about a longer one.

    Returns:
        The object.

    Raises:
        InputFaultError: It is too long, too deep, or no JSON object.
    """
    if len(payload) > max_bytes:
        raise InputFaultError(InputFault.TOO_LARGE, f"{len(payload)} bytes; at most {max_bytes} are read", mend)
    if _depth_bound(payload) > MAX_DEPTH and _depth(payload) > MAX_DEPTH:
        raise InputFaultError(
            InputFault.TOO_DEEP, f"nested more than {MAX_DEPTH} levels deep", "send one object with plain fields"
        )
    try:
        table = _JSON.decode(payload.decode("utf-8"))
    except ValueError as error:
        raise InputFaultError(InputFault.MALFORMED, f"not JSON in UTF-8: {error}", "send one JSON object") from error
    if not isinstance(table, dict):
        raise InputFaultError(InputFault.WRONG_TYPE, f"{_kind(table)} instead of an object", "send one JSON object")
    return table


def _depth_bound(payload: bytes) -> int:
    """A cheap upper bound: one more than there are opening brackets once the innermost arrays are taken out.

    A quotation mark parts what is in a string from what is not, so no bracket of the one is taken for the other's.
    """
    left = payload.translate(None, _NO_BRACKETS).replace(b"[]", b"")
    return 1 + left.count(b"[") + left.count(b"{")


def _depth(payload: bytes) -> int:
    """How deep brackets nest outside strings; computed before decoding, the same on every machine."""
    text = np.frombuffer(_STRINGS.sub(b"", payload), np.uint8)
    opens = (text == ord("[")) | (text == ord("{"))
    closes = (text == ord("]")) | (text == ord("}"))
    return int(np.cumsum(opens.astype(np.int64) - closes).max(initial=0))


def _refuse_constant(text: str) -> NoReturn:
    raise InputFaultError(InputFault.NOT_FINITE, f"{text} is no JSON number", "send null for a missing value")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)  # `json.loads` would make one for each message


def _field(table: dict[str, Any], name: str) -> object:
    if name not in table:
        raise InputFaultError(
            InputFault.MISSING_FIELD, f"no field {name!r}", "name the sender's field in the binding's payload"
        )
    return table[name]


def _key_part(table: dict[str, Any], name: str) -> str | int:
    part = _field(table, name)
    if isinstance(part, str | int) and not isinstance(part, bool):
        return part
    raise InputFaultError(
        InputFault.WRONG_TYPE, f"key field {name!r} is {_kind(part)}", "use strings or integers in key fields"
    )


def _start_ns(value: object, spec: PayloadSpec) -> int:
    if spec.start_format is StartFormat.ISO8601:
        if not isinstance(value, str):
            raise _bad_time(spec, f"is {_kind(value)} instead of a text")
        try:
            start_ns = from_text(value)
        except TimestampError as error:
            raise _bad_time(spec, f": {error}") from error
    else:
        if not isinstance(value, int | float) or isinstance(value, bool) or value in (math.inf, -math.inf):
            raise _bad_time(spec, f"is {_kind(value)} instead of a finite number")
        # Whole and fractional part apart: a float of nanoseconds would not be exact.
        whole = math.floor(value)
        unit_ns = _NS_PER_UNIT[spec.start_format]
        start_ns = whole * unit_ns + round((value - whole) * unit_ns)
    if not 0 <= start_ns <= MAX_NS:
        raise _bad_time(spec, "is not between 1970 and 2262")
    return start_ns


def _bad_time(spec: PayloadSpec, detail: str) -> InputFaultError:
    return InputFaultError(
        InputFault.BAD_TIME,
        f"start time {spec.start!r} {detail}",
        f"send it as {spec.start_format}, or name its format as start_format of the binding's payload",
    )


def _matrix(rows: object, spec: PayloadSpec) -> NDArray[np.float32]:
    """Check and convert the samples: float32 [n, channels], null as NaN."""
    if not isinstance(rows, list):
        raise InputFaultError(
            InputFault.WRONG_TYPE, f"{spec.samples!r} is {_kind(rows)}", "send an array of samples, each an array"
        )
    if not rows:
        raise InputFaultError(InputFault.EMPTY, f"{spec.samples!r} has no sample", "send at least one")
    if set(map(type, rows)) != {list} or set(map(len, rows)) != {spec.channels}:
        raise _odd_sample(rows, spec)
    flat: list[Any] = list(chain.from_iterable(rows))
    odd = set(map(type, flat)) - {int, float}
    if not odd:
        return _finite(flat, spec).reshape(len(rows), spec.channels)
    if odd - {type(None)}:
        index = next(i for i, value in enumerate(flat) if type(value) not in (int, float, type(None)))
        raise InputFaultError(
            InputFault.NOT_NUMERIC, f"sample {index // spec.channels} holds {_kind(flat[index])}", "send numbers"
        )
    if spec.missing is Missing.REJECT:
        raise InputFaultError(
            InputFault.MISSING_VALUE,
            f"sample {flat.index(None) // spec.channels} has a null",
            'declare missing = "hold" or "linear" in the binding\'s payload, or send complete samples',
        )
    values = _finite([0.0 if value is None else value for value in flat], spec)
    values[[value is None for value in flat]] = np.nan
    return values.reshape(len(rows), spec.channels)


def _odd_sample(rows: list[Any], spec: PayloadSpec) -> InputFaultError:
    """Name the first sample that is no array of the channels."""
    index, row = next(
        (index, row) for index, row in enumerate(rows) if not isinstance(row, list) or len(row) != spec.channels
    )
    if not isinstance(row, list):
        return InputFaultError(
            InputFault.WRONG_TYPE, f"sample {index} is {_kind(row)}", "send each sample as an array of its channels"
        )
    return InputFaultError(
        InputFault.WRONG_WIDTH,
        f"sample {index} has {len(row)} values; the pack has {spec.channels} channels",
        "send every channel in every sample, null if it is missing",
    )


def _finite(flat: list[Any], spec: PayloadSpec) -> NDArray[np.float32]:
    if min(flat) >= -_LARGEST and max(flat) <= _LARGEST:
        return np.array(flat, np.float32)
    index = next(i for i, value in enumerate(flat) if not -_LARGEST <= value <= _LARGEST)
    raise InputFaultError(
        InputFault.NOT_FINITE,
        f"sample {index // spec.channels} holds a number beyond 32-bit floats",
        "send finite numbers",
    )


def _times(start_ns: int, samples: int, rate_hz: float, name: str) -> NDArray[np.int64]:
    offsets_ns, after_ns = _offsets_ns(samples, rate_hz)
    if start_ns + after_ns > MAX_NS:
        raise InputFaultError(InputFault.BAD_TIME, f"{name!r} is too late to count from", "send the time of sampling")
    return start_ns + offsets_ns


@lru_cache(maxsize=8)  # pure; nearly all messages of a binding have the same length
def _offsets_ns(samples: int, rate_hz: float) -> tuple[NDArray[np.int64], int]:
    """When the samples of a message were taken after its first one, and when the next one would be."""
    grid = Grid(rate_hz)
    offsets_ns = grid.times_ns(samples)
    offsets_ns.flags.writeable = False
    return offsets_ns, grid.time_ns(samples)


def _check_skew(last_ns: int, received_ns: int, spec: PayloadSpec) -> None:
    ahead_s = (last_ns - received_ns) / 1e9
    if ahead_s > spec.max_skew_s:
        raise InputFaultError(
            InputFault.FUTURE_TIME,
            f"the last sample ({to_text(last_ns)}) is {ahead_s:.1f} s ahead of this device's clock",
            "set the sensor's or the device's clock, or raise max_skew_s of the binding's payload",
        )


def _in_range(values: NDArray[np.float32], valid_range: tuple[float, float]) -> NDArray[np.bool_]:
    """Which samples have no value outside; a missing value is not outside."""
    low, high = valid_range
    is_outside: NDArray[np.bool_] = np.logical_or.reduce((values < low) | (values > high), axis=1)
    return ~is_outside


def _kind(value: object) -> str:
    """Name a JSON value for a person."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return "a text"
    if isinstance(value, int | float):
        return "a number"
    return "an array" if isinstance(value, list) else "an object"
