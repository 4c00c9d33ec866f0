"""A conversation that ends is begun anew, and what was the agent's own fault is counted."""

import threading

from edge_agent.adapters.grpc.dialling import LoopbackPlain
from edge_agent.adapters.grpc.redial import RedialLoop
from edge_agent.adapters.grpc.stream import OwnFaultError
from edge_agent.errors import HubError
from protos.link.backoff import Backoff, RetryBudget
from protos.link.tls import HubChannel
from protos.status import Status

DEADLINE_S = 10.0


def test_only_the_agents_own_faults_are_counted() -> None:
    """One in the conversation and one in the stream's reader are; a hub that is away is not; all three are told."""
    endings = iter(
        [
            HubError("h:1", "hub h:1 is away", "start it"),
            ValueError("a fault of ours"),
            OwnFaultError("h:1", "the agent failed on a message", "its log has the traceback", Status.INTERNAL),
        ]
    )
    downs: list[str] = []
    failures: list[str] = []
    went_on = threading.Event()

    def talk(channel: HubChannel, closing: threading.Event) -> None:
        del channel
        ending = next(endings, None)
        if ending is not None:
            raise ending
        went_on.set()
        closing.wait(DEADLINE_S)

    dialler = LoopbackPlain("127.0.0.1:1", "press-07")
    loop = RedialLoop(
        "hub-sender", dialler, talk, Backoff(0.01, 0.02), on_down=downs.append, on_failure=failures.append
    )
    loop.open()
    assert went_on.wait(DEADLINE_S)
    loop.close()
    assert failures == ["hub-sender", "hub-sender"]
    assert len(downs) == 3


def test_conversations_that_end_well_and_at_once_do_not_spin() -> None:
    """A hub that greets and leaves, again and again, is dialled within the budget: a burst, and then seldom."""
    dials = 0
    burst_is_over = threading.Event()

    def talk(channel: HubChannel, closing: threading.Event) -> None:
        nonlocal dials
        del channel, closing
        dials += 1
        if dials == 4:
            burst_is_over.set()

    dialler = LoopbackPlain("127.0.0.1:1", "press-07")
    loop = RedialLoop(
        "hub-sender",
        dialler,
        talk,
        Backoff(0.01, 0.02),
        on_down=lambda _reason: None,
        on_failure=lambda _loop: None,
        budget=RetryBudget(burst=3, every_s=3600.0),
    )
    loop.open()
    assert burst_is_over.wait(DEADLINE_S)
    loop.close()
    assert dials == 4
