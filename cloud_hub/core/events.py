"""Owns what the hub tells people about: one word for each kind of happening, and what is kept of one.

Events are a durable outbox with ids that only grow: each is written in the transaction of what it tells, and read from
a cursor. What counts as news of a pack on a device is `core.twin`; storing and waiting are the adapters'.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from cloud_hub.core.devices import DeviceKey

EventId = NewType("EventId", int)
"""Place in the outbox: grows, is never used twice; 0 lies before the first."""


class EventKind(StrEnum):
    """What happened."""

    DEVICE_ENROLLED = "device_enrolled"
    DEVICE_ONLINE = "device_online"
    DEVICE_SILENT = "device_silent"
    DEVICE_REMOVED = "device_removed"
    PACK_PUBLISHED = "pack_published"
    PACK_DESIRED = "pack_desired"
    DESIRE_LIFTED = "desire_lifted"
    DESIRE_ENDED = "desire_ended"
    PACK_DELAYED = "pack_delayed"
    PACK_TRIAL = "pack_trial"
    PACK_INSTALLED = "pack_installed"
    PACK_REFUSED = "pack_refused"
    PACK_ROLLED_BACK = "pack_rolled_back"
    POLICY_DESIRED = "policy_desired"
    CERTIFICATE_VOID = "certificate_void"
    RISK_CHANGED = "risk_changed"
    HUB_DISAGREES = "hub_disagrees"
    HUB_FAILS = "hub_fails"
    ESCALATES_MORE = "escalates_more"
    ESCALATES_LESS = "escalates_less"
    INPUTS_MOVED = "inputs_moved"
    HUB_RESTORED = "hub_restored"
    LABEL_GIVEN = "label_given"
    FEEDBACK_RECEIVED = "feedback_received"
    PERSON_ADDED = "person_added"
    PERSON_REMOVED = "person_removed"
    PASSWORD_SET = "password_set"  # noqa: S105 - the name of an event
    TOKEN_MADE = "token_made"  # noqa: S105 - the name of an event
    SIGNED_IN = "signed_in"
    SIGN_IN_REFUSED = "sign_in_refused"


ABOUT_PEOPLE = frozenset(
    {
        EventKind.PERSON_ADDED,
        EventKind.PERSON_REMOVED,
        EventKind.PASSWORD_SET,
        EventKind.TOKEN_MADE,
        EventKind.SIGNED_IN,
        EventKind.SIGN_IN_REFUSED,
    }
)
"""What concerns people only: operators may read it, and no open page is told of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened, before it has its place in the outbox.

    Attributes:
        at_ns: Wall clock of the hub, Unix epoch, UTC.
        device: Whom it is about; None when it is about no single device.
        actor: Who did it: a person, `COMMAND_LINE`, or empty for the device or the hub itself.
        subject: What it is about, in a word: a pack, a prediction id, a person.
        detail: The rest, texts by name; what stands there is told beside each kind's maker.
    """

    at_ns: int
    kind: EventKind
    device: DeviceKey | None = None
    actor: str = ""
    subject: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubEvent(Happening):
    """One event of the outbox."""

    event_id: EventId


COMMAND_LINE = "command line"
"""The actor of what somebody at the hub's own shell did."""
