"""Open pages hear what happens, once and in order, from where they were; nobody who reads slowly costs memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from cloud_hub.adapters.http.events import MAX_REPLAY, MAX_TABS, MAX_WAITING, TOPICS, Live, Tab, Topic, Wish
from cloud_hub.adapters.http.gate import Caller
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventId, EventKind, HubEvent
from cloud_hub.core.people import Person, Role
from cloud_hub.errors import RequestInvalidError, StorageError
from cloud_hub.metrics import HubMetrics
from model_packs.process.metrics import Registry
from protos.messages.escalation import Verdict
from tests.simulators.loops import in_loop

PRESS, BAND = DeviceKey("o", "hall", "press"), DeviceKey("o", "hall", "band")
VERA = Caller(Person("vera", Role.VIEWER, 1), "secret", "csrf")
ALL = frozenset(Topic)
TICK_S = 0.01


@dataclass
class FakeOutbox:
    """Events in memory; ``fails`` makes the next reads fail."""

    stored: list[HubEvent] = field(default_factory=list)
    reports_stored: int = 0
    fails: int = 0
    dropped: int = 0
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, kind: EventKind, device: DeviceKey | None = None, subject: str = "") -> EventId:
        """Something happens."""
        event_id = EventId(self.dropped + len(self.stored) + 1)
        self.stored.append(HubEvent(event_id=event_id, at_ns=1, kind=kind, device=device, subject=subject))
        self.bell.set()
        return event_id

    async def events(self, after_id: EventId, limit: int, device: DeviceKey | None = None) -> tuple[HubEvent, ...]:
        """Read on."""
        if self.fails:
            self.fails -= 1
            raise StorageError("the disk is gone")
        assert device is None
        return tuple(event for event in self.stored if event.event_id > after_id)[:limit]

    async def event_span(self) -> tuple[EventId, EventId]:
        """First and last."""
        ids = [event.event_id for event in self.stored] or [EventId(0)]
        return ids[0], ids[-1]

    async def wait_for_event(self, after_id: EventId, timeout_s: float) -> bool:
        """Wait for ``add``."""
        if (await self.event_span())[1] > after_id:
            return True
        self.bell.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.bell.wait(), timeout_s)
        return (await self.event_span())[1] > after_id


class FakeStreams:
    """Counts what is rung on."""

    def __init__(self) -> None:
        self.rung = 0

    def ring(self, logged: object) -> None:
        """Note it."""
        assert isinstance(logged, list)
        self.rung += len(logged)


@contextlib.asynccontextmanager
async def following(
    outbox: FakeOutbox, *, still_here_s: float = 60.0, login_holds_s: float = 60.0
) -> AsyncIterator[Live]:
    """A running feed."""
    live = Live(
        outbox,
        FakeStreams(),
        HubMetrics(Registry()),
        tick_s=TICK_S,
        still_here_s=still_here_s,
        login_holds_s=login_holds_s,
    )
    live.open()
    try:
        yield live
    finally:
        await live.close()


async def always() -> bool:
    """The login holds."""
    return True


async def until(
    live: Live,
    tab: Tab,
    last: str,
    is_current: Callable[[], Awaitable[bool]] = always,
    opened: asyncio.Event | None = None,
) -> list[str]:
    """Frames up to the first that holds ``last``; ``opened`` is set with the first of all."""
    frames: list[str] = []
    with live.listening(tab):
        async with contextlib.aclosing(live.frames(tab, is_current)) as stream:
            async for frame in stream:
                frames.append(frame)
                if opened is not None:
                    opened.set()
                if last in frame:
                    return frames
    return frames


def test_each_kind_has_its_topics_and_people_are_on_none() -> None:
    """The table is total; what concerns people only is told to nobody's page."""
    assert set(TOPICS) == set(EventKind)
    for kind in (EventKind.PERSON_ADDED, EventKind.SIGNED_IN, EventKind.SIGN_IN_REFUSED, EventKind.TOKEN_MADE):
        assert TOPICS[kind] == ()


