"""Owns reading what agents publish: an event of `edge.prediction/1`, and times. What follows from one is `judge`'s."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

_MAX_EVENT_BYTES: Final = 64 * 1024
_US_PER_S: Final = 1_000_000
# What an event may say after `provisional`, in the order in which it may be said.
_STATUS_ORDER: Final = ("provisional", "final", "unrevised", "revised")


class EventError(ValueError):
    """A message on a result topic that is no prediction event; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Event:
    """What the judge reads of an `edge.prediction/1` event."""

    prediction_id: str
    start_ns: int
    status: str
    revision: int
    tier: str
    pack: str
    label: str | None
    reason: str | None
    outcome: str

    @property
    def rank(self) -> tuple[int, int]:
        """Later answers to the same window rank higher."""
        return self.revision, _STATUS_ORDER.index(self.status)

    @property
    def is_escalated(self) -> bool:
        """Whether the policy sent this window to the hub; an audit is drawn, whatever the policy says."""
        return self.outcome not in {"none", "suppressed_budget"} and self.reason != "audit"


def read_event(payload: bytes) -> Event:
    """Read a prediction event.

    Args:
        payload: The message.

    Returns:
        The part that the judge needs.

    Raises:
        EventError: It is too large, no JSON, of another schema, or lacks a key.
    """
    if len(payload) > _MAX_EVENT_BYTES:
        raise EventError(f"{len(payload)} bytes are more than an event has")
    try:
        body: Any = json.loads(payload)
        if body["schema"] != "edge.prediction/1":
            raise EventError(f"schema {body['schema']!r}")
        escalation = body["escalation"] or {}
        output = body["output"]
        event = Event(
            prediction_id=str(body["id"]),
            start_ns=time_ns(body["window"]["start"]),
            status=str(body["status"]),
            revision=int(body["revision"]),
            tier=str(body["tier"]),
            pack=next((str(model["pack"]) for model in body["models"]), ""),
            label=None if output is None else str(output["label"]),
            reason=escalation.get("reason"),
            outcome=str(escalation.get("outcome", "none")),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise EventError(f"no prediction event: {exc!r}") from exc
    if event.status not in _STATUS_ORDER:
        raise EventError(f"status {event.status!r}")
    return event


def time_ns(text: str) -> int:
    """An ISO 8601 time as Unix nanoseconds; microseconds are kept, which is finer than the watches' grid."""
    moment = datetime.fromisoformat(text)
    whole_s = int(moment.replace(microsecond=0).timestamp())
    return (whole_s * _US_PER_S + moment.microsecond) * 1000
