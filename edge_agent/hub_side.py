"""Owns what only an agent with a hub has: the links to it, and the installer that fetches packs from it.

`app.py` loads this module where a hub is configured: a device that works alone carries neither gRPC's links nor their
messages in its memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_agent.adapters.grpc.dialling import hub_dialler
from edge_agent.adapters.grpc.escalation_link import EscalationLink
from edge_agent.adapters.grpc.feedback_link import FeedbackLink
from edge_agent.adapters.grpc.fleet_session import FleetSession
from edge_agent.adapters.grpc.pack_fetch import PackFetch
from edge_agent.adapters.sqlite.paid_book import PaidBook
from edge_agent.adapters.sqlite.store import Store
from edge_agent.config import Config, HubConfig
from edge_agent.inference.early_verdicts import EarlyVerdicts
from edge_agent.inference.revisions import Revisions
from edge_agent.packs.device_slots import DeviceSlots
from edge_agent.packs.installer import Installer
from edge_agent.packs.models import Models
from edge_agent.packs.probing import Probe
from edge_agent.packs.trusted_packs import TrustedPacks
from edge_agent.ports import Clock
from edge_agent.reporting.health import Health
from edge_agent.reporting.metrics import Metrics
from edge_agent.reporting.status import Reporter
from model_packs.manifest import PackRef
from model_packs.signing import PublicKey
from model_packs.store import PackStore
from protos.link.backoff import Backoff
from protos.messages.fleet import Desired, DeviceHello

_RECONNECT_CAP_S = 15.0
_CAPABILITIES = ("desired", "policy")


class Link(Protocol):
    """A connection with a beginning and an end."""

    def open(self) -> None:
        """Begin."""

    def close(self) -> None:
        """End; may be called twice."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the hub's side takes from the agent."""

    config: Config
    clock: Clock
    version: str
    store: Store
    slots: DeviceSlots
    models: Models
    trust: TrustedPacks
    health: Health
    metrics: Metrics
    revisions: Revisions


class HubSide:
    """Builds what talks to the hub.

    Args:
        hub: Where it is.
        parts: What is there already.
    """

    def __init__(self, hub: HubConfig, parts: Parts) -> None:
        self._parts = parts
        self._dialler = hub_dialler(hub, parts.config.agent.device, parts.clock)

    def installer(self) -> Installer:
        """Moves the slots towards what the hub wants; not started."""
        parts, agent = self._parts, self._parts.config.agent
        store = PackStore(agent.device.packs_dir)
        probe = Probe(agent.device.packs_dir, engine=agent.engine, timeout_s=agent.packs.probe_timeout_s)
        return Installer(
            parts.config.bindings.binding,
            parts.slots,
            parts.models,
            parts.clock,
            source=PackFetch(self._dialler, store),
            trust=parts.trust,
            probe=probe,
            store=store,
            keep_free_bytes=agent.packs.keep_free_bytes,
        )

    def links(self, reporter: Reporter, on_desired: Callable[[Desired], None]) -> Sequence[Link]:
        """The streams to the hub, in the order in which they are opened.

        Args:
            reporter: Says how the device does.
            on_desired: Told of every desire.
        """
        parts = self._parts
        early = EarlyVerdicts(parts.revisions, parts.store.news.newest, parts.clock)
        escalation = EscalationLink(
            self._dialler,
            PaidBook(parts.store.book, parts.store.budget),
            parts.health,
            parts.clock,
            Backoff(cap_s=_RECONNECT_CAP_S),
            on_early=early.heard,
            on_failure=parts.metrics.loop_failed,
        )
        feedback = FeedbackLink(
            self._dialler,
            parts.store.feedback,
            Backoff(cap_s=_RECONNECT_CAP_S),
            on_state=parts.health.feedback_changed,
            on_failure=parts.metrics.loop_failed,
        )
        fleet = FleetSession(
            self._dialler,
            hello=lambda: DeviceHello(parts.version, parts.store.book.hello().store_id, _CAPABILITIES),
            heartbeat=reporter.heartbeat,
            clock=parts.clock,
            backoff=Backoff(cap_s=_RECONNECT_CAP_S),
            on_state=parts.health.fleet_changed,
            on_desired=on_desired,
            on_failure=parts.metrics.loop_failed,
        )
        parts.slots.on_change(fleet.report_soon)
        return escalation, feedback, fleet


def fetch_pack(config: Config, hub: HubConfig, clock: Clock, ref: PackRef, trusted: tuple[PublicKey, ...]) -> None:
    """Bring a pack from the hub into the store of packs.

    Raises:
        HubError: The hub is away, or has no such pack.
        PackUnusableError: What came must not run.
    """
    store = PackStore(config.agent.device.packs_dir)
    store.open()
    PackFetch(hub_dialler(hub, config.agent.device, clock), store).bring(ref, trusted)
