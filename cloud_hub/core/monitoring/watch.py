"""Owns what is watched of a policy in the field: which outcomes count against which promise, and which alarms follow.

A tally belongs to one measure of one group under one policy version of one binding, and starts anew with each version:
an outcome goes to the version that decided its window, however late it comes, and only once. The tests are those of
`evidence` and `rates`; the names of drift are `naming`; what the hub does is `response`; rows are the adapters'.

What refutes what:

    the certificate is on | its statement is tested by     | and the hub's disagreement with what is kept
    ----------------------+--------------------------------+---------------------------------------------------------
    error                 | labels of people only          | gives the weaker statement: one of the two is wrong
    excess                | labels of people, with the     | gives the weaker statement
                          | hub's answer beside            |
    disagreement_with_hub | the hub's answers              | is the statement

Labels of people count only where a lottery chose the window for a person (`is_chosen_for_people`), before anyone
looked: what people pick themselves is no sample.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from cloud_hub.core.monitoring.evidence import UNBEGUN, Cusum, advanced, has_changed, is_refuted
from cloud_hub.core.monitoring.naming import Signs

WHOLE: Final = ""
"""The group of a certificate that knows no groups."""


class Measure(StrEnum):
    """What is counted as a loss of an audited window."""

    ERROR = "error"
    """A person calls it otherwise than the edge."""
    DISAGREEMENT = "disagreement_with_hub"
    """The hub calls it otherwise than the edge."""
    EXCESS = "excess"
    """A person calls it otherwise than the edge, and as the hub does."""
    HUB_ERROR = "hub_error"
    """A person calls it otherwise than the hub."""
    HUB_DOUBT = "hub_doubt"
    """The hub is less sure than it should be, or could not score it."""


OF_THE_HUB: Final = (Measure.HUB_ERROR, Measure.HUB_DOUBT)


@dataclass(frozen=True, slots=True)
class Promise:
    """What the certificate of a policy says.

    Attributes:
        risk: What counts as a loss.
        target: Share of losses among the kept that it promises to stay below.
        delta: Chance that it is called void although it holds, over the whole life of the policy version.
        coverage: Share that its calibration kept; None: it does not say.
        certificate: Its digest.
        groups: That it speaks for one by one; `(WHOLE,)` when it does not tell groups apart.
    """

    risk: Measure
    target: float
    delta: float
    coverage: float | None
    certificate: str
    groups: tuple[str, ...] = (WHOLE,)

    @property
    def level(self) -> float:
        """Each group's share of delta: the shares add up to delta, so all groups together err with no more."""
        return self.delta / len(self.groups)

    def group_of(self, answered: str) -> str:
        """Which group's tally an audited window goes to.

        Args:
            answered: What the edge answered.

        Returns:
            Its group; `WHOLE`, which then is not tested, for an answer that the certificate does not speak for.
        """
        return answered if answered in self.groups else WHOLE


@dataclass(frozen=True, slots=True)
class Limits:
    """When the hub's tests speak.

    Attributes:
        run_length: Audits, or reports of rates, that a false alarm of change takes on average, at the least.
        hub_error: Share of audited windows in which people may contradict the hub.
        hub_doubt: Share of audited windows in which the hub may be unsure itself.
        hub_delta: Chance of a false alarm about the hub, over the whole life of a policy version, for either measure.
        rate_factor: How many times more or fewer escalations than at calibration count as changed.
    """

    run_length: float = 1000.0
    hub_error: float = 0.1
    hub_doubt: float = 0.1
    hub_delta: float = 0.05
    rate_factor: float = 2.0


@dataclass(frozen=True, slots=True)
class Tally:
    """One measure of one group, as far as it went.

    Attributes:
        n: Audits with a known outcome.
        losses: Of them.
        refuted_at_ns: When the e-process first refuted the target; hub wall clock, Unix epoch, UTC; None: it did not.
        changed_at_ns: When the e-CUSUM first told a change; likewise.
    """

    n: int = 0
    losses: int = 0
    cusum: Cusum = UNBEGUN
    refuted_at_ns: int | None = None
    changed_at_ns: int | None = None

    @property
    def has_alarmed(self) -> bool:
        """Whether either test has spoken."""
        return self.refuted_at_ns is not None or self.changed_at_ns is not None


