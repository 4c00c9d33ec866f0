"""Owns the comparison of answers with the truth: which answer belongs to which window, and how right each side was.

`Judge` is told what was asked and what came back. It gives a `Tally` for each agent, `Scores` of the certified
comparison, and `Figures` by agent, by where the windows come from, and by the pack that their first answer names: what
was answered before an update and after it is decided by the answers themselves. Whether any of it is good enough is
`report`'s business; right and wrong are known beforehand (`questions`).
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deploy.demo.events import Event, EventError, read_event
from deploy.demo.fleet import AgentName, Member, WindowKey
from deploy.demo.questions import Asked

RECENT_S: Final = 10.0
_HUB_TIER: Final = "hub"
_HUMAN_TIER: Final = "human"
# Outcomes of an escalation that ended without a verdict; each is a named terminal state.
ENDED_UNANSWERED: Final = frozenset({"suppressed_budget", "rejected", "expired", "evicted", "dead_lettered", "purged"})


@dataclass(slots=True)
class _Answer:
    """What is known about one window so far."""

    asked: Asked
    sent_s: float
    first: Event | None = None
    last: Event | None = None
    hub: Event | None = None
    first_s: float = 0.0
    revised_s: float | None = None
    repeats: int = 0
    other_ids: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """The certified comparison: answers held against the truth, one element a window, in one order.

    Attributes:
        clusters: int64 [n], the recording of each window.
        edge: bool [n], whether the first student alone is right.
        hybrid: bool [n], whether the last answer of the system is right; an unanswered window counts as wrong.
        hub: bool [n], whether the hub pack alone is right.
        escalated: Windows that were to be sent to the hub.
        strays: Windows whose first answer names another pack than the certified student: they may not be in it.
    """

    clusters: NDArray[np.int64]
    edge: NDArray[np.bool_]
    hybrid: NDArray[np.bool_]
    hub: NDArray[np.bool_]
    escalated: int
    strays: int


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
class Figures:
    """Some answered windows, all with a first answer.

    Attributes:
        answered: How many.
        escalated: Of these, those that the agent wanted the hub to answer.
        disagreed: Of these, those that the hub answered otherwise than the edge.
        edge_accuracy: Share of the agent's own first answers that are right; None without windows.
        hybrid_accuracy: The same of the answers as they stand.
        hub_accuracy: The same of the hub pack alone.
    """

    answered: int
    escalated: int
    disagreed: int
    edge_accuracy: float | None
    hybrid_accuracy: float | None
    hub_accuracy: float | None

    @property
    def escalated_share(self) -> float | None:
        """Of the answered, 0..1; None without windows."""
        return self.escalated / self.answered if self.answered else None

    @property
    def disagreed_share(self) -> float | None:
        """Of the answered, 0..1; None without windows."""
        return self.disagreed / self.answered if self.answered else None


class Part(NamedTuple):
    """What figures are given for."""

    agent: AgentName
    group: str
    pack: str


@dataclass(frozen=True, slots=True)
class Recent:
    """One agent over the last seconds.

    Attributes:
        per_s: Answers a second.
        edge: From the window's last message to its first answer, both seen by the driver.
        hub: From the first answer to its revision.
        figures: Of the windows answered in these seconds.
        pack: That the latest first answer names; empty before the first.
    """

    per_s: float
    edge: Latency
    hub: Latency
    figures: Figures
    pack: str


@dataclass(frozen=True, slots=True)
class Tally:
    """One agent so far.

    Attributes:
        sent: Windows whose last message was handed over.
        answered: Of these, with at least one answer.
        escalated: Of the answered, those that the agent wanted the hub to answer, by reason.
        open: Provisional answers without a revision and without a named end.
        revised: Provisional answers that were revised.
        by_people: Windows whose last answer is a person's.
        ended: Provisional answers whose escalation ended without a verdict, by outcome.
        repeats: Messages that said again what was said, under the same id.
        other_ids: Messages that gave a window another id than it had.
        unlike_edge: First answers that are not what the pack that they name answers in the driver's own process.
        unlike_hub: Revisions by the hub that are not what the hub pack answers there.
        unreadable: Messages that are no prediction event, or answer a window that nobody sent.
        edge_run: From the window's last message to its first answer, over the whole run, faults included.
        hub_run: From the first answer to its revision, likewise.
        figures: Over the whole run.
        recent: Over the last seconds.
    """

    sent: int
    answered: int
    escalated: Mapping[str, int]
    open: int
    revised: int
    by_people: int
    ended: Mapping[str, int]
    repeats: int
    other_ids: int
    unlike_edge: int
    unlike_hub: int
    unreadable: int
    edge_run: Latency
    hub_run: Latency
    figures: Figures
    recent: Recent


@dataclass(slots=True)
class _Book:
    """Everything about one agent."""

    answers: dict[WindowKey, _Answer] = field(default_factory=dict)
    unreadable: int = 0


class Judge:
    """Joins answers to windows by what their agent says identifies them. Safe to call from several threads.

    Args:
        fleet: The agents.
        certified_pack: The edge pack that the comparison is about, name@version.
    """

    def __init__(self, fleet: Sequence[Member], certified_pack: str) -> None:
        self._certified_pack = certified_pack
        self._lock = threading.Lock()
        self._books: dict[AgentName, _Book] = {member.name: _Book() for member in fleet}
        self._members = tuple(fleet)
        self._by_id: dict[str, _Answer] = {}

    def sent(self, asked: Asked, at_s: float) -> None:
        """The last message of a window leaves.

        Args:
            asked: The window and what is known about it.
            at_s: Monotonic time.
        """
        with self._lock:
            self._books[asked.key.agent].answers[asked.key] = _Answer(asked, at_s)

    def heard(self, topic: str, payload: bytes, at_s: float) -> None:
        """A message came on a result topic.

        Args:
            topic: The topic.
            payload: The message.
            at_s: Monotonic time.
        """
        for member in self._members:
            captures = member.results.match(topic)
            if captures is not None:
                with self._lock:
                    self._hear(member, captures, payload, at_s)
                return

    def _hear(self, member: Member, captures: Mapping[str, str], payload: bytes, at_s: float) -> None:
        book = self._books[member.name]
        try:
            event = read_event(payload)
        except EventError:
            book.unreadable += 1
            return
        answer = book.answers.get(member.key(captures, event.start_ns))
        if answer is None:
            book.unreadable += 1
        elif answer.first is None or answer.last is None:
            answer.first, answer.first_s, answer.last = event, at_s, event
            self._by_id[event.prediction_id] = answer
        elif event.prediction_id != answer.first.prediction_id:
            answer.other_ids += 1
        elif event.rank > answer.last.rank:
            answer.last = event
            answer.hub = event if event.tier == _HUB_TIER else answer.hub
            if event.status == "revised" and answer.revised_s is None:
                answer.revised_s = at_s
        else:
            answer.repeats += 1

    @property
    def open_windows(self) -> int:
        """Windows of any agent that were sent and have no answer, or a provisional one."""
        with self._lock:
            return sum(_is_open(answer) for answer in self._answers())

    @property
    def open_comparisons(self) -> int:
        """Of the open windows, those of the certified comparison."""
        with self._lock:
            return sum(_is_open(answer) for answer in self._answers() if answer.asked.is_compared)

    def answered_between(self, agent: AgentName, from_s: float, to_s: float) -> int:
        """First answers of an agent that came between two monotonic times."""
        with self._lock:
            answers = self._books[agent].answers.values()
            return sum(answer.first is not None and from_s <= answer.first_s < to_s for answer in answers)

    def answered_in(self, part: Part) -> int:
        """Windows of one part that have a first answer."""
        with self._lock:
            answers = self._books[part.agent].answers.values()
            return sum(
                answer.first is not None and (answer.asked.question.group, answer.first.pack) == part[1:]
                for answer in answers
            )

    def truth(self, prediction_id: str) -> str | None:
        """What is true of a window, by the id of its answer; None for an id that was never heard."""
        with self._lock:
            answer = self._by_id.get(prediction_id)
            return None if answer is None else answer.asked.question.truth

    def is_answered_by_a_person(self, prediction_id: str) -> bool:
        """Whether the last answer under this id is a person's."""
        with self._lock:
            answer = self._by_id.get(prediction_id)
            return answer is not None and answer.last is not None and answer.last.tier == _HUMAN_TIER

    def parts(self) -> dict[Part, Figures]:
        """Figures of all answered windows, by agent, group and the pack of the first answer, in this order."""
        with self._lock:
            found: dict[Part, list[_Answer]] = {}
            for agent, book in self._books.items():
                for answer in book.answers.values():
                    if answer.first:
                        part = Part(agent, answer.asked.question.group, answer.first.pack)
                        found.setdefault(part, []).append(answer)
            return {part: _figures(found[part]) for part in sorted(found)}

    def scores(self) -> Scores:
        """Right and wrong for every window of the certified comparison, the unanswered ones included.

        The comparison is about the first student, the one that is certified. So it takes what right wrists showed for
        the first time, and no other pack may have answered it: the story desires the second student there only once
        every such window is answered, and `strays` says that this held.
        """
        with self._lock:
            answers = [answer for answer in self._answers() if answer.asked.is_compared]
        questions = [answer.asked.question for answer in answers]
        pack = self._certified_pack
        return Scores(
            clusters=np.array([question.cluster for question in questions], dtype=np.int64),
            edge=np.array([question.edge_labels[pack] == question.truth for question in questions], dtype=np.bool_),
            hybrid=np.array([_is_right(answer, answer.last) for answer in answers], dtype=np.bool_),
            hub=np.array([question.hub_label == question.truth for question in questions], dtype=np.bool_),
            escalated=sum(_is_escalated(answer) for answer in answers),
            strays=sum(answer.first is not None and answer.first.pack != pack for answer in answers),
        )

    def tally(self, agent: AgentName, now_s: float) -> Tally:
        """One agent so far.

        Args:
            agent: The agent.
            now_s: Monotonic time.

        Returns:
            The counts; figures are over the answered windows.
        """
        with self._lock:
            book = self._books[agent]
            answers = list(book.answers.values())
            firsts = [answer for answer in answers if answer.first is not None]
            revised = [answer for answer in firsts if answer.revised_s is not None]
            reasons = (answer.first.reason or "unnamed" for answer in firsts if answer.first and _is_escalated(answer))
            return Tally(
                sent=len(answers),
                answered=len(firsts),
                escalated=dict(sorted(Counter(reasons).items())),
                open=sum(_is_open(answer) for answer in firsts),
                revised=sum(_was_provisional(answer) and _status(answer) == "revised" for answer in firsts),
                by_people=sum(answer.last is not None and answer.last.tier == _HUMAN_TIER for answer in firsts),
                ended=dict(Counter(_ending(answer) for answer in firsts if _has_ended_unanswered(answer))),
                repeats=sum(answer.repeats for answer in answers),
                other_ids=sum(answer.other_ids for answer in answers),
                unlike_edge=sum(_is_unlike_edge(answer) for answer in firsts),
                unlike_hub=sum(_is_unlike_hub(answer) for answer in firsts),
                unreadable=book.unreadable,
                edge_run=_latency([answer.first_s - answer.sent_s for answer in firsts]),
                hub_run=_latency([answer.revised_s - answer.first_s for answer in revised if answer.revised_s]),
                figures=_figures(firsts),
                recent=_recent(firsts, now_s),
            )

    def _answers(self) -> Iterator[_Answer]:
        for book in self._books.values():
            yield from book.answers.values()


