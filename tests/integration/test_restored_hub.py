"""A hub whose database was put back from a backup, and a real agent's store behind a real link."""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.app import Listening
from edge_agent.adapters.grpc.dialling import LoopbackPlain
from edge_agent.adapters.grpc.escalation_link import EscalationLink
from edge_agent.core.accounting import Count
from model_packs.engines.opening import open_session
from model_packs.engines.session import Session
from model_packs.pack import Pack
from model_packs.tensors import Tensor
from protos.link.backoff import Backoff
from protos.messages.escalation import Verdict
from tests.integration.test_hub_escalation import Stuck
from tests.simulators.clocks import SystemClock
from tests.simulators.escalation_book import FakeBook
from tests.simulators.hubs import HUB_PACK, HubSite
from tests.simulators.loops import in_loop
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.sqlite.builders import Opened, decided, open_store, record_unit

DEADLINE_S = 40.0


def ask(agent: Opened, name: str) -> None:
    """Commit a prediction that the hub is asked about."""
    window = Tensor.from_array("window", np.full((1, 50, 6), len(name), np.float32))
    made = decided(agent.store, name)
    assert made.escalate is not None
    asked = replace(made.escalate, hub_pack=HUB_PACK, inputs=(window,))
    agent.commit(record_unit(agent.store, name.encode(), replace(made, escalate=asked)))


@contextmanager
def linked(agent: Opened, listening: Listening) -> Iterator[None]:
    """The agent's link to this hub, open."""

    def fail(loop: str) -> None:
        raise AssertionError(loop)

    def unheard(verdict: Verdict) -> None:
        """Nobody waits on the line."""

    dialler = LoopbackPlain(f"127.0.0.1:{listening.grpc_port}", "press-07")
    backoff, book = Backoff(0.05, 0.2), agent.store.book
    link = EscalationLink(dialler, book, FakeBook(), SystemClock(), backoff, on_early=unheard, on_failure=fail)
    link.open()
    try:
        yield
    finally:
        link.close()


async def counted(agent: Opened, name: str, number: int) -> None:
    """Wait until a figure of the agent's books is this."""
    await asyncio.to_thread(
        wait_until, lambda: agent.counts().get(name) == number, DEADLINE_S, f"{name} = {number}: {agent.counts()}"
    )


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "found_out"])
@in_loop
async def test_a_restored_hub_answers_what_it_has_forgotten_and_nothing_twice(tmp_path: Path, *, is_told: bool) -> None:
    """Told by `cloud-hub restored`, or shown by a device: what was acknowledged goes again, each answer counts once."""
    site = await asyncio.to_thread(HubSite.found, tmp_path / "hub", HUB_PACK)
    agent = open_store(tmp_path)
    async with site.running(is_insecure=True) as listening:
        with linked(agent, listening):
            ask(agent, "p1")
            await counted(agent, Count.ESCALATIONS_ANSWERED, 1)
    backup = await asyncio.to_thread(shutil.copytree, tmp_path / "hub", tmp_path / "backup")

    stuck: list[Stuck] = []

    def open_stuck(pack: Pack) -> Session:
        stuck.append(Stuck(open_session(pack)))
        return stuck[0]

    async with site.running(is_insecure=True, open_session=open_stuck, inline_below_ms=0.0) as listening:
        with linked(agent, listening):
            ask(agent, "p2")
            await counted(agent, Count.ESCALATIONS_ANSWERED, 2)
            stuck[0].is_stuck = True
            ask(agent, "p3")
            await counted(agent, "escalations_pending{acked}", 1)
    stuck[0].released.set()

    for lost in (tmp_path / "hub").glob("hub.db*"):
        lost.unlink()
    for kept in backup.glob("hub.db*"):
        await asyncio.to_thread(shutil.copy, kept, tmp_path / "hub")
    if is_told:
        await asyncio.to_thread(site.command, "restored")

    async with site.running(is_insecure=True) as listening:
        with linked(agent, listening):
            ask(agent, "p4")
            await counted(agent, Count.ESCALATIONS_ANSWERED, 4)
    assert agent.broken_equations() == []
    events = [json.loads(one.payload) for one in agent.store.publishable("plant", 100, ())]
    assert Counter(event["id"] for event in events if event["status"] == "revised") == dict.fromkeys(
        ("p1", "p2", "p3", "p4"), 1
    )
    agent.store.close()
