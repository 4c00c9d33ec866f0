"""Owns the pack slots of a running device: the durable ones, how an install goes on, and who is told of changes.

What may happen to a slot is `core/pack_slots.py`; the file is `adapters/slot_file.py`. The installer and the keeper
change slots; the status and the heartbeat report them; the commands change the file behind all of them.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edge_agent.adapters.slot_file import SlotFile
from edge_agent.core.pack_slots import FailureReason, PackId, PackRefusedError, Slot, Slots, desire
from edge_agent.errors import AgentError, HubError
from edge_agent.ports import BindingName
from protos.messages.fleet import Desired, FailureAction, InstallPhase, PackFailure, SlotReport, SlotState

_MAX_DETAIL = 1000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the way to a wanted pack is; forgotten when the process ends.

    Attributes:
        trouble: What the installer tries again after.
    """

    phase: InstallPhase = InstallPhase.IDLE
    done_bytes: int = 0
    total_bytes: int = 0
    trouble: PackFailure | None = None


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """A slot as it is, and as the disk has it: of another one, which somebody else wrote since, it says nothing."""

    on_disk: Slot
    now: Slot


@dataclass(frozen=True, slots=True)
class Twin:
    """What the hub wants of this device, and what the device reports of itself."""

    desired: Desired
    reports: tuple[SlotReport, ...]


