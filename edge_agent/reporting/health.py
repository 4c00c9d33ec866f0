"""Owns what the agent knows of its peers and its own troubles: who is connected, and every problem with its mend.

Told by the adapters, from their threads; asked by the status, the heartbeat and `/readyz`.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

HUB = "hub"
FLEET = "hub-fleet"
FEEDBACK = "hub-feedback"

OnPeer = Callable[[str, bool], None]

logger = logging.getLogger(__name__)


def broker_peer(name: str) -> str:
    """How a broker is named among the peers."""
    return f"mqtt:{name}"


@dataclass(frozen=True, slots=True)
class Peer:
    """A broker or the hub; `reason` says why it is not, or not wholly, connected."""

    name: str
    address: str
    is_up: bool
    reason: str


class Health:
    """Peers and problems. Implements `HubLinkState`.

    Args:
        peers: Address by peer, all that are configured.
        on_peer: Told of every change, for the metrics.
    """

    def __init__(self, peers: dict[str, str], on_peer: OnPeer) -> None:
        self._lock = threading.Lock()
        self._peers = {name: Peer(name, address, is_up=False, reason="") for name, address in peers.items()}
        self._on_peer = on_peer
        self._feedback_trouble = ""
        for name in peers:
            on_peer(name, False)

    def broker_changed(self, broker: str, connected: bool, reason: str) -> None:  # noqa: FBT001 - the port's signature
        """A broker's connection came, went, or failed again."""
        self._changed(broker_peer(broker), is_up=connected, reason=reason)

    def link_up(self, hub: str) -> None:
        """A Welcome is in hand."""
        del hub
        self._changed(HUB, is_up=True, reason="")

    def link_down(self, hub: str, reason: str) -> None:
        """The escalation stream ended, or could not be opened."""
        del hub
        self._changed(HUB, is_up=False, reason=reason)

    def fleet_changed(self, connected: bool, reason: str) -> None:  # noqa: FBT001 - the port's signature
        """The fleet session came, went, or failed again."""
        self._changed(FLEET, is_up=connected, reason=reason)

    def feedback_changed(self, reason: str) -> None:
        """Feedback was delivered (no reason), or could not be; no connection is held for it, so it is no peer."""
        self._feedback_trouble = reason

    def peers(self) -> tuple[Peer, ...]:
        """Every configured peer."""
        with self._lock:
            return tuple(self._peers.values())

    def problems(self) -> tuple[str, ...]:
        """Why peers are not, or not wholly, connected; the ways to one hub are told once."""
        peers = self.peers()
        told = [
            f"{peer.name}: {peer.reason or f'not connected to {peer.address} yet'}" for peer in peers if _ails(peer)
        ]
        hub_ails = any(_ails(peer) for peer in peers if peer.name == HUB)
        told += [f"{FEEDBACK}: {self._feedback_trouble}"] if self._feedback_trouble else []
        return tuple(text for text in told if not (hub_ails and text.startswith(f"{HUB}-")))

    def _changed(self, name: str, *, is_up: bool, reason: str) -> None:
        with self._lock:
            before = self._peers[name]
            after = Peer(name, before.address, is_up, reason)
            self._peers[name] = after
        if (before.is_up, before.reason) == (is_up, reason):
            return
        self._on_peer(name, is_up)
        level = logging.INFO if is_up and not reason else logging.WARNING
        logger.log(level, "peer_up" if is_up else "peer_down", extra={"peer": name, "reason": reason})


def _ails(peer: Peer) -> bool:
    return not peer.is_up or bool(peer.reason)
