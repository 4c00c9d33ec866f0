"""The hub's database on a real file: items once, verdicts in order, epochs and cursors that survive restarts."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.schema import metadata
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.cases import CaseFilter
from cloud_hub.core.delivery import AlreadyApplied, Apply, Conflict, ItemKey, PlaceTaken, Question
from cloud_hub.core.events import EventKind
from cloud_hub.core.feedback import LabelGiven
from cloud_hub.core.restores import revision_floor, verdict_floor
from cloud_hub.errors import StorageError
from cloud_hub.ports import Answer, Delivered, Forgotten, WaitingItem
from model_packs.outputs import Classification
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import Hello, HubIncarnation, ItemClass, PredictionId, StoreId
from protos.messages.fleet import Heartbeat
from protos.messages.inference import ModelUse, Tier
from tests.contract.wire_examples import EXAMPLES
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.escalations import PRESS, SAW, escalation

STORE = StoreId("store-1")
OUTPUT = Classification("a", {"a": 0.9, "b": 0.1})
MODELS = (ModelUse("full@1.0.0", "sha256:" + "0" * 64),)


@contextlib.asynccontextmanager
async def opened(folder: Path, name: str = "hub.db") -> AsyncIterator[SqlStore]:
    """The store, upgraded and open, closed in the end."""
    store = SqlStore(database.make_engine(f"sqlite+aiosqlite:///{folder / name}"), lambda: 1)
    try:
        await store.upgrade()
        await store.open()
        yield store
    finally:
        await store.close()


def hello(cursor: int = 0, store: StoreId = STORE) -> Hello:
    """The start of a stream."""
    return Hello(store, (), cursor, None, "1")


def delivered(
    seq: int,
    prediction: str,
    digest: str = "d",
    *,
    pack: str = "full@1.0.0",
    store: StoreId = STORE,
    low_water: int = 0,
) -> Delivered:
    """One item."""
    key = ItemKey(store, ItemClass.ESCALATION, seq)
    asked = escalation(prediction, digest=digest, hub_pack=pack)
    return Delivered(
        key, Question(PredictionId(prediction), digest), pack, escalation_to_bytes(asked), asked, low_water
    )


def answers(items: Sequence[WaitingItem], tier: Tier = Tier.HUB) -> list[Answer]:
    """The same answer to each."""
    return [Answer(item, tier, OUTPUT, None, 0.9, MODELS, 7, 1.5) for item in items]


@in_loop
async def test_the_migrations_make_exactly_the_declared_tables(tmp_path: Path) -> None:
    """No table, column or index differs between the migration steps and the schema."""

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    engine = database.make_engine(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    await database.upgrade(engine)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    assert await database.revision(engine) == database.head()
    await engine.dispose()


@in_loop
async def test_commits_are_durable_and_readers_do_not_wait(tmp_path: Path) -> None:
    """SQLite runs with a write-ahead log and syncs every commit."""
    engine = database.make_engine(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    async with engine.connect() as connection:
        found = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar() for name in ("journal_mode", "synchronous")
        ]
    await engine.dispose()
    assert found == ["wal", 2]


@in_loop
async def test_a_database_of_another_revision_is_not_opened(tmp_path: Path) -> None:
    """Neither an empty database nor one newer than the program is used; each refusal says what to do."""
    engine = database.make_engine(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    store = SqlStore(engine, lambda: 1)
    with pytest.raises(StorageError, match="cloud-hub serve"):
        await store.open()
    await store.upgrade()
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageError, match="newer than this program"):
        await store.upgrade()
    await store.close()


@in_loop
async def test_items_are_applied_once_across_batches_and_restarts(tmp_path: Path) -> None:
    """Repeats inside a batch, in a later one and after a restart are known; another digest conflicts."""
    async with opened(tmp_path) as store:
        first = await store.apply(PRESS, [delivered(1, "p1"), delivered(1, "p1"), delivered(2, "p1")], 1)
        assert first == (Apply(), AlreadyApplied(is_new_key=False), AlreadyApplied(is_new_key=True))
    async with opened(tmp_path) as store:
        again = [delivered(1, "p1"), delivered(2, "p1"), delivered(1, "p1", "other"), delivered(3, "p1", "other")]
        known, noted, changed_place, changed_input = await store.apply(PRESS, again, 2)
        assert known == noted == AlreadyApplied(is_new_key=False)
        assert isinstance(changed_place, PlaceTaken)
        assert isinstance(changed_input, Conflict)
        assert [item.question.prediction_id for item in await store.waiting(10)] == ["p1"]
        other_store = delivered(1, "p1", store=StoreId("store-2"))
        assert await store.apply(PRESS, [other_store], 3) == (AlreadyApplied(is_new_key=True),)
        assert await store.apply(SAW, [delivered(1, "p1", "other")], 3) == (Apply(),)


@in_loop
async def test_a_question_from_another_place_is_answered_as_before(tmp_path: Path) -> None:
    """Its latest answer goes to the end of the log, once a place; without an answer there is nothing to say yet."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await store.apply(PRESS, [delivered(1, "p1"), delivered(2, "p2")], 1)
        waiting = await store.waiting(10)
        await store.answer(answers(waiting))
        await store.answer(answers(waiting[:1], Tier.HUMAN))
        lost = StoreId("store-2")
        again = [delivered(1, "p2", store=lost), delivered(2, "p1", store=lost), delivered(3, "p3", store=lost)]
        await store.apply(PRESS, again, 2)
        await store.apply(PRESS, [*again, delivered(4, "p3", store=lost)], 3)
        log = [(said.verdict_seq, said.prediction_id, said.revision) for said in await store.verdicts(PRESS, 0, 10)]
        assert log == [(1, "p1", 1), (4, "p2", 1), (5, "p1", 2)]
        ((_, said),) = await store.answer(answers(await store.waiting(10)))
        assert (said.verdict_seq, said.prediction_id) == (6, "p3")


