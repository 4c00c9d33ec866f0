"""Each toxic does what its name says, to the bytes of a real TCP connection.

What is asserted are bytes, their order and how a connection ends. Where time is the point it is a lower bound: a
loaded machine can only be slower.
"""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulators.network import LOOPBACK
from tests.simulators.seeds import seeded
from tests.simulators.toxics import (
    Bandwidth,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Stall,
    Stream,
    Timeout,
    Toxic,
    ToxicProxy,
    paced,
    slices,
)
from tests.simulators.waiting import wait_until

DEADLINE_S = 30.0


class Echo(socketserver.ThreadingTCPServer):
    """Says back what it hears; `heard` and `ends` tell the bytes and the ends of its connections."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _EchoOne)
        self.heard = bytearray()
        self.ends: list[str] = []
        self.port: int = self.server_address[1]


class _EchoOne(socketserver.BaseRequestHandler):
    server: Echo

    def handle(self) -> None:
        """Echo until the end."""
        try:
            while data := self.request.recv(65_536):
                self.server.heard += data
                self.request.sendall(data)
        except ConnectionError as error:
            self.server.ends.append(type(error).__name__)
        else:
            self.server.ends.append("closed")


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A running echo server."""
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="echo")
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[ToxicProxy]:
    """A proxy in front of it."""
    with ToxicProxy(echo.port, seed=7) as running:
        yield running


@contextlib.contextmanager
def connected(proxy: ToxicProxy) -> Iterator[socket.socket]:
    """A client of the proxy."""
    with socket.create_connection((LOOPBACK, proxy.port), timeout=DEADLINE_S) as client:
        yield client


