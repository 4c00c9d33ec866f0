"""Owns the scenario in which the agent starts on a very long backlog.

A million questions are written straight into the agent's own tables: asking them would take hours.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from protos.messages.escalation import ItemClass
from tests.chaos.ledger import applied_at, id_of
from tests.chaos.memory_limit import MemoryLimit
from tests.chaos.oracle import Sent
from tests.chaos.plant import DEADLINE_S, DEVICE, Plant, Quiet, Setting, line, state_of
from tests.simulators.processes import Process
from tests.simulators.site import wait_ready
from tests.simulators.waiting import wait_until

_ROWS = 1_000_000
_LIMIT_BYTES = 256 << 20
_START_S = 5.0
_DRAINED = 500
_LIVE = 50
_STOCK = "stock"
_NAME = f"'{_STOCK}' || printf('%021d', n)"
_MORE = "\n[outbox]\nmax_bytes = 4294967296\n"


def big_backlog_restart(setting: Setting) -> str:
    """1,000,000 questions wait, memory is bound to 256 MiB: ready within 5 s, new questions are answered first."""
    limit = MemoryLimit(_LIMIT_BYTES)
    with Plant(setting, more=_MORE) as plant:
        plant.start_agent()
        template = plant.oracle.send(2)[0]
        plant.oracle.settle()
        plant.drain()
        plant.hub_link.down()
        plant.agent.process.terminate()
        rows = setting.times(_ROWS)
        database = state_of(setting) / "edge.db"
        write_backlog(database, template, rows)
        is_limited = limit.open()
        agent = Process(
            [*limit.prefix, *plant.agent.process.argv], log_path=plant.agent.process.log_path, cwd=setting.folder
        )
        plant.agent.process = agent
        try:
            began_s = time.monotonic()
            agent.start()
            wait_ready(agent, plant.agent.http_port)
            started_s = time.monotonic() - began_s
            live = plant.oracle.send(_LIVE)
            plant.oracle.settle()
            plant.wait_answers()
            plant.hub_link.up()
            names = {id_of(DEVICE, one) for one in live}
            wait_until(lambda: names <= plant.revised_at().keys(), DEADLINE_S, "better answers to the new questions")
            wait_until(lambda: len(_drained(plant)) >= _DRAINED, DEADLINE_S, "the backlog on its way")
            plant.hub_link.down()
            peak_bytes = most_memory_bytes(agent.pid)
            quiet = Quiet(lambda: len(_drained(plant)))
            wait_until(quiet.holds, DEADLINE_S, "a hub that has stored what had come")
            drained = _drained(plant)
            found, figures = plant.finish(others=dict.fromkeys(drained, template), drained=False)
            plant.require(started_s <= _START_S, f"ready after {started_s:.1f} s")
            plant.require(peak_bytes <= _LIMIT_BYTES, f"{peak_bytes >> 20} MiB of memory")
        finally:
            agent.kill()
            limit.close()
            database.unlink()  # a gigabyte that nobody wants to keep
        return line(
            found,
            f"{rows:,} rows, ready after {started_s:.1f} s",
            f"{peak_bytes >> 20} MiB at most ({'limited' if is_limited else 'measured'})",
            f"{_LIVE} new ones first, then {len(drained):,} of the backlog",
            *figures,
        )


def write_backlog(database: Path, template: Sent, rows: int) -> None:
    """Write as many questions into a closed store, each like one that was asked, under a name of its own."""
    name = id_of(DEVICE, template)
    with closing(sqlite3.connect(database, isolation_level=None)) as store:
        store.row_factory = sqlite3.Row
        store.execute("PRAGMA synchronous = OFF")
        asked = store.execute(
            "SELECT * FROM outbox WHERE prediction_id = ? AND destination = 'hub'", (name,)
        ).fetchone()
        at = asked["payload"].index(name.encode()) + 1
        own = {
            "prediction_id": _NAME,
            "seq": "n + (SELECT last FROM sequence WHERE class = like.class)",
            "state": "'queued'",
            "row": "n + (SELECT max(row) FROM outbox)",
            "payload": f"CAST(substr(payload, 1, {at - 1}) || {_NAME} || substr(payload, {at + len(name)}) AS BLOB)",
        }
        store.execute("BEGIN")
        for table, like in (
            ("escalation", "prediction_id = ?"),
            ("outbox", "prediction_id = ? AND destination = 'hub'"),
        ):
            columns = [column for _, column, *_ in store.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(own.get(column, f"like.{column}") for column in columns)
            store.execute(
                f"WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {rows}), "  # noqa: S608 - own text
                f"like AS MATERIALIZED (SELECT * FROM {table} WHERE {like}) "
                f"INSERT INTO {table} SELECT {values} FROM counted, like",
                (name,),
            )
        store.execute("UPDATE sequence SET last = last + ? WHERE class = ?", (rows, ItemClass.ESCALATION))
        for counter in ("escalations_wanted", "escalations_created"):
            store.execute("UPDATE counter SET value = value + ? WHERE name = ?", (rows, counter))
        store.execute("COMMIT")


def _drained(plant: Plant) -> list[str]:
    """Those of the backlog that the hub has."""
    return [name for name in applied_at(plant.hub.folder, DEVICE).times if name.startswith(_STOCK)]


def most_memory_bytes(pid: int) -> int:
    """The most that a process had resident, ever."""
    status = Path(f"/proc/{pid}/status").read_text()
    (kib,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kib) * 1024