@in_loop
async def test_a_session_reports_what_was_applied_for_its_store(tmp_path: Path) -> None:
    """Epochs grow across restarts; the applied floors are those of the named store id only."""
    async with opened(tmp_path) as store:
        assert (await store.open_session(PRESS, hello(), 1)).epoch == 1
        await store.apply(PRESS, [delivered(5, "p5"), delivered(9, "p9")], 1)
    async with opened(tmp_path) as store:
        second = await store.open_session(PRESS, hello(), 2)
        assert (second.epoch, second.applied) == (2, ((ItemClass.ESCALATION, 9),))
        assert (await store.open_session(PRESS, hello(store=StoreId("new")), 3)).applied == ()


@in_loop
async def test_verdicts_are_numbered_per_device_and_read_from_a_cursor(tmp_path: Path) -> None:
    """Each device has its own gapless log, the same after a restart, readable in pages."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await store.open_session(SAW, hello(), 1)
        await store.apply(PRESS, [delivered(seq, f"p{seq}") for seq in (1, 2, 3)], 1)
        await store.apply(SAW, [delivered(1, "s1")], 1)
        logged = await store.answer(answers(await store.waiting(10)))
        assert [(key.device_id, said.verdict_seq) for key, said in logged] == [
            ("press-07", 1),
            ("press-07", 2),
            ("press-07", 3),
            ("saw-01", 1),
        ]
        assert await store.waiting(10) == ()
    async with opened(tmp_path) as store:
        page = await store.verdicts(PRESS, 1, 1)
        assert [(said.verdict_seq, said.prediction_id) for said in page] == [(2, "p2")]
        assert page[0] == logged[1][1]
        assert (page[0].output, page[0].models) == (OUTPUT, MODELS)


@in_loop
async def test_a_second_answer_is_a_higher_revision_and_a_lower_tier_is_dropped(tmp_path: Path) -> None:
    """Answering the same question again adds revision 2; after a person has spoken the hub's answer is not logged."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await store.apply(PRESS, [delivered(1, "p1")], 1)
        items = await store.waiting(1)
        for tier, revision in ((Tier.HUB, 1), (Tier.HUB, 2), (Tier.HUMAN, 3)):
            ((_, said),) = await store.answer(answers(items, tier))
            assert said.revision == revision
        assert await store.answer(answers(items)) == ()
        assert len(await store.verdicts(PRESS, 0, 10)) == 3