def received(client: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer if the stream ends."""
    data = bytearray()
    while len(data) < count and (more := client.recv(count - len(data))):
        data += more
    return bytes(data)


def exchanged(client: socket.socket, data: bytes) -> bytes:
    """What comes back for data."""
    client.sendall(data)
    return received(client, len(data))


def send_all_and_close(client: socket.socket, data: bytes) -> None:
    """Send, then close this half."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def test_without_a_toxic_bytes_and_ends_pass(proxy: ToxicProxy) -> None:
    """A megabyte goes there and back while its sender has already closed its half."""
    data = seeded(1).randbytes(1 << 20)
    with connected(proxy) as client:
        sender = threading.Thread(target=send_all_and_close, args=(client, data))
        sender.start()
        assert received(client, len(data)) == data
        assert client.recv(1) == b""
        sender.join()
    wait_until(lambda: proxy.connections == 0, DEADLINE_S, "the end of the connection")


@pytest.mark.parametrize("jitter_s", [0.0, 0.2])
def test_latency_delays_and_keeps_the_order(proxy: ToxicProxy, jitter_s: float) -> None:
    """Everything comes later, in the order in which it was sent."""
    with proxy.toxic(Latency(latency_s=0.3, jitter_s=jitter_s)), connected(proxy) as client:
        began_s = time.monotonic()
        for number in range(20):
            client.sendall(b"%04d" % number)
        assert received(client, 80) == b"".join(b"%04d" % number for number in range(20))
        assert time.monotonic() - began_s >= 0.3 - jitter_s


def test_bandwidth_paces(proxy: ToxicProxy) -> None:
    """20 kB at 40 kB/s take half a second at least."""
    data = seeded(2).randbytes(20_000)
    with proxy.toxic(Bandwidth(bytes_per_s=40_000), Stream.UPSTREAM), connected(proxy) as client:
        began_s = time.monotonic()
        assert exchanged(client, data) == data
        assert time.monotonic() - began_s >= 0.5


def test_a_shared_bandwidth_is_one_line_for_all_connections(proxy: ToxicProxy) -> None:
    """Two times 10 kB at 40 kB/s take half a second at least, side by side as one after the other."""
    shares = [seeded(seed).randbytes(10_000) for seed in (2, 3)]
    line = Bandwidth(bytes_per_s=40_000, is_shared=True)
    with proxy.toxic(line, Stream.UPSTREAM), connected(proxy) as one, connected(proxy) as other:
        began_s = time.monotonic()
        with ThreadPoolExecutor() as threads:
            assert list(threads.map(exchanged, (one, other), shares)) == shares
        assert time.monotonic() - began_s >= 0.5


def test_slow_close_tells_the_end_later(proxy: ToxicProxy) -> None:
    """The bytes come at once, the end of the stream comes after the delay."""
    with proxy.toxic(SlowClose(delay_s=0.3)), connected(proxy) as client:
        assert exchanged(client, b"all") == b"all"
        began_s = time.monotonic()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert time.monotonic() - began_s >= 0.3


def test_timeout_of_zero_drops_and_stays_open(proxy: ToxicProxy, echo: Echo) -> None:
    """What was sent meanwhile is lost for ever, what comes after the removal passes."""
    with connected(proxy) as client:
        assert exchanged(client, b"before") == b"before"
        with proxy.toxic(Timeout(), Stream.UPSTREAM):
            client.sendall(b"lost")
            wait_until(lambda: proxy.dropped_bytes == 4, DEADLINE_S, "the loss")
        assert exchanged(client, b"after") == b"after"
    assert echo.heard == b"beforeafter"


def test_timeout_closes(proxy: ToxicProxy, echo: Echo) -> None:
    """After its time the connection ends at both ends, though nobody said a word."""
    with proxy.toxic(Timeout(timeout_s=0.1)), connected(proxy) as client:
        assert client.recv(1) == b""
        wait_until(lambda: echo.ends == ["closed"], DEADLINE_S, "the end at the server")


def test_reset_peer_resets_both_ends(proxy: ToxicProxy, echo: Echo) -> None:
    """An open connection gets a TCP reset, no orderly end."""
    with connected(proxy) as client:
        assert exchanged(client, b"before") == b"before"
        proxy.add(ResetPeer(after_s=0.05))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        wait_until(lambda: echo.ends == ["ConnectionResetError"], DEADLINE_S, "the reset at the server")


def test_a_reset_of_one_end_reaches_the_other(proxy: ToxicProxy, echo: Echo) -> None:
    """The proxy makes no orderly end of a client that went away by force."""
    client = socket.create_connection((LOOPBACK, proxy.port), timeout=DEADLINE_S)
    assert exchanged(client, b"before") == b"before"
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    wait_until(lambda: echo.ends == ["ConnectionResetError"], DEADLINE_S, "the reset at the server")


def test_slicer_keeps_every_byte(proxy: ToxicProxy) -> None:
    """Whoever puts the slices together again has what was sent, after the pauses between 200 of them at least."""
    data = seeded(3).randbytes(3000)
    toxic = Slicer(average_bytes=10, variation_bytes=5, delay_s=0.0005)
    with proxy.toxic(toxic), proxy.toxic(toxic, Stream.UPSTREAM), connected(proxy) as client:
        began_s = time.monotonic()
        assert exchanged(client, data) == data
        assert time.monotonic() - began_s >= 0.1


def test_slices_have_their_sizes() -> None:
    """All but the last are within the variation, and none is empty."""
    data = seeded(4).randbytes(1000)
    pieces = slices(data, Slicer(average_bytes=10, variation_bytes=5), seeded(5))
    assert b"".join(pieces) == data
    assert {len(piece) for piece in pieces[:-1]} == set(range(5, 16))
    assert all(slices(b"abc", Slicer(average_bytes=1, variation_bytes=5), seeded(6)))


def test_paced_pieces_take_a_tenth_of_a_second() -> None:
    """A slow line sees small pieces, a very slow one single bytes."""
    assert paced(b"abcdef", 20.0) == [b"ab", b"cd", b"ef"]
    assert paced(b"abc", 0.5) == [b"a", b"b", b"c"]


def test_limit_data_closes_after_its_bytes(proxy: ToxicProxy) -> None:
    """Exactly so many bytes come, then the end; the next connection has its own limit."""
    with proxy.toxic(LimitData(limit_bytes=10)):
        for _ in range(2):
            with connected(proxy) as client:
                client.sendall(b"0123456789abcdef")
                assert received(client, 100) == b"0123456789"


def test_down_refuses_and_up_is_there_again(proxy: ToxicProxy) -> None:
    """Down ends what is open and refuses what is new, on a port that nobody else can take; up undoes it."""
    with connected(proxy) as client:
        assert exchanged(client, b"before") == b"before"
        proxy.down()
        proxy.down()
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, proxy.port), timeout=DEADLINE_S)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((LOOPBACK, proxy.port))
    proxy.up()
    proxy.up()
    with connected(proxy) as client:
        assert exchanged(client, b"after") == b"after"


def test_cut_ends_open_connections_only(proxy: ToxicProxy, echo: Echo) -> None:
    """Both ends learn of it, and the next connection passes."""
    with connected(proxy) as client:
        assert exchanged(client, b"before") == b"before"
        proxy.cut()
        assert client.recv(1) == b""
    wait_until(lambda: len(echo.ends) == 1, DEADLINE_S, "the end at the server")
    with connected(proxy) as client:
        assert exchanged(client, b"after") == b"after"


