"""Databases of earlier versions: what is in them is still there, and shows, after the upgrade."""

import json
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import Connection, text

from cloud_hub.adapters.sql import database
from cloud_hub.core.cases import Case, CaseFilter, CaseState
from model_packs.outputs import Output
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import PredictionId
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.sql.test_store import opened
from tests.unit.cloud_hub.escalations import PRESS, A, B, escalation

_ITEM = text(
    "INSERT INTO item (org_id, site_id, device_id, store_id, item_class, seq, prediction_id, input_digest, hub_pack,"
    " state, payload, received_at_ns)"
    " VALUES ('o', 's', 'press-07', 'store', 3, :seq, :prediction, 'd', 'full@1.0.0', :state, :payload, :seq)"
)
_VERDICT = text(
    "INSERT INTO verdict VALUES ('o', 's', 'press-07', :seq, :prediction, 'd', 1, 'hub', :output, :confidence,"
    ' \'[{"pack": "full@1.0.0", "digest": "sha256:9", "role": "active"}]\', 7, 1.5)'
)


def _item(seq: int, prediction: str, state: str, payload: bytes) -> dict[str, Any]:
    return {"seq": seq, "prediction": prediction, "state": state, "payload": payload}


def _verdict(seq: int, prediction: str, output: Output | None, confidence: float) -> dict[str, Any]:
    written = None if output is None else json.dumps(output.to_json())
    return {"seq": seq, "prediction": prediction, "output": written, "confidence": confidence}


def _to_revision_2(connection: Connection) -> None:
    config = database._config()
    config.attributes["connection"] = connection
    command.upgrade(config, "0002")


@in_loop
async def test_items_of_before_become_cases(tmp_path: Path) -> None:
    """Each stored question is one case with the hub's answer; repeats and unreadable ones are none."""
    asked = {
        name: escalation_to_bytes(escalation(name, edge=edge)) for name, edge in (("p1", A), ("p2", B), ("p3", None))
    }
    engine = database.make_engine(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(_to_revision_2)
        items = [_item(seq, f"p{seq}", "answered", asked[f"p{seq}"]) for seq in (1, 2, 3)]
        waiting = _item(4, "p4", "waiting", escalation_to_bytes(escalation("p4")))
        await connection.execute(
            _ITEM, [*items, waiting, _item(5, "p1", "repeated", b""), _item(6, "p6", "answered", b"\xff")]
        )
        said = [_verdict(1, "p1", A, 0.9), _verdict(2, "p2", A, 0.9), _verdict(3, "p3", None, 0.0)]
        await connection.execute(_VERDICT, said)
    await engine.dispose()

    async with opened(tmp_path) as store:
        found = {case.prediction_id: case for case in (await store.cases(CaseFilter(), 10)).cases}
        assert sorted(found) == ["p1", "p2", "p3", "p4"]
        assert _shown(found[PredictionId("p1")]) == (CaseState.ANSWERED, "a", "a", True, "sha256:9")
        assert _shown(found[PredictionId("p2")]) == (CaseState.ANSWERED, "b", "a", False, "sha256:9")
        assert _shown(found[PredictionId("p3")]) == (CaseState.ANSWERED, None, None, None, "sha256:9")
        assert _shown(found[PredictionId("p4")]) == (CaseState.WAITING, "a", None, None, "")
        assert [case.prediction_id for case in await store.review_queue(10, "ada")] == ["p3", "p2", "p4", "p1"]
        detail = await store.case(PRESS, PredictionId("p2"))
        assert detail is not None
        assert (detail.edge_output, detail.case.received_at_ns) == (B, 2)


def _shown(case: Case) -> tuple[object, ...]:
    return (case.state, case.edge_label, case.hub_label, case.agrees, case.hub_digest)