@in_loop
async def test_a_page_starts_now_and_hears_each_event_on_each_of_its_topics() -> None:
    """The opening tells the place; one event on two topics carries its id with the last, so none is lost between."""
    outbox = FakeOutbox()
    outbox.add(EventKind.PACK_PUBLISHED, subject="old")
    async with following(outbox) as live:
        tab = Tab(VERA, Wish(frozenset({Topic.FLEET, Topic.PACKS})), None)
        opened = asyncio.Event()
        reading = asyncio.create_task(until(live, tab, "id: 3", opened=opened))
        await opened.wait()
        outbox.add(EventKind.LABEL_GIVEN, PRESS)
        outbox.add(EventKind.PACK_REFUSED, PRESS, 'a\n"b')
        data = '{"kind": "pack_refused", "device": "hall/press", "subject": "a\\n\\"b"}'
        told = f"event: fleet\ndata: {data}\n\nid: 3\nevent: packs\ndata: {data}\n\n"
        assert await reading == ["retry: 1000\nid: 1\n\n", told]


@in_loop
async def test_a_page_that_comes_back_gets_what_it_missed_exactly_once() -> None:
    """Replay and what happens meanwhile overlap; each event comes once, in order."""
    outbox = FakeOutbox()
    for number in range(5):
        outbox.add(EventKind.PACK_PUBLISHED, subject=str(number))
    async with following(outbox) as live:
        tab = Tab(VERA, Wish(ALL), EventId(2))
        reading = asyncio.create_task(until(live, tab, "id: 7"))
        await asyncio.sleep(0)
        for number in (5, 6):
            outbox.add(EventKind.PACK_PUBLISHED, subject=str(number))
        ids = [line for frame in await reading for line in frame.splitlines() if line.startswith("id:")]
        assert ids == ["id: 2", "id: 3", "id: 4", "id: 5", "id: 6", "id: 7"]


@pytest.mark.parametrize(("cursor", "kept_from"), [(9_000, 1), (1, 1), (3, 10)])
@in_loop
async def test_a_gap_that_cannot_be_told_makes_the_page_load_itself_anew(cursor: int, kept_from: int) -> None:
    """A cursor of another database, one too far behind, and one whose events are deleted: reload, then go on."""
    outbox = FakeOutbox(dropped=kept_from - 1)
    for _ in range(MAX_REPLAY + 5):
        outbox.add(EventKind.PACK_PUBLISHED)
    newest = outbox.stored[-1].event_id
    async with following(outbox) as live:
        frames = await until(live, Tab(VERA, Wish(ALL), EventId(cursor)), "reload")
        assert frames[1:] == [f"id: {newest}\nevent: reload\ndata: {{}}\n\n"]


@in_loop
async def test_a_page_that_reads_too_slowly_is_told_to_load_itself_anew() -> None:
    """Its queue is bounded; what did not fit is one word."""
    tab = Tab(VERA, Wish(ALL), EventId(0))
    event = HubEvent(event_id=EventId(1), at_ns=1, kind=EventKind.PACK_PUBLISHED)
    for _ in range(MAX_WAITING):
        tab.tell([event])
    assert (len(tab.waiting), tab.is_behind) == (MAX_WAITING, False)
    tab.tell([event])
    assert (len(tab.waiting), tab.is_behind) == (0, True)
    async with following(FakeOutbox()) as live:
        assert (await until(live, tab, "reload"))[-1].startswith("id: 0\nevent: reload")


@in_loop
async def test_a_device_page_hears_of_its_device_only() -> None:
    """`device:SITE/DEVICE` narrows that topic, and no other."""
    outbox = FakeOutbox()
    async with following(outbox) as live:
        tab = Tab(VERA, Wish(frozenset({Topic.DEVICE, Topic.CASES}), "hall/band"), EventId(0))
        reading = asyncio.create_task(until(live, tab, "id: 3"))
        outbox.add(EventKind.DEVICE_SILENT, PRESS)
        outbox.add(EventKind.LABEL_GIVEN, PRESS)
        outbox.add(EventKind.DEVICE_SILENT, BAND)
        text = "".join(await reading)
        assert text.count("event: device") == 1
        assert text.count("event: cases") == 1


@in_loop
async def test_heartbeats_and_answers_are_ticks_without_an_id() -> None:
    """What moves all the time is told without content; answers ring the devices' streams, too."""
    outbox, streams = FakeOutbox(), FakeStreams()
    live = Live(outbox, streams, HubMetrics(Registry()), tick_s=TICK_S)
    live.open()
    tab = Tab(VERA, Wish(frozenset({Topic.FLEET, Topic.REVIEW})), None)

    async def moving() -> None:
        while True:
            outbox.reports_stored += 1
            live.ring(list[tuple[DeviceKey, Verdict]]())
            await asyncio.sleep(TICK_S)

    task = asyncio.create_task(moving())
    try:
        frames = await until(live, tab, "event: fleet")
        assert frames[-1] == 'event: fleet\ndata: {"kind": "tick"}\n\n'
        assert not any("event: review" in frame for frame in frames)
    finally:
        task.cancel()
        await live.close()