@in_loop
async def test_the_verdict_counter_rises_above_what_the_device_has_seen(tmp_path: Path) -> None:
    """A database that lost its log numbers new verdicts above the device's cursor."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(cursor=40), 1)
        await store.apply(PRESS, [delivered(1, "p1")], 1)
        ((_, said),) = await store.answer(answers(await store.waiting(1)))
        assert said.verdict_seq == 41


def knowing(hub: HubIncarnation, cursor: int) -> Hello:
    """The start of a stream of a device that knows this database."""
    return Hello(STORE, (), cursor, hub, "1")


@in_loop
async def test_a_device_that_holds_more_than_the_log_shows_a_restore(tmp_path: Path) -> None:
    """The database takes a new incarnation, once, with an event; one that the device never saw shows nothing."""
    async with opened(tmp_path) as store:
        first = store.incarnation
        assert (await store.open_session(SAW, knowing(first, 9), 1)).is_restored is False  # never heard of here
        await store.open_session(PRESS, hello(), 1)
        assert (await store.open_session(PRESS, knowing(HubIncarnation("another"), 9), 2)).is_restored is False
        found = await store.open_session(PRESS, knowing(first, 10), 3)
        assert found.is_restored
        assert found.incarnation == store.incarnation != first
        assert (await store.open_session(SAW, knowing(first, 99), 4)).is_restored is False
        (told,) = await store.recent_events(1)
        assert (told.kind, told.device, told.detail["before"]) == (EventKind.HUB_RESTORED, PRESS, first)


@in_loop
async def test_after_a_restore_numbers_begin_above_every_earlier_one(tmp_path: Path) -> None:
    """Also for devices that have not connected yet: verdicts of their log, and what people say to a prediction."""
    now_ns = 1_763_000_000_000_000_000
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await store.apply(PRESS, [delivered(1, "p1")], 1)
        await store.apply(SAW, [delivered(1, "s1")], 1)
        await store.renew_incarnation(actor="command line", now_ns=now_ns)
        waiting = await store.waiting(10)
        answered = await store.answer(answers(waiting))
        assert [said.verdict_seq for _, said in answered] == [verdict_floor(now_ns) + 1] * 2
        assert [said.revision for _, said in answered] == [1, 1]
        for _ in range(2):
            ((_, corrected),) = await store.answer(answers(waiting[:1], Tier.HUMAN))
        assert (corrected.verdict_seq, corrected.revision) == (verdict_floor(now_ns) + 3, revision_floor(now_ns) + 2)
    async with opened(tmp_path) as store:
        assert (await store.verdicts(PRESS, verdict_floor(now_ns), 1))[0].prediction_id == "p1"


@in_loop
async def test_the_cursor_goes_forward_only_and_not_past_the_log(tmp_path: Path) -> None:
    """A late or absurd confirmation changes nothing."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        await store.register_local(PRESS, 2)
        await store.open_session(PRESS, hello(), 1)
        await store.apply(PRESS, [delivered(seq, f"p{seq}") for seq in (1, 2, 3)], 1)
        await store.answer(answers(await store.waiting(10)))
        for seq, expected in ((2, 2), (1, 2), (99, 2), (3, 3)):
            await store.acknowledge(PRESS, seq)
            (facts,) = await store.devices()
            assert facts.verdicts_acked == expected


@in_loop
async def test_questions_to_packs_that_do_not_load_can_be_left_out(tmp_path: Path) -> None:
    """They stay waiting and do not stand in the way of others."""
    async with opened(tmp_path) as store:
        await store.apply(PRESS, [delivered(1, "p1", pack="gone@1.0.0"), delivered(2, "p2")], 1)
        assert [item.hub_pack for item in await store.waiting(10, ("gone@1.0.0",))] == ["full@1.0.0"]
        assert len(await store.waiting(10)) == 2


@in_loop
async def test_the_newest_questions_overtake_a_backlog_and_the_oldest_are_not_forgotten(tmp_path: Path) -> None:
    """A page holds both ends of the queue, in the order in which they came, each once; all of a short queue."""
    async with opened(tmp_path) as store:
        await store.apply(PRESS, [delivered(seq, f"p{seq}") for seq in range(1, 10)], 1)
        await store.apply(SAW, [delivered(1, "live")], 2)
        page = [item.question.prediction_id for item in await store.waiting(4)]
        assert page == ["p1", "p2", "p9", "live"]
        assert [item.question.prediction_id for item in await store.waiting(2)] == ["p1", "live"]
        assert len(await store.waiting(11)) == len(await store.waiting(12)) == 10
        assert await store.waiting_by_device() == {PRESS: 9, SAW: 1}
        await store.answer(answers(await store.waiting(4)))
        assert await store.waiting_by_device() == {PRESS: 6}


