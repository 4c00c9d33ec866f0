"""Owns what the demo must show: the goals, whether each holds, and the one JSON object at the end.

It is pure: tallies, scores and audits in, a `Report` out. Nothing here is about time: a slow machine misses no goal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deploy.demo.fleet import AgentName, Member
from deploy.demo.judge import Interval, Judge, Latency, Scores, Tally, paired_interval

OUTSIDE: Final = "outside the certificate's population"
INSIDE: Final = "the certificate's population"

_EDGE_GAIN_POINTS: Final = 1.0
_HUB_LOSS_POINTS: Final = -0.5
_ESCALATED_PERCENT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing that must hold.

    Attributes:
        name: What is counted, with its unit and whether the limit is a least or a most.
        value: As measured; None when there was nothing to measure, which misses the goal.
        limit: What it is held against.
        ok: Whether it holds.
    """

    name: str
    value: float | None
    limit: float
    ok: bool


def at_least(name: str, value: float | None, limit: float) -> Goal:
    """A goal whose value may not be below its limit."""
    return Goal(f"{name} (at least)", _rounded(value), limit, ok=value is not None and value >= limit)


def at_most(name: str, value: float | None, limit: float) -> Goal:
    """A goal whose value may not be above its limit."""
    return Goal(f"{name} (at most)", _rounded(value), limit, ok=value is not None and value <= limit)


@dataclass(frozen=True, slots=True)
class Faults:
    """What the demo broke, and how the system bore it.

    Attributes:
        answered_without_hub: First answers of all agents while the hub was down.
        outbox_peak: Most items that waited in the outboxes of all agents together while the hub was down.
        outbox_end: Items that still wait when everything has come to rest.
        answered_by_others: First answers of the other agents while one was down.
    """

    answered_without_hub: int
    outbox_peak: int
    outbox_end: int
    answered_by_others: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What `edge-agent audit --json` said about one agent.

    Attributes:
        equations: How many it checked.
        broken: The names of those that do not hold.
        document: The whole answer.
    """

    equations: int
    broken: tuple[str, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """The end of the story.

    Attributes:
        over_edge: Right wrists, hybrid less edge alone; None without windows.
        over_hub: Right wrists, hybrid less hub alone; None without windows.
    """

    goals: tuple[Goal, ...]
    over_edge: Interval | None
    over_hub: Interval | None
    tallies: Mapping[AgentName, Tally]
    scores: Mapping[AgentName, Scores]
    members: Sequence[Member]
    audits: Mapping[AgentName, Audit]
    faults: Faults
    seed: int

    @property
    def ok(self) -> bool:
        """Whether all goals hold."""
        return all(goal.ok for goal in self.goals)

    def to_json(self) -> dict[str, Any]:
        """The object of the last line of `--json`."""
        return {
            "goals": [asdict(goal) for goal in self.goals],
            "devices": [self._device(member) for member in self.members],
            "audit": {name: audit.document for name, audit in self.audits.items()},
            "intervals": {
                "method": "paired bootstrap over recordings, 95 %, percentage points",
                "seed": self.seed,
                "right_hybrid_minus_edge": self.over_edge and asdict(self.over_edge),
                "right_hybrid_minus_hub": self.over_hub and asdict(self.over_hub),
            },
            "faults": asdict(self.faults),
        }

    def _device(self, member: Member) -> dict[str, Any]:
        tally, scores = self.tallies[member.name], self.scores[member.name]
        return {
            "device": member.name,
            "wrist": str(member.wrist),
            "population": INSIDE if member.is_certified else OUTSIDE,
            "windows": len(scores.hybrid),
            "answered": tally.answered,
            "escalated_percent": round(100 * tally.escalated_share, 2),
            "escalated_by_reason": dict(tally.escalated),
            "revised": tally.revised,
            "ended_unanswered": dict(tally.ended),
            "repeats": tally.repeats,
            "unlike_pack_alone": {"edge_answers": tally.unlike_edge, "revisions": tally.unlike_hub},
            "accuracy_percent": {name: percent(getattr(scores, name)) for name in ("edge", "hybrid", "hub")},
            "latency_ms": {"sensor_to_answer": _latency(tally.edge_run), "answer_to_revision": _latency(tally.hub_run)},
        }


def judge_run(
    judge: Judge,
    members: Sequence[Member],
    audits: Mapping[AgentName, Audit],
    faults: Faults,
    *,
    now_s: float,
    seed: int,
) -> Report:
    """Hold a finished run against the goals.

    Args:
        judge: What was sent and heard.
        members: The agents.
        audits: What each agent's audit said.
        faults: How the system bore the faults.
        now_s: Monotonic time, for the tallies.
        seed: Seed of the intervals.

    Returns:
        The report.
    """
    tallies = {member.name: judge.tally(member.name, now_s) for member in members}
    scores = {member.name: judge.scores([member.name]) for member in members}
    certified = [member.name for member in members if member.is_certified]
    right = judge.scores(certified)
    over_edge = paired_interval(right.hybrid, right.edge, right.recordings, seed=seed)
    over_hub = paired_interval(right.hybrid, right.hub, right.recordings, seed=seed)
    escalated = sum(sum(tallies[name].escalated.values()) for name in certified)
    answered = sum(tallies[name].answered for name in certified)
    everyone = tuple(tallies.values())
    lost = sum(len(score.hybrid) for score in scores.values()) - sum(tally.answered for tally in everyone)
    goals = (
        at_least("right wrists: hybrid less edge alone, points", _points(over_edge), _EDGE_GAIN_POINTS),
        at_least("right wrists: hybrid less hub alone, points", _points(over_hub), _HUB_LOSS_POINTS),
        at_most("right wrists: escalated, %", 100 * escalated / answered if answered else None, _ESCALATED_PERCENT),
        at_most("windows without an answer", lost, 0),
        at_most("provisional answers neither revised nor ended by name", sum(t.open for t in everyone), 0),
        at_most("windows answered under two ids", sum(t.other_ids for t in everyone), 0),
        at_most("messages that answer no window", sum(t.unreadable for t in everyone), 0),
        at_least("answers while the hub was down", faults.answered_without_hub, 1),
        at_least("answers of the others while one agent was down", faults.answered_by_others, 1),
        at_least("items in the outboxes while the hub was down", faults.outbox_peak, 1),
        at_most("items in the outboxes at the end", faults.outbox_end, 0),
        at_least("agents audited", sum(audit.equations > 0 for audit in audits.values()), len(members)),
        at_most("equations that do not hold", sum(len(audit.broken) for audit in audits.values()), 0),
    )
    return Report(goals, over_edge, over_hub, tallies, scores, members, audits, faults, seed)


def percent(right: NDArray[np.bool_]) -> float | None:
    """The share of true values in percent; None when there are none."""
    return round(100 * float(right.mean()), 2) if len(right) else None


def _latency(latency: Latency) -> dict[str, float | None]:
    return {"p50": _rounded(latency.p50_ms), "p99": _rounded(latency.p99_ms)}


def _points(interval: Interval | None) -> float | None:
    return None if interval is None else interval.points


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
