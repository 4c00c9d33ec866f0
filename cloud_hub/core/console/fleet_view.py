"""Owns how the fleet is told: each device's state as shape and word, the worst first, and the figures above them.

Silence is never shown as health: what a silent device has not said is unknown. How states compare is `core.twin` and
`core.liveness`; how numbers are written is `wording`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloud_hub.core.cases import CaseCount
from cloud_hub.core.console.wording import Shape, State, duration, share, short_pack
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, HubEvent
from cloud_hub.core.liveness import Liveness
from cloud_hub.core.registry import DeviceFacts, heartbeat_age_s, liveness_of, slots_of
from cloud_hub.core.trends import TrendPoint
from cloud_hub.core.twin import Comparison, SlotStatus
from protos.messages.fleet import BindingReport, Heartbeat

CERTIFICATE_WARNING_S = 7 * 86_400
CORRECTED_FROM, CORRECTED_LEAST_N = 0.1, 10
"""A device is not shown as well when the hub corrects this share of its windows, judged on so many escalations."""
BUSY_FROM, BUSY_LEAST_N = 0.25, 50
"""Nor when it escalates this share of its windows, counted on so many."""
LATELY_S = 900
"""What a row is judged by: so many seconds back, but not past the last change of the device's packs."""
_NS_PER_S = 1_000_000_000
_MS_PER_S = 1000

