"""Owns which pack a binding runs, how sure the device is of it, and what may happen to that.

    committed --try--> trial --commit--> committed        a pack proves itself, or
                       trial --roll_back--> committed     the last proven one comes back

A binding that was never told otherwise runs its *factory* pack, the one that bindings.toml names: `None` stands for it
everywhere here, and it is where every way back ends. Pure: where slots are kept is `adapters/slot_file.py`; fetching,
probing and swapping is `packs/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from edge_agent.core.policy import PolicySlot
from edge_agent.errors import AgentError, PackUnusableError
from model_packs.errors import (
    BlobError,
    DamagedPackError,
    PackError,
    UntrustedPackError,
    VersionTakenError,
    WrongBytesError,
)
from protos.messages.fleet import Desired, FailureAction, PackFailure, SlotState
from protos.status import Status

MAX_TRIAL_STARTS = 3
"""A pack on trial that is still not committed at the agent's third start since then has crashed it."""

MAX_ENGINE_FAILURES = 3
"""So many questions that the engine failed on, one by one, or answered with what is no number, end a trial."""


MIN_TRIAL_ANSWERS = 3
"""Before a pack on trial has answered so many questions of its own binding, it has proven nothing."""


class FailureReason(StrEnum):
    """Why a pack does not run; the names are part of the contract with the hub (docs/packs.md)."""

    NOT_FOUND = "not_found"
    BAD_SIGNATURE = "bad_signature"
    BAD_DIGEST = "bad_digest"
    WRONG_PACK = "wrong_pack"
    DAMAGED_MANIFEST = "damaged_manifest"
    IO_MISMATCH = "io_mismatch"
    UNSUPPORTED = "unsupported"
    GOLDEN_MISMATCH = "golden_mismatch"
    PROBE_TIMEOUT = "probe_timeout"
    PROBE_CRASHED = "probe_crashed"
    NO_SPACE = "no_space"
    ENGINE_FAILURES = "engine_failures"
    CRASH_LOOP = "crash_loop"
    DOWNLOAD_FAILED = "download_failed"
    BY_HAND = "by_hand"


TRANSIENT = frozenset({FailureReason.DOWNLOAD_FAILED, FailureReason.NO_SPACE})
"""The world's doing and not the pack's: the installer tries again by itself."""

_DAMAGED_COPY = frozenset({FailureReason.NOT_FOUND, FailureReason.BAD_DIGEST, FailureReason.DAMAGED_MANIFEST})
"""After a rollback: the copy on this disk went bad, so a new one is fetched."""


_REASONS: dict[type[PackError], FailureReason] = {
    UntrustedPackError: FailureReason.BAD_SIGNATURE,
    VersionTakenError: FailureReason.WRONG_PACK,
    DamagedPackError: FailureReason.BAD_DIGEST,
    WrongBytesError: FailureReason.BAD_DIGEST,
    BlobError: FailureReason.DOWNLOAD_FAILED,  # another transfer of the same blob runs
}


class PackRefusedError(PackUnusableError):
    """A pack that must not run here, with the reason as the hub is told it.

    Args:
        reason: Its name in the contract.
        pack: name@version, or the path that the binding gives.
        message: What is wrong with it.
        mend: How to get a good one.
    """

    def __init__(self, reason: FailureReason, pack: str, message: str, mend: str) -> None:
        super().__init__(pack, message, mend)
        self.reason = reason


def reason_of(error: PackError) -> FailureReason:
    """Why a pack that the store or a transfer found fault with does not run."""
    return next(
        (reason for kind, reason in _REASONS.items() if isinstance(error, kind)), FailureReason.DAMAGED_MANIFEST
    )


@dataclass(frozen=True, slots=True)
class PackId:
    """One pack, exactly: name@version, and the digest of its pack.json."""

    pack: str
    digest: str


@dataclass(frozen=True, slots=True)
class Slot:
    """What one binding runs.

    Attributes:
        state: How sure the device is of `active`.
        active: None: the factory pack.
        previous: Where a rollback goes; always a pack that was verified, and committed or the factory's.
        attempts: Starts of the agent since the trial began, or since it has waited for questions.
        trial_since_ns: Wall clock, Unix epoch, UTC; 0 when committed.
        is_pinned: Held on the device: desires wait.
        failure: The last one, until another pack succeeds.
    """

    state: SlotState = SlotState.COMMITTED
    active: PackId | None = None
    previous: PackId | None = None
    attempts: int = 0
    trial_since_ns: int = 0
    is_pinned: bool = False
    failure: PackFailure | None = None

    @property
    def has_way_back(self) -> bool:
        """Whether a rollback would change what runs."""
        return self.active is not None or self.previous is not None


