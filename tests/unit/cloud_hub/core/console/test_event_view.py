"""Every kind of event has its sentence; what happens to many at once is told once."""

import pytest

from cloud_hub.core.console.event_view import fleet_news, told
from cloud_hub.core.console.wording import Shape
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventId, EventKind, HubEvent


def event(
    kind: EventKind, number: int = 1, *, actor: str = "ana", subject: str = "band@2.0.0", **detail: str
) -> HubEvent:
    """An event about a device."""
    return HubEvent(
        event_id=EventId(number),
        at_ns=number,
        kind=kind,
        device=DeviceKey("o", "s", f"d{number}"),
        actor=actor,
        subject=subject,
        detail=detail,
    )


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_is_told(kind: EventKind) -> None:
    """With and without its details."""
    assert told(event(kind, binding="wrist", reason="bad_digest", detail="why", label="row", role="viewer")).text
    assert told(event(kind, actor="")).text


def test_a_refusal_says_its_reason() -> None:
    """By name, with the device's own sentence."""
    shown = told(event(EventKind.PACK_REFUSED, reason="bad_digest", detail="other bytes"))
    assert (shown.shape, shown.text, shown.note) == (Shape.WARN, "refused band@2.0.0", "other bytes (bad_digest)")


def test_a_reason_does_not_name_the_pack_again() -> None:
    """Words come first, the name last; either alone stands alone."""
    refused = EventKind.PACK_REFUSED
    assert told(event(refused, reason="no_space", detail="band@2.0.0: 3 kB are missing")).note == (
        "3 kB are missing (no_space)"
    )
    assert told(event(refused, reason="no_space")).note == "no_space"
    assert told(event(refused, detail="3 kB are missing")).note == "3 kB are missing"


def test_a_desire_says_where_and_by_whom() -> None:
    """Binding and person."""
    assert told(event(EventKind.PACK_DESIRED, binding="wrist")).note == "binding wrist, by ana"


def test_alike_events_in_a_row_are_one_line() -> None:
    """The newest stands for the others; other subjects, people and labels stay apart or away."""
    events = [
        event(EventKind.DEVICE_ONLINE, 9),
        event(EventKind.SIGNED_IN, 8),
        event(EventKind.DEVICE_ONLINE, 7),
        event(EventKind.DEVICE_ONLINE, 7),
        event(EventKind.PACK_DESIRED, 6),
        event(EventKind.PACK_DESIRED, 5, subject="band@1.0.0"),
        event(EventKind.PACK_REFUSED, 4),
        event(EventKind.PACK_REFUSED, 3),
    ]
    news = fleet_news(events, 4)
    assert [(one.event.event_id, one.others) for one in news] == [(9, ("d7",)), (6, ()), (5, ()), (4, ())]
