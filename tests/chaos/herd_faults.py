"""Owns the scenario in which a whole fleet comes back to its hub at once."""

import asyncio
import math
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from protos.link.tokens import JoinToken
from tests.chaos.herd import Figures, Herd, enrolled
from tests.chaos.plant import ChaosError, Setting
from tests.simulators.site import SITE_NAME, Hub, command

_DEVICES = 200
_AWAY_S = 3.0
_P99_S = 2.0
_BURST, _EVERY_S = 20, 3.0


def thundering_herd(setting: Setting) -> str:
    """200 devices dial at once, then again after the hub's kill: p99 of Welcome within 2 s, no storm of retries."""
    hub = Hub(setting.folder, setting.founded / "hub")
    hub.prepare()
    try:
        hub.start()
        return asyncio.run(_herd(setting, hub))
    finally:
        hub.process.kill()


async def _herd(setting: Setting, hub: Hub) -> str:
    names = [f"device-{number:03}" for number in range(setting.times(_DEVICES))]
    arguments = ["--site", SITE_NAME, "--uses", str(len(names)), "--config", str(hub.config)]
    printed = command("cloud-hub", "tokens", "create", *arguments, cwd=setting.folder)
    identities = await enrolled(hub.ports.enrolment, JoinToken.parse(printed.strip().splitlines()[-1]), names)
    async with Herd(hub.ports.grpc, identities, setting.seed) as herd:
        await herd.wait_for(len(names))
        at_once, herd.figures = herd.figures, Figures()
        hub.process.kill()
        await herd.wait_for(0)
        await asyncio.sleep(_AWAY_S)
        await asyncio.to_thread(hub.start)
        await herd.wait_for(len(names))
        again = herd.figures
    hub.process.terminate()
    applied = _applied(hub.folder / "hub.db")
    lost = [one for one in herd.acked if one not in applied]
    twice = [one for one, times in applied.items() if times > 1]
    dials = sum(again.dials.values())
    figures = (
        f"{len(herd.acked)} owed, {len(lost)} lost, {len(twice)} twice; {len(names)} devices;"
        f" p99 of Welcome {p99(at_once.welcomes_s):.2f} s all at once,"
        f" {p99(again.welcomes_s):.2f} s after the hub's kill with {dials} dials ({dials / len(names):.1f} each)"
    )
    within = all(p99(one.welcomes_s) <= _P99_S for one in (at_once, again))
    calm = len(again.welcomes_s) == len(names) and max(again.dials.values()) < _BURST
    if lost or twice or not within or not calm:
        raise ChaosError(figures)
    return figures


def p99(times_s: Sequence[float]) -> float:
    """The 99th percentile, nearest rank."""
    return sorted(times_s)[math.ceil(0.99 * len(times_s)) - 1]


def _applied(hub_db: Path) -> Counter[tuple[str, str]]:
    with closing(sqlite3.connect(hub_db)) as db:
        return Counter(db.execute("SELECT device_id, prediction_id FROM item WHERE state != 'repeated'").fetchall())
