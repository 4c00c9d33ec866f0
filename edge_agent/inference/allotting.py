"""Owns who of a pass may ask the hub: the audit lottery before the answers, and the budget after them.

    1. Each question is drawn or not, before any is answered, at a rate that is fixed by then: the policy's, or 0 while
       the audits' reserve has no call left. The call of what is drawn is in hand from then on.
    2. Of what the policy escalates, the largest expected gains are asked while the budget lasts, within the pass and
       over passes (`core/worth.py`); inputs without a score have a pool of their own and a limit for each partition.
    3. What was drawn is asked whatever (2) says, from the reserve; where (2) pays, the reserve has its call back.

The decision is `core/decision.py`; the calls are `rationing.py`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_agent.core.audit_lottery import is_drawn
from edge_agent.core.budget import Pool, choose
from edge_agent.core.decision import Facts, Policy, Shortage, doubt
from edge_agent.core.rate_limit import RateLimit
from edge_agent.inference.rationing import Ration
from edge_agent.ports import Clock
from model_packs.scoring import Scored
from protos.messages.escalation import PredictionId, Reason


@dataclass(frozen=True, slots=True)
class Allotment:
    """What the answers of one binding share with all others, and what is its own.

    Attributes:
        ration: Calls that may be made, of the whole device.
        unscorable: Limit on inputs without a score, for each partition of the binding.
        audit_key: Secret of the lottery.
        clock: For the limit.
    """

    ration: Ration
    unscorable: RateLimit
    audit_key: bytes
    clock: Clock

    def draw(self, names: Sequence[PredictionId], policy: Policy, ood: Sequence[float | None]) -> list[Facts]:
        """Hold the lottery for a pass, before anything of it is answered.

        Args:
            names: Of its questions, in order.
            policy: In force.
            ood: Out-of-distribution statistic of each input.

        Returns:
            What is known of each question now; it goes to `allot`, or to `give_back`. What a fault of this program
            keeps from both is lost, as after a crash.
        """
        with self.ration.spending:  # who else draws now draws from what these leave
            return [self._drawn(name, policy, statistic) for name, statistic in zip(names, ood, strict=True)]

    def give_back(self, drawn: Sequence[Facts]) -> None:
        """Put back what `draw` took in hand, for questions that have come to no answer."""
        for facts in drawn:
            if facts.is_drawn:
                self.ration.give_back(Pool.AUDIT)

    def _drawn(self, name: PredictionId, policy: Policy, statistic: float | None) -> Facts:
        can_be = policy.barrier is None and self.ration.available(Pool.AUDIT) > 0
        rate = policy.audit_rate if can_be else 0.0
        is_it = is_drawn(self.audit_key, name, rate)
        if is_it:
            self.ration.hold(Pool.AUDIT)
        return Facts(is_drawn=is_it, audit_rate=rate, ood=statistic)

    def allot(
        self, drawn: Sequence[Facts], scored: Sequence[Scored], partitions: Sequence[str], policy: Policy
    ) -> list[Facts]:
        """Spend the budget on a pass.

        Args:
            drawn: From `draw`.
            scored: The answers, in the same order.
            partitions: The stream of each question.
            policy: In force.

        Returns:
            The same facts, with the shortage of those that cannot be asked; what can be asked is paid for.
        """
        if policy.barrier is not None:
            return list(drawn)
        with self.ration.spending:
            return self._spent(drawn, scored, partitions, policy)

    def _spent(
        self, drawn: Sequence[Facts], scored: Sequence[Scored], partitions: Sequence[str], policy: Policy
    ) -> list[Facts]:
        doubts = [doubt(answer, policy, facts.ood) for answer, facts in zip(scored, drawn, strict=True)]
        doubted = [place for place, why in enumerate(doubts) if why not in {None, Reason.UNSCORABLE}]
        gains = [1.0 - scored[place].confidence for place in doubted]
        worthy = self.ration.worthy(gains, self.clock.monotonic_s()) if gains else []
        best = choose(gains, self.ration.available(Pool.MAIN))
        asked = {place for rank, place in enumerate(doubted) if rank in best and worthy[rank]}
        outranked = {place for rank, place in enumerate(doubted) if rank in best and not worthy[rank]}
        short_of = self.ration.short_of(Pool.MAIN)
        return [
            self._paid(
                facts,
                why,
                partition,
                None if place in asked else Shortage.OUTRANKED if place in outranked else short_of,
            )
            for place, (facts, why, partition) in enumerate(zip(drawn, doubts, partitions, strict=True))
        ]

    def _paid(self, facts: Facts, why: Reason | None, partition: str, main: Shortage | None) -> Facts:
        """Pay for one question; `main` is what the main pool is short of for it."""
        shortage = None if why is None else main
        if why is Reason.UNSCORABLE:
            shortage = self._unscorable_shortage(partition)
        if why is not None and shortage is None:
            self.ration.spend(Pool.UNSCORABLE if why is Reason.UNSCORABLE else Pool.MAIN)
            if facts.is_drawn:
                self.ration.give_back(Pool.AUDIT)
        elif facts.is_drawn:
            self.ration.settle(Pool.AUDIT)
        return replace(facts, shortage=shortage)

    def _unscorable_shortage(self, partition: str) -> Shortage | None:
        if not self.unscorable.takes(partition, self.clock.monotonic_s()):
            return Shortage.UNSCORABLE_RATE
        return None if self.ration.available(Pool.UNSCORABLE) > 0 else self.ration.short_of(Pool.UNSCORABLE)
