"""Owns a herd of simulated devices: each with its own certificate, a question to ask, and the agent's way to redial.

Each opens both of an agent's streams on one channel and asks one question on each connection; the waits between dials
are the agent's own (`protos.link.backoff`). What is done to their hub, and what is expected, is `herd_faults.py`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import grpc
import numpy as np

from protos.link.backoff import Backoff, RetryBudget
from protos.link.identity import DeviceIdentity
from protos.link.tokens import JoinToken
from protos.messages.escalation import Ack, StoreId, Welcome
from protos.messages.fleet import DeviceHello, FleetWelcome
from tests.simulators.hub_device import HandReports, HandStream, device_channel, enrol, hello, identity_of, question
from tests.simulators.packs import CHANNELS, SAMPLES
from tests.simulators.site import HUB_PACK

_ENROL_AT_ONCE = 8
_BACKOFF_CAP_S = 30.0
_DEADLINE_S = 60.0


@dataclass(slots=True)
class Figures:
    """What a herd went through since it was last cleared.

    Attributes:
        welcomes_s: From each dial that a hub answered to its Welcome.
        dials: Every dial, with or without a hub, by device.
    """

    welcomes_s: list[float] = field(default_factory=list)
    dials: dict[str, int] = field(default_factory=dict)


class Herd:
    """Some devices of one hub; use it as an async context manager, within whose block they try to stay connected.

    Args:
        port: Where the hub serves devices.
        identities: By device.
        seed: Decides what they ask.
    """

    def __init__(self, port: int, identities: dict[str, DeviceIdentity], seed: int) -> None:
        self._port = port
        self._identities = identities
        self._random = np.random.default_rng(seed)
        self._connected: set[str] = set()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.figures = Figures()
        self.acked: set[tuple[str, str]] = set()

    async def __aenter__(self) -> Self:
        """Let all of them dial at once."""
        self._tasks = [asyncio.create_task(self._live(name), name=name) for name in self._identities]
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Let all of them go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connected.clear()

    async def wait_for(self, connected: int) -> None:
        """Wait until so many are connected and have asked."""
        async with asyncio.timeout(_DEADLINE_S):
            while len(self._connected) != connected:
                self._changed.clear()
                await self._changed.wait()

    async def _live(self, name: str) -> None:
        backoff, budget = Backoff(cap_s=_BACKOFF_CAP_S), RetryBudget()
        number = 0
        while True:
            await asyncio.sleep(budget.spend(time.monotonic()))
            number += 1
            self.figures.dials[name] = self.figures.dials.get(name, 0) + 1
            with contextlib.suppress(grpc.aio.AioRpcError, EOFError, asyncio.InvalidStateError):
                async with self._connection(name, number) as stream:
                    backoff.reset()
                    while True:
                        await stream.hear()
            self._connected.discard(name)
            self._changed.set()
            await asyncio.sleep(backoff.next_s())

    @contextlib.asynccontextmanager
    async def _connection(self, name: str, number: int) -> AsyncIterator[HandStream]:
        """Both streams of a device, greeted, and its question acknowledged."""
        began_s = time.monotonic()
        async with device_channel(self._port, self._identities[name]) as channel:
            stream, reports = HandStream(channel), HandReports(channel)
            await stream.say(hello(store=StoreId(f"store-of-{name}")))
            await reports.say(DeviceHello("test", StoreId(f"store-of-{name}")))
            await stream.hear_until(Welcome)
            self.figures.welcomes_s.append(time.monotonic() - began_s)
            while not isinstance(await reports.hear(), FleetWelcome):
                pass
            prediction = f"{name}-{number}"
            window = self._random.normal(size=(1, SAMPLES, CHANNELS))
            await stream.say(question(number, window, prediction=prediction, hub_pack=HUB_PACK))
            await stream.hear_until(Ack)
            self.acked.add((name, prediction))
            self._connected.add(name)
            self._changed.set()
            yield stream


async def enrolled(port: int, token: JoinToken, names: Sequence[str]) -> dict[str, DeviceIdentity]:
    """Identities for devices, from one token."""
    gate = asyncio.Semaphore(_ENROL_AT_ONCE)

    async def one(name: str) -> tuple[str, DeviceIdentity]:
        async with gate:
            answer, key_pem = await enrol(port, token, device_id=name)
        return name, identity_of(answer, key_pem)

    return dict(await asyncio.gather(*map(one, names)))
