"""The wire takes sound messages out of the stream wherever it is cut, and leaves everything else to paho as it came."""

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.adapters.mqtt.wire import FIRST_OWN_ID, LAST_OWN_ID, Received, Settled, Wire

PINGRESP = b"\xd0\x00"
SUBACK = b"\x90\x03\x00\x01\x01"


def publish(
    topic: bytes, payload: bytes, *, message_id: int = 7, qos: int = 1, retain: bool = False, properties: bytes = b""
) -> bytes:
    """A PUBLISH packet, with MQTT 5 properties where some are given (their length first)."""
    identifier = struct.pack("!H", message_id) if qos else b""
    return packet(0x30 | qos << 1 | retain, struct.pack("!H", len(topic)) + topic + identifier + properties + payload)


def packet(first: int, body: bytes) -> bytes:
    """A packet of any kind."""
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)
        length += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([first]) + length + body


def puback(message_id: int) -> bytes:
    """A PUBACK without a reason."""
    return packet(0x40, struct.pack("!H", message_id))


class Ends:
    """A wire, the broker's end of its socket, and what was taken out."""

    def __init__(self, *, has_properties: bool) -> None:
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.messages: list[Received] = []
        self.wire = Wire(self.near, has_properties=has_properties, on_message=self.messages.append)

    def close(self) -> None:
        """Close both."""
        self.far.close()
        self.wire.close()

    def fill(self) -> int:
        """Write until there is no room; how many bytes."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                count += self.near.send(bytes(1 << 16))
        return count

    def read_out(self) -> bytes:
        """Everything that is left for paho now, in pieces as paho asks for them."""
        left = b""
        while True:
            try:
                left += self.wire.recv(1)
            except BlockingIOError:
                return left


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of an MQTT 3.1.1 connection."""
    ends = Ends(has_properties=False)
    yield ends
    ends.close()


@pytest.fixture
def ends5() -> Iterator[Ends]:
    """Both ends of an MQTT 5 connection."""
    ends = Ends(has_properties=True)
    yield ends
    ends.close()


def test_messages_are_taken_out_and_the_rest_is_paho_s(ends: Ends) -> None:
    """In the order of arrival; paho never sees a PUBLISH."""
    ends.far.sendall(SUBACK + publish(b"a/b", b"one") + PINGRESP + publish(b"a/c", b"", qos=0, retain=True))
    assert ends.read_out() == SUBACK + PINGRESP
    assert ends.messages == [Received(b"a/b", b"one", 1, False, 7), Received(b"a/c", b"", 0, True, 0)]


def test_properties_are_passed_over(ends5: Ends) -> None:
    """MQTT 5: what is before the payload is no payload."""
    expiry = b"\x05\x02" + struct.pack("!I", 60)
    ends5.far.sendall(
        publish(b"t", b"body", properties=expiry) + publish(b"t", b"body", message_id=8, properties=b"\0")
    )
    assert ends5.read_out() == b""
    assert [(one.payload, one.message_id) for one in ends5.messages] == [(b"body", 7), (b"body", 8)]


@given(st.data())
def test_no_cut_matters(data: st.DataObject) -> None:
    """However the stream is cut by the network, the same messages come out and the same bytes are left."""
    stream = b"".join([SUBACK, publish(b"t", b"x" * 300), PINGRESP, publish(b"u/v", b"y", message_id=65_535), PINGRESP])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    ends, left = Ends(has_properties=False), b""
    try:
        for first, last in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            ends.far.sendall(stream[first:last])
            left += ends.read_out()
    finally:
        ends.close()
    assert left == SUBACK + PINGRESP + PINGRESP
    assert [(one.topic, len(one.payload), one.message_id) for one in ends.messages] == [
        (b"t", 300, 7),
        (b"u/v", 1, 65_535),
    ]


