"""The server on the core's completion queue: answers at once and later, streams, refusals, who leaves, its end."""

import asyncio
import gc
import logging
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import pytest

from protos.link.core_server import AbortError, Answer, AtOnce, CoreCall, CoreServer, GoesOn, Joins, Streaming, Unary
from protos.link.tls import SERVER_OPTIONS
from tests.simulators.network import LOOPBACK

DEADLINE_S = 30.0
THREAD = "core-test"


@asynccontextmanager
async def serving(**methods: Unary | Streaming) -> AsyncIterator[tuple[CoreServer, grpc.aio.Channel]]:
    """A server of some methods, and a channel to it."""
    server = CoreServer({f"/a.B/{name}": method for name, method in methods.items()}, SERVER_OPTIONS, THREAD)
    port = server.bind(f"{LOOPBACK}:0")
    server.start()
    try:
        async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
            yield server, channel
    finally:
        await server.stop(1.0)


def unary(channel: grpc.aio.Channel, name: str) -> Any:  # noqa: ANN401 - a multicallable
    """A method of one request and one answer."""
    return channel.unary_unary(f"/a.B/{name}")


def streaming(channel: grpc.aio.Channel) -> Any:  # noqa: ANN401 - a call
    """A call of the method that streams."""
    return channel.stream_stream("/a.B/Stream")(timeout=DEADLINE_S)


def half_open(channel: grpc.aio.Channel) -> Any:  # noqa: ANN401 - a call
    """A call whose request has not been sent."""
    return channel.stream_unary("/a.B/Now")()


def ask(channel: grpc.aio.Channel, name: str, data: bytes = b"x", timeout_s: float = DEADLINE_S) -> Awaitable[bytes]:
    """Call a method of one answer."""
    call: Awaitable[bytes] = unary(channel, name)(data, timeout=timeout_s)
    return call


async def refused(answer: Awaitable[bytes]) -> tuple[grpc.StatusCode, str, dict[str, str | bytes]]:
    """The status of a call that has no answer, its details and what stands beside it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    error = caught.value
    return error.code(), error.details() or "", {str(key): value for key, value in error.trailing_metadata() or ()}


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test on a loop of its own, for a bounded time."""

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test()

    asyncio.run(bounded())


def test_an_answer_at_once_is_given_on_the_servers_own_thread() -> None:
    """And the call says who asks, what came beside, and how long there is."""
    calls: list[tuple[str, float | None, str]] = []

    def echo(data: bytes, call: CoreCall) -> bytes:
        calls.append((call.peer(), call.time_remaining(), threading.current_thread().name))
        assert ("token", "t") in [tuple(pair) for pair in call.invocation_metadata()]
        return data[::-1]

    async def test() -> None:
        async with serving(Echo=Unary(echo)) as (_, channel):
            method = unary(channel, "Echo")
            assert await method(b"ab", metadata=(("token", "t"),)) == b"ba"
            assert await method(b"", metadata=(("token", "t"),), timeout=DEADLINE_S) == b""

    run(test)
    (peer, never, name), (_, left_s, _) = calls
    assert (peer.startswith("ipv4:127.0.0.1:"), never, name) == (True, None, THREAD)
    assert left_s is not None
    assert 0 < left_s <= DEADLINE_S + 1  # the wire rounds it up


def test_what_takes_longer_goes_on_on_the_loop_and_holds_nobody_up() -> None:
    """A call that waits is overtaken by one that is answered at once."""

    async def test() -> None:
        may_end = asyncio.Event()

        async def later(data: bytes) -> bytes:
            await may_end.wait()
            return data

        async with serving(Later=Unary(lambda data, _: partial(later, data)), Now=Unary(lambda data, _: data)) as (
            _,
            channel,
        ):
            waiting = [asyncio.ensure_future(ask(channel, "Later", bytes([n]))) for n in range(200)]
            assert await ask(channel, "Now") == b"x"
            assert not any(one.done() for one in waiting)
            may_end.set()
            assert await asyncio.gather(*waiting) == [bytes([n]) for n in range(200)]

    run(test)


async def echo_later() -> bytes:
    """An answer that is made on the loop."""
    return b"x"


