"""Owns what the demo must show: the goals, whether each holds, and the one JSON object at the end.

It is pure: tallies, scores, audits and what the hub knows in, a `Report` out. Nothing here is about time: a slow
machine misses no goal. "Before" and "after" an update are what the answers themselves name: a window counts for the
pack of its first answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deploy.demo.fleet import BRANCH, EDGE_PACK, LEFT, NEXT_EDGE_PACK, PATCH, AgentName, Member
from deploy.demo.judge import Figures, Interval, Judge, Latency, Part, Scores, Tally, paired_interval
from deploy.demo.questions import wrist_group
from model_packs.shipped.motion_band.dataset import Wrist

OUTSIDE: Final = "outside the certificate's population"
INSIDE: Final = "the certificate's population"

BEFORE_DRIFT: Final = Part(LEFT.name, wrist_group(Wrist.RIGHT), str(EDGE_PACK))
UNDER_DRIFT: Final = Part(LEFT.name, wrist_group(Wrist.LEFT), str(EDGE_PACK))
MENDED: Final = Part(LEFT.name, wrist_group(Wrist.LEFT), str(NEXT_EDGE_PACK))
_NOTHING: Final = Figures(0, 0, 0, None, None, None)

_EDGE_GAIN_POINTS: Final = 1.0
_HUB_LOSS_POINTS: Final = -0.5
_ESCALATED_PERCENT: Final = 20.0
_DRIFT_PERCENT: Final = 50.0  # a student that is still right more often than this has not met a drift
_MENDED_PERCENT: Final = 85.0
MENDED_WINDOWS: Final = 300
_SHIFT_POINTS: Final = 10.0
_BRANCH_PERCENT: Final = 95.0
_REFUSAL: Final = "bad_digest"


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
class Refusal:
    """What the hub knows about a pack that a device would not run.

    Attributes:
        reason: The failure's name.
        detail: In words.
    """

    pack: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Update:
    """How the second student came to the agents, as the hub knows it.

    Attributes:
        installed: The agents that have committed it, in this order.
        refusal: What became of the damaged patch; None: nothing was heard.
        labels: Labels that a person gave.
        human_revisions: Of the labelled answers, those whose last answer is the person's.
    """

    installed: tuple[AgentName, ...]
    refusal: Refusal | None
    labels: int
    human_revisions: int


@dataclass(frozen=True, slots=True)
class Login:
    """Where a person looks at the fleet, and as whom.

    Attributes:
        url: The console.
    """

    url: str
    name: str
    password: str


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
        compared: The certified comparison.
        parts: Figures of every agent, by where its windows come from and by the pack that answered first.
    """

    goals: tuple[Goal, ...]
    over_edge: Interval | None
    over_hub: Interval | None
    compared: Scores
    tallies: Mapping[AgentName, Tally]
    parts: Mapping[Part, Figures]
    members: Sequence[Member]
    audits: Mapping[AgentName, Audit]
    faults: Faults
    update: Update
    login: Login
    seed: int

    @property
    def ok(self) -> bool:
        """Whether all goals hold."""
        return all(goal.ok for goal in self.goals)

    def part(self, part: Part) -> Figures:
        """The figures of one part; of none of its windows if it has none."""
        return self.parts.get(part, _NOTHING)

    def to_json(self) -> dict[str, Any]:
        """The object of the last line of `--json`."""
        return {
            "goals": [asdict(goal) for goal in self.goals],
            "comparison": {
                "population": INSIDE,
                "windows": len(self.compared.hybrid),
                "escalated": self.compared.escalated,
                "accuracy_percent": {name: percent(getattr(self.compared, name)) for name in ("edge", "hybrid", "hub")},
            },
            "devices": [self._device(member) for member in self.members],
            "update": {
                "installed": list(self.update.installed),
                "refusal": self.update.refusal and asdict(self.update.refusal),
                "labels": self.update.labels,
                "human_revisions": self.update.human_revisions,
            },
            "audit": {name: audit.document for name, audit in self.audits.items()},
            "intervals": {
                "method": "paired bootstrap over recordings, 95 %, percentage points",
                "seed": self.seed,
                "right_hybrid_minus_edge": self.over_edge and asdict(self.over_edge),
                "right_hybrid_minus_hub": self.over_hub and asdict(self.over_hub),
            },
            "faults": asdict(self.faults),
            "console": {"url": self.login.url, "name": self.login.name},
        }

    def _device(self, member: Member) -> dict[str, Any]:
        tally = self.tallies[member.name]
        return {
            "device": member.name,
            "population": INSIDE if member.is_certified else OUTSIDE,
            "windows": tally.sent,
            "answered": tally.answered,
            "escalated_by_reason": dict(tally.escalated),
            "revised": tally.revised,
            "answered_by_people": tally.by_people,
            "ended_unanswered": dict(tally.ended),
            "repeats": tally.repeats,
            "unlike_pack_alone": {"edge_answers": tally.unlike_edge, "revisions": tally.unlike_hub},
            "latency_ms": {"sensor_to_answer": _latency(tally.edge_run), "answer_to_revision": _latency(tally.hub_run)},
            "parts": [
                {"from": part.group, "pack": part.pack, **_figures(figures)}
                for part, figures in self.parts.items()
                if part.agent == member.name
            ],
        }


