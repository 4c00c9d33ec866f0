"""Owns the desired side of a device's twin, how it compares with what the device reports, and what of a report is news.

Desired is a state, not a job: one version a device, which only grows; the newest wins, a binding that is not named
keeps what it has. Whether a pack may be desired at all is `cloud_hub.assigning`; sending is `adapters.grpc.fleet`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, Happening
from cloud_hub.core.policies import PolicyDesire, with_desire
from protos.messages.fleet import (
    Desired,
    DesiredSlot,
    FailureAction,
    Heartbeat,
    InstallPhase,
    PackFailure,
    SlotReport,
    SlotState,
)

DESIRED_CAPABILITY = "desired"
"""What a device says in its hello when it takes desires."""

DOWNLOAD_FAILED = "download_failed"
"""The one failure reason that needs nobody (docs/packs.md): the pack is late, not refused."""

TRIED_AGAIN = frozenset({DOWNLOAD_FAILED, "no_space"})
"""What a device tries again by itself, so that the same failure comes again and again with a later time."""

MAX_VERSION = 2**62
"""A peer's number above it is no version: the hub must have room to count on."""

MAX_NEWS = 64
"""Events of one heartbeat; a device has a few bindings, and what a peer says beyond is not told to everybody."""

MAX_TEXT_CHARS = 500
_NS_PER_S = 1_000_000_000
_S_PER_MIN = 60
_MIN_PER_H = 60
_H_PER_DAY = 24


@dataclass(frozen=True, slots=True)
class SlotDesire:
    """What one binding should run, and since when somebody wants it.

    Attributes:
        pack: name@version.
        digest: Of its pack.json.
        set_by: Who wants it.
        set_at_ns: Wall clock of the hub, Unix epoch, UTC.
    """

    binding: str
    pack: str
    digest: str
    set_by: str
    set_at_ns: int


@dataclass(frozen=True, slots=True)
class DesiredTwin:
    """What a device should run.

    Attributes:
        version: Grows with each change, from 1.
        slots: Packs, one a binding, by name.
        set_by: Who changed it last.
        set_at_ns: When; wall clock of the hub, Unix epoch, UTC.
        policies: One a binding, by name.
    """

    device: DeviceKey
    version: int
    slots: tuple[SlotDesire, ...]
    set_by: str
    set_at_ns: int
    policies: tuple[PolicyDesire, ...] = ()

    def message(self, *, takes_policies: bool = False) -> Desired:
        """What the device is told.

        Args:
            takes_policies: Whether the device said that it takes them; else it is told of packs only.

        Returns:
            The whole twin: a device that missed versions needs only the newest.
        """
        policies = {one.binding: one.policy for one in self.policies} if takes_policies else {}
        slots = [DesiredSlot(one.binding, one.pack, one.digest, policies.pop(one.binding, None)) for one in self.slots]
        alone = [DesiredSlot(binding, "", "", policy) for binding, policy in policies.items()]
        return Desired(self.version, (*slots, *alone))


class Comparison(StrEnum):
    """How what a binding should run compares with what it runs."""

    IN_SYNC = "in_sync"
    PENDING = "pending"
    INSTALLING = "installing"
    TRIAL = "trial"
    FAILED = "failed"
    PINNED = "pinned"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """One binding of the twin, both sides and how they compare.

    Attributes:
        desired_pack: None: nothing is desired, the device runs what it has.
        reported_pack: As of the latest heartbeat; None: not known.
        detail: One sentence for a person; empty when the state says it all.
        reason: The failure's name as the device reported it; empty when there is none.
        since_ns: Since when it is so, as far as that is known; Unix epoch, UTC.
    """

    binding: str
    desired_pack: str | None
    reported_pack: str | None
    state: Comparison
    detail: str = ""
    reason: str = ""
    since_ns: int | None = None


@dataclass(frozen=True, slots=True)
class LastWord:
    """The latest heartbeat, and when it was stored (wall clock of the hub, Unix epoch, UTC)."""

    heartbeat: Heartbeat
    received_at_ns: int


