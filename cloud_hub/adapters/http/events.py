"""Owns what open pages hear without asking: the durable outbox as server-sent events, and ticks about what only counts.

One task reads the outbox, whatever the number of open pages, and puts each event into the bounded queue of every page
that wants its topic. A page that comes back says what it heard last (`Last-Event-ID`) and gets the rest from the table;
when that is too much, or no longer kept, it is told to load itself anew (`reload`). So is one that reads too slowly.

What moves all the time (heartbeats, new cases) is told as a tick: no id, no content, at most one a second.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cloud_hub.adapters.http.gate import Caller
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import ABOUT_PEOPLE, EventId, EventKind, HubEvent
from cloud_hub.errors import InputProblem, RequestInvalidError, StorageError
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import EventOutbox, StreamBell
from protos.messages.escalation import Verdict

LIVE_PATH = "/live"
TICK_S = 1.0
STILL_HERE_S = 15.0
LOGIN_HOLDS_S = 5.0
RETRY_MS = 1000
MAX_TABS = 500
MAX_WAITING = 200
MAX_REPLAY = 500
_PAGE = 200
_MAX_DIGITS = 18
_LOOP = "live events"

logger = logging.getLogger(__name__)


class Topic(StrEnum):
    """What a page may listen to."""

    FLEET = "fleet"
    DEVICE = "device"
    CASES = "cases"
    REVIEW = "review"
    PACKS = "packs"


_REPORTS = frozenset({Topic.FLEET, Topic.DEVICE})
_ANSWERS = frozenset({Topic.CASES, Topic.REVIEW})
_DEVICE_NEWS = (Topic.FLEET, Topic.DEVICE)
_PACK_NEWS = (Topic.FLEET, Topic.DEVICE, Topic.PACKS)
_LABEL_NEWS = (Topic.DEVICE, Topic.CASES, Topic.REVIEW)

TOPICS: Mapping[EventKind, tuple[Topic, ...]] = {
    EventKind.DEVICE_ENROLLED: _DEVICE_NEWS,
    EventKind.DEVICE_ONLINE: _DEVICE_NEWS,
    EventKind.DEVICE_SILENT: _DEVICE_NEWS,
    EventKind.DEVICE_REMOVED: _DEVICE_NEWS,
    EventKind.PACK_PUBLISHED: (Topic.PACKS,),
    EventKind.PACK_DESIRED: _PACK_NEWS,
    EventKind.DESIRE_LIFTED: _PACK_NEWS,
    EventKind.DESIRE_ENDED: _PACK_NEWS,
    EventKind.PACK_DELAYED: _PACK_NEWS,
    EventKind.PACK_TRIAL: _PACK_NEWS,
    EventKind.PACK_INSTALLED: _PACK_NEWS,
    EventKind.PACK_REFUSED: _PACK_NEWS,
    EventKind.PACK_ROLLED_BACK: _PACK_NEWS,
    EventKind.POLICY_DESIRED: _DEVICE_NEWS,
    EventKind.CERTIFICATE_VOID: _DEVICE_NEWS,
    EventKind.RISK_CHANGED: _DEVICE_NEWS,
    EventKind.HUB_DISAGREES: _DEVICE_NEWS,
    EventKind.HUB_FAILS: _DEVICE_NEWS,
    EventKind.ESCALATES_MORE: _DEVICE_NEWS,
    EventKind.ESCALATES_LESS: _DEVICE_NEWS,
    EventKind.INPUTS_MOVED: _DEVICE_NEWS,
    EventKind.HUB_RESTORED: (Topic.FLEET,),
    EventKind.LABEL_GIVEN: _LABEL_NEWS,
    EventKind.FEEDBACK_RECEIVED: _LABEL_NEWS,
    **dict.fromkeys(ABOUT_PEOPLE, ()),
}
"""Who hears of what; what concerns people only is on no topic."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What one page listens to; `device` narrows the topic of that name to one device, "site/device"."""

    topics: frozenset[Topic]
    device: str | None = None

    def of(self, event: HubEvent) -> tuple[Topic, ...]:
        """Say on which topics this page hears of an event."""
        wanted = tuple(topic for topic in TOPICS[event.kind] if topic in self.topics)
        if self.device is not None and _address(event.device) != self.device:
            return tuple(topic for topic in wanted if topic is not Topic.DEVICE)
        return wanted


