"""The order of PUBACKs on one connection."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.adapters.mqtt.ack_order import AckOrder


def test_a_later_ack_waits_for_an_earlier_one() -> None:
    """Nothing is sent before the oldest may be acknowledged; then the whole run is."""
    order = AckOrder()
    for message_id in (7, 8, 9):
        order.arrived(message_id)
    assert order.acknowledge([9, 8]) == []
    assert order.acknowledge([7]) == [7, 8, 9]


def test_an_unknown_id_releases_nothing() -> None:
    """An id that never arrived on this connection is not sent."""
    order = AckOrder()
    order.arrived(1)
    assert order.acknowledge([5]) == []
    assert len(order) == 1


def test_a_packet_id_can_be_used_again() -> None:
    """The broker reuses an id after its PUBACK; the old acknowledgement does not settle the new message."""
    order = AckOrder()
    order.arrived(1)
    assert order.acknowledge([1]) == [1]
    order.arrived(1)
    assert order.acknowledge([]) == []
    assert order.acknowledge([1]) == [1]


def test_a_repeated_acknowledgement_does_not_settle_a_later_message_of_the_same_id() -> None:
    """A delivery that was tried again is acknowledged twice; its packet id comes round again with another message."""
    order = AckOrder()
    order.arrived(7)
    assert order.acknowledge([7]) == [7]
    assert order.acknowledge([7]) == []
    order.arrived(7)
    order.arrived(8)
    assert order.acknowledge([8]) == []


@given(st.permutations(range(20)))
def test_any_order_of_acks_leaves_in_order_of_arrival(acks: list[int]) -> None:
    """Whatever the order in which records become durable, PUBACKs go out once each, in order of arrival."""
    order = AckOrder()
    for message_id in range(20):
        order.arrived(message_id)
    sent = [message_id for ack in acks for message_id in order.acknowledge([ack])]
    assert sent == list(range(20))