@dataclass(frozen=True, slots=True)
class Slots:
    """Everything that is durable about packs in use: the newest desire, the slots ever changed, and their policies."""

    desired: Desired = field(default_factory=lambda: Desired(0, ()))
    by_binding: Mapping[str, Slot] = field(default_factory=dict)
    policies: Mapping[str, PolicySlot] = field(default_factory=dict)

    def of(self, binding: str) -> Slot:
        """A binding's slot; one that was never changed runs its factory pack."""
        return self.by_binding.get(binding, Slot())

    def wanted(self, binding: str) -> PackId | None:
        """What the hub wants a binding to run; None when it says nothing of it, or of its policy only."""
        found = next((one for one in self.desired.slots if one.binding == binding and one.pack), None)
        return None if found is None else PackId(found.pack, found.digest)

    def having(self, binding: str, slot: Slot) -> "Slots":
        """The same with one slot changed."""
        return replace(self, by_binding={**self.by_binding, binding: slot})


class Move(StrEnum):
    """What can happen to a slot."""

    REFUSE = "refuse"
    TRY = "try"
    BOOT = "boot"
    WAIT = "wait"
    COMMIT = "commit"
    WITHDRAW = "withdraw"
    ROLL_BACK = "roll_back"
    PIN = "pin"
    RELEASE = "release"


MOVES: dict[tuple[SlotState, Move], SlotState] = {
    **{(state, move): state for state in SlotState for move in (Move.REFUSE, Move.BOOT, Move.PIN, Move.RELEASE)},
    (SlotState.COMMITTED, Move.TRY): SlotState.TRIAL,
    (SlotState.COMMITTED, Move.ROLL_BACK): SlotState.COMMITTED,
    (SlotState.TRIAL, Move.TRY): SlotState.TRIAL,
    (SlotState.TRIAL, Move.WAIT): SlotState.TRIAL,
    (SlotState.TRIAL, Move.COMMIT): SlotState.COMMITTED,
    (SlotState.TRIAL, Move.WITHDRAW): SlotState.COMMITTED,
    (SlotState.TRIAL, Move.ROLL_BACK): SlotState.COMMITTED,
}
"""The whole table; what is not in it may not happen. docs/packs.md draws it."""


class SlotMoveError(AgentError):
    """A move that the table does not have, or a rollback with nowhere to go.

    Args:
        state: Where the slot stands.
        move: What was tried.
    """

    def __init__(self, state: SlotState, move: Move) -> None:
        what = f"a pack slot that is {state} cannot {move}"
        if move is Move.ROLL_BACK:  # the table allows it from every state
            what = "the binding runs its factory pack already: there is no pack to go back to"
        super().__init__(what, "see `edge-agent packs list`", Status.FAILED_PRECONDITION)
        self.state = state
        self.move = move


def start_trial(slot: Slot, target: PackId | None, now_ns: int) -> Slot:
    """Let a pack prove itself; what was committed last stays the way back."""
    proven = slot.previous if slot.state is SlotState.TRIAL else slot.active
    state = _next(slot, Move.TRY)
    return replace(slot, state=state, active=target, previous=proven, attempts=0, trial_since_ns=now_ns)


def refuse(slot: Slot, failure: PackFailure) -> Slot:
    """Note why another pack does not get its trial."""
    return replace(slot, state=_next(slot, Move.REFUSE), failure=failure)


def boot(slot: Slot) -> Slot:
    """Count a start of the agent, before the pack is opened; see `is_crash_loop`."""
    is_trial = slot.state is SlotState.TRIAL
    return replace(slot, state=_next(slot, Move.BOOT), attempts=slot.attempts + 1 if is_trial else 0)


def is_crash_loop(slot: Slot) -> bool:
    """Whether a trial has seen too many starts of the agent to be trusted with another."""
    return slot.state is SlotState.TRIAL and slot.attempts >= MAX_TRIAL_STARTS


def wait(slot: Slot) -> Slot:
    """The pack on trial has run long enough, but was asked too little: its starts so far were no crashes."""
    return replace(slot, state=_next(slot, Move.WAIT), attempts=0)


