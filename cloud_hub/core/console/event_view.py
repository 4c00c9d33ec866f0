"""Owns how an event is told to people: one sentence and a shape a kind. What there is to tell is `core.events`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cloud_hub.core.console.wording import Shape
from cloud_hub.core.events import ABOUT_PEOPLE, EventKind, HubEvent


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it is shown.

    Attributes:
        text: What happened, without the device.
        note: The reason or the rest; may be empty.
    """

    shape: Shape
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """One line; `event` is the newest that it tells, `others` the devices of the others."""

    event: HubEvent
    told: Told
    others: tuple[str, ...]


def is_fleet_news(event: HubEvent) -> bool:
    """Tell whether an event is news of devices and packs; labels and people have pages of their own.

    Args:
        event: The event.

    Returns:
        True for the fleet page.
    """
    return event.kind not in _NO_FLEET_NEWS


def fleet_news(events: Sequence[HubEvent], limit: int) -> tuple[News, ...]:
    """Tell what is news of devices and packs; devices of which the same is told in a row are told together.

    Args:
        events: The newest first.
        limit: Most lines.

    Returns:
        Lines, the newest first.
    """
    runs: list[list[HubEvent]] = []
    for event in events:
        if not is_fleet_news(event):
            continue
        if runs and _is_same(runs[-1][0], event):
            runs[-1].append(event)
        else:
            runs.append([event])
    return tuple(_news(run) for run in runs[:limit])


def told(event: HubEvent) -> Told:
    """Tell an event.

    Args:
        event: The event.

    Returns:
        Its sentence.
    """
    return _TELLERS[event.kind](event)


def _enrolled(_event: HubEvent) -> Told:
    return Told(Shape.OK, "enrolled")


def _removed(event: HubEvent) -> Told:
    return Told(Shape.WARN, "removed: it is not let in any more", f"by {event.actor}" if event.actor else "")


def _online(_event: HubEvent) -> Told:
    return Told(Shape.OK, "came online")


def _silent(_event: HubEvent) -> Told:
    return Told(Shape.WARN, "is silent")


def _published(event: HubEvent) -> Told:
    return Told(Shape.OK, f"{event.subject} was published", _by(event))


def _desired(event: HubEvent) -> Told:
    return Told(Shape.IDLE, f"should run {event.subject}", _joined(_binding(event), _by(event)))


def _lifted(event: HubEvent) -> Told:
    return Told(Shape.IDLE, "held a newer desire than this hub; its version was raised", _binding(event))


def _ended(event: HubEvent) -> Told:
    return Told(Shape.IDLE, f"need not run {event.subject} any more", _joined(_binding(event), _by(event)))


def _delayed(event: HubEvent) -> Told:
    return Told(Shape.IDLE, f"waits for {event.subject}", _why(event))


def _trial(event: HubEvent) -> Told:
    return Told(Shape.IDLE, f"tries {event.subject}", _binding(event))


def _installed(event: HubEvent) -> Told:
    return Told(Shape.OK, f"runs {event.subject}", _binding(event))


def _refused(event: HubEvent) -> Told:
    return Told(Shape.WARN, f"refused {event.subject}", _why(event))


def _rolled_back(event: HubEvent) -> Told:
    return Told(Shape.WARN, f"went back from {event.subject}", _why(event))


def _policy(event: HubEvent) -> Told:
    should = {"serve": "decides by its certificate", "hub_only": "asks the hub always"}
    text = f"should decide so: it {should.get(event.subject, 'keeps fewer answers')}"
    reason = event.detail.get("reason", "").replace("_", " ")
    return Told(Shape.IDLE, text, _joined(_binding(event), reason, _by(event)))


def _void(event: HubEvent) -> Told:
    return Told(Shape.BAD, f"the certificate of {event.subject} is void", _found(event))


def _risk_changed(event: HubEvent) -> Told:
    return Told(Shape.BAD, f"what {event.subject} keeps has become worse", _found(event))


def _hub_disagrees(event: HubEvent) -> Told:
    return Told(Shape.BAD, f"the hub disagrees with what {event.subject} keeps: one of the two is wrong", _found(event))


def _hub_fails(event: HubEvent) -> Told:
    return Told(Shape.BAD, f"the hub's own answers fail here: people must look at {event.subject}", _found(event))


def _escalates_more(event: HubEvent) -> Told:
    return Told(Shape.WARN, f"{event.subject} asks much more than it did at calibration", _found(event))


def _escalates_less(event: HubEvent) -> Told:
    return Told(Shape.WARN, f"{event.subject} asks much less than it did at calibration", _found(event))


def _inputs_moved(event: HubEvent) -> Told:
    return Told(Shape.WARN, f"the inputs of {event.subject} have changed", _found(event))


