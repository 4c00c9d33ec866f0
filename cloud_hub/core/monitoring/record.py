"""Owns all that is known of one policy version of one binding in the field, and how each piece of news changes it.

A record begins with the version and ends with it: nothing is carried over. What is a loss and what an alarm means is
`watch`; where records are kept is `adapters.sql.policy_records`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.estimate import Escalated, Estimate, Kept, edge_risk, kept_risk
from cloud_hub.core.monitoring.naming import Drift, name_of
from cloud_hub.core.monitoring.rates import RateWatch, band, has_fallen, has_risen, seen
from cloud_hub.core.monitoring.watch import (
    OF_THE_HUB,
    WHOLE,
    Alarm,
    Limits,
    Measure,
    Promise,
    Tally,
    alarms_of,
    counted,
    level_of,
    signs,
)
from protos.messages.fleet import PolicyReport

MAX_COUNT = 2**63 - 1


class Stratum(StrEnum):
    """How a window came to the hub."""

    KEPT = "kept"
    """Kept at the edge, and drawn for an audit."""
    ESCALATED = "escalated"
    """Escalated by the policy."""
    SUPPRESSED = "suppressed"
    """Escalated by the policy and short of budget, and drawn for an audit: a sample of what nobody was asked about."""


@dataclass(frozen=True, slots=True)
class TallyKey:
    """What a tally counts."""

    measure: Measure
    stratum: Stratum
    group: str = WHOLE


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """Whose decisions: one version of one binding, with one pack; version 0 is the pack's own policy."""

    device: DeviceKey
    binding: str
    pack_digest: str
    version: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """What a policy still waits for, for too long: audits without an answer, chosen windows without a label."""

    unanswered: int = 0
    unlabelled: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What the device counted under the policy, as of its latest report.

    Attributes:
        kept: Audited ones included.
        escalated: Audits are not in it.
        lost: Audits that were drawn and ended without an answer.
        suppressed: Wanted by the policy and, for want of budget, not asked.
        suppressed_asked: Short of budget, too, but drawn by the lottery; they are in `escalated`.
        unanswered: Of `escalated`, those that ended without an answer.
    """

    decided: int = 0
    kept: int = 0
    escalated: int = 0
    drawn: int = 0
    lost: int = 0
    suppressed: int = 0
    suppressed_asked: int = 0
    unanswered: int = 0

    @property
    def wanted(self) -> int:
        """What the policy escalates, whether there is the budget for it or not."""
        return self.escalated + self.suppressed

    @property
    def sampled(self) -> int:
        """The windows that were short of budget, those that the lottery had asked all the same included."""
        return self.suppressed + self.suppressed_asked


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """One policy version in the field.

    Attributes:
        pack: name@version.
        threshold: What it keeps from on; None: it keeps nothing, or the device has not said.
        promise: What its certificate says; None: it has none, or the hub does not know it.
        audit_rate: As the device reports it.
        alarms: Those that stand, with when each came; hub wall clock, Unix epoch, UTC.
        since_ns: When the hub first heard of it.
        reported_at_ns: When the device last reported it; None: it never did.
    """

    key: PolicyKey
    pack: str
    since_ns: int
    threshold: float | None = None
    promise: Promise | None = None
    audit_rate: float | None = None
    totals: Totals = field(default_factory=Totals)
    rates: RateWatch = field(default_factory=RateWatch)
    tallies: Mapping[TallyKey, Tally] = field(default_factory=dict)
    alarms: Mapping[Alarm, int] = field(default_factory=dict)
    reported_at_ns: int | None = None

    @property
    def drift(self) -> Drift | None:
        """What the alarms that stand add up to."""
        return name_of(signs(self.alarms))

    @property
    def is_void(self) -> bool:
        """Whether the field has refuted the certificate."""
        return Alarm.VOID in self.alarms

    def tally(self, measure: Measure, stratum: Stratum) -> Tally:
        """Sum a measure up over its groups.

        Args:
            measure: Which.
            stratum: Of which windows.

        Returns:
            Counts only; tests are by group.
        """
        found = [one for key, one in self.tallies.items() if (key.measure, key.stratum) == (measure, stratum)]
        return Tally(sum(one.n for one in found), sum(one.losses for one in found))

    def kept_risk(self, measure: Measure) -> Estimate:
        """Estimate the share of losses among what is kept.

        Args:
            measure: What a loss is.

        Returns:
            With its interval. Of labels of people, each is one of a sample of the audits, so nothing is lost that
            was not drawn.
        """
        return kept_risk(self._kept(measure))

    def edge_risk(self, measure: Measure) -> Estimate:
        """Estimate the share of losses among everything that the edge answered.

        Args:
            measure: What a loss is.

        Returns:
            With its interval.
        """
        told, totals = self.tally(measure, Stratum.ESCALATED), self.totals
        escalated = Escalated(totals.escalated - totals.suppressed_asked, told.n, told.losses)
        return edge_risk(self._kept(measure), escalated, suppressed=self._suppressed(measure))

    def suppressed_risk(self, measure: Measure) -> Estimate:
        """Estimate the share of losses among what was short of budget.

        Args:
            measure: What a loss is.

        Returns:
            With its interval; without a value while none of the sample is judged.
        """
        return kept_risk(self._suppressed(measure))

    def _suppressed(self, measure: Measure) -> Kept:
        told = self.tally(measure, Stratum.SUPPRESSED)
        return Kept(self.totals.sampled, told.n, told.losses)

    def _kept(self, measure: Measure) -> Kept:
        told = self.tally(measure, Stratum.KEPT)
        lost = self.totals.lost if measure is Measure.DISAGREEMENT else 0
        return Kept(self.totals.kept, told.n, told.losses, lost)


@dataclass(frozen=True, slots=True)
class Found:
    """What became known of one window.

    Attributes:
        stratum: How the window came to the hub; only what was kept is tested.
        losses: Whether it is a loss, by measure.
        group: Whose risk it counts for.
    """

    stratum: Stratum
    losses: Mapping[Measure, bool]
    group: str = WHOLE


def judged(record: PolicyRecord, found: Found, limits: Limits, now_ns: int) -> PolicyRecord:
    """Take what became known of one window.

    Args:
        record: Until now.
        found: The news.
        limits: When the tests speak.
        now_ns: Hub wall clock, Unix epoch, UTC.

    Returns:
        The record with it, and with the alarms that it set off.
    """
    tallies, alarms = dict(record.tallies), dict(record.alarms)
    is_tested = found.stratum is Stratum.KEPT
    for measure, is_loss in found.losses.items():
        group = WHOLE
        if is_tested and record.promise is not None and measure not in OF_THE_HUB:
            group = record.promise.group_of(found.group)
        place = TallyKey(measure, found.stratum, group)
        against = level_of(measure, group, record.promise, limits) if is_tested else None
        before = tallies.get(place, Tally())
        tallies[place] = counted(before, is_loss=is_loss, against=against, now_ns=now_ns)
        for alarm in alarms_of(measure, before, tallies[place], record.promise):
            alarms.setdefault(alarm, now_ns)
    return replace(record, tallies=tallies, alarms=alarms)


def reported(record: PolicyRecord, report: PolicyReport, limits: Limits, now_ns: int) -> PolicyRecord:
    """Take what a heartbeat says of the policy.

    Totals that went back belong to a new store on the device: they count from zero.

    Args:
        record: Until now.
        report: The device's.
        limits: When the tests speak.
        now_ns: Hub wall clock, Unix epoch, UTC.

    Returns:
        The record with it, and with the alarms that it set off. A budget that is short is no change of the policy: what
        the policy escalates and nobody is asked about counts as escalated.
    """
    before = record.totals
    totals = Totals(
        *(
            min(count, MAX_COUNT)
            for count in (
                report.decided,
                report.kept,
                report.escalated,
                report.audits_drawn,
                report.audits_lost,
                report.suppressed,
                report.suppressed_asked,
                report.unanswered,
            )
        )
    )
    is_anew = totals.decided < before.decided or totals.escalated < before.escalated
    base = Totals() if is_anew or record.reported_at_ns is None else before
    coverage = None if record.promise is None else record.promise.coverage
    within = band(coverage, limits.rate_factor)
    # The step in which an agent begins to tell of suppressed windows, or ends, says nothing of the rate.
    is_told_alike = base is not before or bool(before.suppressed) == bool(totals.suppressed)
    windows = totals.decided - base.decided if is_told_alike else 0
    rates = seen(record.rates, windows, max(0, totals.wanted - base.wanted), within)
    alarms = dict(record.alarms)
    if has_risen(rates, limits.run_length):
        alarms.setdefault(Alarm.ESCALATES_MORE, now_ns)
    if has_fallen(rates, limits.run_length):
        alarms.setdefault(Alarm.ESCALATES_LESS, now_ns)
    return replace(
        record,
        pack=report.pack,
        threshold=report.threshold,
        audit_rate=report.audit_rate,
        totals=totals,
        rates=rates,
        alarms=alarms,
        reported_at_ns=now_ns,
    )


def inputs_moved(record: PolicyRecord, now_ns: int) -> PolicyRecord:
    """Take the device's word that an input statistic has changed.

    Args:
        record: Of the policy in force.
        now_ns: Hub wall clock, Unix epoch, UTC.

    Returns:
        The record with the alarm.
    """
    return replace(record, alarms={Alarm.INPUTS_MOVED: now_ns, **record.alarms})


def new_alarms(before: PolicyRecord, after: PolicyRecord) -> tuple[Alarm, ...]:
    """Tell which alarms were set off.

    Args:
        before: The record.
        after: The record with news.

    Returns:
        The alarms that did not stand before, void first.
    """
    return tuple(alarm for alarm in Alarm if alarm in after.alarms and alarm not in before.alarms)