@pytest.mark.parametrize(
    "odd",
    [
        publish(b"t", b"x", qos=2),
        publish(b"", b"x"),
        publish(b"t", b"x", message_id=0),
        packet(0x32, b"\x00\x09t"),
        packet(0x30, b""),
        b"\x32\xff\xff\xff\xff\x7f" + b"endless",
    ],
    ids=["qos 2", "no topic", "no id", "topic beyond its end", "empty", "length of five bytes"],
)
def test_what_is_odd_is_left_to_paho(ends: Ends, odd: bytes) -> None:
    """It has the say about errors of the protocol."""
    ends.far.sendall(odd)
    assert ends.read_out() == odd
    assert ends.messages == []


def test_odd_properties_are_left_to_paho(ends5: Ends) -> None:
    """A length of properties beyond the packet's end, or without an end."""
    odd = publish(b"t", b"", properties=b"\x7f") + publish(b"t", b"", properties=b"\xff\xff\xff\xff\x01")
    ends5.far.sendall(odd)
    assert ends5.read_out() == odd


def test_acknowledgements_go_out_in_order_as_one_piece(ends: Ends) -> None:
    """PUBACK has the same four bytes in both versions."""
    ends.wire.acknowledge([1, 2])
    ends.wire.acknowledge([700])
    ends.wire.send_waiting()
    ends.wire.send(PINGRESP)
    assert ends.far.recv(100) == b"\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\x02\xbc" + PINGRESP


def test_what_there_is_no_room_for_is_sent_before_anything_else(ends: Ends) -> None:
    """A broker that does not read holds acknowledgements back; none is lost, none is cut by a packet of paho's."""
    count = ends.fill()
    ends.wire.acknowledge([3, 4])
    ends.wire.send_waiting()
    with pytest.raises(BlockingIOError):
        ends.wire.send(PINGRESP)
    while count:
        count -= len(ends.far.recv(min(count, 1 << 20)))
    ends.wire.send(PINGRESP)
    assert ends.far.recv(100) == b"\x40\x02\x00\x03\x40\x02\x00\x04" + PINGRESP


def test_the_end_of_the_stream_is_said(ends: Ends) -> None:
    """As a socket says it."""
    ends.far.close()
    assert ends.wire.recv(1) == b""


def test_a_publish_is_written_by_whoever_has_it(ends: Ends) -> None:
    """Of both kinds, in order, as one piece; at QoS 0 it is done with that, at QoS 1 with its PUBACK."""
    first = ends.wire.publish("a/b", b"one", 1, retain=False, expiry_s=60)
    second = ends.wire.publish("a/c", b"", 0, retain=True, expiry_s=None)
    assert ends.wire.send_now()
    assert ends.far.recv(100) == publish(b"a/b", b"one", message_id=first) + publish(b"a/c", b"", qos=0, retain=True)
    assert ends.wire.settled() == Settled([second], [])
    ends.far.sendall(puback(first) + puback(first))
    assert ends.read_out() == puback(first), "a second one is paho's to judge"
    assert ends.wire.settled() == Settled([first], [])
    assert ends.wire.settled() == Settled([], [])


def test_a_publish_of_mqtt_5_says_how_long_it_may_be_kept(ends5: Ends) -> None:
    """And that there are no properties, where it says nothing."""
    first = ends5.wire.publish("t", b"x", 1, retain=False, expiry_s=60)
    second = ends5.wire.publish("t", b"x", 1, retain=False, expiry_s=None)
    assert ends5.wire.send_now()
    expiry = b"\x05\x02" + struct.pack("!I", 60)
    assert ends5.far.recv(100) == publish(b"t", b"x", message_id=first, properties=expiry) + publish(
        b"t", b"x", message_id=second, properties=b"\0"
    )
    ends5.far.sendall(
        packet(0x40, struct.pack("!HB", first, 0x87)) + packet(0x40, struct.pack("!HBB", second, 0x10, 0))
    )
    assert ends5.read_out() == b""
    assert ends5.wire.settled() == Settled([second], [(first, 0x87)])