def commit(slot: Slot) -> Slot:
    """The pack on trial has proven itself."""
    return replace(slot, state=_next(slot, Move.COMMIT), attempts=0, trial_since_ns=0, failure=None)


def withdraw(slot: Slot) -> Slot:
    """The hub no longer wants the pack on trial, but the one before: nothing failed."""
    return _back(slot, Move.WITHDRAW)


def roll_back(slot: Slot, failure: PackFailure) -> Slot:
    """Go back to the last proven pack, and from there to the factory's.

    Raises:
        SlotMoveError: It runs the factory pack, and there is no other.
    """
    if not slot.has_way_back:
        raise SlotMoveError(slot.state, Move.ROLL_BACK)
    return replace(_back(slot, Move.ROLL_BACK), failure=failure)


def pin(slot: Slot) -> Slot:
    """Hold what runs: desires wait."""
    return replace(slot, state=_next(slot, Move.PIN), is_pinned=True)


def release(slot: Slot) -> Slot:
    """Follow the hub again; what was refused or rolled back gets another chance."""
    return replace(slot, state=_next(slot, Move.RELEASE), is_pinned=False, failure=None)


def desire(slots: Slots, desired: Desired) -> Slots:
    """Take what the hub wants; an older version, or the same again, changes nothing.

    A failure stands in the way until the desire for its binding changes. One of a pack that was refused before it ever
    ran is forgotten with each new version that names the binding: somebody may have mended the pack meanwhile.
    """
    if desired.version <= slots.desired.version:
        return slots
    after = replace(slots, desired=desired)
    kept = {
        name: replace(slot, failure=None) if _is_new_chance(slot, slots.wanted(name), after.wanted(name)) else slot
        for name, slot in slots.by_binding.items()
    }
    return replace(after, by_binding=kept)


def next_move(slots: Slots, binding: str, factory: PackId) -> Move | None:
    """What the desire asks of a slot now.

    Args:
        slots: Everything durable.
        binding: Whose slot.
        factory: The binding's factory pack.

    Returns:
        `TRY` the wanted pack, `WITHDRAW` the trial that runs, or None: it runs what it should, is pinned, or the wanted
        pack has failed here.
    """
    slot, wanted = slots.of(binding), slots.wanted(binding)
    if wanted is None or slot.is_pinned:
        return None
    aim = target(wanted, factory)
    if aim == slot.active or is_blocked(slot, wanted):
        return None
    return Move.WITHDRAW if slot.state is SlotState.TRIAL and aim == slot.previous else Move.TRY


def target(wanted: PackId, factory: PackId) -> PackId | None:
    """How a slot names a pack: the factory's is None."""
    return None if wanted == factory else wanted


def is_blocked(slot: Slot, wanted: PackId) -> bool:
    """Whether this pack's own failure keeps it out until the desire changes or the slot is released."""
    failure = slot.failure
    if failure is None or failure.digest != wanted.digest:
        return False
    passing = TRANSIENT if failure.action is FailureAction.REFUSED else TRANSIENT | _DAMAGED_COPY
    return failure.reason not in passing


def needed(slots: Slots, bindings: Mapping[str, PackId]) -> frozenset[PackId]:
    """Packs that may not leave the device: active, previous, factory, and what is wanted and was not refused.

    Args:
        slots: Everything durable.
        bindings: Factory pack by binding.
    """
    kept = set(bindings.values())
    for binding in bindings:
        slot, wanted = slots.of(binding), slots.wanted(binding)
        kept |= {one for one in (slot.active, slot.previous) if one is not None}
        if wanted is not None and not _is_refused(slot, wanted):
            kept.add(wanted)
    return frozenset(kept)


def _back(slot: Slot, move: Move) -> Slot:
    state = _next(slot, move)
    return replace(slot, state=state, active=slot.previous, previous=None, attempts=0, trial_since_ns=0)


def _is_refused(slot: Slot, wanted: PackId) -> bool:
    was_refused = slot.failure is not None and slot.failure.action is FailureAction.REFUSED
    return was_refused and is_blocked(slot, wanted)


def _is_new_chance(slot: Slot, before: PackId | None, after: PackId | None) -> bool:
    if slot.failure is None or after is None:
        return False
    return after != before or slot.failure.action is FailureAction.REFUSED


def _next(slot: Slot, move: Move) -> SlotState:
    found = MOVES.get((slot.state, move))
    if found is None:
        raise SlotMoveError(slot.state, move)
    return found