def paired_interval(
    left: NDArray[np.bool_], right: NDArray[np.bool_], clusters: NDArray[np.int64], *, seed: int, rounds: int = 10_000
) -> Interval | None:
    """How much more often `left` is right than `right`, in points, with a percentile bootstrap interval (95 %).

    Both are judged on the same windows, so each window's difference is drawn as a whole; and whole recordings are
    drawn, because windows of one recording resemble each other (the cluster bootstrap of Field and Welsh 2007).

    Args:
        left: bool [n], right or wrong.
        right: bool [n], the same windows.
        clusters: int64 [n], the recording of each window.
        seed: Seed of the draws.
        rounds: Number of draws.

    Returns:
        The difference over all windows, and the interval; None without windows.
    """
    if not len(left):
        return None
    difference = left.astype(np.float64) - right.astype(np.float64)
    _, group = np.unique(clusters, return_inverse=True)
    sums = np.bincount(group, weights=difference)
    sizes = np.bincount(group)
    draws = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=rounds)
    means = (draws @ sums) / (draws @ sizes)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(100 * float(difference.mean()), 100 * float(low), 100 * float(high))


def _recent(firsts: Sequence[_Answer], now_s: float) -> Recent:
    recent = [answer for answer in firsts if now_s - answer.first_s <= RECENT_S]
    revised = [answer for answer in firsts if answer.revised_s and now_s - answer.revised_s <= RECENT_S]
    latest = max(firsts, key=lambda answer: answer.first_s, default=None)
    return Recent(
        per_s=len(recent) / RECENT_S,
        edge=_latency([answer.first_s - answer.sent_s for answer in recent]),
        hub=_latency([answer.revised_s - answer.first_s for answer in revised if answer.revised_s]),
        figures=_figures(recent),
        pack=latest.first.pack if latest and latest.first else "",
    )


