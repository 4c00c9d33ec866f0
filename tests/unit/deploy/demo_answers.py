"""Owns windows and events of a made-up run, for the tests of judge, report and view. No tests."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from deploy.demo.fleet import AgentName, Member, Source, WindowKey
from deploy.demo.questions import Asked, Question

S = 1_000_000_000
T0 = 1_800_000_000 * S
V1, V2 = "motion-band-edge@1.0.0", "motion-band-edge@2.0.0"
PERSON = Source("p01")
RIGHT_GROUP, LEFT_GROUP = "right wrist", "left wrist"

PROVISIONAL: Final[dict[str, Any]] = {
    "status": "provisional",
    "escalation": {"reason": "low_confidence", "outcome": "queued"},
}
REVISED: Final[dict[str, Any]] = {
    "status": "revised",
    "revision": 1,
    "tier": "hub",
    "escalation": {"reason": "low_confidence", "outcome": "answered"},
}
BY_A_PERSON: Final[dict[str, Any]] = {**REVISED, "revision": 2, "tier": "human"}


def asked(
    agent: AgentName,
    second: int,
    *,
    truth: str = "PEN",
    edge: str | None = "PEN",
    hub: str | None = "PEN",
    group: str = RIGHT_GROUP,
    cluster: int = 0,
    is_compared: bool = True,
) -> Asked:
    """The window that starts so many seconds after T0, and what both packs say of it alone."""
    key = WindowKey(agent, PERSON, T0 + second * S)
    return Asked(key, Question(truth, group, cluster, {V1: edge, V2: truth}, hub), is_compared)


def event(second: int, label: str | None, *, pack: str = V1, **changes: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """A final answer of the edge to the window at `second`, with changes."""
    body = {
        "schema": "edge.prediction/1",
        "id": f"id{second}",
        "window": {"start": f"{datetime.fromtimestamp(T0 // S + second, UTC):%Y-%m-%dT%H:%M:%S}.000Z"},
        "status": "final",
        "revision": 0,
        "tier": "edge",
        "output": None if label is None else {"task": "classification", "label": label, "scores": {label: 1.0}},
        "escalation": {"reason": None, "outcome": "none"},
        "models": [{"pack": pack, "digest": "sha256:00", "role": "active"}],
        **changes,
    }
    return json.dumps(body).encode()


def topic(member: Member) -> str:
    """Where a member answers about the one person."""
    return member.results.render(dict.fromkeys(member.results.captures, PERSON))