def judge_run(
    judge: Judge,
    members: Sequence[Member],
    audits: Mapping[AgentName, Audit],
    *,
    faults: Faults,
    update: Update,
    login: Login,
    now_s: float,
    seed: int,
) -> Report:
    """Hold a finished run against the goals.

    Args:
        judge: What was asked and heard.
        members: The agents.
        audits: What each agent's audit said.
        faults: How the system bore the faults.
        update: How the second student came to the agents.
        login: Where a person looks at the fleet.
        now_s: Monotonic time, for the tallies.
        seed: Seed of the intervals.

    Returns:
        The report.
    """
    compared = judge.scores()
    report = Report(
        goals=(),
        over_edge=paired_interval(compared.hybrid, compared.edge, compared.clusters, seed=seed),
        over_hub=paired_interval(compared.hybrid, compared.hub, compared.clusters, seed=seed),
        compared=compared,
        tallies={member.name: judge.tally(member.name, now_s) for member in members},
        parts=judge.parts(),
        members=members,
        audits=audits,
        faults=faults,
        update=update,
        login=login,
        seed=seed,
    )
    goals = (*_comparison_goals(report), *_promise_goals(report), *_update_goals(report))
    return replace(report, goals=goals)


def _comparison_goals(report: Report) -> tuple[Goal, ...]:
    """What the certificate speaks about."""
    compared = report.compared
    share = 100 * compared.escalated / len(compared.hybrid) if len(compared.hybrid) else None
    return (
        at_least("right wrists: hybrid less edge alone, points", _points(report.over_edge), _EDGE_GAIN_POINTS),
        at_least("right wrists: hybrid less hub alone, points", _points(report.over_hub), _HUB_LOSS_POINTS),
        at_most("right wrists: escalated, %", share, _ESCALATED_PERCENT),
        at_most("right wrists: compared windows that another pack than the certified one answered", compared.strays, 0),
    )


def _promise_goals(report: Report) -> tuple[Goal, ...]:
    """What holds for everyone, whatever is killed or updated on the way."""
    everyone = tuple(report.tallies.values())
    faults, audits = report.faults, report.audits
    return (
        at_most("windows without an answer", sum(tally.sent - tally.answered for tally in everyone), 0),
        at_most("provisional answers neither revised nor ended by name", sum(t.open for t in everyone), 0),
        at_most("windows answered under two ids", sum(t.other_ids for t in everyone), 0),
        at_most("messages that answer no window", sum(t.unreadable for t in everyone), 0),
        at_least("answers while the hub was down", faults.answered_without_hub, 1),
        at_least("answers of the others while one agent was down", faults.answered_by_others, 1),
        at_least("items in the outboxes while the hub was down", faults.outbox_peak, 1),
        at_most("items in the outboxes at the end", faults.outbox_end, 0),
        at_least("agents audited", sum(audit.equations > 0 for audit in audits.values()), len(report.members)),
        at_most("equations that do not hold", sum(len(audit.broken) for audit in audits.values()), 0),
    )