@dataclass(frozen=True, slots=True)
class _Found:
    """What a device said of one binding; `digest` is empty when it said nothing."""

    word: LastWord | None
    slot: SlotReport | None
    digest: str


def merged(
    before: DesiredTwin | None, device: DeviceKey, slots: Iterable[DesiredSlot], *, actor: str, now_ns: int
) -> DesiredTwin:
    """State a desire: the named bindings get it, the others keep theirs.

    Args:
        before: The twin so far.
        device: Whose it is.
        slots: What is wanted now; the last one of a binding counts.
        actor: Who wants it.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        The twin with the next version.
    """
    kept = {} if before is None else {one.binding: one for one in before.slots}
    for one in slots:
        kept[one.binding] = SlotDesire(one.binding, one.pack, one.digest, actor, now_ns)
    version = 1 if before is None else before.version + 1
    policies = () if before is None else before.policies
    return DesiredTwin(device, version, tuple(kept[name] for name in sorted(kept)), actor, now_ns, policies)


def with_policy(before: DesiredTwin | None, device: DeviceKey, desire: PolicyDesire) -> DesiredTwin:
    """State how a binding should decide; all else stays.

    Args:
        before: The twin so far.
        device: Whose it is.
        desire: What is wanted now.

    Returns:
        The twin with the next version.
    """
    twin = DesiredTwin(device, 0, (), "", 0) if before is None else before
    return replace(
        twin,
        version=twin.version + 1,
        policies=with_desire(twin.policies, desire),
        set_by=desire.set_by,
        set_at_ns=desire.set_at_ns,
    )


def without(twin: DesiredTwin, binding: str, *, actor: str, now_ns: int) -> DesiredTwin:
    """End a desire: the device runs there what it has, or has that binding no more.

    Args:
        twin: As it is.
        binding: Whose desire ends.
        actor: Who ends it.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        The rest, with the next version.
    """
    kept = tuple(one for one in twin.slots if one.binding != binding)
    return DesiredTwin(twin.device, twin.version + 1, kept, actor, now_ns, twin.policies)


def lifted(twin: DesiredTwin, reported_version: int) -> DesiredTwin | None:
    """Raise a twin above what the device holds already: a restored hub counts on from an older version.

    Args:
        twin: As the hub has it.
        reported_version: The newest that is durable on the device.

    Returns:
        The same desire under a version that the device takes; None when it needs no lifting.
    """
    if not twin.version < reported_version <= MAX_VERSION:
        return None
    return replace(twin, version=reported_version + 1)


def slot_states(
    desired: DesiredTwin | None, word: LastWord | None, *, now_ns: int, install_timeout_s: float
) -> tuple[SlotStatus, ...]:
    """Compare both sides of a twin, binding by binding.

    Every state on the way has a deadline: what has not begun, or of what nothing is heard, for `install_timeout_s`
    has failed. What a device never said is unknown.

    Args:
        desired: What it should run; None: nothing was ever desired.
        word: Its latest heartbeat; None: there was none.
        now_ns: Wall clock, Unix epoch, UTC.
        install_timeout_s: How long a desire may go without a word from the device.

    Returns:
        One entry a binding of either side, by name.
    """
    wanted = {} if desired is None else {one.binding: one for one in desired.slots}
    slots = {} if word is None else {one.binding: one for one in word.heartbeat.slots}
    packs = {} if word is None else {one.binding: (one.model.pack, one.model.digest) for one in word.heartbeat.bindings}
    packs |= {one.binding: (one.pack, one.digest) for one in slots.values()}
    found: list[SlotStatus] = []
    for binding in sorted(wanted.keys() | packs.keys()):
        want, slot = wanted.get(binding), slots.get(binding)
        if want is None or desired is None:
            found.append(_undesired(binding, packs[binding][0], slot))
            continue
        pack, digest = packs.get(binding, (None, ""))
        blank = SlotStatus(binding, want.pack, pack, Comparison.PENDING)
        status = _compared(blank, desired, want, _Found(word, slot, digest))
        found.append(_timed(status, want, word, now_ns, install_timeout_s))
    return tuple(found)


