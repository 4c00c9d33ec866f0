"""A binding's pack slot under any order of desires, trials, crashes, refusals, hands and rollbacks."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_agent.core.pack_slots import (
    MAX_TRIAL_STARTS,
    FailureReason,
    Move,
    PackId,
    Slot,
    Slots,
    boot,
    commit,
    desire,
    is_blocked,
    is_crash_loop,
    needed,
    next_move,
    pin,
    refuse,
    release,
    roll_back,
    start_trial,
    target,
    wait,
    withdraw,
)
from protos.messages.fleet import Desired, DesiredSlot, FailureAction, PackFailure, SlotState

BINDING = "motion"
FACTORY = PackId("tiny-edge@1.0.0", "sha256:1")
PACKS = st.sampled_from([FACTORY, *(PackId(f"tiny-edge@{n}.0.0", f"sha256:{n}") for n in (2, 3, 4))])


class PackSlotMachine(RuleBasedStateMachine):
    """The installer, the keeper, the hub and a person, each doing what it may, whenever it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots()
        self.proven: set[PackId | None] = {None}

    @property
    def slot(self) -> Slot:
        """As it stands."""
        return self.slots.of(BINDING)

    @property
    def move(self) -> Move | None:
        """What the desire asks for."""
        return next_move(self.slots, BINDING, FACTORY)

    def put(self, slot: Slot) -> None:
        """Keep a slot."""
        self.slots = self.slots.having(BINDING, slot)

    @rule(pack=PACKS, step=st.integers(-1, 2))
    def desire(self, pack: PackId, step: int) -> None:
        """The hub wants a pack; old and repeated words come, too."""
        before = self.slots
        version = max(0, before.desired.version + step)
        self.slots = desire(before, Desired(version, (DesiredSlot(BINDING, pack.pack, pack.digest),)))
        assert (self.slots is before) == (step <= 0)
        assert self.slots.desired.version >= before.desired.version

    @precondition(lambda self: self.move is Move.TRY)
    @rule()
    def install(self) -> None:
        """The wanted pack was fetched, verified and probed."""
        wanted = self.slots.wanted(BINDING)
        assert wanted is not None
        assert not self.slot.is_pinned
        assert not is_blocked(self.slot, wanted)
        self.put(start_trial(self.slot, target(wanted, FACTORY), now_ns=5))

    @precondition(lambda self: self.move is Move.TRY)
    @rule(reason=st.sampled_from(FailureReason))
    def refuse(self, reason: FailureReason) -> None:
        """The wanted pack did not get so far: what runs goes on."""
        before, wanted = self.slot, self.slots.wanted(BINDING)
        assert wanted is not None
        self.put(refuse(before, _failure(wanted, FailureAction.REFUSED, reason)))
        assert (self.slot.active, self.slot.previous, self.slot.state) == (
            before.active,
            before.previous,
            before.state,
        )

    @precondition(lambda self: self.move is Move.WITHDRAW)
    @rule()
    def withdraw(self) -> None:
        """The hub thought better of it."""
        self.put(withdraw(self.slot))
        assert self.move is None

    @rule()
    def start(self) -> None:
        """The agent starts; a trial that has crashed it too often is over."""
        self.put(boot(self.slot))
        if is_crash_loop(self.slot):
            self._roll_back(FailureReason.CRASH_LOOP)

    @precondition(lambda self: self.slot.state is SlotState.TRIAL)
    @rule()
    def prove(self) -> None:
        """The trial went well."""
        self.proven.add(self.slot.active)
        self.put(commit(self.slot))
        assert self.slot.failure is None

    @precondition(lambda self: self.slot.state is SlotState.TRIAL)
    @rule()
    def wait(self) -> None:
        """The trial's time is over, but nobody has asked."""
        self.put(wait(self.slot))

    @precondition(lambda self: self.slot.has_way_back)
    @rule(reason=st.sampled_from([FailureReason.ENGINE_FAILURES, FailureReason.BY_HAND, FailureReason.BAD_DIGEST]))
    def roll_back(self, reason: FailureReason) -> None:
        """What runs turned out bad, or somebody says so."""
        self._roll_back(reason)

    @rule(is_held=st.booleans())
    def hold(self, is_held: bool) -> None:  # noqa: FBT001 - hypothesis passes arguments by name
        """A person holds what runs, or lets go."""
        self.put(pin(self.slot) if is_held else release(self.slot))

    @invariant()
    def what_is_committed_has_proven_itself(self) -> None:
        """Nothing unproven is ever committed, and the way back leads to what was proven."""
        slot = self.slot
        if slot.state is SlotState.COMMITTED:
            assert slot.active in self.proven
            assert (slot.attempts, slot.trial_since_ns) == (0, 0)
        assert slot.previous in self.proven

    @invariant()
    def no_pack_crashes_the_agent_for_ever(self) -> None:
        """A trial sees few starts."""
        assert self.slot.attempts < MAX_TRIAL_STARTS

    @invariant()
    def nothing_in_use_may_be_deleted(self) -> None:
        """What runs, the way back and the factory pack stay on the device."""
        in_use = {one for one in (self.slot.active, self.slot.previous, FACTORY) if one is not None}
        assert in_use <= needed(self.slots, {BINDING: FACTORY})

    @invariant()
    def the_way_back_ends_at_the_factory_pack(self) -> None:
        """However often one goes back: soon the binding runs what it came with."""
        slot, steps = self.slot, 0
        while slot.has_way_back:
            slot = roll_back(slot, _failure(FACTORY, FailureAction.ROLLED_BACK, FailureReason.BY_HAND))
            steps += 1
        assert slot.active is None
        assert steps <= 2

    @invariant()
    def a_held_binding_is_left_alone(self) -> None:
        """Desires wait while a person holds what runs."""
        assert self.move is None or not self.slot.is_pinned

    def _roll_back(self, reason: FailureReason) -> None:
        failed = self.slot.active or FACTORY
        self.put(roll_back(self.slot, _failure(failed, FailureAction.ROLLED_BACK, reason)))
        assert self.slot.state is SlotState.COMMITTED
        if reason is not FailureReason.BAD_DIGEST and self.slots.wanted(BINDING) == failed:
            assert self.move is None  # the same pack is not tried again before the hub wants something else


def _failure(pack: PackId, action: FailureAction, reason: FailureReason) -> PackFailure:
    return PackFailure(pack.pack, pack.digest, action, reason, "told", 5)


TestPackSlotMachine = PackSlotMachine.TestCase
TestPackSlotMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