@dataclass(frozen=True, slots=True)
class Level:
    """What a tally is tested against: the share of losses that is allowed, at which level and run length."""

    target: float
    level: float
    run_length: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became known of one audited window.

    Attributes:
        edge: What the edge answered.
        hub: What the hub answered; None when it could not score the window.
        is_hub_sure: Whether its confidence is that of a model that is not in doubt.
        human: What a person called it; None when no person has.
    """

    edge: str
    hub: str | None
    is_hub_sure: bool
    human: str | None = None


def by_hub(outcome: Outcome) -> Mapping[Measure, bool]:
    """What the hub's answer to an audited window counts for.

    Args:
        outcome: With the hub's answer.

    Returns:
        Whether it is a loss, by measure; what cannot be told is not there.
    """
    if outcome.hub is None:
        return {Measure.HUB_DOUBT: True}
    return {Measure.DISAGREEMENT: outcome.hub != outcome.edge, Measure.HUB_DOUBT: not outcome.is_hub_sure}


def by_human(outcome: Outcome) -> Mapping[Measure, bool]:
    """What a person's label of an audited window counts for, if the lottery chose that window.

    Args:
        outcome: With the label, and the hub's answer if there is one.

    Returns:
        Whether it is a loss, by measure; what cannot be told is not there.
    """
    if outcome.human is None:
        return {}
    is_wrong = outcome.human != outcome.edge
    if outcome.hub is None:
        return {Measure.ERROR: is_wrong}
    is_hub_wrong = outcome.human != outcome.hub
    return {
        Measure.ERROR: is_wrong,
        Measure.EXCESS: is_wrong and not is_hub_wrong,
        Measure.HUB_ERROR: is_hub_wrong,
    }


def is_chosen_for_people(prediction_id: str, share: float) -> bool:
    """Draw the hub's own lottery: which windows a person must label, whatever the answers to them are.

    Args:
        prediction_id: A hash of device, binding and window, so the same draw each time and for everybody.
        share: Probability, 0..1.

    Returns:
        True when it is chosen.
    """
    drawn = hashlib.blake2b(prediction_id.encode(), digest_size=8, person=b"tandem-people").digest()
    return int.from_bytes(drawn) < share * 2.0**64


def level_of(measure: Measure, group: str, promise: Promise | None, limits: Limits) -> Level | None:
    """Say what a tally is tested against.

    Args:
        measure: What it counts.
        group: Whose.
        promise: Of the policy; None: it has no certificate.
        limits: The hub's own.

    Returns:
        The level; None when nothing is promised about it, so that it is only counted.
    """
    if measure in OF_THE_HUB:
        allowed = limits.hub_error if measure is Measure.HUB_ERROR else limits.hub_doubt
        return Level(allowed, limits.hub_delta, limits.run_length)
    if promise is None or group not in promise.groups or measure not in (promise.risk, Measure.DISAGREEMENT):
        return None
    return Level(promise.target, promise.level, limits.run_length * len(promise.groups))


def counted(tally: Tally, *, is_loss: bool, against: Level | None, now_ns: int) -> Tally:
    """Add one outcome to a tally and test it.

    Args:
        tally: Until now.
        is_loss: What the audit found.
        against: What is allowed; None: count only.
        now_ns: Hub wall clock, Unix epoch, UTC.

    Returns:
        The tally with it. An alarm stands from its first time on: the process of a version is never begun anew.
    """
    after = replace(tally, n=tally.n + 1, losses=tally.losses + is_loss)
    if against is None:
        return after
    after = replace(after, cusum=advanced(tally.cusum, 1, int(is_loss), against.target))
    if after.refuted_at_ns is None and is_refuted(after.n, after.losses, against.target, against.level):
        after = replace(after, refuted_at_ns=now_ns)
    if after.changed_at_ns is None and has_changed(after.cusum, against.run_length):
        after = replace(after, changed_at_ns=now_ns)
    return after


class Alarm(StrEnum):
    """What a watch may say, once for each policy version and group."""

    VOID = "void"
    """The e-process refuted the certificate's own statement."""
    CHANGED = "changed"
    """The e-CUSUM of the certificate's own risk told a change for the worse."""
    DISAGREEMENT = "disagreement"
    """The hub disagrees with more of what is kept than the certificate allows losses: the weaker statement."""
    HUB_FAILS = "hub_fails"
    """People contradict the hub, or the hub is in doubt, more often than is allowed."""
    ESCALATES_MORE = "escalates_more"
    ESCALATES_LESS = "escalates_less"
    INPUTS_MOVED = "inputs_moved"


BROKEN: Final = frozenset({Alarm.VOID, Alarm.CHANGED, Alarm.DISAGREEMENT})
"""What says that kept answers break the promise."""


def alarms_of(measure: Measure, before: Tally, after: Tally, promise: Promise | None) -> tuple[Alarm, ...]:
    """Tell which alarms one outcome set off.

    Args:
        measure: What the tally counts.
        before: Without the outcome.
        after: With it.
        promise: Of the policy.

    Returns:
        The alarms that did not stand before; void before changed.
    """
    is_refuted_now = before.refuted_at_ns is None and after.refuted_at_ns is not None
    is_changed_now = before.changed_at_ns is None and after.changed_at_ns is not None
    if promise is not None and measure is promise.risk:
        return (Alarm.VOID,) * is_refuted_now + (Alarm.CHANGED,) * is_changed_now
    if before.has_alarmed or not after.has_alarmed:
        return ()
    return (Alarm.HUB_FAILS if measure in OF_THE_HUB else Alarm.DISAGREEMENT,)


def signs(alarms: Collection[Alarm]) -> Signs:
    """Sum up the alarms that stand, for the name of what happened.

    Args:
        alarms: Those that stand.

    Returns:
        The signs.
    """
    return Signs(
        kept_fails=any(alarm in BROKEN for alarm in alarms),
        hub_fails=Alarm.HUB_FAILS in alarms,
        escalates_more=Alarm.ESCALATES_MORE in alarms,
        escalates_less=Alarm.ESCALATES_LESS in alarms,
        inputs_moved=Alarm.INPUTS_MOVED in alarms,
    )
