"""Owns the round trips of bench_edge: a device's stream on the real hub, a bare echo of the same size, the disk's sync.

Stream and echo are driven by the same asyncio client, one message at a time over plain loopback. What the hub's model
took is in each verdict (`infer_ms`) and is taken away.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import grpc

from model_packs.outputs import Classification
from protos.codec.escalation import request_to_wire
from protos.messages.escalation import EARLY_VERDICTS, NOT_LOGGED, Item, VerdictAck, Welcome
from tests.bench.bare_echo import METHOD
from tests.bench.serving.models import INPUT, VERSION, WINDOW, BenchModel
from tests.simulators.hub_device import HandStream, device_metadata, hello, plain_channel, question
from tests.simulators.network import LOOPBACK

DEVICE: Final = "bench"
_DEADLINE_S: Final = 30.0
_SYNC_BYTES: Final = 4096
_MS: Final = 1000.0


@dataclass(slots=True)
class Trips:
    """Times in ms, one for each question.

    Attributes:
        verdict: To the answer, which may not be logged yet.
        ack: Until the question is durable.
        logged: To the answer in the device's log.
        infer: Of the answer, the model's part.
    """

    verdict: list[float] = field(default_factory=list)
    logged: list[float] = field(default_factory=list)
    ack: list[float] = field(default_factory=list)
    infer: list[float] = field(default_factory=list)


def item(seq: int, hub: BenchModel) -> Item:
    """A question about one window, as an agent asks it."""
    made = question(seq, WINDOW.input(), hub_pack=f"{hub.name}@{VERSION}", input_name=INPUT)
    scores = {f"class-{number}": 1.0 / WINDOW.classes for number in range(WINDOW.classes)}
    return replace(made, body=replace(made.body, edge_output=Classification("class-0", scores)))


def item_bytes(hub: BenchModel) -> int:
    """Size of a question on the wire."""
    return int(request_to_wire(item(1, hub)).ByteSize())


class Link:
    """A device's open stream."""

    def __init__(self, stream: HandStream, hub: BenchModel) -> None:
        self._stream = stream
        self._hub = hub
        self._seq = 0

    async def ask(self, count: int) -> Trips:
        """Ask one question after the other; the next one goes when all is known of the last one."""
        trips = Trips()
        for _ in range(count):
            self._seq += 1
            request = request_to_wire(item(self._seq, self._hub))
            began_s = time.perf_counter()
            await self._stream.say_raw(request)
            waits_for = {"verdict", "ack", "logged"}
            while waits_for:
                async with asyncio.timeout(_DEADLINE_S):
                    response = await self._stream.call.read()
                took_ms = (time.perf_counter() - began_s) * _MS
                kind = response.WhichOneof("kind")
                if kind == "ack":
                    trips.ack.append(took_ms)
                elif kind == "verdict":
                    if "verdict" in waits_for:
                        trips.verdict.append(took_ms)
                        trips.infer.append(response.verdict.infer_ms)
                    if response.verdict.verdict_seq != NOT_LOGGED:
                        trips.logged.append(took_ms)
                        waits_for.discard("logged")
                        await self._stream.say(VerdictAck(response.verdict.verdict_seq))
                elif kind == "reject":
                    raise AssertionError(f"the hub rejected a question: {response.reject.message}")
                waits_for.discard(kind)
        return trips


@asynccontextmanager
async def link(port: int, hub: BenchModel) -> AsyncIterator[Link]:
    """Open a stream on a hub that listens without TLS."""
    async with plain_channel(port) as channel:
        stream = HandStream(channel, device_metadata(DEVICE))
        await stream.say(replace(hello(), capabilities=(EARLY_VERDICTS,)))
        await stream.hear_until(Welcome)
        yield Link(stream, hub)


class Echo:
    """An open stream through `bare_echo`."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]", size_bytes: int) -> None:
        self._call = call
        self._message = bytes(size_bytes)

    async def ask(self, count: int) -> list[float]:
        """Round trips in ms of one message after the other."""
        times_ms = []
        for _ in range(count):
            began_s = time.perf_counter()
            await self._call.write(self._message)
            async with asyncio.timeout(_DEADLINE_S):
                await self._call.read()
            times_ms.append((time.perf_counter() - began_s) * _MS)
        return times_ms


@asynccontextmanager
async def echo(port: int, size_bytes: int) -> AsyncIterator[Echo]:
    """Open a stream through `bare_echo`."""
    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(METHOD)()
        yield Echo(call, size_bytes)
        await call.done_writing()


async def in_turn(link: Link, beside: Echo, count: int) -> tuple[list[float], list[float]]:
    """Questions and echoes in turn, so that both wait as long between two: item to verdict less the model, and echo."""
    verdicts, echoes = [], []
    for _ in range(count):
        trips = await link.ask(1)
        verdicts += less(trips.verdict, trips.infer)
        echoes += await beside.ask(1)
    return verdicts, echoes


def syncs(folder: Path, count: int) -> list[float]:
    """Times in ms of appending 4 kB to a file and syncing it (fdatasync(2)), as a database's log does."""
    block = os.urandom(_SYNC_BYTES)
    times_ms = []
    with (folder / "synced").open("ab", buffering=0) as file:
        for _ in range(count):
            began_s = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            times_ms.append((time.perf_counter() - began_s) * _MS)
    return times_ms


def less(times_ms: Sequence[float], taken_ms: Sequence[float]) -> list[float]:
    """Times without what was taken by something else."""
    return [time_ms - part_ms for time_ms, part_ms in zip(times_ms, taken_ms, strict=True)]