def slot_news(
    device: DeviceKey, before: Iterable[SlotReport] | None, after: Iterable[SlotReport], now_ns: int
) -> tuple[Happening, ...]:
    """Tell what a heartbeat says that the one before did not.

    The detail of each holds `binding` and `digest`; of one that runs also `before` (what ran until then); of one that
    does not run `reason` and `detail`.

    Args:
        device: Who reports.
        before: The slots of the heartbeat before; None when there was none.
        after: The slots now.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        In the order of the slots, a failure before what runs after it; the first `MAX_NEWS` of them.
    """
    known = {one.binding: one for one in before or ()}
    told = (news for slot in after for news in _news(device, known.get(slot.binding), slot, now_ns))
    return tuple(islice(told, MAX_NEWS))


def told_s(seconds: float) -> str:
    """Say a time span in one unit, rounded down.

    Args:
        seconds: The span.

    Returns:
        For example "40 s", "12 min", "3 h", "2 d".
    """
    whole = max(0, int(seconds))
    if whole < _S_PER_MIN:
        return f"{whole} s"
    if whole < _S_PER_MIN * _MIN_PER_H:
        return f"{whole // _S_PER_MIN} min"
    hours = whole // (_S_PER_MIN * _MIN_PER_H)
    return f"{hours} h" if hours < _H_PER_DAY else f"{hours // _H_PER_DAY} d"


def _undesired(binding: str, pack: str, slot: SlotReport | None) -> SlotStatus:
    state, detail = Comparison.IN_SYNC, "nothing is desired here: it runs what it has"
    if slot is not None and slot.state is SlotState.TRIAL:
        state, detail = Comparison.TRIAL, "on trial; nothing is desired here"
    if slot is not None and slot.is_pinned:
        state, detail = Comparison.PINNED, "pinned on the device"
    return SlotStatus(binding, None, pack, state, detail)


def _compared(blank: SlotStatus, desired: DesiredTwin, want: SlotDesire, found: _Found) -> SlotStatus:
    """What the device's own words say, whatever their age."""
    waiting, slot = replace(blank, since_ns=want.set_at_ns), found.slot
    if found.word is None:
        return replace(waiting, state=Comparison.UNKNOWN, detail="the device has never reported")
    if found.digest == want.digest:
        return _arrived(blank, waiting, slot)
    if slot is None:
        is_there = blank.reported_pack is not None
        mute = "the agent takes no packs from the hub: update it"
        return replace(waiting, detail=mute if is_there else f"the device reports no binding {want.binding}")
    failure = slot.failure if slot.failure is not None and slot.failure.digest == want.digest else None
    if failure is not None and failure.reason != DOWNLOAD_FAILED:
        why = {"detail": failure.detail, "reason": failure.reason}
        return replace(blank, state=Comparison.FAILED, since_ns=failure.at_ns, **why)
    if slot.is_pinned:
        return replace(blank, state=Comparison.PINNED, detail="pinned on the device: the desire waits")
    return _on_the_way(waiting, desired, slot, found.word.heartbeat.desired_version)


def _arrived(blank: SlotStatus, waiting: SlotStatus, slot: SlotReport | None) -> SlotStatus:
    """The device runs what it should."""
    if slot is not None and slot.state is SlotState.TRIAL:
        why = ": it waits for its first answers" if slot.phase is InstallPhase.WAITING else ""
        return replace(waiting, state=Comparison.TRIAL, detail=f"runs, not yet committed{why}")
    detail = "pinned on the device" if slot is not None and slot.is_pinned else ""
    return replace(blank, state=Comparison.IN_SYNC, detail=detail)