@pytest.mark.parametrize(
    "waits", [lambda _data, _call: echo_later, lambda data, _call: Joins(lambda items: items, data)]
)
def test_nobody_waits_until_calls_at_once_pause(waits: AtOnce) -> None:
    """Neither who is answered on the loop, nor who joined a wave: so many events are enough, whatever they are."""

    async def test() -> None:
        ended = asyncio.Event()

        def quick(data: bytes, _call: CoreCall) -> bytes:
            time.sleep(0.003)  # of work, so that the next call is there before this one has ended
            return data

        async def asks(channel: grpc.aio.Channel) -> None:
            while not ended.is_set():
                await ask(channel, "Quick")

        async with serving(Quick=Unary(quick), Waits=Unary(waits)) as (_, channel):
            asking = [asyncio.ensure_future(asks(channel)) for _ in range(32)]
            await ask(channel, "Quick")
            try:
                assert await ask(channel, "Waits", timeout_s=10.0) == b"x"
            finally:
                ended.set()
                await asyncio.gather(*asking)

    run(test)


class Thread:
    """The server's own thread, held in a method and let go."""

    def __init__(self) -> None:
        self.is_held, self.may_go_on = threading.Event(), threading.Event()

    def hold(self, data: bytes, _call: CoreCall) -> bytes:
        """The method."""
        self.is_held.set()
        self.may_go_on.wait(DEADLINE_S)
        return data

    async def held(self, channel: grpc.aio.Channel) -> "asyncio.Future[bytes]":
        """Call the method, and wait until the thread is in it."""
        asked = asyncio.ensure_future(ask(channel, "Hold"))
        await asyncio.to_thread(self.is_held.wait, DEADLINE_S)
        return asked


def test_calls_that_join_are_answered_together() -> None:
    """Those that came while the thread was busy, each with its own answer; one alone does not wait."""
    waves: list[list[bytes]] = []

    async def test() -> None:
        async def later() -> bytes:
            return b"later"

        def together(items: Sequence[bytes]) -> list[Answer]:
            waves.append(list(items))
            others: dict[bytes, Answer] = {b"bad": AbortError(grpc.StatusCode.INVALID_ARGUMENT, "bad"), b"slow": later}
            return [others.get(item, item * 2) for item in items]

        thread = Thread()
        methods = {"Join": Unary(lambda data, _: Joins(together, data)), "Hold": Unary(thread.hold)}
        async with serving(**methods) as (_, channel):
            assert await ask(channel, "Join", b"0") == b"00"
            held = await thread.held(channel)
            asked = [asyncio.ensure_future(ask(channel, "Join", data)) for data in (b"a", b"bad", b"slow", b"b")]
            await asyncio.sleep(0.2)  # they are on the wire
            thread.may_go_on.set()
            code, details, _ = await refused(asked.pop(1))
            assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "bad")
            assert await asyncio.gather(held, *asked) == [b"x", b"aa", b"later", b"bb"]

    run(test)
    assert waves[0] == [b"0"]
    assert sorted(item for wave in waves[1:] for item in wave) == [b"a", b"b", b"bad", b"slow"]
    assert len(waves) < 1 + 4


def test_a_wave_is_whole_although_more_calls_come() -> None:
    """Else calls that never pause would wait for each other for ever; what comes behind is the next one."""
    sizes: list[int] = []

    async def test() -> None:
        def together(items: Sequence[bytes]) -> Sequence[bytes]:
            sizes.append(len(items))
            return items

        thread = Thread()
        methods = {"Join": Unary(lambda data, _: Joins(together, data)), "Hold": Unary(thread.hold)}
        async with serving(**methods) as (_, channel):
            held = await thread.held(channel)
            data = [b"%d" % n for n in range(500)]
            asked = [asyncio.ensure_future(ask(channel, "Join", one)) for one in data]
            await asyncio.sleep(0.5)  # they are on the wire
            thread.may_go_on.set()
            assert await asyncio.gather(held, *asked) == [b"x", *data]

    run(test)
    assert (sum(sizes), max(sizes)) == (500, 64)