class DeviceSlots:
    """The slots, shared by threads.

    Args:
        file: The durable part.
    """

    def __init__(self, file: SlotFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._progress: dict[str, Progress] = {}
        self._seen: Slots | None = None
        self._listeners: list[Callable[[], None]] = []
        self._unwritten: dict[str, _Unwritten] = {}
        self._waiting: set[str] = set()

    def open(self) -> None:
        """Make the file's folder. When the disk refuses, what is there is read, and each change is refused."""
        try:
            self._file.open()
        except OSError as error:
            logger.warning("slots_cannot_be_changed", extra={"error": str(error)})

    def on_change(self, listener: Callable[[], None]) -> None:
        """Tell someone, from whichever thread, that a slot, a phase or the desire has changed."""
        self._listeners.append(listener)

    def read(self) -> Slots:
        """The slots now; a change that another process made is told to the listeners."""
        slots = self._with_unwritten(self._file.read())
        self._tell(slots)
        return slots

    def change(self, binding: BindingName, change: Callable[[Slot], Slot]) -> Slot:
        """Change one slot, durably.

        Args:
            binding: Whose.
            change: Pure; sees the slot as it is now.

        Returns:
            The slot now.

        Raises:
            OSError: The disk refuses; nothing has changed.
        """

        def changed(slots: Slots) -> Slots:
            before = slots.of(binding)
            after = change(before)
            return slots if after == before else slots.having(binding, after)

        return self.change_all(changed).of(binding)

    def change_all(self, change: Callable[[Slots], Slots]) -> Slots:
        """Change the slots with the desire in sight, durably; see `change`."""
        with self._lock:
            unwritten = dict(self._unwritten)
        slots = self._file.change(lambda now: change(_overlaid(now, unwritten)))
        with self._lock:
            for name in [name for name, one in unwritten.items() if self._unwritten.get(name) is one]:
                del self._unwritten[name]
        self._tell(slots)
        return slots

    def insist(self, binding: BindingName, change: Callable[[Slot], Slot]) -> Slot:
        """Change one slot, in memory when the disk refuses: a full disk must not keep a failed pack answering.

        Such a change holds until this process ends, or somebody else changes the slot; the next change that the disk
        takes writes it, too, and `write_pending` tries.

        Args:
            binding: Whose.
            change: Pure; sees the slot as it is now.

        Returns:
            The slot now.
        """
        try:
            return self.change(binding, change)
        except OSError as error:
            logger.warning("slot_not_kept", extra={"binding": binding, "error": str(error), "mend": "free some space"})
        before = self._file.read().of(binding)
        after = change(self.read().of(binding))
        with self._lock:
            self._unwritten[binding] = _Unwritten(before, after)
        return self.read().of(binding)

    def write_pending(self) -> None:
        """Write what the disk refused before, if there is anything and the disk allows."""
        with self._lock:
            has_any = bool(self._unwritten)
        if not has_any:
            return
        try:
            self.change_all(lambda slots: slots)
        except OSError as error:
            logger.debug("slots_still_not_kept", extra={"error": str(error)})
        else:
            logger.info("slots_kept")

    def desire(self, desired: Desired) -> None:
        """Keep what the hub wants. When the disk refuses, the hub says it again after the next heartbeat."""
        try:
            self.change_all(lambda slots: desire(slots, desired))
        except OSError as error:
            logger.warning("desire_not_kept", extra={"version": desired.version, "error": str(error)})

    def progress(self, binding: BindingName) -> Progress:
        """Where a binding's install is."""
        with self._lock:
            return self._progress.get(binding, Progress())

    def set_progress(self, binding: BindingName, progress: Progress) -> None:
        """Note where a binding's install is; bytes alone tell nobody."""
        with self._lock:
            before = self._progress.get(binding, Progress())
            self._progress[binding] = progress
        if replace(before, done_bytes=0) != replace(progress, done_bytes=0):
            self._notify()

    def set_waiting(self, binding: BindingName, *, is_waiting: bool) -> None:
        """Note whether a binding's trial only waits for questions; forgotten when the process ends."""
        with self._lock:
            is_news = is_waiting != (binding in self._waiting)
            self._waiting.symmetric_difference_update({binding} if is_news else ())
        if is_news:
            self._notify()

    def twin(self, factories: Mapping[BindingName, PackId]) -> Twin:
        """Both sides of the twin, at one moment.

        Args:
            factories: Factory pack by binding; all of them are reported.
        """
        slots = self._with_unwritten(self._file.read())
        with self._lock:
            waiting = frozenset(self._waiting)
        reports = tuple(
            slot_report(binding, slots.of(binding), factory, self.progress(binding), is_waiting=binding in waiting)
            for binding, factory in factories.items()
        )
        return Twin(slots.desired, reports)

    def _with_unwritten(self, slots: Slots) -> Slots:
        with self._lock:
            return _overlaid(slots, self._unwritten)

    def wake_listeners(self) -> None:
        """Tell the listeners of a change that the disk did not take."""
        self._notify()

    def _tell(self, slots: Slots) -> None:
        with self._lock:
            is_news = self._seen is not None and self._seen != slots
            self._seen = slots
        if is_news:
            self._notify()

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()


def _overlaid(slots: Slots, unwritten: Mapping[str, _Unwritten]) -> Slots:
    for name, one in unwritten.items():
        if slots.of(name) == one.on_disk:
            slots = slots.having(name, one.now)
    return slots


def slot_report(binding: str, slot: Slot, factory: PackId, progress: Progress, *, is_waiting: bool) -> SlotReport:
    """One binding's slot as the hub and the status are told it."""
    active = slot.active or factory
    on_trial = InstallPhase.WAITING if is_waiting else InstallPhase.BAKING
    resting = on_trial if slot.state is SlotState.TRIAL else InstallPhase.IDLE
    return SlotReport(
        binding=binding,
        pack=active.pack,
        digest=active.digest,
        state=slot.state,
        previous_pack=(slot.previous or factory).pack if slot.has_way_back else None,
        is_pinned=slot.is_pinned,
        phase=resting if progress.phase is InstallPhase.IDLE else progress.phase,
        done_bytes=progress.done_bytes,
        total_bytes=progress.total_bytes,
        failure=progress.trouble or slot.failure,
    )


def failure_of(pack: PackId, action: FailureAction, error: AgentError, at_ns: int) -> PackFailure:
    """What is kept of an error that kept a pack from running.

    Args:
        pack: As it was wanted.
        action: What became of it.
        error: Why.
        at_ns: Wall clock, Unix epoch, UTC.
    """
    match error:
        case PackRefusedError():
            reason = error.reason
        case HubError():
            reason = FailureReason.DOWNLOAD_FAILED
        case _:
            reason = FailureReason.DAMAGED_MANIFEST
    return PackFailure(pack.pack, pack.digest, action, reason, error.message[:_MAX_DETAIL], at_ns)
