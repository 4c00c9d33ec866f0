"""Owns the hub's real statements on SQLite in memory, driven to their end at once: no loop, no thread, no waiting.

`SqlStore` and all modules below it run as they are. What is replaced is the engine's asynchrony: a connection whose
`await` never waits, so that each call is over when its coroutine is stepped once.
"""

import sqlite3
from collections.abc import Coroutine, Sequence
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any, Self, TypeVar, cast

from sqlalchemy import Connection, create_engine, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import StaticPool

from cloud_hub.adapters.sql import identity
from cloud_hub.adapters.sql.gathering import Gathering
from cloud_hub.adapters.sql.schema import feedback, item, metadata
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.adapters.sql.writer import Job
from cloud_hub.core.delivery import Delivery
from cloud_hub.core.feedback import FeedbackTaken, LabelGiven, LabelOutcome
from cloud_hub.errors import CaseUnknownError
from cloud_hub.ports import Answer, Delivered, Forgotten, OpenedSession, WaitingItem
from protos.messages.escalation import Hello, PredictionId, Verdict
from protos.messages.feedback import FeedbackBatch
from tests.simulation.hub_database import DEVICE, Stored, without_names

ResultT = TypeVar("ResultT")

_ALL = 1_000_000
_BORN_NS = 1_790_000_000_000_000_000


def at_once(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run what never waits to its end."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return cast("ResultT", ended.value)
    coroutine.close()
    raise AssertionError("it waits for something")


@lru_cache(maxsize=1)
def _empty_image() -> bytes:
    raw = sqlite3.connect(":memory:")
    metadata.create_all(create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool))
    raw.commit()
    return raw.serialize()


class _Connected:
    """`AsyncConnection` and its context manager, on a connection that is there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def execute(self, statement: Any, parameters: Any = None) -> Any:  # noqa: ANN401 - as SQLAlchemy's own
        """Execute now."""
        return self._connection.execute(statement, parameters)


class _Engine:
    """The reading half of `AsyncEngine`: `dialect`, `execution_options` and `connect`."""

    dialect = SimpleNamespace(name="awaited on the loop")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execution_options(self, **_: object) -> Self:
        """There is one connection for all."""
        return self

    def connect(self) -> _Connected:
        """The connection."""
        return _Connected(self._connection)


class SqlDatabase:
    """Fills `HubDatabase`."""

    def __init__(self) -> None:
        self._raw = sqlite3.connect(":memory:", isolation_level=None)
        self._raw.deserialize(_empty_image())
        engine = create_engine("sqlite://", creator=lambda: self._raw, poolclass=StaticPool)
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._store = SqlStore(cast("AsyncEngine", _Engine(self._connection)), lambda: _BORN_NS)
        vars(self._store._writer).update(write=self._write)  # its task is never started
        for gathering in (one for one in vars(self._store).values() if isinstance(one, Gathering)):
            vars(gathering).update(write=partial(self._write_alone, gathering))
        at_once(self._write(lambda connection: identity.found_or_minted(connection, _BORN_NS)))

    def open_session(self, hello: Hello, now_ns: int) -> OpenedSession:
        """The real one."""
        return at_once(self._store.open_session(DEVICE, hello, now_ns))

    def apply(self, items: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """The real one."""
        return at_once(self._store.apply(DEVICE, items, now_ns))

    def waiting(self, limit: int) -> tuple[WaitingItem, ...]:
        """The real one."""
        return at_once(self._store.waiting(limit))

    def waiting_count(self) -> int:
        """The real one."""
        return sum(at_once(self._store.waiting_by_device()).values())

    def answer(self, answers: Sequence[Answer]) -> None:
        """The real one."""
        at_once(self._store.answer(answers))

    def verdicts(self, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """The real one."""
        return at_once(self._store.verdicts(DEVICE, after_seq, limit))

    def acknowledge(self, verdict_seq: int) -> None:
        """The real one."""
        at_once(self._store.acknowledge(DEVICE, verdict_seq))

    def label(self, given: LabelGiven) -> LabelOutcome | None:
        """The real one."""
        try:
            return at_once(self._store.label(given))
        except CaseUnknownError:
            return None

    def receive_feedback(self, batch: FeedbackBatch, now_ns: int) -> FeedbackTaken:
        """The real one."""
        return at_once(self._store.receive_feedback(DEVICE, batch, (), now_ns))

    def renew_incarnation(self, now_ns: int) -> None:
        """The real one."""
        at_once(self._store.renew_incarnation(actor="admin", now_ns=now_ns))

    def forget(self, before_ns: int) -> Forgotten:
        """The real one."""
        return at_once(self._store.forget(before_ns))

    def backup(self) -> object:
        """The file, copied."""
        return self._raw.serialize()

    def put_back(self, copied: object) -> None:
        """The file, replaced."""
        assert isinstance(copied, bytes)
        self._raw.deserialize(copied)

    def stored(self) -> Stored:
        """What is there now."""
        rows = self._connection.execute(select(item).order_by(item.c.row_id)).all()
        asked = [row for row in rows if row.state != "repeated"]
        said = self._connection.execute(
            select(feedback.c.prediction_id).where(feedback.c.seq.is_not(None)).order_by(feedback.c.row_id)
        )
        return Stored(
            questions=tuple(PredictionId(row.prediction_id) for row in asked),
            waiting=frozenset(PredictionId(row.prediction_id) for row in asked if row.state == "waiting"),
            places=without_names((row.store_id, row.item_class, row.seq) for row in rows),
            log=self.verdicts(0, _ALL),
            judgements=tuple(PredictionId(row.prediction_id) for row in said),
        )

    def close(self) -> None:
        """Let it go."""
        self._connection.close()
        self._raw.close()

    async def _write_alone(self, gathering: Gathering[Any, Any], value: object) -> object:
        """Nobody else comes meanwhile."""
        (result,) = await self._write(lambda connection: gathering._job(connection, [value]))
        return result

    async def _write(self, job: Job[ResultT], *, patience_s: float = 0.0) -> ResultT:
        """In place of the writer's task: one transaction for one job."""
        del patience_s
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            result = await job(cast("Any", _Connected(self._connection)))
        except BaseException:
            self._raw.execute("ROLLBACK")
            raise
        self._raw.execute("COMMIT")
        return result
