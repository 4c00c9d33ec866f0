"""Owns the story of the demo, from the empty folder to the report. It reads from top to bottom in `tell`.

    the data set -> the stage -> the watches send -> the hub is killed and comes back -> an agent is killed and comes
    back -> everything comes to rest -> audits, goals

The parts are the other modules'; what is decided here is what happens when.
"""

import time
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from deploy.demo.baselines import questions
from deploy.demo.fleet import FLEET, AgentName
from deploy.demo.judge import Judge
from deploy.demo.programs import ProgramError
from deploy.demo.report import Faults, Report, judge_run
from deploy.demo.results import Listener
from deploy.demo.sensors import Sensors, length_s, origin_ns, schedule, tracks
from deploy.demo.stage import Stage, is_ready
from deploy.demo.view import Frame, Pulse, View
from model_packs.shipped.motion_band import dataset

VICTIM: Final = AgentName("right-b")
_TICK_S: Final = 0.25
_PULSE_INTERVAL_S: Final = 1.0
_REST_DEADLINE_S: Final = 300.0


class Act(Enum):
    """What the demo does to the system."""

    KILL_HUB = auto()
    START_HUB = auto()
    KILL_AGENT = auto()
    START_AGENT = auto()


def acts(wall_s: float) -> tuple[tuple[float, Act], ...]:
    """When each act begins, in seconds since the watches began.

    Args:
        wall_s: How long the watches send.

    Returns:
        In order of time; all within the run.
    """
    return (
        (wall_s / 3, Act.KILL_HUB),
        (wall_s / 3 + min(8.0, wall_s / 6), Act.START_HUB),
        (wall_s * 0.6, Act.KILL_AGENT),
        (wall_s * 0.6 + min(3.0, wall_s / 10), Act.START_AGENT),
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
        cache: Where the data set is kept between runs.
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
        self._stage: Stage | None = None
        self._listener: Listener | None = None
        self._sensors: Sensors | None = None
        self._pulses: dict[AgentName, Pulse | None] = {}
        self._pulsed_s = float("-inf")
        self._hub_away: _Absence | None = None
        self._agent_away: _Absence | None = None
        self._outbox_peak = 0

    def tell(self) -> Report:
        """Play the story; the programs still run when it returns.

        Returns:
            What was measured.

        Raises:
            ProgramError: A program does not start, or ends by itself.
            DatasetError: The data set cannot be fetched.
            ModelPackError: A shipped pack cannot be used.
            ListenerError: The broker does not answer.
            SensorError: The broker does not answer.
            OSError: The run folder cannot be written.
        """
        view = self._view
        view.event("data set: seglearn's smartwatch recordings, field part")
        watches = tracks(dataset.load(self._cache, view.event), FLEET)
        self._stage = stage = Stage(self._folder, FLEET, view.event)
        stage.open()

        stream_s = length_s(watches)
        wall_s = stream_s / self._speed
        start_ns = origin_ns(time.time_ns(), stream_s, self._speed)
        view.event("edge alone and hub alone: the driver runs both packs on the same windows")
        judge = Judge(questions(watches, start_ns, self._folder / "driver"), FLEET)
        self._listener = Listener(stage.broker_address, judge.heard)
        self._listener.open()

        self._sensors = sensors = Sensors(
            stage.broker_address,
            schedule(watches, start_ns),
            start_ns=start_ns,
            speed=self._speed,
            clock=time.monotonic,
            on_window=judge.sent,
        )
        sensors.open()
        began_s = time.monotonic()
        view.event(f"{len(watches)} watches send for {wall_s:.0f} s; truth stays with the driver")
        self._play(stage, judge, sensors, began_s, wall_s)
        return self._verdict(stage, judge)

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

    def configs(self) -> list[Path]:
        """The agents' configs, for a person who wants to look around."""
        return [] if self._stage is None else [agent.config for agent in self._stage.agents.values()]

    def _play(self, stage: Stage, judge: Judge, sensors: Sensors, began_s: float, wall_s: float) -> None:
        """Act and show, until everything has come to rest or the deadline has passed."""
        to_come = list(acts(wall_s))
        while True:
            now_s = time.monotonic()
            while to_come and now_s - began_s >= to_come[0][0]:
                self._act(stage, to_come.pop(0)[1], now_s)
            self._look(stage, now_s)
            tallies = {member.name: judge.tally(member.name, now_s) for member in FLEET}
            self._view.frame(Frame(now_s - began_s, wall_s, FLEET, tallies, dict(self._pulses)))
            if sensors.is_done and not to_come and self._is_at_rest(judge):
                self._view.event(
                    f"at rest: every window answered, outboxes empty, {now_s - began_s - wall_s:.0f} s after"
                )
                return
            if now_s - began_s > wall_s + _REST_DEADLINE_S:
                self._view.event(
                    f"not at rest {_REST_DEADLINE_S:.0f} s after the last sample: {judge.open_windows} open"
                )
                return
            time.sleep(_TICK_S)

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

    def _look(self, stage: Stage, now_s: float) -> None:
        """Ask the programs how they are, at most once a second."""
        if now_s - self._pulsed_s < _PULSE_INTERVAL_S:
            return
        self._pulsed_s = now_s
        self._pulses = {name: stage.pulse(agent) for name, agent in stage.agents.items()}
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

    def _is_at_rest(self, judge: Judge) -> bool:
        is_quiet = all(pulse is not None and pulse.outbox_items == 0 for pulse in self._pulses.values())
        return is_quiet and judge.open_windows == 0

    def _verdict(self, stage: Stage, judge: Judge) -> Report:
        now_s = time.monotonic()
        self._view.event("edge-agent audit: every equation, in one transaction each")
        audits = stage.audits()
        others = [member.name for member in FLEET if member.name != VICTIM]
        faults = Faults(
            answered_without_hub=_answered(judge, [member.name for member in FLEET], self._hub_away, now_s),
            outbox_peak=self._outbox_peak,
            outbox_end=sum(pulse.outbox_items for pulse in self._pulses.values() if pulse),
            answered_by_others=_answered(judge, others, self._agent_away, now_s),
        )
        return judge_run(judge, FLEET, audits, faults, now_s=now_s, seed=self._seed)


def _answered(judge: Judge, agents: list[AgentName], absence: _Absence | None, now_s: float) -> int:
    """First answers while something was away."""
    if absence is None:
        return 0
    return sum(judge.answered_between(agent, absence.down_s, absence.lasted_until(now_s)) for agent in agents)
