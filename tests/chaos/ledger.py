"""Owns the books of a scenario: what is owed is laid beside what the hub holds and what the site was told.

The hub's database is read as a file of another program: no code of the hub vouches for itself here.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.prediction import prediction_id
from edge_agent.core.timestamps import to_text
from protos.codec.escalation import escalation_from_bytes
from tests.chaos.listener import Heard
from tests.chaos.oracle import Sent
from tests.simulators.packs import CHANNELS, SAMPLES
from tests.simulators.site import BINDING

_NS_PER_S = 1_000_000_000
_SHOWN = 5
_TIMEOUT_S = 30.0


class Owed(Protocol):
    """What the oracle knows."""

    @property
    def acked(self) -> frozenset[Sent]:
        """What was acknowledged."""
        ...

    @property
    def sent(self) -> frozenset[Sent]:
        """What was ever sent."""
        ...

    def window(self, sent: Sent) -> NDArray[np.float32]:
        """What the model is given for a message."""
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """What the hub's database says of one device.

    Attributes:
        times: How often each prediction was applied.
        inputs: What was asked, FP32 [samples, channels] as bytes, by prediction.
        verdicts: How many answers of the full model each prediction got.
    """

    times: Counter[str]
    inputs: Mapping[str, bytes]
    verdicts: Counter[str]


@dataclass(frozen=True, slots=True)
class Balance:
    """What came out.

    Attributes:
        owed: Acknowledged messages.
        lost: Those of them without an applied question, or without a revised answer at the site.
        twice: Predictions that the hub applied or answered more than once.
        problems: Everything that is wrong, in words; empty when nothing is.
    """

    owed: int
    lost: int
    twice: int
    problems: tuple[str, ...]


def id_of(device: str, sent: Sent) -> str:
    """The prediction id of the window that a message fills."""
    return prediction_id(device, BINDING, sent.machine, sent.start_ns, sent.start_ns + _NS_PER_S)


def items_of(hub_folder: Path, device: str) -> list[tuple[str, int, int]]:
    """What the hub applied: partition, seq, and the window's start (ns, Unix epoch)."""
    query = "SELECT payload, seq FROM item WHERE device_id = ? AND state != 'repeated'"
    found = [(escalation_from_bytes(payload), seq) for payload, seq in _ask(hub_folder, query, device)]
    return [(asked.partition, seq, asked.window_start_ns) for asked, seq in found]


def stores_of(hub_folder: Path, device: str) -> int:
    """How many stores sent items under one device's name."""
    return int(_ask(hub_folder, "SELECT count(DISTINCT store_id) FROM item WHERE device_id = ?", device)[0][0])


def heard_at_ns(hub_folder: Path, device: str) -> int:
    """When the hub stored the device's latest heartbeat: nanoseconds since the Unix epoch, UTC; 0 before the first."""
    rows = _ask(hub_folder, "SELECT received_at_ns FROM heartbeat WHERE device_id = ?", device)
    return int(rows[0][0]) if rows else 0


def applied_at(hub_folder: Path, device: str) -> Applied:
    """Read a hub's database, running or not."""
    items = _ask(
        hub_folder, "SELECT prediction_id, payload FROM item WHERE device_id = ? AND state != 'repeated'", device
    )
    verdicts = _ask(hub_folder, "SELECT prediction_id FROM verdict WHERE device_id = ? AND tier = 'hub'", device)
    inputs = {name: escalation_from_bytes(payload).inputs[0].data for name, payload in items}
    return Applied(Counter(name for name, _ in items), inputs, Counter(name for (name,) in verdicts))


def balance(
    device: str,
    oracle: Owed,
    applied: Applied,
    heard: Mapping[str, Heard],
    *,
    excused: Iterable[Sent] = (),
    others: Mapping[str, Sent] = MappingProxyType({}),
) -> Balance:
    """Check each obligation, each answer and each input.

    Args:
        device: Whose.
        oracle: What is owed, and what each message said.
        applied: What the hub holds.
        heard: What the site was told.
        excused: Obligations that nobody has to meet; the scenario says why.
        others: Predictions that the oracle did not ask for, each with the message whose input it has.

    Returns:
        The balance.
    """
    owed = {id_of(device, sent): sent for sent in oracle.acked - frozenset(excused)}
    known = {id_of(device, sent): sent for sent in oracle.sent} | dict(others)
    missing = [sent for name, sent in owed.items() if name not in applied.times]
    untold = [sent for name, sent in owed.items() if name not in heard or heard[name].revision < 1]
    twice = [name for counted in (applied.times, applied.verdicts) for name, times in counted.items() if times > 1]
    problems = [
        *_problem("owed and not applied at the hub", missing),
        *_problem("owed and never revised at the site", untold),
        *_problem("applied or answered more than once", twice),
        *_problem("unknown to the oracle, at the hub", applied.times.keys() - known.keys()),
        *_problem("unknown to the oracle, at the site", heard.keys() - known.keys()),
        *_problem(
            "another input at the hub", (n for n, data in applied.inputs.items() if _differs(oracle, known, n, data))
        ),
        *_problem("two answers in one revision", (n for n, one in heard.items() if _contradicts(one))),
        *_problem(
            "told about another window", (n for n, one in heard.items() if n in known and _strays(known[n], one))
        ),
    ]
    return Balance(len(owed), len({*missing, *untold}), len(set(twice)), tuple(problems))


def _ask(hub_folder: Path, query: str, device: str) -> list[Any]:
    path = (hub_folder / "hub.db").absolute()
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_TIMEOUT_S)) as db:
        db.execute("PRAGMA query_only = ON")
        return db.execute(query, (device,)).fetchall()


def _problem(what: str, found: Iterable[object]) -> list[str]:
    all_of_them = sorted(map(str, found))
    return [f"{len(all_of_them)} {what}: {', '.join(all_of_them[:_SHOWN])}"] if all_of_them else []


def _differs(oracle: Owed, known: Mapping[str, Sent], name: str, data: bytes) -> bool:
    if name not in known:
        return False  # told as unknown
    found = np.frombuffer(data, np.float32).reshape(SAMPLES, CHANNELS)
    return not np.array_equal(found, oracle.window(known[name]))


def _contradicts(one: Heard) -> bool:
    said_by = [[output.partition(" ")[0] for output in outputs] for outputs in one.outputs.values()]
    return any(len(packs) > len(set(packs)) for packs in said_by)


def _strays(sent: Sent, one: Heard) -> bool:
    return (one.partition, one.start) != (sent.machine, to_text(sent.start_ns))
