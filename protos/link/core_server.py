"""Owns a gRPC server that answers short calls in the thread that reads them: on gRPC core's own completion queue.

The servers that gRPC has for Python change threads once or twice for each call, which is most of what a call of a small
model costs (`docs/adr/0015-a-server-on-the-completion-queue.md`). Here one thread waits on the queue, and a method that
can answer at once does so there, or answers together what came together. Whatever takes longer goes on as a coroutine
on an asyncio loop, in another thread.

What it stands on, `grpc._cython.cygrpc`, is what gRPC's own two servers are built on, and is not documented: the names
used are all in this module, and `pyproject.toml` admits only versions of grpcio that the tests have seen. Which methods
there are, and what they do, is `protos/oip/methods.py`'s and the apps'.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeVar

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # nobody describes it

Metadata = Sequence[tuple[str, str | bytes]]
GoesOn = Callable[[], Coroutine[Any, Any, bytes]]
T = TypeVar("T")

_NO_FLAGS: Final = 0
_AT_ONCE: Final = 0.0  # a deadline that has passed
_WAVE: Final = 64  # so many events after a post wake the loop although more come; so many calls are a whole wave
_WAVE_EVENTS: Final = 256  # so many events after a call joined a wave end it although other calls come
_NEVER_S: Final = 1e12  # Unix time; the core says a deadline that is none as the end of time
_OK: Final = grpc.StatusCode.OK.value[0]

logger = logging.getLogger(__name__)


class AbortError(Exception):
    """A call ends with a status instead of an answer; raised by what a method does.

    Args:
        code: The status.
        details: What the caller reads.
        trailing: Metadata beside it.
    """

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailing = tuple(trailing)


@dataclass(frozen=True, slots=True)
class Unary:
    """A method of one request and one answer.

    Attributes:
        at_once: Called with (message, call) on the server's own thread, so it must be short. Its result is the answer's
            message, or a coroutine function that will give it on the loop, or `Joins`. It raises AbortError to refuse,
            and so does the coroutine.
    """

    at_once: "AtOnce"


@dataclass(frozen=True, slots=True)
class Streaming:
    """A method in which both sides stream.

    Attributes:
        answers: Called with (messages, call) on the loop: the messages of the answer. The next one is asked for when
            the transport took the one before.
    """

    answers: Callable[[AsyncIterator[bytes], "CoreCall"], AsyncGenerator[bytes, None]]


class Joins(NamedTuple):
    """A call is answered together with those that come with it: when nothing more is there, or soon although there is.

    Attributes:
        together: Called with the items that joined it, at least one, on the server's own thread, so it must be short.
            Its results, in that order, are messages, refusals or coroutine functions.
        item: Stands for the call.
    """

    together: "Together"
    item: Any


class CoreCall:
    """One call: who calls, how long it may take; any thread may ask.

    Args:
        server: Whose.
        event: In which the core told of it.
    """

    __slots__ = ("_at_once", "_core", "_deadline_s", "_has_begun", "_metadata", "_server", "_task")

    def __init__(self, server: "CoreServer", event: Any) -> None:  # noqa: ANN401 - the core's
        self._server = server
        self._core = event.call
        self._deadline_s: float = event.call_details.deadline
        self._metadata: Metadata = event.invocation_metadata
        self._at_once: AtOnce
        self._task: asyncio.Task[None] | None = None
        self._has_begun = False

    def peer(self) -> str:
        """Who calls, as gRPC names it: `ipv4:127.0.0.1:40000`."""
        peer = self._core.peer()
        return peer.decode() if isinstance(peer, bytes) else str(peer)

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None: it has none."""
        return max(0.0, self._deadline_s - time.time()) if self._deadline_s < _NEVER_S else None

    def invocation_metadata(self) -> Metadata:
        """What the caller sent beside its messages."""
        return self._metadata

    # On the server's own thread.

    def begin(self, method: Unary | Streaming | None) -> None:
        """Read what is sent, and answer it; nothing is read for a method that there is not."""
        if method is None:
            self._refuse(AbortError(grpc.StatusCode.UNIMPLEMENTED, "there is no such method"), watches=True)
            return
        if isinstance(method, Streaming):
            self._go_on(partial(self._streamed, method))
            return
        self._at_once = method.at_once
        self._core.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), self._received)

    def _refuse(self, error: AbortError, *, watches: bool = False) -> None:
        status = cygrpc.SendStatusFromServerOperation(
            error.trailing, error.code.value[0], error.details.encode(), _NO_FLAGS
        )
        self._send((status,), watches=watches)

    def _received(self, event: Any) -> None:  # noqa: ANN401 - the core's
        data = event.batch_operations[0].message()
        if data is None:
            self._refuse(AbortError(grpc.StatusCode.INTERNAL, "the call ended without a request"), watches=True)
            return
        try:
            answer = self._at_once(data, self)
        except AbortError as error:
            self._refuse(error, watches=True)
        except Exception:  # the top of a call: told, logged, and the next one is served
            logger.exception("call_failed")
            self._refuse(_failure(), watches=True)
        else:
            if isinstance(answer, Joins):
                self._server.join(self, answer)
            else:
                self.take(answer)

    def take(self, answer: "Answer") -> None:
        """Answer, refuse, or let the loop go on."""
        if isinstance(answer, bytes):
            self._answer(answer, watches=True)
        elif isinstance(answer, AbortError):
            self._refuse(answer, watches=True)
        else:
            self._go_on(partial(self._finished, answer))

    def _go_on(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let the loop do the rest, and watch whether the caller stays."""
        self._core.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), self._closed)
        self._server.on_loop(self._start, self._to_its_end(work))

    def _closed(self, event: Any) -> None:  # noqa: ANN401 - the core's
        if event.batch_operations[0].cancelled():
            self._server.on_loop(self._cancel)

    def _answer(self, data: bytes, *, watches: bool = False) -> None:
        """Send the only answer, and the status behind it."""
        message = cygrpc.SendMessageOperation(data, _NO_FLAGS)
        self._send((message, cygrpc.SendStatusFromServerOperation((), _OK, b"", _NO_FLAGS)), watches=watches)

    def _send(
        self, operations: tuple[Any, ...], *, watches: bool = False, tag: Callable[[Any], None] | None = None
    ) -> None:
        if watches:  # the core keeps a call until somebody has heard of its end
            operations = (*operations, cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS))
        if not self._has_begun:
            self._has_begun = True
            operations = (cygrpc.SendInitialMetadataOperation((), _NO_FLAGS), *operations)
        self._core.start_server_batch(operations, _nothing_to_do if tag is None else tag)

    # On the loop.

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._server.keep(asyncio.ensure_future(work))

    def _cancel(self) -> None:
        task, self._task = self._task, None  # its CancelledError holds frames, which hold the call: no ring
        if task is not None:
            task.cancel()

    async def _to_its_end(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except AbortError as error:
            self._refuse(error)
        except asyncio.CancelledError:
            self._refuse(_cancellation())
            raise
        except Exception:  # the top of a call: told, logged, and the next one is served
            logger.exception("call_failed")
            self._refuse(_failure())

    async def _finished(self, goes_on: GoesOn) -> None:
        self._answer(await goes_on())

    async def _streamed(self, method: Streaming) -> None:
        async with aclosing(method.answers(self._messages(), self)) as answers:
            async for data in answers:
                await self._sent(data)
        self._send((cygrpc.SendStatusFromServerOperation((), _OK, b"", _NO_FLAGS),))

    async def _messages(self) -> AsyncIterator[bytes]:
        while (data := await self._next()) is not None:
            yield data

    async def _next(self) -> bytes | None:
        """The next message; None when the caller sends no more."""
        told: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def received(event: Any) -> None:  # noqa: ANN401 - the core's
            self._server.on_loop(_resolve, told, event.batch_operations[0].message())

        self._core.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), received)
        return await told

    async def _sent(self, data: bytes) -> None:
        """Send a message of a stream, and wait until the transport took it."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def sent(_event: Any) -> None:  # noqa: ANN401 - the core's
            self._server.on_loop(_resolve, told, None)

        self._send((cygrpc.SendMessageOperation(data, _NO_FLAGS),), tag=sent)
        await told


Answer = bytes | AbortError | GoesOn
AtOnce = Callable[[bytes, CoreCall], bytes | GoesOn | Joins]
Together = Callable[[Sequence[Any]], Sequence[Answer]]


class CoreServer:
    """The server; made, started and stopped on the loop of its coroutines.

    Args:
        methods: By path: `/package.Service/Method`.
        options: Of the core: name and value.
        name: Of its thread.
    """

    def __init__(self, methods: Mapping[str, Unary | Streaming], options: Sequence[tuple[str, Any]], name: str) -> None:
        self._methods = {path.encode(): method for path, method in methods.items()}
        self._loop = asyncio.get_running_loop()
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(options), False)  # its address is not from xDS
        self._server.register_completion_queue(self._queue)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._posted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._has_untold = False
        self._wave: list[tuple[CoreCall, Joins]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._lock = threading.Lock()
        self._is_stopping = False

    def bind(self, address: str, certificate: tuple[bytes, bytes] | None = None) -> int:
        """Take an address; before `start`.

        Args:
            address: `host:port`; port 0 takes a free one.
            certificate: Private key and certificate with its chain, PEM; None serves plain text.

        Returns:
            The port.

        Raises:
            OSError: It cannot be bound.
        """
        if certificate is None:
            port = self._server.add_http2_port(address.encode())
        else:
            credentials: Any = grpc.ssl_server_credentials([certificate])
            port = self._server.add_http2_port(address.encode(), credentials._credentials)  # noqa: SLF001 - the core's
        if not port:
            raise OSError(f"{address} cannot be bound")
        return int(port)

    def start(self) -> None:
        """Serve."""
        self._server.start()
        self._server.request_call(self._queue, self._queue, self._called)
        self._thread.start()

    async def stop(self, grace_s: float) -> None:
        """Let calls end, then cut them; a second call does nothing.

        Args:
            grace_s: How long they may take to end.
        """
        with self._lock:  # a call is asked for, or the server stops
            if self._is_stopping:
                return
            self._is_stopping = True
            if not self._thread.is_alive():
                return
            self._server.shutdown(self._queue, self._shut_down)
        try:
            async with asyncio.timeout(grace_s):
                await self._ended.wait()
        except TimeoutError:
            self._server.cancel_all_calls()
            await self._ended.wait()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        self._queue.shutdown()
        self._thread.join()
        self._server.destroy()  # else the core keeps it

    def on_loop(self, work: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401 - of `work`
        """Have something done on the loop; for the server's own thread, which wakes it soon."""
        self._posted.append((work, arguments))
        self._has_untold = True

    def join(self, call: CoreCall, joins: Joins) -> None:
        """Have a call answered with its wave; for the server's own thread, which does so soon."""
        self._wave.append((call, joins))

    def keep(self, task: "asyncio.Task[None]") -> "asyncio.Task[None]":
        """Keep a call's task until it has ended."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _do_posted(self) -> None:
        while self._posted:
            work, arguments = self._posted.popleft()
            work(*arguments)

    def _run(self) -> None:
        """The thread: tags of what the core has done are called with its event; the loop is woken once for a wave."""
        is_open = True
        n_waited = n_joined = 0  # events since a post, and since a call joined; calls at once need not ever pause
        while is_open:
            try:
                event = self._queue.poll(_AT_ONCE if self._has_untold or self._wave else None)
            except MemoryError:  # for this message there was no room; the next call is served
                logger.exception("core_event_failed")
                continue
            is_open = event.completion_type != cygrpc.CompletionType.queue_shutdown
            if self._wave:
                n_joined += 1
                if event.tag is None or len(self._wave) >= _WAVE or n_joined >= _WAVE_EVENTS:
                    n_joined = 0
                    self._answer_wave()
            if self._has_untold:
                n_waited += 1
                if event.tag is None or n_waited >= _WAVE:
                    self._has_untold, n_waited = False, 0
                    self._loop.call_soon_threadsafe(self._do_posted)
            if event.tag is not None:
                self._tell(event.tag, event)
            event = None  # a call that has ended is let go before the next wait

    def _answer_wave(self) -> None:
        """Answer the calls that came together."""
        wave, self._wave = self._wave, []
        for together, joined in groupby(wave, lambda one: one[1].together):
            for call, answer in _answered(together, list(joined)):
                self._tell(call.take, answer)

    def _tell(self, told: Callable[[Any], None], what: Any) -> None:  # noqa: ANN401 - the core's, or an answer
        try:
            told(what)
        except Exception:  # the top of the thread: logged, and the next call is served
            logger.exception("core_event_failed")

    def _called(self, event: Any) -> None:  # noqa: ANN401 - the core's
        if not event.success:  # it takes no more calls
            return
        with self._lock:
            if not self._is_stopping:
                self._server.request_call(self._queue, self._queue, self._called)
        CoreCall(self, event).begin(self._methods.get(event.call_details.method))

    def _shut_down(self, _event: Any) -> None:  # noqa: ANN401 - the core's
        self.on_loop(self._ended.set)  # behind what was posted before it: a call that begins is among `_tasks`


def _answered(together: Together, joined: Sequence[tuple[CoreCall, Joins]]) -> list[tuple[CoreCall, Answer]]:
    calls = [call for call, _ in joined]
    try:
        return list(zip(calls, together([joins.item for _, joins in joined]), strict=True))
    except Exception:  # the top of these calls: told, logged, and the next ones are served
        logger.exception("calls_failed")
        return [(call, _failure()) for call in calls]


def _failure() -> AbortError:
    return AbortError(grpc.StatusCode.INTERNAL, "the server failed; its log says why")


def _cancellation() -> AbortError:
    return AbortError(grpc.StatusCode.CANCELLED, "the call was cut off")


def _nothing_to_do(_event: Any) -> None:  # noqa: ANN401 - the core's
    pass


def _resolve(told: "asyncio.Future[T]", value: T) -> None:
    if not told.done():
        told.set_result(value)
