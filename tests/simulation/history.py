"""Owns one history: a seed decides a world, what happens in it and in which order; then it comes to rest.

A history is a few dozen steps of a device, a hub, a broker, people, time and faults, each step whole, in an order that
the seed draws. Every history draws its own few kinds of faults, so that some are long and quiet in all but one thing.
After them comes a phase without faults, in which everything that waits has to arrive; then `examination.py` looks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import accumulate
from typing import Any

from edge_agent.adapters.sqlite.handling import Action
from edge_agent.adapters.sqlite.store import StoreSettings
from edge_agent.core.durability import Durability, JournalTerms
from edge_agent.core.outbox import Limits, OnFull
from model_packs.process.crash_points import CrashPoint, arm
from protos.messages.escalation import ItemClass
from tests.simulation.device import Device, Record
from tests.simulation.hub_database import HubDatabase
from tests.simulation.hub_program import LABELS, HubProgram
from tests.simulators.seeds import seeded
from tests.unit.edge_agent.adapters.sqlite.builders import DIGEST, TestClock

ROUNDS_TO_REST = 30
_PATIENT_ROUNDS = 15  # whoever is held back or pushed back is let in before; later ones only make questions old
_DRAWS = 6
_COMES_AGAIN = 0.1
RETENTION_S = 1200.0
"""Of the hub; no stream lives as long."""

_ESCALATION_MAX_AGE_S = 3600.0
_RETAIN_S = 86_400.0
_ROOMY_BYTES = 1 << 20
_TIGHT_BYTES = 3200
_OTHER_DIGEST = "sha256:" + "4" * 64
_AGENT_POINTS = (
    CrashPoint.RECEIVED, CrashPoint.BEFORE_COMMIT, CrashPoint.AFTER_COMMIT, CrashPoint.AFTER_ACK, CrashPoint.PUBACK,
    CrashPoint.UPLOADED, CrashPoint.HUB_ACK, CrashPoint.VERDICT, CrashPoint.VERDICT_STORED,
)  # fmt: skip
_HUB_POINTS = (CrashPoint.HUB_RECEIVED, CrashPoint.HUB_APPLIED, CrashPoint.HUB_SCORED, CrashPoint.HUB_ANSWERED)


class Fault(Enum):
    """Kinds of trouble; each history draws some."""

    CUTS = auto()
    HARSH_NETWORK = auto()
    LOST_PUBLISHES = auto()
    AGENT_CRASHES = auto()
    POWER_CUTS = auto()
    HUB_CRASHES = auto()
    HUB_RESTORES = auto()
    AGENT_RESTORES = auto()
    NO_PACK = auto()
    TIGHT_OUTBOX = auto()
    LONG_PAUSES = auto()
    BY_HAND = auto()


class Crashed(BaseException):
    """A simulated program ends here: no error, and nothing on the way may catch it."""


@dataclass
class Witness:
    """What was seen from outside, to measure the databases by.

    Attributes:
        promised: What the device acknowledged and its database must know: prediction id to record.
        published: Payloads that the broker has, in the order of arrival.
        moves: Illegal changes of rows, in words.
        is_measured_anew: Whether a device that came back on an older copy has other inputs for the same windows.
    """

    promised: dict[str, Record] = field(default_factory=dict)
    published: list[bytes] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    is_measured_anew: bool = False


@dataclass(frozen=True, slots=True)
class _Backup:
    """A copy of a device's database, and what it had promised by then."""

    image: bytes
    promised: dict[str, Record]


Step = Callable[[], bool]
"""One step; False where it found nothing to do, so that another one is drawn."""