def _on_the_way(waiting: SlotStatus, desired: DesiredTwin, slot: SlotReport, held_version: int) -> SlotStatus:
    """The device runs something else yet."""
    if held_version > desired.version:
        return replace(waiting, detail="the device holds a newer desire than this hub")
    if held_version < desired.version:
        return replace(waiting, detail="the device has not taken the desire yet")
    if slot.failure is not None and slot.failure.reason == DOWNLOAD_FAILED:
        late = f"the download is interrupted and goes on by itself: {slot.failure.detail}"
        return replace(waiting, state=Comparison.INSTALLING, detail=late, reason=DOWNLOAD_FAILED)
    if slot.phase is InstallPhase.IDLE:
        return replace(waiting, detail="the device has the desire and has not begun")
    detail = slot.phase.value
    if slot.phase is InstallPhase.DOWNLOADING and slot.total_bytes > 0:
        detail = f"downloading, {100 * slot.done_bytes // slot.total_bytes} %"
    return replace(waiting, state=Comparison.INSTALLING, detail=detail)


def _timed(
    status: SlotStatus, want: SlotDesire, word: LastWord | None, now_ns: int, install_timeout_s: float
) -> SlotStatus:
    """Silence counts as failure, and so does a desire that is not begun; what is as it should be stays so."""
    if status.state not in (Comparison.PENDING, Comparison.INSTALLING, Comparison.TRIAL, Comparison.UNKNOWN):
        return status
    spoke_ns = want.set_at_ns if word is None else max(want.set_at_ns, word.received_at_ns)
    silent_s = (now_ns - spoke_ns) / _NS_PER_S
    if silent_s > install_timeout_s:
        detail = f"no word for {told_s(silent_s)}" + (f": {status.detail}" if status.detail else "")
        return replace(status, state=Comparison.FAILED, detail=detail, since_ns=spoke_ns)
    waited_s = (now_ns - want.set_at_ns) / _NS_PER_S
    if status.state is Comparison.PENDING and waited_s > install_timeout_s:
        return replace(status, state=Comparison.FAILED, detail=f"not begun for {told_s(waited_s)}: {status.detail}")
    return status


def _news(device: DeviceKey, before: SlotReport | None, after: SlotReport, now_ns: int) -> Iterable[Happening]:
    failure = after.failure
    is_news = failure is not None and (before is None or not _is_same(before.failure, failure))
    if failure is not None and is_news:
        why = {"digest": failure.digest, "reason": failure.reason, "detail": failure.detail}
        kind = EventKind.PACK_DELAYED if failure.reason == DOWNLOAD_FAILED else _FAILED[failure.action]
        yield _happening(kind, device, failure.pack, {"binding": after.binding, **why}, now_ns)
    if before is None and after.state is SlotState.COMMITTED:
        return
    has_changed = before is None or (before.digest, before.state) != (after.digest, after.state)
    is_fallback = is_news and failure is not None and failure.action is FailureAction.ROLLED_BACK
    if has_changed and not (is_fallback and after.state is SlotState.COMMITTED):
        kind = EventKind.PACK_TRIAL if after.state is SlotState.TRIAL else EventKind.PACK_INSTALLED
        runs = {"digest": after.digest, "before": "" if before is None else before.pack}
        yield _happening(kind, device, after.pack, {"binding": after.binding, **runs}, now_ns)


def _is_same(before: PackFailure | None, after: PackFailure) -> bool:
    """What is tried again and again is told once."""
    if before is None or after.reason not in TRIED_AGAIN:
        return before == after
    return (before.digest, before.reason) == (after.digest, after.reason)


def _happening(kind: EventKind, device: DeviceKey, pack: str, detail: Mapping[str, str], now_ns: int) -> Happening:
    texts = {name: _plain(text) for name, text in detail.items()}
    return Happening(at_ns=now_ns, kind=kind, device=device, subject=_plain(pack), detail=texts)


def _plain(text: str) -> str:
    """A peer's text as the tables and a terminal can hold it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_TEXT_CHARS])


_FAILED: Mapping[FailureAction, EventKind] = {
    FailureAction.REFUSED: EventKind.PACK_REFUSED,
    FailureAction.ROLLED_BACK: EventKind.PACK_ROLLED_BACK,
}
