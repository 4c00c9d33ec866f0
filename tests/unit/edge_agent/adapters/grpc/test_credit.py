"""How much may be on its way to the hub."""

from edge_agent.adapters.grpc.credit import CreditWindow
from protos.messages.escalation import Ack, Credit, ItemClass

ESCALATION, AUDIT = ItemClass.ESCALATION, ItemClass.AUDIT


def test_items_use_up_the_credit_and_acks_give_it_back() -> None:
    """Ranges are inclusive, and speak for one class only."""
    window = CreditWindow(Credit(3, 1000))
    for seq in (1, 2, 3):
        window.sent((ESCALATION, seq), 10)
    assert window.room == 0
    window.settle_acked(Ack(AUDIT, ((1, 3),)))
    assert window.room == 0
    window.settle_acked(Ack(ESCALATION, ((1, 2),)))
    assert window.room == 2
    assert window.in_flight == {(ESCALATION, 3)}


def test_bytes_are_bounded_too() -> None:
    """An item that does not fit now waits."""
    window = CreditWindow(Credit(10, 100))
    window.sent((ESCALATION, 1), 60)
    assert not window.takes(41)
    assert window.takes(40)


def test_an_item_larger_than_the_credit_goes_alone() -> None:
    """Otherwise it would hold up everything behind it for ever."""
    window = CreditWindow(Credit(10, 100))
    assert window.takes(500)
    window.sent((ESCALATION, 1), 500)
    assert not window.takes(1)
    window.settle((ESCALATION, 1))
    assert window.takes(100)


def test_a_smaller_grant_stops_new_items_only() -> None:
    """What is in flight stays; room is never negative."""
    window = CreditWindow(Credit(10, 100))
    for seq in range(5):
        window.sent((ESCALATION, seq), 1)
    window.grant(Credit(2, 100))
    assert window.room == 0
    assert len(window.in_flight) == 5


def test_settling_something_unknown_changes_nothing() -> None:
    """A reject of an item that was never sent here."""
    window = CreditWindow(Credit(1, 100))
    window.settle((ESCALATION, 9))
    assert window.room == 1
    assert window.takes(100)