def test_a_frozen_connection_loses_nothing(proxy: ToxicProxy) -> None:
    """What is sent over a pulled cable arrives when it is put back, before what comes later."""
    with connected(proxy) as client:
        assert exchanged(client, b"before") == b"before"
        proxy.freeze()
        client.sendall(b"meanwhile")
        with connected(proxy) as other:
            other.sendall(b"a new one")
            proxy.thaw()
            assert received(other, 9) == b"a new one"
        client.sendall(b"after")
        assert received(client, 14) == b"meanwhileafter"
    assert proxy.dropped_bytes == 0


def test_a_frozen_connection_can_be_cut(proxy: ToxicProxy) -> None:
    """Waiting for the cable does not keep a connection alive."""
    with connected(proxy) as client:
        assert exchanged(client, b"before") == b"before"
        proxy.freeze()
        client.sendall(b"meanwhile")
        proxy.cut()
        assert proxy.connections == 0
        with contextlib.suppress(ConnectionResetError):  # what it had sent was never read
            assert client.recv(1) == b""


def test_a_toxic_has_one_direction(proxy: ToxicProxy, echo: Echo) -> None:
    """With nothing coming down, the server still hears everything."""
    with proxy.toxic(Timeout(), Stream.DOWNSTREAM), connected(proxy) as client:
        client.sendall(b"heard")
        wait_until(lambda: echo.heard == b"heard", DEADLINE_S, "the bytes at the server")
        wait_until(lambda: proxy.dropped_bytes == 5, DEADLINE_S, "the loss of the answer")


def test_toxics_work_together(proxy: ToxicProxy) -> None:
    """Sliced, paced and late data is still whole."""
    data = seeded(8).randbytes(2000)
    toxics: list[Toxic] = [Latency(latency_s=0.05), Slicer(average_bytes=100), Bandwidth(bytes_per_s=50_000)]
    for toxic in toxics:
        proxy.add(toxic)
    with connected(proxy) as client:
        assert exchanged(client, data) == data
    for toxic in toxics:
        proxy.remove(toxic)


def test_toxicity_takes_hold_of_a_share_that_the_seed_decides(echo: Echo) -> None:
    """One seed always picks the same connections; a share of a half picks some and leaves some."""
    assert picked(echo, seed=1) == picked(echo, seed=1)
    assert picked(echo, seed=1) != picked(echo, seed=2)
    assert 0 < sum(picked(echo, seed=1)) < 20


def picked(echo: Echo, seed: int) -> list[bool]:
    """Which of 20 connections a toxic of toxicity a half took hold of."""
    found = []
    with ToxicProxy(echo.port, seed) as proxy, proxy.toxic(LimitData(limit_bytes=1, toxicity=0.5)):
        for _ in range(20):
            with connected(proxy) as client:
                client.sendall(b"ab")
                found.append(received(client, 2) == b"a")
    return found


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    """The client gets through to the proxy and is left at once."""
    with socket.socket() as nobody:
        nobody.bind((LOOPBACK, 0))
        with ToxicProxy(nobody.getsockname()[1]) as proxy, connected(proxy) as client:
            assert client.recv(1) == b""


def test_the_end_of_the_proxy_leaves_no_connection_open(echo: Echo) -> None:
    """Also not one whose client does not read what was written to it."""
    with socket.socket() as client:
        client.settimeout(0.5)
        with ToxicProxy(echo.port) as proxy:
            client.connect((LOOPBACK, proxy.port))
            with pytest.raises(TimeoutError):  # everything between is full
                client.sendall(bytes(64 << 20))
        client.settimeout(DEADLINE_S)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(1 << 20):
                pass


def test_a_subclass_may_swallow_what_it_likes(echo: Echo) -> None:
    """`passes` looks at each chunk."""

    class Deaf(ToxicProxy):
        def passes(self, data: bytes) -> bool:
            return data != b"psst"

    with Deaf(echo.port) as proxy, connected(proxy) as client:
        client.sendall(b"psst")
        wait_until(lambda: proxy.dropped_bytes == 4, DEADLINE_S, "the loss")
        assert exchanged(client, b"loud") == b"loud"


def test_the_stall_of_one_stream_is_removed_alone(proxy: ToxicProxy) -> None:
    """Two stalls on one stream hold until both are gone."""
    with connected(proxy) as client:
        with proxy.toxic(Stall(), Stream.UPSTREAM):
            with proxy.toxic(Stall(), Stream.UPSTREAM):
                client.sendall(b"held")
            assert proxy.dropped_bytes == 0
        assert received(client, 4) == b"held"