@in_loop
async def test_what_is_old_and_settled_is_forgotten_and_nothing_else(tmp_path: Path) -> None:
    """Kept are what is young, waiting, labelled, above the low-water mark, or answered by what the device has not yet.

    What is forgotten is applied anew if it comes again after all, and the session still says how far the hub got.
    """
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await store.apply(PRESS, [delivered(seq, f"p{seq}") for seq in range(1, 6)], 1)
        await store.answer(answers(await store.waiting(10)))
        await store.label(LabelGiven(PRESS, PredictionId("p2"), "b", "ada", "", 2))
        await store.acknowledge(PRESS, 4)
        assert await store.forget(100) == Forgotten(0, 0)  # the device has settled nothing yet
        await store.apply(PRESS, [delivered(7, "p7", low_water=6)], 1)
        await store.apply(PRESS, [delivered(8, "p8", low_water=2**63)], 200)
        assert await store.forget(1) == Forgotten(0, 0)
        assert await store.forget(100) == Forgotten(3, 3)  # p1, p3, p4: p5's verdict is not on the device
        assert await store.forget(100) == Forgotten(0, 0)
        assert [said.prediction_id for said in await store.verdicts(PRESS, 0, 10)] == ["p2", "p5", "p2"]
        assert {case.prediction_id for case in (await store.cases(CaseFilter(), 10)).cases} == {"p2", "p5", "p7", "p8"}
        assert (await store.open_session(PRESS, hello(cursor=6), 3)).applied == ((ItemClass.ESCALATION, 8),)
        assert await store.forget(100) == Forgotten(1, 1)
        assert await store.apply(PRESS, [delivered(1, "p1")], 300) == (Apply(),)
        assert await store.apply(PRESS, [delivered(2, "p2")], 300) == (AlreadyApplied(is_new_key=False),)


@in_loop
async def test_an_outbox_that_the_device_has_no_more_is_forgotten_by_age(tmp_path: Path) -> None:
    """Nothing can come from it again, so its low-water mark does not matter."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await store.apply(PRESS, [delivered(1, "p1")], 1)
        await store.answer(answers(await store.waiting(10)))
        await store.acknowledge(PRESS, 1)
        await store.open_session(PRESS, hello(cursor=1, store=StoreId("store-2")), 2)
        assert await store.forget(100) == Forgotten(1, 1)


@in_loop
async def test_the_latest_heartbeat_replaces_the_one_before(tmp_path: Path) -> None:
    """One heartbeat is kept per device, with what it said."""
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        for number in (1, 2):
            await store.save_heartbeat(PRESS, Heartbeat(number, 5, "ok", ("p",), 1, 2, None, ()), number * 10)
        (facts,) = await store.devices()
        assert facts.last_heartbeat_at_ns == 20
        assert facts.heartbeat == Heartbeat(2, 5, "ok", ("p",), 1, 2, None, ())


@pytest.mark.parametrize("name", ["fleet_heartbeat_with_policies", "fleet_heartbeat_with_budget"])
@in_loop
async def test_a_heartbeat_with_policies_is_kept_as_it_was_said(tmp_path: Path, name: str) -> None:
    """How each policy fares, what input statistics tell and what is spent are read back as they were reported."""
    beat = EXAMPLES[name][1]
    assert isinstance(beat, Heartbeat)
    async with opened(tmp_path) as store:
        await store.register_local(PRESS, 1)
        await store.save_heartbeat(PRESS, beat, 10)
        (facts,) = await store.devices()
        assert facts.heartbeat == beat


@in_loop
async def test_a_database_has_one_identity(tmp_path: Path) -> None:
    """The incarnation survives restarts; another database has another."""
    seen: list[HubIncarnation] = []
    for name in ("hub.db", "hub.db", "other.db"):
        async with opened(tmp_path, name) as store:
            seen.append(store.incarnation)
    assert seen[0] == seen[1] != seen[2]


@in_loop
async def test_a_closed_store_takes_nothing_more(tmp_path: Path) -> None:
    """After close, writing is refused; closing again does nothing."""
    async with opened(tmp_path) as store:
        await store.ping()
    with pytest.raises(StorageError, match="stopping"):
        await store.register_local(PRESS, 1)
    await store.close()


@pytest.mark.parametrize("url", ["nonsense://x", "sqlite+nobody:///x", "://"])
def test_an_unusable_url_is_named(url: str) -> None:
    """A wrong database_url is refused before anything is connected."""
    with pytest.raises(StorageError, match="database_url"):
        database.make_engine(url)