class History:
    """One world.

    Args:
        seed: Decides everything.
        database: The hub's, empty.
        faults: Kinds of trouble; None: the seed says.
    """

    def __init__(self, seed: int, database: HubDatabase, faults: frozenset[Fault] | None = None) -> None:
        rng = self._rng = seeded(seed)
        drawn = frozenset(rng.sample(list(Fault), rng.choice([0, 1, 2, 2, 3, 3, 4])))
        self.faults = drawn if faults is None else faults
        self.witness = Witness()
        self.trace: list[str] = []
        self.hub_clock, clock = TestClock(), TestClock()
        self.hub = HubProgram(database, self.hub_clock)
        max_bytes = _TIGHT_BYTES if Fault.TIGHT_OUTBOX in self.faults else _ROOMY_BYTES
        self.limits = _limits(max_bytes, rng.choice([OnFull.DROP_OLDEST, OnFull.DROP_NEWEST]))
        settings = StoreSettings(
            self.limits, _ESCALATION_MAX_AGE_S, dead_letter_max_bytes=1 << 16, retain_after_ack_s=_RETAIN_S
        )
        self.durability = rng.choice(list(Durability))
        self.device = Device(
            clock, settings, JournalTerms(self.durability), self._watch, has_power_cuts=Fault.POWER_CUTS in self.faults
        )
        self._records = [self._record(number) for number in range(1, rng.randint(2, 4) + 1)]
        self._unsent = list(self._records)
        self._unacked: list[Record] = []
        self._steps = rng.randint(12, 34)
        self._network_rng = rng if Fault.HARSH_NETWORK in self.faults else None
        self._device_backups = [_Backup(self.device.disk.image(), {})]
        self._hub_backups = [database.backup()]
        self._is_untold = False
        self._choices = self._weighted()
        self._names = list(self._choices)
        self._weights = list(accumulate(weight for weight, _ in self._choices.values()))

    def run(self) -> None:
        """Live through it; at the end nothing waits, or `AssertionError` says what does."""
        try:
            for _ in range(self._steps):
                self._step()
            arm("")
            self._come_to_rest()
        finally:
            arm("")

    def close(self) -> None:
        """Let the databases go."""
        self.device.disk.close()
        self.hub.database.close()

    # --- steps -------------------------------------------------------------------------------------------------------

    def _weighted(self) -> dict[str, tuple[int, Step]]:
        """Steps by name, with how often they come; a fault that was not drawn never does."""
        usual: dict[str, tuple[int, Step]] = {
            "record": (8, self._deliver_record),
            "dial": (10, self._dial),
            "send": (12, self._send),
            "hub listens": (14, self._hub_listens),
            "hub tells": (12, self._hub_tells),
            "hub scores": (10, self._hub_scores),
            "hub logs": (10, self._hub_logs),
            "device hears": (18, self._device_hears),
            "publish": (4, self._publish),
            "puback": (4, self._puback),
            "label": (3, self._label),
            "judge": (1, self._judge),
            "feedback": (2, self._feedback),
            "time": (1, self._pass_time),
            "sweep": (1, self._sweep),
        }
        faults: dict[Fault, dict[str, tuple[int, Step]]] = {
            Fault.CUTS: {"cut": (3, self._cut)},
            Fault.LOST_PUBLISHES: {"broker gone": (2, self._lose_publishes)},
            Fault.AGENT_CRASHES: {"agent crashes": (1, self._crash_agent), "agent will crash": (4, self._arm_agent)},
            Fault.POWER_CUTS: {"power cut": (3, self._cut_power), "clock step": (1, self._step_clock)},
            Fault.HUB_CRASHES: {"hub crashes": (1, self._crash_hub), "hub will crash": (4, self._arm_hub)},
            Fault.HUB_RESTORES: {"hub restore": (2, self._restore_hub), "hub backup": (3, self._hub_backup)},
            Fault.AGENT_RESTORES: {"agent backup": (3, self._backup_agent), "agent restore": (2, self._restore_agent)},
            Fault.NO_PACK: {"pack": (3, self._toggle_pack)},
            Fault.LONG_PAUSES: {"long pause": (2, self._pause_long), "hub forgets": (2, self._hub_forgets)},
            Fault.BY_HAND: {"by hand": (4, self._by_hand)},
        }
        return usual | {name: step for fault, of in faults.items() if fault in self.faults for name, step in of.items()}

    def _step(self) -> None:
        """Draw until something happens."""
        with self._survived():
            for name in self._rng.choices(self._names, cum_weights=self._weights, k=_DRAWS):
                place = len(self.trace)
                self.trace.append(name)
                if self._choices[name][1]():
                    return
                del self.trace[place:]

    @contextmanager
    def _survived(self) -> Iterator[None]:
        """Start again what an armed crash point ends."""
        try:
            yield
        except Crashed as crashed:
            arm("")
            point = CrashPoint(str(crashed))
            self.trace.append(f"  crash at {point}")
            if point in _HUB_POINTS:
                self.hub.crash()
            else:
                self._agent_ended()

    def _deliver_record(self) -> bool:
        """The broker delivers a new record, or one that was not acknowledged, or one that comes again."""
        if self._unacked and self._rng.random() < 0.5:
            record = self._rng.choice(self._unacked)
        elif self._unsent:
            record = self._unsent.pop(0)
            self._unacked.append(record)
        elif self._rng.random() < _COMES_AGAIN:
            record = self._rng.choice(self._records)
        else:
            return False
        self._take(record)
        return True

    def _take(self, record: Record) -> None:
        self.trace.append(f"  {record.prediction_id}")
        try:
            self.device.take(record)
        finally:
            self._note_acks()

    def _note_acks(self) -> None:
        for number in self.device.acked:
            record = self._records[number - 1]
            self.witness.promised.setdefault(record.prediction_id, record)
            self._unacked = [one for one in self._unacked if one.number != number]
        self.device.acked.clear()

    def _dial(self) -> bool:
        if self.device.stream is not None and not self.device.stream.is_cut:
            return False
        self.hub.connect(self.device.dial())
        return True

    def _send(self) -> bool:
        return self.device.may_send and self.device.send()

    def _hub_listens(self) -> bool:
        heard = [one for one in self.hub.served if len(one.stream.to_hub) or one.stream.is_cut]
        if heard:
            self.hub.listen(self._rng.choice(heard), self._network_rng, self._rng.randint(1, 4))
        return bool(heard)

    def _hub_tells(self) -> bool:
        return self.hub.current is not None and self.hub.tell(self.hub.current)

    def _hub_scores(self) -> bool:
        return self.hub.score()

    def _hub_logs(self) -> bool:
        if not self.hub.has_scored:
            return False
        self.hub.log()
        return True

    def _device_hears(self) -> bool:
        stream = self.device.stream
        if stream is None or not (stream.is_cut or len(stream.to_device)):
            return False
        if stream.is_cut:
            self.device.hang_up()
            return True
        wire = stream.to_device.take(self._network_rng)
        self.trace.append(f"  {wire.WhichOneof('kind')}")
        self.device.hear(wire)
        return True

    def _publish(self) -> bool:
        found = self.device.publish()
        self.witness.published += [one.payload for one in found]
        return bool(found)

    def _puback(self) -> bool:
        rows = list(self.device.in_flight)
        if rows:
            self.device.published(rows[: self._rng.randint(1, len(rows))])
        return bool(rows)

    def _lose_publishes(self) -> bool:
        """The broker's connection breaks: what is in flight is sent again."""
        had, self.device.in_flight = bool(self.device.in_flight), {}
        return had

    def _label(self) -> bool:
        return self.hub.label(self._rng.choice(self._records).prediction_id, self._rng.choice(LABELS), "ada")

    def _judge(self) -> bool:
        self.device.judge(self._rng.choice(self._records).prediction_id, self._rng.choice(LABELS))
        return True

    def _feedback(self) -> bool:
        """One call; where there are cuts, the hub or the device may not hear of it."""
        batch = self.device.batch()
        is_calm = Fault.CUTS not in self.faults
        if batch is None or not (is_calm or self._rng.random() < 0.8):
            return False
        receipt = self.hub.receive_feedback(batch)
        if is_calm or self._rng.random() < 0.7:
            self.device.settled(batch, receipt)
        return True

    def _sweep(self) -> bool:
        self.device.store.sweep()
        return True

    def _pass_time(self, seconds: float | None = None) -> bool:
        passed_s = self._rng.choice([0.5, 5.0, 40.0]) if seconds is None else seconds
        self.device.clock.pass_s(passed_s)
        self.hub_clock.pass_s(passed_s)
        return True

    # --- faults ------------------------------------------------------------------------------------------------------

    def _cut(self) -> bool:
        if self.device.stream is None or self.device.stream.is_cut:
            return False
        self.device.stream.cut(self._rng)
        return True

    def _crash_agent(self) -> bool:
        self._agent_ended()
        return True

    def _agent_ended(self) -> None:
        self._note_acks()
        if self.device.stream is not None:
            self.device.stream.cut(self._rng)
        self.device.restart()
        self._forget_promises(self.durability is Durability.NONE)

    def _forget_promises(self, may_forget: bool) -> None:  # noqa: FBT001 - read as a sentence
        """What was acknowledged without a promise that it outlives this may be gone."""
        if may_forget:
            there = {name for (name,) in self.device.disk.connection.execute("SELECT id FROM prediction")}
            promised = self.witness.promised
            self.witness.promised = {name: record for name, record in promised.items() if name in there}

    def _arm_agent(self) -> bool:
        return self._arm(self._rng.choice(_AGENT_POINTS))

    def _cut_power(self) -> bool:
        if self.device.stream is not None:
            self.device.stream.cut(self._rng)
        self.device.reboot(self._rng.choice(self.device.disk.left_by_a_power_cut()), is_synced=self._rng.random() < 0.5)
        self._forget_promises(self.durability is not Durability.POWER)
        return True

    def _step_clock(self) -> bool:
        self.device.clock.wall += self._rng.choice([-1, 1]) * 3_600_000_000_000
        return True

    def _crash_hub(self) -> bool:
        self.hub.crash()
        return True

    def _arm_hub(self) -> bool:
        return self._arm(self._rng.choice(_HUB_POINTS))

    def _arm(self, point: CrashPoint) -> bool:
        self.trace.append(f"  at {point}")

        def end() -> None:
            raise Crashed(point.value)

        arm(point.value, end)
        return True

    def _hub_backup(self) -> bool:
        self._hub_backups.append(self.hub.database.backup())
        return True

    def _restore_hub(self) -> bool:
        """An older copy comes back, while time has passed since it was made; the hub may be told of it only later."""
        self._pass_time(60.0)
        is_told = self._rng.random() < 0.6
        self.hub.restored(self._rng.choice(self._hub_backups), is_told=is_told)
        self._is_untold = not is_told
        return True

    def _backup_agent(self) -> bool:
        self._device_backups.append(_Backup(self.device.disk.image(), dict(self.witness.promised)))
        return True

    def _restore_agent(self) -> bool:
        backup = self._rng.choice(self._device_backups)
        self.device.put_back(backup.image)
        self.witness.promised = dict(backup.promised)
        if self._rng.random() < 0.3:  # windows are measured anew, and are not the same
            self._records = [replace(record, input_digest=_OTHER_DIGEST) for record in self._records]
            self.witness.is_measured_anew = True
        return True

    def _toggle_pack(self) -> bool:
        self.hub.has_packs = not self.hub.has_packs
        return True

    def _pause_long(self) -> bool:
        """Longer than an escalation may wait; no stream lives through it."""
        self._cut()
        for one in list(self.hub.served):
            one.stream.to_hub.cut(0)
        self._pass_time(self._rng.choice([1800.0, 4000.0]))
        return self._sweep()

    def _hub_forgets(self) -> bool:
        return self.hub.database.forget(self.hub_clock.wall - round(RETENTION_S * 1e9)).items > 0

    def _by_hand(self) -> bool:
        rows = self.device.disk.connection.execute("SELECT row FROM outbox ORDER BY row").fetchall()
        if rows:
            self.device.by_hand(self._rng.choice([Action.RETRY, Action.PURGE]), self._rng.choice(rows)[0])
        return bool(rows)

    # --- rest --------------------------------------------------------------------------------------------------------

    def _come_to_rest(self) -> None:
        """No more faults: all that waits arrives, within so many rounds."""
        self.trace.append("(no more faults)")
        self._network_rng = None
        self.hub.has_packs = True
        if self._is_untold:
            self.hub.restored(self.hub.database.backup(), is_told=True)
        self._unacked += [record for record in self._unsent if record not in self._unacked]
        self._unsent = []
        for number in range(ROUNDS_TO_REST):
            self._round(61.0 if number < _PATIENT_ROUNDS else 600.0)
            if self._is_at_rest():
                return
        raise AssertionError("it does not come to rest")

    def _round(self, lasts_s: float) -> None:
        for record in list(self._unacked):
            self._take(record)
        self._pass_time(lasts_s)
        self.device.store.sweep()
        self._dial()
        self._send()
        for one in list(self.hub.served):
            self.hub.listen(one, None, 1000)
        self.hub.score()
        self.hub.log()
        batch = self.device.batch()
        if batch is not None:
            self.device.settled(batch, self.hub.receive_feedback(batch))
        self._hub_tells()
        while self.device.stream is not None and (self.device.stream.is_cut or len(self.device.stream.to_device)):
            self._device_hears()
        self._publish()
        self._puback()

    def _is_at_rest(self) -> bool:
        """Nothing waits on either side, and the device has heard all."""
        ((waiting, open_),) = self.device.disk.connection.execute(
            "SELECT (SELECT count(*) FROM outbox WHERE state != 'acked'), "
            "(SELECT count(*) FROM escalation WHERE state IN ('queued', 'sent', 'acked'))"
        )
        current = self.hub.current
        return (
            not (waiting or open_ or self._unacked or self.device.in_flight)
            and current is not None
            and not len(current.stream.to_hub)
            and not len(current.stream.to_device)
            and self.hub.database.waiting_count() == 0
            and not self.hub.database.verdicts(current.cursor, 1)
        )

    # --- inside ------------------------------------------------------------------------------------------------------

    def _record(self, number: int) -> Record:
        return Record(number, self._rng.random() < 0.8, DIGEST, self._rng.choice([None, None, 900]))

    def _watch(self, what: str, before: Any, after: Any) -> None:  # noqa: ANN401 - what a column holds
        is_lawful = after <= self.limits.max_bytes if what == "bytes" else may_become(what, before, after)
        if not is_lawful:
            self.witness.moves.append(f"{what} went from {before} to {after}")


_LAWFUL = {
    "queued": {"queued", "sent", "acked", "answered", "rejected", "expired", "evicted", "dead_lettered", "purged"},
    "sent": {"queued", "acked", "answered", "rejected", "expired", "evicted", "dead_lettered", "purged"},
    "acked": {"queued", "acked", "answered", "rejected", "expired", "evicted", "dead_lettered", "purged"},
    "expired": {"answered_late"},
}
"""The moves of `docs/architecture.md`, written down a second time on purpose."""


def may_become(what: str, before: Any, after: Any) -> bool:  # noqa: ANN401 - what a column holds
    """Whether a row may change so: an escalation by the table, an event by a greater revision or to `unrevised`."""
    if what == "escalation":
        return after in _LAWFUL.get(before, set())
    return bool(after > before or (after == before and what == "unrevised"))


def _limits(max_bytes: int, on_full: OnFull) -> Limits:
    shares = dict.fromkeys(ItemClass, 0.0)
    shares |= {ItemClass.PREDICTION: 0.45, ItemClass.ESCALATION: 0.45, ItemClass.FEEDBACK: 0.1}
    return Limits(max_bytes, shares, dict.fromkeys(ItemClass, on_full))
