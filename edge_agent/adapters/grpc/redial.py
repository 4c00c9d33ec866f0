"""Owns the loop around a conversation with the hub: a new channel each time, a wait between, a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from edge_agent.adapters.grpc.dialling import Dialler
from edge_agent.adapters.grpc.stream import OwnFaultError
from edge_agent.errors import AgentError, HubError
from protos.link.backoff import Backoff, RetryBudget
from protos.link.tls import HubChannel
from protos.status import Status

JOIN_S = 2.0

logger = logging.getLogger(__name__)


class HubAwayError(HubError):
    """The hub ended the session and said when to come back."""

    def __init__(self, address: str, reason: str, retry_after_s: float) -> None:
        mend = "the agent comes back by itself; if it never stays connected, another device uses the same identity"
        super().__init__(address, f"hub {address} ended the session: {reason}", mend, Status.UNAVAILABLE)
        self.retry_after_s = retry_after_s


class Conversation(Protocol):
    """What is said on one channel."""

    def __call__(self, channel: HubChannel, closing: threading.Event) -> None:
        """Talk until the stream ends (`AgentError`) or `closing` is set; returning starts the next, in the budget."""
        ...


class RedialLoop:
    """Talks for ever.

    Args:
        name: Name of the thread.
        dialler: Makes the channels.
        talk: The conversation.
        backoff: Waits after failures; the conversation resets it when it went well.
        on_down: Told after every failure, with a text that names the thing and the mend.
        on_failure: Told of every failure that is the agent's own, with the loop's name.
        budget: How often to dial in the long run, also when every conversation goes well and is short.
    """

    def __init__(
        self,
        name: str,
        dialler: Dialler,
        talk: Conversation,
        backoff: Backoff,
        *,
        on_down: Callable[[str], None],
        on_failure: Callable[[str], None],
        budget: RetryBudget | None = None,
    ) -> None:
        self._name = name
        self._dialler = dialler
        self._talk = talk
        self._backoff = backoff
        self._on_down = on_down
        self._on_failure = on_failure
        self._budget = budget or RetryBudget()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def open(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the conversation and the thread; a second call does nothing."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            wait_s = 0.0
            try:
                self._once()
            except HubAwayError as error:
                self._down(error)
                wait_s = error.retry_after_s + self._backoff.next_s()  # all devices are sent away at once
            except AgentError as error:
                if isinstance(error, OwnFaultError):  # from the stream's reader, which has logged it
                    self._on_failure(self._name)
                self._down(error)
                wait_s = self._backoff.next_s()
            except Exception:  # the top of this thread's loop: whatever broke, a new session begins
                logger.exception("hub_session_broke", extra={"hub": self._dialler.address})
                self._on_failure(self._name)
                self._on_down("the agent failed while talking to the hub; its log has the traceback")
                wait_s = self._backoff.next_s()
            self._closing.wait(max(wait_s, self._budget.spend(time.monotonic())))

    def _once(self) -> None:
        hub = self._dialler.dial()
        try:
            self._talk(hub, self._closing)
        finally:
            hub.channel.close()

    def _down(self, error: AgentError) -> None:
        if not self._closing.is_set():
            logger.warning("hub_down", extra={"hub": self._dialler.address, "reason": error.message})
            self._on_down(f"{error.message}: {error.mend}")