@pytest.mark.parametrize("answers", [None, [], [b"1", b"2"]])
def test_a_wave_that_fails_is_told_so(answers: list[Answer] | None, caplog: pytest.LogCaptureFixture) -> None:
    """Be it with an error or another number of answers: the fault is ours, logged, and the next calls are served."""

    def together(items: Sequence[bytes]) -> Sequence[Answer]:
        if items == [b"good"]:
            return items
        if answers is None:
            raise ValueError("secret")
        return answers

    async def test() -> None:
        async with serving(Join=Unary(lambda data, _: Joins(together, data))) as (_, channel):
            code, details, _ = await refused(ask(channel, "Join", b"bad"))
            assert (code, "secret" in details) == (grpc.StatusCode.INTERNAL, False)
            assert await ask(channel, "Join", b"good") == b"good"

    with caplog.at_level(logging.ERROR):
        run(test)
    assert [record.message for record in caplog.records] == ["calls_failed"]


@pytest.mark.parametrize("is_later", [False, True])
def test_refusals_carry_status_details_and_what_stands_beside(
    *, is_later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours is told as such, logged, and the next call is served."""

    def refuse() -> bytes:
        raise AbortError(grpc.StatusCode.NOT_FOUND, "no zürich", (("retry-after", "1"),))

    def fail() -> bytes:
        raise ValueError("secret")

    def method(work: Callable[[], bytes]) -> Unary:
        async def later() -> bytes:
            return work()

        def at_once(_data: bytes, _call: CoreCall) -> bytes | GoesOn:
            return later if is_later else work()

        return Unary(at_once)

    async def test() -> None:
        async with serving(Refuse=method(refuse), Fail=method(fail), Now=method(lambda: b"y")) as (_, channel):
            code, details, beside = await refused(ask(channel, "Refuse"))
            assert (code, details, beside["retry-after"]) == (grpc.StatusCode.NOT_FOUND, "no zürich", "1")
            code, details, _ = await refused(ask(channel, "Fail"))
            assert (code, "secret" in details) == (grpc.StatusCode.INTERNAL, False)
            code, details, _ = await refused(ask(channel, "Missing"))
            assert (code, details) == (grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
            assert await ask(channel, "Now") == b"y"

    with caplog.at_level(logging.ERROR):
        run(test)
    assert [record.message for record in caplog.records] == ["call_failed"]


def test_a_stream_is_answered_in_order_and_read_no_further_than_it_is_answered() -> None:
    """Each message is read when the answer before was taken; the end of the requests ends the answers."""
    read: list[bytes] = []

    async def answers(messages: AsyncIterator[bytes], _call: CoreCall) -> AsyncGenerator[bytes, None]:
        async for data in messages:
            read.append(data)
            yield data * 2
        yield b"end"

    async def test() -> None:
        async with serving(Stream=Streaming(answers)) as (_, channel):
            call = streaming(channel)
            for data in (b"1", b"2", b"3"):
                await call.write(data)
                assert await call.read() == data * 2
                assert read[-1] == data
            await call.done_writing()
            assert await call.read() == b"end"
            assert await call.read() is grpc.aio.EOF

    run(test)


def test_a_stream_that_is_refused_midway_ends_with_its_status() -> None:
    """What was answered before stands."""

    async def answers(messages: AsyncIterator[bytes], _call: CoreCall) -> AsyncGenerator[bytes, None]:
        async for data in messages:
            if data == b"bad":
                raise AbortError(grpc.StatusCode.INVALID_ARGUMENT, "bad")
            yield data

    async def test() -> None:
        async with serving(Stream=Streaming(answers)) as (_, channel):
            call = streaming(channel)
            await call.write(b"good")
            assert await call.read() == b"good"
            await call.write(b"bad")
            with pytest.raises(grpc.aio.AioRpcError, match="bad"):
                await call.read()
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT

    run(test)


def test_who_leaves_takes_its_coroutine_with_it() -> None:
    """A cancelled call, a passed deadline and a stream that is given up end what ran for them, cleanly."""
    ended: list[str] = []

    async def test() -> None:
        begun, over = asyncio.Semaphore(0), asyncio.Semaphore(0)

        async def forever(name: str) -> bytes:
            begun.release()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)
                over.release()
            return b""

        async def answers(messages: AsyncIterator[bytes], _call: CoreCall) -> AsyncGenerator[bytes, None]:
            async for _ in messages:
                yield await forever("stream")

        async with serving(
            Forever=Unary(lambda data, _: partial(forever, data.decode())), Stream=Streaming(answers)
        ) as (_, channel):
            left = unary(channel, "Forever")(b"left")
            await begun.acquire()
            left.cancel()
            stream = streaming(channel)
            await stream.write(b"x")
            await begun.acquire()
            stream.cancel()
            code, _, _ = await refused(ask(channel, "Forever", b"late", timeout_s=0.2))
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED
            for _ in range(3):
                await over.acquire()

    run(test)
    assert sorted(ended) == ["late", "left", "stream"]


def test_a_cancelled_call_is_let_go_without_the_collector() -> None:
    """A request may have hundreds of megabytes: it goes with its call."""
    holders: list[weakref.ref[Any]] = []

    class Holder:
        """What the call's coroutine holds."""

    async def test() -> None:
        gone = asyncio.Event()

        async def forever(_held: Holder) -> bytes:
            return await asyncio.Future[bytes]()

        def begin(_data: bytes, _call: CoreCall) -> GoesOn:
            held = Holder()
            holders.append(weakref.ref(held, lambda _: loop.call_soon_threadsafe(gone.set)))
            return partial(forever, held)

        loop = asyncio.get_running_loop()
        async with serving(Forever=Unary(begin)) as (_, channel):
            code, _, _ = await refused(ask(channel, "Forever", timeout_s=0.2))
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED
            async with asyncio.timeout(5.0):
                await gone.wait()

    gc.collect()
    gc.disable()
    try:
        run(test)
    finally:
        gc.enable()
    assert [one() for one in holders] == [None]


def test_a_stop_lets_calls_end_and_cuts_those_that_do_not() -> None:
    """The thread has ended afterwards; a second stop does nothing, and one that never started can be stopped."""

    async def test() -> None:
        may_end, begun = asyncio.Event(), asyncio.Semaphore(0)

        async def later(data: bytes) -> bytes:
            begun.release()
            await (may_end if data == b"ends" else asyncio.Event()).wait()
            return data

        async with serving(Later=Unary(lambda data, _: partial(later, data))) as (server, channel):
            ends, never = (asyncio.ensure_future(ask(channel, "Later", data)) for data in (b"ends", b"never"))
            for _ in range(2):
                await begun.acquire()
            stopping = asyncio.ensure_future(server.stop(0.2))
            may_end.set()
            assert await ends == b"ends"
            code, _, _ = await refused(never)
            assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
            await stopping
            assert THREAD not in {thread.name for thread in threading.enumerate()}
        idle = CoreServer({}, SERVER_OPTIONS, THREAD)
        await idle.stop(1.0)

    run(test)


def test_a_taken_port_is_refused() -> None:
    """Two programs on one port would take turns."""

    async def test() -> None:
        async with serving() as (_, _channel):
            first = CoreServer({}, SERVER_OPTIONS, THREAD)
            port = first.bind(f"{LOOPBACK}:0")
            first.start()
            try:
                with pytest.raises(OSError, match=f"{port} cannot be bound"):
                    CoreServer({}, SERVER_OPTIONS, THREAD).bind(f"{LOOPBACK}:{port}")
            finally:
                await first.stop(1.0)

    run(test)


def test_an_unknown_method_is_refused_before_anything_is_sent() -> None:
    """Nothing is read for it, be it long, late or never there."""

    async def test() -> None:
        async with serving() as (_, channel):
            assert await half_open(channel).code() is grpc.StatusCode.UNIMPLEMENTED

    run(test)


def test_half_open_and_abandoned_calls_hold_nobody_up() -> None:
    """A call that never sends its request, and is given up, leaves the server as it was."""

    async def test() -> None:
        async with serving(Now=Unary(lambda data, _: data)) as (_, channel):
            for _ in range(3):
                half = half_open(channel)
                assert await ask(channel, "Now") == b"x"
                half.cancel()
            empty = half_open(channel)
            await empty.done_writing()
            assert await empty.code() is grpc.StatusCode.INTERNAL
            assert await ask(channel, "Now") == b"x"

    run(test)
