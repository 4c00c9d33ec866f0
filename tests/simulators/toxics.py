"""Owns a bad network: a TCP proxy on 127.0.0.1 that does to connections what networks do, in toxiproxy's words.

`ToxicProxy(port)` stands in front of a broker, a hub, or anything else that speaks TCP. A toxic is added to a stream,
upstream (towards the server) or downstream, and removed again; it takes hold of open connections and of new ones.
With `toxicity` below 1 it takes hold of that share of them, as the seed decides.

What is slow stays whole and in order: only `Timeout`, `ResetPeer` and `LimitData` lose bytes, and each of them ends the
connection or is meant to. Where several toxics meet, a chunk is first delayed, then sliced, then paced.

Beyond toxiproxy's words: `Stall`, a cable that is pulled and put back; `cut`, a router that was restarted.
See https://github.com/Shopify/toxiproxy#toxics.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
import weakref
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.simulators.network import LOOPBACK
from tests.simulators.seeds import seeded

_ACCEPT_TURNS = 8  # of the loop, in which a connection that is being accepted becomes one that can be ended
_CHUNK_BYTES = 65_536
_CHUNKS_UNDERWAY = 64
_PACE_S = 0.1
_ANSWER_DEADLINE_S = 30.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

T = TypeVar("T")


class Stream(IntEnum):
    """A direction."""

    UPSTREAM = 0
    DOWNSTREAM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Everything comes later, by `latency_s` give or take `jitter_s`."""

    latency_s: float
    jitter_s: float = 0.0
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """No more than so many bytes a second: on each connection, or on all of them together, as on one line.

    What waits for it is read piece by piece, so that no more than some seconds of the line lie in the proxy.
    """

    bytes_per_s: float
    is_shared: bool = False
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowClose:
    """The end of the stream is told later."""

    delay_s: float
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """Everything is dropped, and the connection closes after `timeout_s`; with 0 it stays open."""

    timeout_s: float = 0.0
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetPeer:
    """Everything is dropped, and both ends get a TCP reset after `after_s`."""

    after_s: float = 0.0
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer:
    """Data comes in small pieces of `average_bytes` give or take `variation_bytes`, `delay_s` apart."""

    average_bytes: int
    variation_bytes: int = 0
    delay_s: float = 0.0
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitData:
    """The connection closes after so many bytes."""

    limit_bytes: int
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Nothing passes, and nothing is lost: after its removal all of it comes."""

    toxicity: float = 1.0


Toxic = Latency | Bandwidth | SlowClose | Timeout | ResetPeer | Slicer | LimitData | Stall


class ToxicProxy:
    """Passes bytes between whoever connects to ``port`` and ``target_port``; use it as a context manager.

    Its methods may be called from any thread, and have taken effect when they return.

    Attributes:
        accepted: Connections that were made, one after the other or together.
        dropped_bytes: Bytes that toxics or `passes` swallowed, in both directions.
        lines: By stream, who sends on a bandwidth that connections share; for the links.
    """

    host = LOOPBACK

    def __init__(self, target_port: int, seed: int = 0) -> None:
        self._target_port = target_port
        self._seed = seed
        self.accepted = 0
        self._toxics: list[tuple[Stream, Toxic]] = []
        self._connections: dict[asyncio.Task[None], _Connection | None] = {}
        self._writers: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()
        self._server: asyncio.Server | None = None
        self.lines = (asyncio.Lock(), asyncio.Lock())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="toxic-proxy")
        # Bound for ever and never listening: it keeps the port while the proxy is down.
        self._holder = _bound(0)
        self.port: int = self._holder.getsockname()[1]
        self.dropped_bytes = 0

    def __enter__(self) -> Self:
        """Start to pass bytes."""
        self._thread.start()
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """End every connection, also one whose end does not read what was written to it, and free the port."""
        self.down()
        self._do(self._abort_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._holder.close()

    @property
    def connections(self) -> int:
        """Connections that pass bytes at present."""
        return sum(one is not None for one in list(self._connections.values()))

    def add(self, toxic: Toxic, stream: Stream = Stream.DOWNSTREAM) -> None:
        """Let a toxic take hold."""

        async def add() -> None:
            self._toxics.append((stream, toxic))
            for one in self._connections.values():
                if one is not None:
                    one.links[stream].attach(toxic)

        self._do(add())

    def remove(self, toxic: Toxic, stream: Stream = Stream.DOWNSTREAM) -> None:
        """Let a toxic go that was added to this stream."""

        async def remove() -> None:
            self._toxics.remove((stream, toxic))
            for one in self._connections.values():
                if one is not None:
                    one.links[stream].detach(toxic)

        self._do(remove())

    @contextlib.contextmanager
    def toxic(self, toxic: Toxic, stream: Stream = Stream.DOWNSTREAM) -> Iterator[None]:
        """Have a toxic for the time of a block."""
        self.add(toxic, stream)
        try:
            yield
        finally:
            self.remove(toxic, stream)

    def down(self) -> None:
        """End every connection and refuse new ones, as a server does that is not there."""

        async def down() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for _ in range(_ACCEPT_TURNS):
                await asyncio.sleep(0)
            await self._end_all()

        self._do(down())

    def up(self) -> None:
        """Accept connections, on the same port as ever."""

        async def up() -> None:
            if self._server is None:
                self._server = await asyncio.start_server(self._accept, sock=_bound(self.port))

        self._do(up())

    def cut(self) -> None:
        """End every connection at both ends, and accept new ones, as a router does that was restarted."""
        self._do(self._end_all())

    def freeze(self) -> None:
        """Keep every connection open and pass nothing more, as a cable does that was pulled."""
        for stream in Stream:
            self.add(Stall(), stream)

    def thaw(self) -> None:
        """Pass bytes again; those that came in between are passed, too."""
        for stream in Stream:
            self.remove(Stall(), stream)

    def passes(self, data: bytes) -> bool:
        """Whether these bytes reach the other end; a subclass swallows what it likes."""
        del data
        return True

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(_ANSWER_DEADLINE_S)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = self._loop.create_task(self._serve(self.accepted, reader, writer))
        self.accepted += 1
        self._connections[task] = None
        task.add_done_callback(self._connections.pop)
        # Also of a task that was cancelled before it began.
        task.add_done_callback(lambda _: None if writer.transport.is_closing() else writer.transport.abort())

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
        except OSError:
            writer.close()
            return
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        self._writers.add(far_writer)
        connection = _Connection(self, task, self._seed * 1_000_003 + number)
        connection.links = (
            _Link(connection, Stream.UPSTREAM, reader, far_writer),
            _Link(connection, Stream.DOWNSTREAM, far_reader, writer),
        )
        self._connections[task] = connection
        for stream, toxic in self._toxics:
            connection.links[stream].attach(toxic)
        await connection.run()

    async def _end_all(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round

    async def _abort_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)


class _Connection:
    """Two links, one a direction, that end together."""

    links: "tuple[_Link, _Link]"

    def __init__(self, proxy: ToxicProxy, task: asyncio.Task[None], seed: int) -> None:
        self.proxy = proxy
        self.seed = seed
        self._task = task

    async def run(self) -> None:
        """Pass bytes until both directions have ended, or one breaks."""
        try:
            async with asyncio.TaskGroup() as group:
                for link in self.links:
                    group.create_task(link.run())
        except* OSError:  # one end is gone by force, and so is the other
            self.reset()
        except* _Ended:
            pass
        finally:
            self._close()

    def end(self) -> None:
        """End both directions; what has passed already still arrives."""
        self._task.cancel()

    def reset(self) -> None:
        """End both with a TCP reset."""
        for link in self.links:
            link.reset()
        self._task.cancel()

    def _close(self) -> None:
        for link in self.links:
            link.close()


class _Ended(Exception):  # noqa: N818 - no error: a limit was reached
    """The connection is to end now."""


@dataclass(slots=True, eq=False)
class _Hold:
    """A toxic that took hold of a link, with what it needs there."""

    toxic: Toxic
    timer: asyncio.TimerHandle | None = None
    left_bytes: int = 0


class _Link:
    """One direction of one connection."""

    def __init__(
        self, connection: _Connection, stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._reader = reader
        self._writer = writer
        self._rng = seeded(2 * connection.seed + stream)
        self._loop = asyncio.get_running_loop()
        self._underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_UNDERWAY)
        self._holds: list[_Hold] = []
        self._moves = asyncio.Event()
        self._moves.set()

    def attach(self, toxic: Toxic) -> None:
        """Let a toxic take hold of this connection, or not: that is drawn once."""
        if self._rng.random() >= toxic.toxicity:
            return
        hold = _Hold(toxic)
        self._holds.append(hold)
        match toxic:
            case Timeout(timeout_s=timeout_s) if timeout_s > 0:
                hold.timer = self._loop.call_later(timeout_s, self._connection.end)
            case ResetPeer(after_s=after_s):
                hold.timer = self._loop.call_later(after_s, self._connection.reset)
            case LimitData(limit_bytes=limit_bytes):
                hold.left_bytes = limit_bytes
            case Stall():
                self._moves.clear()

    def detach(self, toxic: Toxic) -> None:
        """Let go of a toxic, if it had taken hold."""
        hold = next((one for one in self._holds if one.toxic == toxic), None)
        if hold is None:
            return
        self._holds.remove(hold)
        if hold.timer is not None:
            hold.timer.cancel()
        if not self._holding(Stall):
            self._moves.set()

    async def run(self) -> None:
        """Pass bytes, then the end of the stream."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._pass_on())

    def reset(self) -> None:
        """Close the far socket so that its peer gets a reset."""
        if not self._writer.transport.is_closing():
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._writer.transport.abort()

    def close(self) -> None:
        """Stop the timers and close the far socket after what was written to it."""
        for hold in self._holds:
            if hold.timer is not None:
                hold.timer.cancel()
        self._writer.close()

    def _holding(self, kind: type[T]) -> list[T]:
        return [hold.toxic for hold in self._holds if isinstance(hold.toxic, kind)]

    async def _read(self) -> None:
        data = b"?"
        while data:
            data = await self._reader.read(_piece_bytes(self._bytes_per_s()))
            await self._underway.put((self._loop.time(), data))

    async def _pass_on(self) -> None:
        while True:
            came_s, data = await self._underway.get()
            await self._moves.wait()
            if not data:
                break
            if self._swallows(data):
                self._connection.proxy.dropped_bytes += len(data)
                continue
            await asyncio.sleep(max(0.0, came_s + self._delay_s() - self._loop.time()))
            for piece, gap_s in self._pieces(data):
                await asyncio.sleep(gap_s)
                await self._moves.wait()
                await self._send(piece)
        await asyncio.sleep(sum(one.delay_s for one in self._holding(SlowClose)))
        self._writer.write_eof()

    def _swallows(self, data: bytes) -> bool:
        is_mute = any(isinstance(hold.toxic, Timeout | ResetPeer) for hold in self._holds)
        return is_mute or not self._connection.proxy.passes(data)

    def _delay_s(self) -> float:
        jitter = self._rng.uniform
        return sum(one.latency_s + jitter(-one.jitter_s, one.jitter_s) for one in self._holding(Latency))

    def _pieces(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        """What to write, each with the seconds to wait before it."""
        for part, gap_s in self._sliced(data):
            for number, piece in enumerate(paced(part, self._bytes_per_s())):
                yield piece, gap_s if number == 0 else 0.0

    def _bytes_per_s(self) -> float:
        return min((one.bytes_per_s for one in self._holding(Bandwidth)), default=float("inf"))

    async def _send(self, piece: bytes) -> None:
        """Write a piece after the time that it takes on the line; on a shared one, after those of others before it."""
        line_s = len(piece) / self._bytes_per_s()
        if any(one.is_shared for one in self._holding(Bandwidth)):
            async with self._connection.proxy.lines[self._stream]:
                await asyncio.sleep(line_s)
        else:
            await asyncio.sleep(line_s)
        await self._write(piece)

    def _sliced(self, data: bytes) -> list[tuple[bytes, float]]:
        slicers = self._holding(Slicer)
        if not slicers:
            return [(data, 0.0)]
        return [(part, slicers[0].delay_s) for part in slices(data, slicers[0], self._rng)]

    async def _write(self, piece: bytes) -> None:
        limits = [hold for hold in self._holds if isinstance(hold.toxic, LimitData)]
        allowed = min([len(piece), *(limit.left_bytes for limit in limits)])
        self._writer.write(piece[:allowed])
        await self._writer.drain()
        for limit in limits:
            limit.left_bytes -= allowed
        if any(limit.left_bytes == 0 for limit in limits):
            raise _Ended


def slices(data: bytes, slicer: Slicer, rng: random.Random) -> list[bytes]:
    """Cut data into pieces as `slicer` says, none of them empty."""
    pieces: list[bytes] = []
    while data:
        size = max(1, slicer.average_bytes + rng.randint(-slicer.variation_bytes, slicer.variation_bytes))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def paced(data: bytes, bytes_per_s: float) -> list[bytes]:
    """Cut data into pieces that each take a tenth of a second at most, or are one byte."""
    size = _piece_bytes(bytes_per_s)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _piece_bytes(bytes_per_s: float) -> int:
    return int(max(1, min(bytes_per_s * _PACE_S, _CHUNK_BYTES)))


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((LOOPBACK, port))
    return bound
