"""`cloud-hub costs`: what requests cost, for people and for programs."""

import time
from pathlib import Path

import pytest

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import CONFIG_NAME, load_config
from cloud_hub.core.serving.costs import Cost, CostKey
from cloud_hub.serving.accounts import NS_PER_DAY
from model_packs.process.exits import CliError, Exit
from tests.unit.cloud_hub.commands.calls import documented, on


def _spend(hub: Path, days_ago: int, caller: str) -> None:
    day = time.time_ns() // NS_PER_DAY - days_ago

    async def write(store: SqlStore) -> None:
        cost = Cost(3, 12, 1.5e9, 4 * 2**20, 2**20, 1)
        await store.costs.add_costs(day, {CostKey("plant", caller, "tiny-hub@1.0.0"): cost})

    with_store(load_config(hub / CONFIG_NAME), write)


def test_costs_are_listed_by_day_caller_and_pack(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row each within the days that are asked for; a hub that nobody asked says so."""
    assert on(hub, "costs") == Exit.OK
    assert "no requests" in capsys.readouterr().out
    _spend(hub, 0, "press")
    _spend(hub, 40, "oven")
    assert on(hub, "costs") == Exit.OK
    head, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head[:4] == ["day", "tenant", "caller", "pack"]
    assert [line[1:] for line in lines] == [["plant", "press", "tiny-hub@1.0.0", "3", "12", "1.500", "4.0", "1.0"]]
    assert on(hub, "costs", "--days", "60", "--json") == Exit.OK
    document = documented(capsys.readouterr().out, "costs")
    assert [row["caller"] for row in document["costs"]] == ["press", "oven"]
    assert (document["costs"][0]["compute_s"], document["costs"][0]["cached"]) == (1.5, 1)


def test_no_days_are_refused(hub: Path) -> None:
    """There is nothing to show of none."""
    with pytest.raises(CliError, match="--days 0") as caught:
        on(hub, "costs", "--days", "0")
    assert caught.value.exit == Exit.USAGE
