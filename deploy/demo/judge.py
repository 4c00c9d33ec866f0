"""Owns the comparison of answers with the truth: which answer belongs to which window, and how right each side was.

The truth is known here only; it never travels. `Judge` is told what was sent and what came back and gives a `Tally` for
each agent. Whether a tally is good enough is `report`'s business.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deploy.demo.fleet import AgentName, Member, Person, WindowKey

_MAX_EVENT_BYTES: Final = 64 * 1024
_RECENT_S: Final = 10.0
_US_PER_S: Final = 1_000_000
# What an event may say after `provisional`, in the order in which it may be said.
_STATUS_ORDER: Final = ("provisional", "final", "unrevised", "revised")
# Outcomes of an escalation that ended without a verdict; each is a named terminal state.
ENDED_UNANSWERED: Final = frozenset({"suppressed_budget", "rejected", "expired", "evicted", "dead_lettered", "purged"})


class EventError(ValueError):
    """A message on a result topic that is no prediction event; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Question:
    """One window whose answer is awaited.

    Attributes:
        truth: What the person did.
        recording: The recording it was cut from; windows of one recording are not independent.
        edge_label: What the edge pack answers when it runs alone; None when it cannot score the window.
        hub_label: What the hub pack answers when it sees every window.
    """

    truth: str
    recording: int
    edge_label: str | None
    hub_label: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """What the judge reads of an `edge.prediction/1` event."""

    prediction_id: str
    start_ns: int
    status: str
    revision: int
    label: str | None
    reason: str | None
    outcome: str

    @property
    def rank(self) -> tuple[int, int]:
        """Later answers to the same window rank higher."""
        return self.revision, _STATUS_ORDER.index(self.status)

    @property
    def is_escalated(self) -> bool:
        """Whether this window was to be sent to the hub."""
        return self.outcome not in {"none", "suppressed_budget"}


