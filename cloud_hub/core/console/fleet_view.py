"""Owns how the fleet is told: each device's state as shape and word, the worst first, and the figures above them.

Silence is never shown as health: what a silent device has not said is unknown. How states compare is `core.twin` and
`core.liveness`; how numbers are written is `wording`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloud_hub.core.cases import CaseCount
from cloud_hub.core.console.wording import Shape, State, duration, share, short_pack
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.liveness import Liveness, liveness
from cloud_hub.core.registry import DeviceFacts, heartbeat_age_s
from cloud_hub.core.trends import TrendPoint
from cloud_hub.core.twin import Comparison, LastWord, SlotStatus, slot_states
from protos.messages.fleet import BindingReport, Heartbeat

CERTIFICATE_WARNING_S = 7 * 86_400
_NS_PER_S = 1_000_000_000
_MS_PER_S = 1000

_RANKS = {Shape.BAD: 0, Shape.WARN: 1, Shape.IDLE: 2, Shape.OK: 3}
_DOUBTED_CERTIFICATES = {"void": "certificate void", "expired": "certificate expired", "uncertified": "uncertified"}
_SLOT_WORDS = {
    Comparison.IN_SYNC: State(Shape.OK, "in step"),
    Comparison.PENDING: State(Shape.IDLE, "not begun"),
    Comparison.INSTALLING: State(Shape.IDLE, "installing"),
    Comparison.TRIAL: State(Shape.OK, "on trial"),
    Comparison.FAILED: State(Shape.WARN, "pack failed"),
    Comparison.PINNED: State(Shape.OK, "pinned"),
    Comparison.UNKNOWN: State(Shape.IDLE, "not known"),
}
_ON_THE_WAY = (Comparison.INSTALLING, Comparison.TRIAL, Comparison.PENDING)


@dataclass(frozen=True, slots=True)
class Moment:
    """When is told, and what the hub asked of its devices.

    Attributes:
        now_ns: Wall clock, Unix epoch, UTC.
        interval_s: How often devices report.
        install_timeout_s: How long a desire may go without a word.
    """

    now_ns: int
    interval_s: float
    install_timeout_s: float


@dataclass(frozen=True, slots=True)
class Counted:
    """What was decided at the edge, and how much of it was escalated."""

    decided: int
    escalated: int

    @property
    def coverage(self) -> float | None:
        """The share that stayed at the edge, 0..1; None when nothing was decided."""
        return share(self.decided - self.escalated, self.decided)


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One device of the table.

    Attributes:
        pack: What it runs, as last said; of several bindings the first, and how many more.
        pack_state: How that compares with what is desired; None where there is nothing to say.
        coverage: Share that stayed at the edge; None: not known.
        p95_ms: Of its slowest binding; None: not known, as are all of the next when the device is silent.
        unsent: Items in its outbox.
        seen_s: Age of its latest heartbeat.
    """

    device: DeviceKey
    state: State
    pack: str
    pack_state: State | None
    coverage: float | None
    p95_ms: float | None
    unsent: int | None
    seen_s: float | None
    words: str

    @property
    def rank(self) -> tuple[int, float, DeviceKey]:
        """Its place: the worst first, then what keeps least at the edge."""
        return (_RANKS[self.state.shape], 2.0 if self.coverage is None else self.coverage, self.device)


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """The strip above the table; all counts are of devices that are still accepted.

    Attributes:
        counted: Over the time of the trend that was given.
        answered: Escalations that the hub answered where both said something, in the time of the counts.
        disagreed: Those where it said something else than the edge.
        p95_ms: Of the slowest binding of a device that is online; None: nobody said.
        slowest: Which device that is.
        unsent: Items in the outboxes of devices that are online, and on how many of them there are any.
        oldest_unsent_s: The oldest of them; None: none, or its age is not known.
    """

    total: int
    online: int
    stale: int
    offline: int
    never_seen: int
    counted: Counted
    answered: int
    disagreed: int
    p95_ms: float | None
    slowest: DeviceKey | None
    unsent: int
    unsent_devices: int
    oldest_unsent_s: float | None

    @property
    def disagreement(self) -> float | None:
        """Share of the answered escalations where the hub disagreed; says nothing about what was not escalated."""
        return share(self.disagreed, self.answered)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that the fleet page shows of devices; `rows` worst first."""

    figures: FleetFigures
    rows: tuple[FleetRow, ...]


def fleet(
    devices: Iterable[DeviceFacts], trend: Iterable[TrendPoint], counts: Iterable[CaseCount], moment: Moment
) -> Fleet:
    """Tell the fleet.

    Args:
        devices: The registry; removed devices are left out.
        trend: What happened lately; from it come the shares at the edge.
        counts: What was escalated in the same time.
        moment: When.

    Returns:
        Figures and rows.
    """
    accepted = [one for one in devices if not one.is_removed]
    lately = _counted(trend)
    rows = sorted((_row(one, lately, moment) for one in accepted), key=lambda row: row.rank)
    return Fleet(_figures(accepted, lately, tuple(counts), moment), tuple(rows))


def matching(rows: Iterable[FleetRow], query: str) -> tuple[FleetRow, ...]:
    """Filter rows.

    Args:
        rows: The rows.
        query: Words; each must stand somewhere in the device's site, name, state, packs or bindings.

    Returns:
        Those that match, in order.
    """
    wanted = query.lower().split()
    return tuple(row for row in rows if all(word in row.words for word in wanted))


def statuses(device: DeviceFacts, moment: Moment) -> tuple[SlotStatus, ...]:
    """Compare what a device should run with what it runs.

    Args:
        device: The device.
        moment: When.

    Returns:
        One entry a binding.
    """
    heard_ns, heartbeat = device.last_heartbeat_at_ns, device.heartbeat
    word = None if heartbeat is None or heard_ns is None else LastWord(heartbeat, heard_ns)
    return slot_states(device.desired, word, now_ns=moment.now_ns, install_timeout_s=moment.install_timeout_s)


def slot_state(status: SlotStatus) -> State:
    """Say how a binding's pack stands.

    Args:
        status: Both sides compared.

    Returns:
        A shape and a word.
    """
    return _SLOT_WORDS[status.state]


def standing(device: DeviceFacts, slots: Sequence[SlotStatus], moment: Moment) -> State:
    """Say how a device is: the worst that is known of it.

    Args:
        device: The device.
        slots: Its twin, compared.
        moment: When.

    Returns:
        A shape and a word.
    """
    age_s = heartbeat_age_s(device, moment.now_ns)
    heard = liveness(age_s, moment.interval_s)
    if heard is Liveness.NEVER_SEEN or device.heartbeat is None:
        return State(Shape.IDLE, "never heard")
    if heard is Liveness.OFFLINE:
        return State(Shape.BAD, f"offline {duration(age_s)}")
    if heard is Liveness.STALE:
        return State(Shape.IDLE, "stale")
    return _certificate_state(device, moment) or _own_state(device.heartbeat, slots)


def device_counts(device: DeviceFacts, trend: Iterable[TrendPoint]) -> Counted:
    """Count what a device decided lately.

    Args:
        device: The device.
        trend: Its points.

    Returns:
        The counts of the trend; of all its time where there is no trend yet.
    """
    return _lately(device, _counted(trend))


def _counted(trend: Iterable[TrendPoint]) -> Mapping[DeviceKey, Counted]:
    decided: dict[DeviceKey, int] = defaultdict(int)
    escalated: dict[DeviceKey, int] = defaultdict(int)
    for point in trend:
        decided[point.device] += point.decided
        escalated[point.device] += point.escalated
    return {device: Counted(number, escalated[device]) for device, number in decided.items()}


def _lately(device: DeviceFacts, lately: Mapping[DeviceKey, Counted]) -> Counted:
    if device.key in lately or device.heartbeat is None:
        return lately.get(device.key, Counted(0, 0))
    bindings = device.heartbeat.bindings
    return Counted(sum(one.decided for one in bindings), sum(one.escalated for one in bindings))


def _row(device: DeviceFacts, lately: Mapping[DeviceKey, Counted], moment: Moment) -> FleetRow:
    slots = statuses(device, moment)
    state = standing(device, slots, moment)
    packs = [short_pack(one.reported_pack) for one in slots if one.reported_pack is not None]
    age_s = heartbeat_age_s(device, moment.now_ns)
    said = device.heartbeat if liveness(age_s, moment.interval_s) is Liveness.ONLINE else None
    texts = (device.key.site_id, device.key.device_id, state.word, *packs, *(one.binding for one in slots))
    return FleetRow(
        device=device.key,
        state=state,
        pack=_listed(packs),
        pack_state=_worst_slot(slots),
        coverage=_lately(device, lately).coverage,
        p95_ms=None if said is None else _slowest_ms(said.bindings),
        unsent=None if said is None else said.outbox_items,
        seen_s=age_s,
        words=" ".join(texts).lower(),
    )


def _listed(packs: Sequence[str]) -> str:
    if not packs:
        return ""
    more = len(packs) - 1
    return f"{packs[0]} +{more}" if more else packs[0]


def _worst_slot(slots: Sequence[SlotStatus]) -> State | None:
    found = {one.state for one in slots}
    for state in (Comparison.FAILED, *_ON_THE_WAY, Comparison.PINNED):
        if state in found:
            return _SLOT_WORDS[state]
    return None


def _slowest_ms(bindings: Iterable[BindingReport]) -> float | None:
    return max((one.answer_p95_ms for one in bindings if one.answer_p95_ms is not None), default=None)


def _certificate_state(device: DeviceFacts, moment: Moment) -> State | None:
    if device.certificate_not_after_ns is None:
        return None
    left_s = (device.certificate_not_after_ns - moment.now_ns) / _NS_PER_S
    if left_s <= 0:
        return State(Shape.BAD, "identity ended")
    return State(Shape.WARN, f"identity ends in {duration(left_s)}") if left_s < CERTIFICATE_WARNING_S else None


def _own_state(heartbeat: Heartbeat, slots: Sequence[SlotStatus]) -> State:
    if heartbeat.state == "stopped":
        return State(Shape.IDLE, "stopped")
    worst = _worst_slot(slots)
    if worst is not None and worst.shape is Shape.WARN:
        return worst
    if heartbeat.problems or heartbeat.state == "degraded":
        return State(Shape.WARN, "degraded")
    for one in heartbeat.bindings:
        if one.certificate_state in _DOUBTED_CERTIFICATES:
            return State(Shape.WARN, _DOUBTED_CERTIFICATES[one.certificate_state])
    return State(Shape.OK, "online")


def _figures(
    devices: Sequence[DeviceFacts], lately: Mapping[DeviceKey, Counted], counts: Sequence[CaseCount], moment: Moment
) -> FleetFigures:
    heard = {one.key: liveness(heartbeat_age_s(one, moment.now_ns), moment.interval_s) for one in devices}
    states = Counter(heard.values())
    said = {one.key: one.heartbeat for one in devices if one.heartbeat and heard[one.key] is Liveness.ONLINE}
    speeds = [(ms, key) for key, one in said.items() if (ms := _slowest_ms(one.bindings)) is not None]
    p95_ms, slowest = max(speeds, default=(None, None))
    told = [_lately(one, lately) for one in devices]
    ages_ms = [one.outbox_oldest_age_ms for one in said.values() if one.outbox_oldest_age_ms is not None]
    return FleetFigures(
        total=len(devices),
        online=states[Liveness.ONLINE],
        stale=states[Liveness.STALE],
        offline=states[Liveness.OFFLINE],
        never_seen=states[Liveness.NEVER_SEEN],
        counted=Counted(sum(one.decided for one in told), sum(one.escalated for one in told)),
        answered=sum(one.answered for one in counts),
        disagreed=sum(one.disagreed for one in counts),
        p95_ms=p95_ms,
        slowest=slowest,
        unsent=sum(one.outbox_items for one in said.values()),
        unsent_devices=sum(1 for one in said.values() if one.outbox_items),
        oldest_unsent_s=max(ages_ms) / _MS_PER_S if ages_ms else None,
    )
