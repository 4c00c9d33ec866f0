"""What the hub answers before it is logged: for those who wait, and for nobody else."""

import pytest

from edge_agent.errors import StoreError
from edge_agent.inference.early_verdicts import EarlyVerdicts
from edge_agent.inference.revisions import Inbox, Revisions
from edge_agent.ports import Event
from protos.messages.escalation import NOT_LOGGED, PredictionId, Verdict
from protos.messages.inference import Tier
from protos.status import Status
from tests.simulators.clocks import SystemClock

NAME = PredictionId("p1")


class Desk:
    """Early verdicts with one prediction that somebody may wait for."""

    def __init__(self, *, is_awaited: bool = True, revision: int = 0, tier: str = "edge") -> None:
        self.reads = 0
        self.failure: StoreError | None = None
        self._event: Event = {
            "id": NAME,
            "revision": revision,
            "tier": tier,
            "status": "provisional",
            "output": None,
            "escalation": {"reason": "low_confidence", "outcome": "sent"},
            "models": [],
            "ts": "2026-11-21T08:00:00.250Z",
            "latency_ms": 1.0,
        }
        clock = SystemClock()
        self.inbox = Inbox(0.0, clock.monotonic_s)
        revisions = Revisions()
        if is_awaited:
            revisions.expect([NAME], self.inbox)
        self.early = EarlyVerdicts(revisions, self._newest, clock)

    def heard(self) -> Event | None:
        """What the waiting one is told, if anything."""
        self.early.heard(Verdict(NOT_LOGGED, NAME, "sha256:0", 1, Tier.HUB, None, 0.0, (), 0, 1.0))
        return self.inbox.next()

    def _newest(self, prediction_id: str) -> Event | None:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return self._event if prediction_id == NAME else None


def test_who_waits_is_told_what_the_event_will_say() -> None:
    """The hub's answer, revised and by its tier."""
    told = Desk().heard()
    assert told is not None
    assert (told["status"], told["revision"], told["tier"]) == ("revised", 1, "hub")


def test_nothing_is_read_for_nobody() -> None:
    """Most answers have no caller on the line."""
    desk = Desk(is_awaited=False)
    assert desk.heard() is None
    assert desk.reads == 0


@pytest.mark.parametrize(("revision", "tier"), [(1, "human"), (0, "human"), (1, "hub")])
def test_a_person_or_an_equal_revision_is_not_overruled(revision: int, tier: str) -> None:
    """What is known for good stands above what is only said."""
    assert Desk(revision=revision, tier=tier).heard() is None


def test_a_store_that_cannot_be_read_leaves_it_to_the_log() -> None:
    """The same verdict comes again."""
    desk = Desk()
    desk.failure = StoreError("edge.db cannot be read: disk I/O error", "look at the disk", Status.UNAVAILABLE)
    assert desk.heard() is None