_RANKS = {Shape.BAD: 0, Shape.WARN: 1, Shape.IDLE: 2, Shape.OK: 3}
_DOUBTED_CERTIFICATES = {"void": "certificate void", "expired": "certificate expired", "uncertified": "uncertified"}
_CHANGES = (EventKind.PACK_TRIAL, EventKind.PACK_INSTALLED, EventKind.PACK_ROLLED_BACK)
_SLOT_WORDS = {
    Comparison.IN_SYNC: State(Shape.OK, "in step"),
    Comparison.PENDING: State(Shape.OK, "pack waits"),
    Comparison.INSTALLING: State(Shape.OK, "installing"),
    Comparison.TRIAL: State(Shape.OK, "on trial"),
    Comparison.FAILED: State(Shape.WARN, "pack failed"),
    Comparison.PINNED: State(Shape.OK, "pinned"),
    Comparison.UNKNOWN: State(Shape.IDLE, "not known"),
}
_ON_THE_WAY = (Comparison.INSTALLING, Comparison.TRIAL, Comparison.PENDING, Comparison.PINNED)


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
class Lately:
    """What is known of one device from a short time.

    Attributes:
        answered: Escalations that the hub answered where both said something.
        disagreed: Those where it said something else.
    """

    counted: Counted
    answered: int = 0
    disagreed: int = 0

    @property
    def corrected(self) -> float | None:
        """Share of all windows that the hub answers differently, 0..1; of what stayed at the edge it says nothing."""
        disagreement, coverage = share(self.disagreed, self.answered), self.counted.coverage
        return None if disagreement is None or coverage is None else disagreement * (1 - coverage)

    @property
    def doubt(self) -> State | None:
        """Why a device that says nothing of it is not well all the same; None when it is."""
        corrected, coverage = self.corrected, self.counted.coverage
        if corrected is not None and corrected >= CORRECTED_FROM and self.answered >= CORRECTED_LEAST_N:
            return State(Shape.WARN, f"hub corrects {corrected * 100:.0f} %")
        if coverage is not None and 1 - coverage >= BUSY_FROM and self.counted.decided >= BUSY_LEAST_N:
            return State(Shape.WARN, f"escalates {(1 - coverage) * 100:.0f} %")
        return None


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One device of the table.

    Attributes:
        pack: What it runs, as last said; of several bindings the first, and how many more.
        coverage: Share that stayed at the edge in the last `LATELY_S`; None: not known.
        is_since_change: That share is counted only since its packs changed, unlike the figures of the fleet.
        is_heard: The next two are known, and the share is of now.
        p95_ms: Of its slowest binding; None: not known.
        unsent: Items in its outbox; None: not known.
        seen_s: Age of its latest heartbeat.
        words: What a filter looks into, lower case.
    """

    device: DeviceKey
    state: State
    pack: str
    coverage: float | None
    is_since_change: bool
    is_heard: bool
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
    devices: Iterable[DeviceFacts],
    trend: Iterable[TrendPoint],
    counts: Iterable[CaseCount],
    moment: Moment,
    changed: Mapping[DeviceKey, Lately] | None = None,
) -> Fleet:
    """Tell the fleet.

    Args:
        devices: The registry; removed devices are left out.
        trend: What happened in the last `LATELY_S`; from it come the shares at the edge.
        counts: What was escalated in the same time.
        moment: When.
        changed: Devices whose packs have changed in that time, and what is known of them since: their rows show only
            that, so that a mended device is calm at once, and one that a new pack spoils is not hidden by the old one.

    Returns:
        Figures and rows.
    """
    accepted = [one for one in devices if not one.is_removed]
    known = _by_device(accepted, trend, counts)
    judged = {**known, **(changed or {})}
    since = frozenset(changed or {})
    rows = sorted((_row(one, judged[one.key], moment, since) for one in accepted), key=lambda row: row.rank)
    return Fleet(_figures(accepted, known, moment), tuple(rows))


def pack_changes(events: Iterable[HubEvent], since_ns: int) -> dict[DeviceKey, int]:
    """Find the devices whose packs have changed, and when they last did.

    Args:
        events: The newest first.
        since_ns: Older changes do not count.

    Returns:
        When the pack that runs now began, on trial or for good; the device that changed last comes first.
    """
    found: dict[DeviceKey, tuple[str, int]] = {}
    for event in events:
        if event.device is None or event.kind not in _CHANGES or event.at_ns < since_ns:
            continue
        runs = event.detail.get("digest", "") if event.kind is not EventKind.PACK_ROLLED_BACK else ""
        if event.device not in found or found[event.device][0] == runs:
            found[event.device] = (runs, event.at_ns)
    return {device: at_ns for device, (_, at_ns) in found.items()}


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
    return slots_of(device, moment.now_ns, moment.install_timeout_s)


def slot_state(status: SlotStatus, device: DeviceFacts, moment: Moment) -> State:
    """Say how a binding's pack stands.

    Args:
        status: Both sides compared.
        device: Whose it is.
        moment: When.

    Returns:
        A shape and a word; of a silent device with the age of the word, and never well.
    """
    state = _slot_word(status)
    if device.heartbeat is None or liveness_of(device, moment.now_ns, moment.interval_s) is Liveness.ONLINE:
        return state
    shape = Shape.IDLE if state.shape is Shape.OK else state.shape
    return State(shape, f"{state.word}, as of {duration(heartbeat_age_s(device, moment.now_ns))}")


def standing(device: DeviceFacts, slots: Sequence[SlotStatus], known: Lately, moment: Moment) -> State:
    """Say how a device is: the worst that is known of it.

    Args:
        device: The device.
        slots: Its twin, compared.
        known: What is known of it since its packs last changed, `LATELY_S` at most.
        moment: When.

    Returns:
        A shape and a word.
    """
    age_s = heartbeat_age_s(device, moment.now_ns)
    heard = liveness_of(device, moment.now_ns, moment.interval_s)
    if heard is Liveness.NEVER_SEEN or device.heartbeat is None:
        return State(Shape.IDLE, "never heard")
    failed = " · pack failed" if any(one.state is Comparison.FAILED and one.reason for one in slots) else ""
    if heard is Liveness.OFFLINE:
        return State(Shape.BAD, f"offline {duration(age_s)}{failed}")
    if heard is Liveness.STALE:
        return State(Shape.IDLE, f"stale{failed}")
    return _certificate_state(device, moment) or _own_state(device.heartbeat, slots, known)


def lately(trend: Iterable[TrendPoint], counts: Iterable[CaseCount]) -> Lately:
    """Gather what is known of one device from a time.

    Args:
        trend: Its points.
        counts: What it escalated in the same time.

    Returns:
        The sums; nothing is known of a time without points.
    """
    points, cases = tuple(trend), tuple(counts)
    return Lately(
        Counted(sum(one.decided for one in points), sum(one.escalated for one in points)),
        sum(one.answered for one in cases),
        sum(one.disagreed for one in cases),
    )


def _by_device(
    devices: Iterable[DeviceFacts], trend: Iterable[TrendPoint], counts: Iterable[CaseCount]
) -> Mapping[DeviceKey, Lately]:
    decided: Counter[DeviceKey] = Counter()
    escalated: Counter[DeviceKey] = Counter()
    answered: Counter[DeviceKey] = Counter()
    disagreed: Counter[DeviceKey] = Counter()
    for point in trend:
        decided[point.device] += point.decided
        escalated[point.device] += point.escalated
    for one in counts:
        answered[one.device] += one.answered
        disagreed[one.device] += one.disagreed
    return {
        one.key: Lately(
            Counted(decided[one.key], escalated[one.key]),
            answered[one.key],
            disagreed[one.key],
        )
        for one in devices
    }


def _row(device: DeviceFacts, known: Lately, moment: Moment, changed: Collection[DeviceKey]) -> FleetRow:
    slots = statuses(device, moment)
    state = standing(device, slots, known, moment)
    packs = [short_pack(one.reported_pack) for one in slots if one.reported_pack is not None]
    age_s = heartbeat_age_s(device, moment.now_ns)
    said = device.heartbeat if liveness_of(device, moment.now_ns, moment.interval_s) is Liveness.ONLINE else None
    texts = (device.key.site_id, device.key.device_id, state.word, *packs, *(one.binding for one in slots))
    return FleetRow(
        device=device.key,
        state=state,
        pack=_listed(packs),
        coverage=known.counted.coverage,
        is_since_change=device.key in changed,
        is_heard=said is not None,
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


def _slowest_ms(bindings: Iterable[BindingReport]) -> float | None:
    return max((one.answer_p95_ms for one in bindings if one.answer_p95_ms is not None), default=None)


def _certificate_state(device: DeviceFacts, moment: Moment) -> State | None:
    if device.certificate_not_after_ns is None:
        return None
    left_s = (device.certificate_not_after_ns - moment.now_ns) / _NS_PER_S
    if left_s <= 0:
        return State(Shape.BAD, "certificate ended")
    return State(Shape.WARN, f"certificate ends in {duration(left_s)}") if left_s < CERTIFICATE_WARNING_S else None


def _own_state(heartbeat: Heartbeat, slots: Sequence[SlotStatus], known: Lately) -> State:
    found = {one.state for one in slots}
    if Comparison.FAILED in found:
        return _SLOT_WORDS[Comparison.FAILED]
    if heartbeat.problems or heartbeat.state == "degraded":
        return State(Shape.WARN, "degraded")
    for one in heartbeat.bindings:
        if one.certificate_state in _DOUBTED_CERTIFICATES:
            return State(Shape.WARN, _DOUBTED_CERTIFICATES[one.certificate_state])
    on_the_way = (_slot_word(one) for state in _ON_THE_WAY for one in slots if one.state is state)
    return known.doubt or next(on_the_way, State(Shape.OK, "online"))


def _slot_word(status: SlotStatus) -> State:
    if status.state is Comparison.PINNED and status.desired_pack is not None:
        return State(Shape.WARN, f"pinned → {status.desired_pack.rpartition('@')[2]} waits")
    return _SLOT_WORDS[status.state]


def _figures(devices: Sequence[DeviceFacts], known: Mapping[DeviceKey, Lately], moment: Moment) -> FleetFigures:
    heard = {one.key: liveness_of(one, moment.now_ns, moment.interval_s) for one in devices}
    states = Counter(heard.values())
    said = {one.key: one.heartbeat for one in devices if one.heartbeat and heard[one.key] is Liveness.ONLINE}
    speeds = [(ms, key) for key, one in said.items() if (ms := _slowest_ms(one.bindings)) is not None]
    p95_ms, slowest = max(speeds, default=(None, None))
    told = known.values()
    ages_ms = [one.outbox_oldest_age_ms for one in said.values() if one.outbox_oldest_age_ms is not None]
    return FleetFigures(
        total=len(devices),
        online=states[Liveness.ONLINE],
        stale=states[Liveness.STALE],
        offline=states[Liveness.OFFLINE],
        never_seen=states[Liveness.NEVER_SEEN],
        counted=Counted(sum(one.counted.decided for one in told), sum(one.counted.escalated for one in told)),
        answered=sum(one.answered for one in told),
        disagreed=sum(one.disagreed for one in told),
        p95_ms=p95_ms,
        slowest=slowest,
        unsent=sum(one.outbox_items for one in said.values()),
        unsent_devices=sum(1 for one in said.values() if one.outbox_items),
        oldest_unsent_s=max(ages_ms) / _MS_PER_S if ages_ms else None,
    )
