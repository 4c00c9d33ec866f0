"""`cloud-hub recertify`: what it says, to people and to programs, and how it ends."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import CONFIG_NAME, load_config
from cloud_hub.core.delivery import ItemKey, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.ports import Delivered
from model_packs.process.exits import CliError, Exit
from model_packs.store import PackStore
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import ItemClass, PredictionId, StoreId
from protos.messages.fleet import BindingReport, Heartbeat
from protos.messages.inference import ModelUse
from tests.simulators.hubs import EDGE_PACK
from tests.simulators.hubs import layout as shipped
from tests.unit.cloud_hub.commands.calls import documented, on
from tests.unit.cloud_hub.escalations import escalation

PRESS = DeviceKey("default", "hall-1", "press-07")
COMMAND = ("recertify", "hall-1/press-07", "--binding", "band")


def gather(hub: Path, count: int, label: str) -> None:
    """Let a device report, and so many windows come that people called so."""
    (digest,) = [one.digest for one in PackStore(hub / "packs").list()]
    model = ModelUse(EDGE_PACK, digest)

    async def fill(store: SqlStore) -> None:
        await store.register_local(PRESS, 1)
        reports = (BindingReport("band", model, 0, 0, 0, "void"),)
        await store.save_heartbeat(PRESS, Heartbeat(1, 1, "ok", (), 0, 0, None, reports), 5)
        asked = [escalation(PredictionId(f"p{n}")) for n in range(count)]
        items = [
            Delivered(
                ItemKey(StoreId("s"), ItemClass.ESCALATION, n + 1),
                Question(one.prediction_id, one.input_digest),
                one.hub_pack,
                escalation_to_bytes(one),
                one,
            )
            for n, one in enumerate(asked)
        ]
        await store.apply(PRESS, items, 10)

    with_store(load_config(hub / CONFIG_NAME), fill)
    with contextlib.closing(sqlite3.connect(hub / "hub.db")) as connection:
        connection.execute(
            "UPDATE case_record SET is_for_people = 1, edge_digest = ?, human_label = ?", (digest, label)
        )
        connection.commit()


def test_a_certificate_is_told_and_documented(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each time a new version, since each is a new statement."""
    on(hub, "packs", "publish", str(shipped(EDGE_PACK)))
    gather(hub, 250, "a")
    capsys.readouterr()
    assert on(hub, *COMMAND) == Exit.OK
    told = capsys.readouterr().out
    assert "at most 0.05 error, on 250 windows of the field" in told
    assert "(policy 1, desired version 1)" in told
    assert on(hub, *COMMAND, "--json", "--target", "0.1", "--days", "30000") == Exit.OK
    document = documented(capsys.readouterr().out, "recertified")
    assert (document["policy"], document["desired_version"], document["target"]) == (2, 2, 0.1)


def test_no_threshold_is_an_answer_with_its_own_end(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is changed, and it says so."""
    on(hub, "packs", "publish", str(shipped(EDGE_PACK)))
    gather(hub, 250, "b")
    capsys.readouterr()
    assert on(hub, *COMMAND) == Exit.DATA
    assert "no threshold qualifies on 250 windows of the field" in capsys.readouterr().out
    assert on(hub, *COMMAND, "--json") == Exit.DATA
    assert documented(capsys.readouterr().out, "recertified")["certificate"] is None


def test_what_cannot_be_certified_ends_with_a_mend(hub: Path) -> None:
    """An unknown device, and a device without its site."""
    with pytest.raises(CliError, match="not accepted here"):
        on(hub, *COMMAND)
    with pytest.raises(CliError, match="names no site"):
        on(hub, "recertify", "press-07", "--binding", "band")