@in_loop
async def test_a_stream_ends_with_its_login_and_with_the_hub() -> None:
    """Signing out ends the streams of that login only; one that no longer holds is found; the hub's end ends all."""
    outbox = FakeOutbox()
    async with following(outbox, still_here_s=TICK_S, login_holds_s=TICK_S) as live:
        other = Caller(VERA.person, "another secret", "csrf")
        mine, theirs = Tab(VERA, Wish(ALL), None), Tab(other, Wish(ALL), None)
        opened = [asyncio.Event(), asyncio.Event()]
        readings = [
            asyncio.create_task(until(live, tab, "never", opened=event))
            for tab, event in zip((mine, theirs), opened, strict=True)
        ]
        for event in opened:
            await event.wait()
        live.sign_out("secret")
        frames = await readings[0]
        assert set(frames[1:]) <= {": still here\n\n"}
        assert not readings[1].done()

        async def over() -> bool:
            return False

        assert await until(live, Tab(VERA, Wish(ALL), None), "never", over) == ["retry: 1000\nid: 0\n\n"]
    await readings[1]
    assert await until(live, Tab(VERA, Wish(ALL), None), "never") == []


@in_loop
async def test_a_stream_of_somebody_removed_ends_also_while_the_fleet_is_busy() -> None:
    """The login is asked for by the clock, not in silence: heartbeats that never pause keep nobody in."""
    outbox = FakeOutbox()

    async def removed() -> bool:
        return False

    async def moving() -> None:
        while True:
            outbox.reports_stored += 1
            await asyncio.sleep(TICK_S)

    async with following(outbox, login_holds_s=3 * TICK_S) as live:
        task = asyncio.create_task(moving())
        try:
            async with asyncio.timeout(30):
                await until(live, Tab(VERA, Wish(ALL), None), "never", removed)
        finally:
            task.cancel()


@in_loop
async def test_the_feed_goes_on_after_the_database_failed() -> None:
    """A read that fails is counted and tried again; nothing that happened is lost for who stays."""
    outbox = FakeOutbox()
    async with following(outbox) as live:
        tab = Tab(VERA, Wish(ALL), None)
        opened = asyncio.Event()
        reading = asyncio.create_task(until(live, tab, "id: 1", opened=opened))
        await opened.wait()
        outbox.fails = 2
        outbox.add(EventKind.PACK_PUBLISHED)
        assert "id: 1" in (await reading)[-1]
        assert outbox.fails == 0


@pytest.mark.parametrize(
    "query", ["", "topics=", "topics=fleet,nothing", "topics=fleet:hall/press", "topics=fleet&after=-1"]
)
@in_loop
async def test_a_wish_that_is_none_is_refused_by_name(query: str) -> None:
    """An unknown topic and a cursor that is no number are named."""
    live = Live(FakeOutbox(), FakeStreams(), HubMetrics(Registry()))
    with pytest.raises(RequestInvalidError, match="is no"):
        await live.view(request(query))


@in_loop
async def test_the_number_of_streams_is_bounded() -> None:
    """Beyond the bound a page is told, and the others go on."""
    live = Live(FakeOutbox(), FakeStreams(), HubMetrics(Registry()))
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_TABS):
            stack.enter_context(live.listening(Tab(VERA, Wish(ALL), None)))
        with pytest.raises(HTTPException) as caught:
            await live.view(request("topics=fleet"))
        assert caught.value.status_code == HTTPStatus.SERVICE_UNAVAILABLE


@in_loop
async def test_a_page_that_is_gone_leaves_nothing_behind() -> None:
    """The stream ends when the browser closes it, while it waits."""
    outbox = FakeOutbox()
    gone = asyncio.Event()
    sent: list[Message] = []

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if b"id:" in message.get("body", b""):
            gone.set()

    async with following(outbox) as live:
        response = await live.view(request("topics=fleet"))
        await response({"type": "http"}, receive, send)
    assert (sent[0]["status"], sent[-1]["more_body"]) == (200, False)


def request(query: str) -> Request:
    """A request behind the gate."""
    made = Request({"type": "http", "method": "GET", "path": "/live", "query_string": query.encode(), "headers": []})
    made.state.caller, made.state.is_current = VERA, always
    return made