@dataclass(slots=True, eq=False)
class Tab:
    """One open stream: what it has heard, and what it has yet to be told."""

    caller: Caller
    wish: Wish
    cursor: EventId | None
    waiting: deque[HubEvent] = field(default_factory=deque)
    ticks: set[Topic] = field(default_factory=set)
    is_behind: bool = False
    is_over: bool = False
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, events: Sequence[HubEvent]) -> None:
        """Queue events; one that reads too slowly is told to load itself anew."""
        self.waiting.extend(event for event in events if self.wish.of(event))
        if len(self.waiting) > MAX_WAITING:
            self.waiting.clear()
            self.is_behind = True
        self.bell.set()

    def tick(self, topics: frozenset[Topic]) -> None:
        """Note that something has moved; ticks that nobody has read yet are one."""
        self.ticks |= topics & self.wish.topics
        if self.ticks:
            self.bell.set()

    def end(self) -> None:
        """Say that no more will come."""
        self.is_over = True
        self.bell.set()


class Live:
    """The event streams of all open pages; also the bell that answers and labels ring, which it rings on.

    Args:
        outbox: What happened.
        streams: The devices' own streams.
        metrics: Counts failures of the loop.
        tick_s: Least time between two ticks.
        still_here_s: How long a stream may be silent.
        login_holds_s: How often it is checked that a stream's login still holds, however much is told.
    """

    def __init__(
        self,
        outbox: EventOutbox,
        streams: StreamBell,
        metrics: HubMetrics,
        *,
        tick_s: float = TICK_S,
        still_here_s: float = STILL_HERE_S,
        login_holds_s: float = LOGIN_HOLDS_S,
    ) -> None:
        self._outbox = outbox
        self._streams = streams
        self._metrics = metrics
        self._tick_s = tick_s
        self._still_here_s = still_here_s
        self._login_holds_s = login_holds_s
        self._tabs: set[Tab] = set()
        self._has_tabs = asyncio.Event()
        self._follows = asyncio.Event()
        self._last = EventId(0)
        self._rung = 0
        self._ticked_at_s = 0.0
        self._told: tuple[int, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def open(self) -> None:
        """Start following the outbox."""
        self._task = asyncio.create_task(self._run(), name="live")

    async def close(self) -> None:
        """End every stream and stop; a second call does nothing."""
        self._is_closed = True
        self._follows.set()
        for tab in self._tabs:
            tab.end()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def ring(self, logged: Sequence[tuple[DeviceKey, Verdict]]) -> None:
        """Ring the devices' streams, and note that cases have moved."""
        self._streams.ring(logged)
        self._rung += len(logged)

    def sign_out(self, secret: str) -> None:
        """End the streams of a login.

        Args:
            secret: The session's.
        """
        for tab in self._tabs:
            if tab.caller.secret == secret:
                tab.end()

    async def view(self, request: Request) -> Response:
        """Answer `GET /live?topics=fleet,device:SITE/DEVICE,…`.

        Raises:
            RequestInvalidError: A topic or a cursor is not one.
            HTTPException: Too many streams are open.
            StorageError: The database does not answer.
        """
        wish = _wish(request.query_params.get("topics", ""))
        cursor = _cursor(request.headers.get("Last-Event-ID") or request.query_params.get("after", ""))
        if len(self._tabs) >= MAX_TABS:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "too many pages listen to this hub: close some")
        state = request.state
        return _EventStream(self, Tab(state.caller, wish, cursor), state.is_current)

    @contextlib.contextmanager
    def listening(self, tab: Tab) -> Iterator[None]:
        """Keep a stream in the list for as long as the block lasts."""
        if self._is_closed:
            tab.end()
        self._tabs.add(tab)
        self._has_tabs.set()
        try:
            yield
        finally:
            self._tabs.discard(tab)

    async def frames(self, tab: Tab, is_current: Callable[[], Awaitable[bool]]) -> AsyncGenerator[str, None]:
        """Write a stream, first what was missed; it ends with its login, the page, or the hub.

        Args:
            tab: The stream, in the list.
            is_current: Says whether its login still holds.

        Yields:
            Server-sent events and comments.

        Raises:
            StorageError: The database does not answer.
        """
        await self._follows.wait()
        for frame in () if tab.is_over else await self._missed(tab):
            yield frame
        now_s = time.monotonic()
        check_at_s, silent_until_s = now_s + self._login_holds_s, now_s + self._still_here_s
        while not tab.is_over:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(tab.bell.wait(), max(0.0, min(check_at_s, silent_until_s) - now_s))
            tab.bell.clear()
            now_s = time.monotonic()
            if now_s >= check_at_s:
                if not await is_current():
                    return
                check_at_s = now_s + self._login_holds_s
            for frame in self._due(tab):
                silent_until_s = now_s + self._still_here_s
                yield frame
            if now_s >= silent_until_s:
                silent_until_s = now_s + self._still_here_s
                yield ": still here\n\n"

    async def _missed(self, tab: Tab) -> Sequence[str]:
        """What happened since the page last heard, or that it was too much to tell."""
        oldest, newest = await self._outbox.event_span()
        if tab.cursor is None:
            tab.cursor = newest
        opening = f"retry: {RETRY_MS}\nid: {tab.cursor}\n\n"
        if tab.cursor > newest or tab.cursor + 1 < oldest or newest - tab.cursor > MAX_REPLAY:
            tab.cursor = newest
            return (opening, _reload(newest))
        events = await self._outbox.events(tab.cursor, MAX_REPLAY)
        tab.cursor = events[-1].event_id if events else tab.cursor
        return (opening, *(_frame(event, tab.wish) for event in events))

    def _due(self, tab: Tab) -> Iterator[str]:
        """What waits for a page; what it was told by the table already is left out."""
        if tab.is_behind:
            tab.is_behind, tab.cursor = False, self._last
            yield _reload(self._last)
        while tab.waiting:
            event = tab.waiting.popleft()
            if tab.cursor is None or event.event_id > tab.cursor:
                tab.cursor = event.event_id
                yield _frame(event, tab.wish)
        while tab.ticks:
            yield f'event: {tab.ticks.pop()}\ndata: {{"kind": "tick"}}\n\n'

    async def _run(self) -> None:
        while True:
            try:
                await self._has_tabs.wait()
                await self._follow()
            except Exception:  # the top of this loop: whatever broke, the events are still in the outbox
                logger.exception("live_events_failed")
                self._metrics.loop_failures.labels(_LOOP).inc()
                await asyncio.sleep(self._tick_s)

    async def _follow(self) -> None:
        """Read on from where it was; with nobody there, forget the place."""
        if not self._follows.is_set():
            self._last = (await self._outbox.event_span())[1]
            self._follows.set()
        while self._tabs:
            if await self._outbox.wait_for_event(self._last, self._tick_s):
                events = await self._outbox.events(self._last, _PAGE)
                self._last = events[-1].event_id if events else self._last
                for tab in self._tabs:
                    tab.tell(events)
            self._tick()
        self._follows.clear()
        self._has_tabs.clear()

    def _tick(self) -> None:
        now_s = time.monotonic()
        if now_s - self._ticked_at_s < self._tick_s:
            return
        self._ticked_at_s = now_s
        heard, rung = self._outbox.reports_stored, self._rung
        before, self._told = self._told, (heard, rung)
        if before is None or before == self._told:
            return
        moved = (_REPORTS if heard != before[0] else frozenset()) | (_ANSWERS if rung != before[1] else frozenset())
        for tab in self._tabs:
            tab.tick(moved)