def _update_goals(report: Report) -> tuple[Goal, ...]:
    """The drift, what mends it, and what may not happen on the way."""
    before, drifted, mended = (report.part(part) for part in (BEFORE_DRIFT, UNDER_DRIFT, MENDED))
    branch = report.tallies[BRANCH.name].figures
    update = report.update
    wrists = tuple(member for member in report.members if member.binding == LEFT.binding)
    is_refused = update.refusal is not None and (update.refusal.pack, update.refusal.reason) == (str(PATCH), _REFUSAL)
    by_patch = sum(figures.answered for part, figures in report.parts.items() if part.pack == str(PATCH))
    return (
        at_least("left: escalated under drift less before it, points", _shift(before, drifted), _SHIFT_POINTS),
        at_least(
            "left: answers that the hub disagrees with, under drift less before it, points",
            _shift(before, drifted, _disagreed),
            _SHIFT_POINTS,
        ),
        at_most("left: the student's own answers right under v1, %", _percent(drifted.edge_accuracy), _DRIFT_PERCENT),
        at_least("wrist agents that have installed v2", len(update.installed), len(wrists)),
        at_least("left: windows answered under v2", mended.answered, MENDED_WINDOWS),
        at_least("left: the student's own answers right under v2, %", _percent(mended.edge_accuracy), _MENDED_PERCENT),
        at_most("left: escalated under v2 less under v1, points", _shift(drifted, mended), -_SHIFT_POINTS),
        at_most(
            "left: answers that the hub disagrees with, under v2 less under v1, points",
            _shift(drifted, mended, _disagreed),
            -_SHIFT_POINTS,
        ),
        at_least(f"the damaged {PATCH} refused, and reported to the hub as {_REFUSAL}", int(is_refused), 1),
        at_most(f"answers of the damaged {PATCH}", by_patch, 0),
        at_least("branch: boxes read right by edge and hub, %", _percent(branch.hybrid_accuracy), _BRANCH_PERCENT),
        at_least("labels that came back as revisions", update.human_revisions, max(1, update.labels)),
    )


def _escalated(figures: Figures) -> float | None:
    return figures.escalated_share


def _disagreed(figures: Figures) -> float | None:
    return figures.disagreed_share


def _shift(before: Figures, after: Figures, of: Callable[[Figures], float | None] = _escalated) -> float | None:
    """By how many points a share has changed; None when one side has no windows."""
    old, new = of(before), of(after)
    return None if old is None or new is None else 100 * (new - old)


def percent(right: NDArray[np.bool_]) -> float | None:
    """The share of true values in percent; None when there are none."""
    return round(100 * float(right.mean()), 2) if len(right) else None


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _figures(figures: Figures) -> dict[str, Any]:
    """One part as JSON."""
    return {
        "answered": figures.answered,
        "escalated_percent": _rounded(_percent(figures.escalated_share)),
        "disagreed_percent": _rounded(_percent(figures.disagreed_share)),
        "accuracy_percent": {
            "edge": _rounded(_percent(figures.edge_accuracy)),
            "hybrid": _rounded(_percent(figures.hybrid_accuracy)),
            "hub": _rounded(_percent(figures.hub_accuracy)),
        },
    }


def _latency(latency: Latency) -> dict[str, float | None]:
    return {"p50": _rounded(latency.p50_ms), "p99": _rounded(latency.p99_ms)}


def _points(interval: Interval | None) -> float | None:
    return None if interval is None else interval.points


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