def _figures(answers: Sequence[_Answer]) -> Figures:
    """Of answered windows."""
    questions = [answer.asked.question for answer in answers]
    return Figures(
        answered=len(answers),
        escalated=sum(_is_escalated(answer) for answer in answers),
        disagreed=sum(_has_disagreement(answer) for answer in answers),
        edge_accuracy=_share([_is_right(answer, answer.first) for answer in answers]),
        hybrid_accuracy=_share([_is_right(answer, answer.last) for answer in answers]),
        hub_accuracy=_share([question.hub_label == question.truth for question in questions]),
    )


def _is_right(answer: _Answer, event: Event | None) -> bool:
    return event is not None and event.label == answer.asked.question.truth


def _is_escalated(answer: _Answer) -> bool:
    return answer.first is not None and answer.first.is_escalated


def _has_disagreement(answer: _Answer) -> bool:
    return answer.first is not None and answer.hub is not None and answer.hub.label != answer.first.label


def _is_unlike_edge(answer: _Answer) -> bool:
    labels = answer.asked.question.edge_labels
    return answer.first is not None and answer.first.label != labels.get(answer.first.pack)


def _is_unlike_hub(answer: _Answer) -> bool:
    return answer.hub is not None and answer.hub.label != answer.asked.question.hub_label


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


def _share(right: Sequence[bool]) -> float | None:
    return sum(right) / len(right) if right else None


def _latency(durations_s: Sequence[float]) -> Latency:
    if not durations_s:
        return Latency(None, None)
    p50, p99 = np.quantile(np.asarray(durations_s), [0.5, 0.99])
    return Latency(1000 * float(p50), 1000 * float(p99))