class _EventStream(Response):
    """Writes a stream until it ends or the page is gone."""

    media_type = "text/event-stream"

    def __init__(self, live: Live, tab: Tab, is_current: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["Content-Length"]
        self._live = live
        self._tab = tab
        self._is_current = is_current

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(_until_gone(receive, self._tab), name="live-page")
        try:
            with self._live.listening(self._tab):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async with contextlib.aclosing(self._live.frames(self._tab, self._is_current)) as frames:
                    async for frame in frames:
                        await send({"type": "http.response.body", "body": frame.encode(), "more_body": True})
        except (StorageError, OSError):
            logger.info("live_stream_broken")  # the page comes back by itself, and says what it heard last
        finally:
            leaving.cancel()
        with contextlib.suppress(OSError):  # the page is gone
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive, tab: Tab) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    tab.end()


def _frame(event: HubEvent, wish: Wish) -> str:
    """One event on each topic that the page wants; the id comes with the last, so none is lost in between."""
    data = json.dumps({"kind": event.kind, "device": _address(event.device), "subject": event.subject})
    told = "".join(f"event: {topic}\ndata: {data}\n\n" for topic in wish.of(event))
    head, _, last = told.rpartition("event: ")
    return f"{head}id: {event.event_id}\nevent: {last}" if told else f"id: {event.event_id}\n\n"


def _reload(newest: EventId) -> str:
    return f"id: {newest}\nevent: reload\ndata: {{}}\n\n"


def _address(device: DeviceKey | None) -> str | None:
    return None if device is None else f"{device.site_id}/{device.device_id}"


def _wish(text: str) -> Wish:
    topics: set[Topic] = set()
    device: str | None = None
    for name in text.split(","):
        topic, _, narrowed = name.partition(":")
        if topic not in tuple(Topic) or (narrowed and topic != Topic.DEVICE):
            known = ", ".join(Topic)
            problem = f"{name[:60]!r} is no topic: take one or more of {known}, or device:SITE/DEVICE"
            raise RequestInvalidError((InputProblem("topics", problem),))
        topics.add(Topic(topic))
        device = narrowed or device
    return Wish(frozenset(topics), device)


def _cursor(text: str) -> EventId | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise RequestInvalidError((InputProblem("after", f"{text[:60]!r} is no event id: take a number of an event"),))
    return EventId(int(text))