def _found(event: HubEvent) -> str:
    return _joined(_binding(event), event.detail.get("found", ""), event.detail.get("drift", "").replace("_", " "))


def _restored(event: HubEvent) -> Told:
    how = _by(event) if event.actor else "a device holds answers that are not in it"
    return Told(Shape.WARN, "the hub's database is an older copy: devices send again what they hold", how)


def _label(event: HubEvent) -> Told:
    label = event.detail.get("label", "")
    return Told(Shape.OK, f"{event.actor} labelled a window {label}" if label else f"{event.actor} could not tell")


def _feedback(event: HubEvent) -> Told:
    return Told(Shape.OK, "an operator judged an answer", event.detail.get("said", ""))


def _person_added(event: HubEvent) -> Told:
    return Told(Shape.OK, f"{event.subject} may log in", _joined(event.detail.get("role", ""), _by(event)))


def _person_removed(event: HubEvent) -> Told:
    return Told(Shape.IDLE, f"{event.subject} was removed", _by(event))


def _password(event: HubEvent) -> Told:
    return Told(Shape.IDLE, f"{event.subject} has a new password", _by(event))


def _token(event: HubEvent) -> Told:
    return Told(Shape.IDLE, f"a token was made: {event.subject}", _by(event))


def _signed_in(event: HubEvent) -> Told:
    return Told(Shape.OK, f"{event.subject or event.actor} logged in")


def _sign_in_refused(event: HubEvent) -> Told:
    return Told(Shape.WARN, f"a login as {event.subject} was refused")


def _by(event: HubEvent) -> str:
    return f"by {event.actor}" if event.actor else ""


def _binding(event: HubEvent) -> str:
    binding = event.detail.get("binding", "")
    return f"binding {binding}" if binding else ""


def _why(event: HubEvent) -> str:
    """In words, then by name; what stands before the reason's sentence and names the pack again is left out."""
    words, reason = event.detail.get("detail", ""), event.detail.get("reason", "")
    words = words.removeprefix(f"{event.subject}: ").removeprefix(f"{event.subject} ")
    return f"{words} ({reason})" if words and reason else words or reason


def _joined(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _news(run: Sequence[HubEvent]) -> News:
    others = tuple(dict.fromkeys(one.device.device_id for one in run[1:] if one.device is not None))
    return News(run[0], told(run[0]), others)


def _is_same(newer: HubEvent, older: HubEvent) -> bool:
    is_alike = (newer.kind, newer.subject, newer.actor) == (older.kind, older.subject, older.actor)
    return is_alike and newer.kind in _MANY_AT_ONCE


_MANY_AT_ONCE = frozenset(
    {EventKind.DEVICE_ENROLLED, EventKind.DEVICE_ONLINE, EventKind.DEVICE_SILENT, EventKind.PACK_DESIRED}
)
_NO_FLEET_NEWS = ABOUT_PEOPLE | {EventKind.LABEL_GIVEN, EventKind.FEEDBACK_RECEIVED}

_TELLERS: Mapping[EventKind, Callable[[HubEvent], Told]] = {
    EventKind.DEVICE_ENROLLED: _enrolled,
    EventKind.DEVICE_ONLINE: _online,
    EventKind.DEVICE_SILENT: _silent,
    EventKind.DEVICE_REMOVED: _removed,
    EventKind.PACK_PUBLISHED: _published,
    EventKind.PACK_DESIRED: _desired,
    EventKind.DESIRE_LIFTED: _lifted,
    EventKind.DESIRE_ENDED: _ended,
    EventKind.PACK_DELAYED: _delayed,
    EventKind.PACK_TRIAL: _trial,
    EventKind.PACK_INSTALLED: _installed,
    EventKind.PACK_REFUSED: _refused,
    EventKind.PACK_ROLLED_BACK: _rolled_back,
    EventKind.POLICY_DESIRED: _policy,
    EventKind.CERTIFICATE_VOID: _void,
    EventKind.RISK_CHANGED: _risk_changed,
    EventKind.HUB_DISAGREES: _hub_disagrees,
    EventKind.HUB_FAILS: _hub_fails,
    EventKind.ESCALATES_MORE: _escalates_more,
    EventKind.ESCALATES_LESS: _escalates_less,
    EventKind.INPUTS_MOVED: _inputs_moved,
    EventKind.HUB_RESTORED: _restored,
    EventKind.LABEL_GIVEN: _label,
    EventKind.FEEDBACK_RECEIVED: _feedback,
    EventKind.PERSON_ADDED: _person_added,
    EventKind.PERSON_REMOVED: _person_removed,
    EventKind.PASSWORD_SET: _password,
    EventKind.TOKEN_MADE: _token,
    EventKind.SIGNED_IN: _signed_in,
    EventKind.SIGN_IN_REFUSED: _sign_in_refused,
}
