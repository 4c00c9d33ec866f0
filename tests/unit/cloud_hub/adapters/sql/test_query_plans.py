"""What the hub asks its database for each item and each answer is found by an index, however long the history."""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.cases import CaseFilter
from cloud_hub.core.delivery import AlreadyApplied
from cloud_hub.core.events import EventId
from cloud_hub.core.feedback import LabelGiven
from protos.messages.escalation import PredictionId
from protos.messages.fleet import DesiredSlot
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.sql.test_fleet_records import beat
from tests.unit.cloud_hub.adapters.sql.test_store import answers, delivered, hello, opened
from tests.unit.cloud_hub.escalations import PRESS, SAW

Steps = Callable[[SqlStore], Awaitable[None]]


def _plans(folder: Path, before: Steps, watched: Steps) -> list[str]:
    """The plan of each SELECT and UPDATE of `watched`, after `before` filled the tables."""
    asked: list[tuple[str, Any]] = []

    def note(_conn: object, _cursor: object, statement: str, values: Any, _context: object, is_many: bool) -> None:  # noqa: ANN401, FBT001 - SQLAlchemy calls it
        if statement.startswith(("SELECT", "UPDATE")):
            asked.append((statement, values[0] if is_many else values))

    @in_loop
    async def story() -> None:
        async with opened(folder) as store:
            await before(store)
            event.listen(Engine, "before_cursor_execute", note)
            try:
                await watched(store)
            finally:
                event.remove(Engine, "before_cursor_execute", note)

    story()
    database = sqlite3.connect(folder / "hub.db")
    plans = [
        row[3] for statement, values in asked for row in database.execute("EXPLAIN QUERY PLAN " + statement, values)
    ]
    database.close()
    assert plans
    return plans


@pytest.mark.parametrize("count", [1, 3])
def test_arriving_items_are_looked_up_by_their_place(tmp_path: Path, count: int) -> None:
    """Each search of the items goes by seq, by prediction id, or by the end of a class."""

    async def fill(store: SqlStore) -> None:
        await store.open_session(PRESS, hello(), 1)
        await store.apply(PRESS, [delivered(n, f"p{n}") for n in range(1, 10)], 2)

    async def arrive(store: SqlStore) -> None:
        items = [delivered(n, f"p{n}") for n in range(1, 1 + count)]
        assert await store.apply(PRESS, items, 3) == (AlreadyApplied(is_new_key=False),) * count
        opened_again = await store.open_session(PRESS, hello(), 4)
        assert [seq for _, seq in opened_again.applied] == [9]

    searches = [plan for plan in _plans(tmp_path, fill, arrive) if " item " in plan]
    assert searches
    narrow = ("seq", "prediction_id=", "item_class=")
    assert [plan for plan in searches if not any(column in plan for column in narrow)] == []


def test_answering_reads_the_verdicts_of_its_predictions_only(tmp_path: Path) -> None:
    """No statement of `answer` scans a table."""

    async def fill(store: SqlStore) -> None:
        for device in (PRESS, SAW):
            await store.open_session(device, hello(), 1)
            await store.apply(device, [delivered(n, f"p{n}") for n in range(1, 4)], 2)

    async def answer(store: SqlStore) -> None:
        waiting = await store.waiting(10)
        assert len(await store.answer(answers(waiting))) == 6

    plans = _plans(tmp_path, fill, answer)
    assert [plan for plan in plans if plan.startswith(("SCAN verdict", "SCAN item"))] == []


LISTS: list[CaseFilter] = [
    CaseFilter(),
    CaseFilter(site_id="s", device_id="saw-01"),
    CaseFilter(site_id="s"),
    CaseFilter(binding="band"),
    CaseFilter(agrees=False, before=7),
]


@pytest.mark.parametrize("wanted", LISTS)
def test_a_list_of_cases_is_read_off_an_index_in_its_order(tmp_path: Path, wanted: CaseFilter) -> None:
    """No page is sorted, and none reads the items with their payloads."""

    async def show(store: SqlStore) -> None:
        await store.cases(wanted, 50)

    plans = _plans(tmp_path, _some, show)
    assert [plan for plan in plans if "TEMP B-TREE" in plan or " item" in plan] == []


def test_the_review_queue_is_read_off_its_index(tmp_path: Path) -> None:
    """Each rank is found by it, newest first without sorting; own unsure judgements are looked up one by one."""

    async def review(store: SqlStore) -> None:
        await store.review_queue(2, "ada")
        await store.review_count()

    plans = _plans(tmp_path, _some, review)
    assert [plan for plan in plans if "TEMP B-TREE" in plan or plan.startswith("SCAN")] == []


def test_a_label_looks_up_its_own_prediction_only(tmp_path: Path) -> None:
    """However many cases and judgements there are."""

    async def say(store: SqlStore) -> None:
        await store.label(LabelGiven(PRESS, PredictionId("p1"), "b", "ada", "", 9))

    plans = _plans(tmp_path, _some, say)
    assert [plan for plan in plans if plan.startswith("SCAN") and "device_session" not in plan] == []


async def _some(store: SqlStore) -> None:
    await store.open_session(PRESS, hello(), 1)
    await store.apply(PRESS, [delivered(n, f"p{n}") for n in range(1, 10)], 2)


def test_a_heartbeat_reads_what_belongs_to_its_device_only(tmp_path: Path) -> None:
    """No statement of a heartbeat, of an event's reader, or of one device's curve scans a table."""

    async def fill(store: SqlStore) -> None:
        for device in (PRESS, SAW):
            await store.register_local(device, 1)
            await store.desire(device, [DesiredSlot("band", "band@1.0.0", "sha256:1")], actor="ada", now_ns=1)
            await store.save_heartbeat(device, beat(1), 1)

    async def report(store: SqlStore) -> None:
        assert await store.save_heartbeat(PRESS, beat(2), 2) is not None
        await store.event_span()
        await store.events(EventId(1), 10)
        await store.recent_events(10, PRESS)
        await store.trend(PRESS, 0)
        await store.desired(PRESS)

    plans = _plans(tmp_path, fill, report)
    allowed = "SCAN CONSTANT ROW"  # around the two ends of the outbox
    assert [plan for plan in plans if plan.startswith("SCAN") and plan != allowed] == []