def read_event(payload: bytes) -> Event:
    """Read a prediction event.

    Args:
        payload: The message.

    Returns:
        The part that the judge needs.

    Raises:
        EventError: It is too large, no JSON, of another schema, or lacks a key.
    """
    if len(payload) > _MAX_EVENT_BYTES:
        raise EventError(f"{len(payload)} bytes are more than an event has")
    try:
        body: Any = json.loads(payload)
        if body["schema"] != "edge.prediction/1":
            raise EventError(f"schema {body['schema']!r}")
        escalation = body["escalation"] or {}
        output = body["output"]
        event = Event(
            prediction_id=str(body["id"]),
            start_ns=time_ns(body["window"]["start"]),
            status=str(body["status"]),
            revision=int(body["revision"]),
            label=None if output is None else str(output["label"]),
            reason=escalation.get("reason"),
            outcome=str(escalation.get("outcome", "none")),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise EventError(f"no prediction event: {exc!r}") from exc
    if event.status not in _STATUS_ORDER:
        raise EventError(f"status {event.status!r}")
    return event


def time_ns(text: str) -> int:
    """An ISO 8601 time as Unix nanoseconds; microseconds are kept, which is finer than the watches' grid."""
    moment = datetime.fromisoformat(text)
    whole_s = int(moment.replace(microsecond=0).timestamp())
    return (whole_s * _US_PER_S + moment.microsecond) * 1000


@dataclass(slots=True)
class _Answer:
    """What is known about one window so far."""

    sent_s: float
    first: Event | None = None
    last: Event | None = None
    first_s: float = 0.0
    revised_s: float | None = None
    repeats: int = 0
    other_ids: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """Answers compared with the truth, one element a window, in one order.

    Attributes:
        recordings: int64 [n], the recording of each window.
        edge: bool [n], whether the edge pack alone is right.
        hybrid: bool [n], whether the last answer of the system is right; an unanswered window counts as wrong.
        hub: bool [n], whether the hub pack alone is right.
    """

    recordings: NDArray[np.int64]
    edge: NDArray[np.bool_]
    hybrid: NDArray[np.bool_]
    hub: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference of two accuracies on the same windows, with its 95 % interval, in percentage points."""

    points: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Median and 99th percentile in milliseconds; None while there is nothing to measure."""

    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Tally:
    """One agent so far.

    Attributes:
        sent: Windows whose last message was handed over.
        answered: Of these, with at least one answer.
        escalated: Of the answered, those that the agent wanted the hub to answer, by reason.
        open: Provisional answers without a revision and without a named end.
        revised: Provisional answers that were revised.
        ended: Provisional answers whose escalation ended without a verdict, by outcome.
        repeats: Messages that said again what was said, under the same id.
        other_ids: Messages that gave a window another id than it had.
        unlike_edge: First answers that are not what the edge pack answers in the driver's own process.
        unlike_hub: Revisions that are not what the hub pack answers there.
        unreadable: Messages that are no prediction event, or answer a window that nobody sent.
        per_s: Answers a second over the last seconds.
        edge: From the window's last message to its first answer, both seen by the driver, over the last seconds.
        edge_run: The same over the whole run, faults included.
        hub: From the first answer to its revision, over the last seconds.
        hub_run: The same over the whole run, faults included.
        edge_accuracy: Of the edge pack alone over the answered windows; None before the first.
        hybrid_accuracy: Of the answers as they stand.
        hub_accuracy: Of the hub pack alone.
    """

    sent: int
    answered: int
    escalated: Mapping[str, int]
    open: int
    revised: int
    ended: Mapping[str, int]
    repeats: int
    other_ids: int
    unlike_edge: int
    unlike_hub: int
    unreadable: int
    per_s: float
    edge: Latency
    edge_run: Latency
    hub: Latency
    hub_run: Latency
    edge_accuracy: float | None
    hybrid_accuracy: float | None
    hub_accuracy: float | None

    @property
    def escalated_share(self) -> float:
        """Escalated windows of the answered ones, 0..1."""
        return sum(self.escalated.values()) / self.answered if self.answered else 0.0


@dataclass(slots=True)
class _Book:
    """Everything about one agent."""

    answers: dict[WindowKey, _Answer] = field(default_factory=dict)
    unreadable: int = 0


class Judge:
    """Joins answers to windows by (agent, person, window start). Safe to call from several threads.

    Args:
        questions: Every window that will be sent.
        fleet: The agents.
    """

    def __init__(self, questions: Mapping[WindowKey, Question], fleet: Sequence[Member]) -> None:
        self._questions = questions
        self._lock = threading.Lock()
        self._books: dict[AgentName, _Book] = {member.name: _Book() for member in fleet}
        self._results = [(member.name, member.results) for member in fleet]

    def sent(self, key: WindowKey, at_s: float) -> None:
        """The last message of a window leaves.

        Args:
            key: The window.
            at_s: Monotonic time.
        """
        with self._lock:
            self._books[key.agent].answers[key] = _Answer(at_s)

    def heard(self, topic: str, payload: bytes, at_s: float) -> None:
        """A message came on a result topic.

        Args:
            topic: The topic.
            payload: The message.
            at_s: Monotonic time.
        """
        for agent, template in self._results:
            captures = template.match(topic)
            if captures is not None:
                with self._lock:
                    self._hear(agent, Person(captures["person"]), payload, at_s)
                return

    def _hear(self, agent: AgentName, person: Person, payload: bytes, at_s: float) -> None:
        book = self._books[agent]
        try:
            event = read_event(payload)
        except EventError:
            book.unreadable += 1
            return
        answer = book.answers.get(WindowKey(agent, person, event.start_ns))
        if answer is None:
            book.unreadable += 1
        elif answer.first is None or answer.last is None:
            answer.first, answer.first_s, answer.last = event, at_s, event
        elif event.prediction_id != answer.first.prediction_id:
            answer.other_ids += 1
        elif event.rank > answer.last.rank:
            answer.last = event
            if event.status == "revised" and answer.revised_s is None:
                answer.revised_s = at_s
        else:
            answer.repeats += 1

    @property
    def open_windows(self) -> int:
        """Windows of any agent that were sent and have no answer, or a provisional one."""
        with self._lock:
            return sum(_is_open(answer) for book in self._books.values() for answer in book.answers.values())

    def answered_between(self, agent: AgentName, from_s: float, to_s: float) -> int:
        """First answers of an agent that came between two monotonic times."""
        with self._lock:
            answers = self._books[agent].answers.values()
            return sum(answer.first is not None and from_s <= answer.first_s < to_s for answer in answers)

    def tally(self, agent: AgentName, now_s: float) -> Tally:
        """One agent so far.

        Args:
            agent: The agent.
            now_s: Monotonic time.

        Returns:
            The counts; accuracies are over the answered windows.
        """
        with self._lock:
            book = self._books[agent]
            answers = dict(book.answers)
            answered = {key: answer for key, answer in answers.items() if answer.first is not None}
            firsts = [answer for answer in answered.values() if answer.first]
            recent = [answer for answer in firsts if now_s - answer.first_s <= _RECENT_S]
            revised = [answer for answer in firsts if answer.revised_s is not None]
            scores = self._scores(answered)
            escalated = Counter(
                answer.first.reason or "unnamed" for answer in firsts if answer.first and answer.first.is_escalated
            )
            return Tally(
                sent=len(answers),
                answered=len(answered),
                escalated=dict(sorted(escalated.items())),
                open=sum(_is_open(answer) for answer in firsts),
                revised=sum(_was_provisional(answer) and _status(answer) == "revised" for answer in firsts),
                ended=dict(Counter(_ending(answer) for answer in firsts if _has_ended_unanswered(answer))),
                repeats=sum(answer.repeats for answer in answers.values()),
                other_ids=sum(answer.other_ids for answer in answers.values()),
                unlike_edge=sum(a.first.label != self._questions[k].edge_label for k, a in answered.items() if a.first),
                unlike_hub=sum(
                    a.last.label != self._questions[k].hub_label
                    for k, a in answered.items()
                    if a.last and a.last.status == "revised"
                ),
                unreadable=book.unreadable,
                per_s=len(recent) / _RECENT_S,
                edge=_latency([answer.first_s - answer.sent_s for answer in recent]),
                edge_run=_latency([answer.first_s - answer.sent_s for answer in firsts]),
                hub=_latency(
                    [a.revised_s - a.first_s for a in revised if a.revised_s and now_s - a.revised_s <= _RECENT_S]
                ),
                hub_run=_latency([a.revised_s - a.first_s for a in revised if a.revised_s]),
                edge_accuracy=_share(scores.edge),
                hybrid_accuracy=_share(scores.hybrid),
                hub_accuracy=_share(scores.hub),
            )

    def scores(self, agents: Iterable[AgentName]) -> Scores:
        """Right and wrong for every window of some agents, the unanswered ones included.

        Args:
            agents: Their names.

        Returns:
            One element a window.
        """
        wanted = set(agents)
        with self._lock:
            known = {key: answer for book in self._books.values() for key, answer in book.answers.items()}
            return self._scores({key: known.get(key) for key in self._questions if key.agent in wanted})

    def _scores(self, answers: Mapping[WindowKey, _Answer | None]) -> Scores:
        rows = [(self._questions[key], answer) for key, answer in answers.items()]
        return Scores(
            recordings=np.array([question.recording for question, _ in rows], dtype=np.int64),
            edge=np.array([question.edge_label == question.truth for question, _ in rows], dtype=np.bool_),
            hybrid=np.array(
                [bool(answer and answer.last and answer.last.label == question.truth) for question, answer in rows],
                dtype=np.bool_,
            ),
            hub=np.array([question.hub_label == question.truth for question, _ in rows], dtype=np.bool_),
        )


def paired_interval(
    left: NDArray[np.bool_], right: NDArray[np.bool_], recordings: NDArray[np.int64], *, seed: int, rounds: int = 10_000
) -> Interval | None:
    """How much more often `left` is right than `right`, in points, with a percentile bootstrap interval (95 %).

    Both are judged on the same windows, so each window's difference is drawn as a whole; and whole recordings are
    drawn, because windows of one recording resemble each other (the cluster bootstrap of Field and Welsh 2007).

    Args:
        left: bool [n], right or wrong.
        right: bool [n], the same windows.
        recordings: int64 [n], the recording of each window.
        seed: Seed of the draws.
        rounds: Number of draws.

    Returns:
        The difference over all windows, and the interval; None without windows.
    """
    if not len(left):
        return None
    difference = left.astype(np.float64) - right.astype(np.float64)
    _, group = np.unique(recordings, return_inverse=True)
    sums = np.bincount(group, weights=difference)
    sizes = np.bincount(group)
    draws = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=rounds)
    means = (draws @ sums) / (draws @ sizes)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(100 * float(difference.mean()), 100 * float(low), 100 * float(high))


def _status(answer: _Answer) -> str | None:
    return answer.last.status if answer.last else None


def _was_provisional(answer: _Answer) -> bool:
    return answer.first is not None and answer.first.status == "provisional"


def _ending(answer: _Answer) -> str:
    return answer.last.outcome if answer.last else ""


def _has_ended_unanswered(answer: _Answer) -> bool:
    return _status(answer) == "unrevised" and _ending(answer) in ENDED_UNANSWERED


def _is_open(answer: _Answer) -> bool:
    """Whether something is still to come for this window: its answer, or what a provisional one promised."""
    if answer.first is None:
        return True
    return _status(answer) not in {"final", "revised"} and not _has_ended_unanswered(answer)


def _share(right: NDArray[np.bool_]) -> float | None:
    return float(right.mean()) if len(right) else None


def _latency(durations_s: Sequence[float]) -> Latency:
    if not durations_s:
        return Latency(None, None)
    p50, p99 = np.quantile(np.asarray(durations_s), [0.5, 0.99])
    return Latency(1000 * float(p50), 1000 * float(p99))