def test_acknowledgements_of_paho_s_own_messages_are_left_to_it(ends: Ends) -> None:
    """Its packet ids are the small ones."""
    assert ends.wire.publish("t", b"x", 1, retain=False, expiry_s=None) >= FIRST_OWN_ID
    ends.far.sendall(puback(1))
    assert ends.read_out() == puback(1)


def test_a_packet_id_is_not_given_twice_at_a_time(ends: Ends) -> None:
    """They go round, past the one that still waits for its PUBACK."""
    waiting = ends.wire.publish("t", b"", 1, retain=False, expiry_s=None)
    given = []
    for _ in range(LAST_OWN_ID - FIRST_OWN_ID + 2):
        given.append(ends.wire.publish("t", b"", 1, retain=False, expiry_s=None))
        assert ends.wire.send_now()
        ends.far.recv(100)
        ends.far.sendall(puback(given[-1]))
        assert ends.read_out() == b""
    assert waiting == FIRST_OWN_ID
    assert waiting not in given
    assert given[0] == given[LAST_OWN_ID - FIRST_OWN_ID] == FIRST_OWN_ID + 1


def test_nothing_comes_between_two_parts_of_a_packet_of_paho_s(ends: Ends) -> None:
    """What others have to write meanwhile waits for its end."""
    big = packet(0x82, bytes(1 << 22))
    sent = ends.wire.send(big)
    assert 0 < sent < len(big)
    message_id = ends.wire.publish("t", b"x", 1, retain=False, expiry_s=None)
    assert not ends.wire.send_now()
    came = b""
    while sent < len(big):
        came += ends.far.recv(1 << 20)
        with contextlib.suppress(BlockingIOError):
            sent += ends.wire.send(big[sent:])
    assert ends.wire.has_unsent
    while len(came) < len(big):
        came += ends.far.recv(1 << 20)
    assert ends.wire.send_now()
    assert came + ends.far.recv(100) == big + publish(b"t", b"x", message_id=message_id)


def test_what_is_not_written_yet_is_not_done(ends: Ends) -> None:
    """At QoS 0 nobody else would say that it is lost."""
    count = ends.fill()
    message_id = ends.wire.publish("t", b"x", 0, retain=False, expiry_s=None)
    assert not ends.wire.send_now()
    assert ends.wire.settled() == Settled([], [])
    while count:
        count -= len(ends.far.recv(min(count, 1 << 20)))
    ends.wire.send_waiting()
    assert ends.wire.settled() == Settled([message_id], [])


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "t" * 65_536])
def test_a_topic_that_no_message_may_have_is_refused(ends: Ends, topic: str) -> None:
    """Before anything is written."""
    with pytest.raises(ValueError, match="nothing can be published"):
        ends.wire.publish(topic, b"", 1, retain=False, expiry_s=None)
    assert not ends.wire.has_unsent


class Begun:
    """A TLS connection as OpenSSL has it: a record that it could not write goes out next, whatever it is given then."""

    def __init__(self) -> None:
        self.sent = b""
        self.has_room = False
        self._record = b""

    def send(self, data: bytes) -> int:
        """Take one record, or say that there is no room yet."""
        self._record = self._record or bytes(data)
        if not self.has_room:
            raise ssl.SSLWantWriteError
        record, self._record = self._record, b""
        self.sent += record
        return len(record)


def test_over_tls_nothing_overtakes_what_was_begun() -> None:
    """A packet of paho's for which there was no room is tried again before anything else: TLS has its bytes already."""
    tls, ping = Begun(), b"\xc0\x00"
    wire = Wire(tls, has_properties=False, on_message=print)  # type: ignore[arg-type]  # of a socket, it only sends here
    with pytest.raises(ssl.SSLWantWriteError):
        wire.send(ping)
    message_id = wire.publish("t", b"body", 1, retain=False, expiry_s=None)
    tls.has_room = True
    wire.send_waiting()
    assert wire.send(ping) == len(ping)
    wire.send_waiting()
    assert tls.sent == ping + publish(b"t", b"body", message_id=message_id)
