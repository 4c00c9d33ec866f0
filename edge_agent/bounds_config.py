"""Owns the declarations behind `[outbox]` and `[budget]` of `agent.toml`: what a device may keep, and ask."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.core.budget import BucketSpec, BudgetSettings, Pool, Resource
from edge_agent.core.outbox import Limits, OnFull
from edge_agent.value_rules import Problems
from model_packs.process.settings import setting
from protos.messages.escalation import ItemClass

_MIN_OUTBOX_BYTES = 64 << 10
_MIN_BLOCKING_BYTES = 4 << 20  # much more than one pass of the pipeline brings
_MIN_RESERVE_BYTES = 6 << 20  # a write-ahead log of 4 MiB, its index, and the books of a tight time
_PAGE_SLACK = 2  # a row that is a little larger than half a page takes a whole one
_DEDUPE_KEY_BYTES = 160  # the row and its index
_OPEN_WINDOWS_BYTES = 512 << 20  # records of open windows, and the predictions that are remembered
_MAX_COMMIT_INTERVAL_S = 10.0  # well below what links and people wait for an answer of the store
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxConfig:
    """What still must be delivered, to brokers and to the hub: a hard bound on disk space."""

    max_bytes: int = setting(256 << 20, doc="Largest size of all items together, in bytes.")
    prediction_share: float = setting(
        0.35, doc="Share that predictions and revisions may always use. What others leave free may be borrowed."
    )
    alarm_share: float = setting(
        0.05, doc="The same for alarms. When it is full, the newest is refused: the oldest stay."
    )
    escalation_share: float = setting(0.45, doc="The same for questions to the hub.")
    audit_share: float = setting(
        0.1, doc="The same for audits: answers that the hub checks although the device is sure of them."
    )
    feedback_share: float = setting(
        0.05, doc="The same for what people say about answers. When it is full, the newest is refused and counted."
    )
    predictions_on_full: OnFull = setting(
        OnFull.DROP_OLDEST,
        doc='Which prediction gives way: "drop_oldest" or "drop_newest", each counted. Or none, "block": then messages '
        "are left with their broker until there is room; each binding needs an [mqtt.…] table of its own, and qos = 1.",
    )
    escalations_on_full: OnFull = setting(OnFull.DROP_OLDEST, doc="The same for questions to the hub.")
    escalation_max_age_s: float = setting(
        86_400.0, doc="A question that is older than this is not asked any more, in seconds. Each is counted."
    )
    retain_after_ack_s: float = setting(
        86_400.0,
        doc="What the hub has acknowledged is kept for so long, in seconds, and asked again when the hub is put back "
        "to a backup. It gives way before anything that still has to be delivered.",
    )
    dead_letter_max_bytes: int = setting(
        16 << 20, doc="Largest size of the kept messages that could not be read, in bytes; the oldest give way."
    )
    reserve_bytes: int = setting(
        8 << 20,
        doc="Disk space kept free for the day when the disk is full, in bytes: what is needed to keep the books and to "
        "delete. 0 keeps none.",
    )

    commit_interval_s: float = setting(
        0.0,
        doc="From one write to the next, at least, in seconds; 0 writes as soon as it can. More spares flash memory. "
        "Until it is over, a broker sends at most its window of unacknowledged messages, and revisions wait as long.",
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        if not 0 <= self.commit_interval_s <= _MAX_COMMIT_INTERVAL_S:
            yield "commit_interval_s", f"expected 0 to {_MAX_COMMIT_INTERVAL_S:g}"
        if self.max_bytes < _MIN_OUTBOX_BYTES:
            yield "max_bytes", f"expected at least {_MIN_OUTBOX_BYTES}"
        keys = ("prediction_share", "alarm_share", "escalation_share", "audit_share", "feedback_share")
        shares: dict[str, float] = {key: getattr(self, key) for key in keys}
        yield from self._policy_problems(shares)
        for key, share in shares.items():
            if not 0 < share < 1:
                yield key, "expected more than 0 and less than 1"
        if sum(shares.values()) > 1 + _ROUNDING:
            yield "escalation_share", "the five shares are more than 1 together"
        if not self.escalation_max_age_s > 0:
            yield "escalation_max_age_s", "expected more than 0"
        if not 0 <= self.retain_after_ack_s < math.inf:
            yield "retain_after_ack_s", "expected 0 or more"
        if self.dead_letter_max_bytes < 0:
            yield "dead_letter_max_bytes", "expected 0 or more"
        if self.reserve_bytes and self.reserve_bytes < _MIN_RESERVE_BYTES:
            yield "reserve_bytes", f"expected 0, or at least {_MIN_RESERVE_BYTES}"

    def _policy_problems(self, shares: Mapping[str, float]) -> Problems:
        for name, policy in (("prediction", self.predictions_on_full), ("escalation", self.escalations_on_full)):
            if policy is OnFull.BLOCK and self.max_bytes * shares[f"{name}_share"] < _MIN_BLOCKING_BYTES:
                yield (
                    f"{name}s_on_full",
                    f'"block" needs a share of at least {_MIN_BLOCKING_BYTES} bytes: raise max_bytes',
                )

    def file_max_bytes(self, dedupe_keys: int) -> int:
        """How large the database may grow: the bounds with their slack, and what has none of its own.

        Args:
            dedupe_keys: Of all bindings together.

        Returns:
            A bound that a sound store never reaches.
        """
        bounded = _PAGE_SLACK * (self.max_bytes + self.dead_letter_max_bytes)
        return bounded + dedupe_keys * _DEDUPE_KEY_BYTES + _OPEN_WINDOWS_BYTES

    def limits(self) -> Limits:
        """What the outbox's plan needs."""
        shares = {
            ItemClass.ALARM: self.alarm_share,
            ItemClass.PREDICTION: self.prediction_share,
            ItemClass.ESCALATION: self.escalation_share,
            ItemClass.AUDIT: self.audit_share,
            ItemClass.FEEDBACK: self.feedback_share,
        }
        on_full = {
            ItemClass.ALARM: OnFull.DROP_NEWEST,
            ItemClass.PREDICTION: self.predictions_on_full,
            ItemClass.ESCALATION: self.escalations_on_full,
            ItemClass.AUDIT: OnFull.DROP_OLDEST,
            ItemClass.FEEDBACK: OnFull.DROP_NEWEST,
        }
        return Limits(self.max_bytes, shares, on_full)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """What the whole device may ask of the hub; without a key there is no bound. Never exceeded, not by a crash."""

    calls_per_hour: float | None = setting(
        None, doc="Questions to the hub; one that is sent again costs none.", example=600.0
    )
    bytes_per_hour: int | None = setting(
        None, doc="Bytes of questions, repeats too. What there are none for waits in the outbox.", example=50_000_000
    )
    money_per_day: float | None = setting(None, doc="Money for questions, in your own currency.", example=5.0)
    cost_per_call: float | None = setting(
        None, doc="Money that one question costs; needed for money_per_day.", example=0.002
    )
    burst_s: float = setting(
        3600.0, doc="Unused budget of so much time is kept for busy times, in seconds. At first it is all there."
    )
    audit_share: float = setting(
        0.2, doc="Part of the budget that only audits may use: what was drawn is asked, however short the rest is."
    )
    unscorable_share: float = setting(0.1, doc="The same for inputs that the model has no score for.")

    def validate(self) -> Problems:
        """Check what types cannot say."""
        for key in ("calls_per_hour", "bytes_per_hour", "money_per_day"):
            value = getattr(self, key)
            if value is not None and not 0 < value < math.inf:
                yield key, "expected more than 0"
        if self.cost_per_call is not None and not 0 < self.cost_per_call < math.inf:
            yield "cost_per_call", "expected more than 0"
        if self.money_per_day is not None and self.cost_per_call is None:
            yield "cost_per_call", "missing; money_per_day needs what one question costs"
        if not 0 < self.burst_s < math.inf:
            yield "burst_s", "expected more than 0"
        for key in ("audit_share", "unscorable_share"):
            if not 0 < getattr(self, key) < 1:
                yield key, "expected more than 0 and less than 1"
        if self.audit_share + self.unscorable_share >= 1:
            yield "audit_share", "the two shares leave nothing for other questions"

    @property
    def is_bounded(self) -> bool:
        """Whether there is any bound."""
        return any(one is not None for one in (self.calls_per_hour, self.bytes_per_hour, self.money_per_day))

    def settings(self) -> BudgetSettings:
        """What the ledger needs."""
        shares = {Pool.AUDIT: self.audit_share, Pool.UNSCORABLE: self.unscorable_share}
        shares[Pool.MAIN] = 1 - sum(shares.values())
        per_s = {
            Resource.CALLS: None if self.calls_per_hour is None else self.calls_per_hour / 3600,
            Resource.BYTES: None if self.bytes_per_hour is None else self.bytes_per_hour / 3600,
            Resource.MONEY: None if self.money_per_day is None else self.money_per_day / 86_400,
        }
        buckets = {
            (resource, pool): BucketSpec(rate * share * self.burst_s, rate * share)
            for resource, rate in per_s.items()
            if rate is not None
            for pool, share in shares.items()
        }
        return BudgetSettings(buckets, self.cost_per_call or 0.0)
