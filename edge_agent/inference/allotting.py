"""Owns who of a pass may ask the hub: the audit lottery before the answers, and the budget after them.

    1. Each question is drawn or not, before any is answered, at a rate that is fixed by then: the policy's, or 0 while
       the audits' reserve has no call left.
    2. Of what the policy escalates, the largest expected gains are asked first while the budget lasts; inputs without
       a score have a pool of their own and a limit for each partition.
    3. What was drawn is asked whatever (2) says, from the reserve.

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
            What is known of each question now.
        """
        left = 0 if policy.barrier is not None else self.ration.available(Pool.AUDIT)
        drawn: list[Facts] = []
        for name, statistic in zip(names, ood, strict=True):
            rate = policy.audit_rate if left > 0 else 0.0
            is_it = is_drawn(self.audit_key, name, rate)
            left -= is_it
            drawn.append(Facts(is_drawn=is_it, audit_rate=rate, ood=statistic))
        return drawn

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
        best = choose([1.0 - scored[place].confidence for place in doubted], self.ration.available(Pool.MAIN))
        asked = {doubted[rank] for rank in best}
        return [
            self._paid(facts, why, partition, is_chosen=place in asked)
            for place, (facts, why, partition) in enumerate(zip(drawn, doubts, partitions, strict=True))
        ]

    def _paid(self, facts: Facts, why: Reason | None, partition: str, *, is_chosen: bool) -> Facts:
        shortage: Shortage | None = None
        if why is Reason.UNSCORABLE:
            shortage = self._unscorable_shortage(partition)
        elif why is not None and not is_chosen:
            shortage = self.ration.short_of(Pool.MAIN)
        if why is not None and shortage is None:
            self.ration.spend(Pool.UNSCORABLE if why is Reason.UNSCORABLE else Pool.MAIN)
        elif facts.is_drawn:
            self.ration.spend(Pool.AUDIT)
        return replace(facts, shortage=shortage)

    def _unscorable_shortage(self, partition: str) -> Shortage | None:
        if not self.unscorable.takes(partition, self.clock.monotonic_s()):
            return Shortage.UNSCORABLE_RATE
        return None if self.ration.available(Pool.UNSCORABLE) > 0 else self.ration.short_of(Pool.UNSCORABLE)
