"""A binding's policy under any order of the hub's orders, honest or not, and of packs that change below it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.core.decision import Policy
from edge_agent.core.policy import PackTerms, PolicySlot, in_force, needs_backing, take
from protos.messages.fleet import DesiredPolicy, PolicyMode

PACKS = (PackTerms("sha256:a", 0.8), PackTerms("sha256:b", 0.9), PackTerms("sha256:c", None))
THRESHOLDS = st.one_of(st.none(), st.sampled_from([0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.5]))


class PolicyMachine(RuleBasedStateMachine):
    """A hub that orders anything, a signer whom the device trusts or does not, and updates of the pack."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = PolicySlot()
        self.pack = PACKS[0]
        self.backed: set[tuple[str, float]] = set()

    @rule(
        step=st.integers(-1, 2),
        mode=st.sampled_from(PolicyMode),
        threshold=THRESHOLDS,
        is_backed=st.booleans(),
        named=st.sampled_from(["", *(pack.digest for pack in PACKS)]),
    )
    def order(
        self,
        step: int,
        mode: PolicyMode,
        threshold: float | None,
        is_backed: bool,  # noqa: FBT001 - hypothesis passes arguments by name
        named: str,
    ) -> None:
        """The hub orders something; with or without a signature that holds."""
        before = self.slot
        wanted = DesiredPolicy(max(0, before.version + step), mode, threshold, pack_digest=named)
        self.slot = take(before, wanted, self.pack, "" if is_backed else "nobody who is trusted vouches for it")
        if wanted.version <= before.version:
            assert self.slot is before
        elif self.slot.refused is not None:
            assert self.slot.active == before.active  # what is refused changes nothing
        elif is_backed and needs_backing(wanted, self.pack) and threshold is not None:
            self.backed.add((self.pack.digest, threshold))
        assert self.slot.version >= before.version

    @rule(pack=st.sampled_from(PACKS))
    def update(self, pack: PackTerms) -> None:
        """Another pack runs."""
        self.pack = pack

    @invariant()
    def nothing_is_kept_that_nobody_answers_for(self) -> None:
        """A threshold below the pack's own is one that somebody trusted signed for this very pack."""
        own = Policy(self.pack.threshold)
        policy, _ = in_force(self.slot, own, self.pack)
        if policy.is_hub_only or policy.threshold is None:
            return
        if self.pack.threshold is not None and policy.threshold >= self.pack.threshold:
            return
        assert any(digest == self.pack.digest and policy.threshold >= least for digest, least in self.backed)

    @invariant()
    def an_order_says_which_it_is(self) -> None:
        """Decisions name the version in force; the pack's own policy is 0."""
        policy, base = in_force(self.slot, Policy(self.pack.threshold), self.pack)
        active = self.slot.active
        is_in_force = active is not None and active.pack_digest in {"", self.pack.digest}
        assert policy.version == (active.version if active is not None and is_in_force else 0)
        assert base is None or base.pack_digest == self.pack.digest


TestPolicyMachine = PolicyMachine.TestCase
TestPolicyMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
