"""The watch API over a real port and a real store: one prediction, the stream, its replay and its bounds."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.adapters.http import AgentHttp
from edge_agent.adapters.watch_api import WatchApi
from edge_agent.config import Address
from edge_agent.ports import Event, NewsItem
from model_packs.process.metrics import Registry
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.sqlite.builders import Opened, record_unit, verdict
from tests.unit.edge_agent.adapters.sqlite.test_feedback import answer, with_answers

DEADLINE_S = 30.0
STREAM = "/v1/predictions/stream"


class Site:
    """A store with two predictions, watched over HTTP."""

    def __init__(self, folder: Path) -> None:
        self.opened: Opened = with_answers(folder, "p1", "p2")
        self.http = AgentHttp(
            Address("127.0.0.1", 0), Registry(), tuple, dict, WatchApi(self.opened.store.news, max_streams=2)
        )
        self.http.open()

    def close(self) -> None:
        """As the agent does."""
        self.http.close()
        self.opened.store.close()

    @contextmanager
    def get(self, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
        """One request, open until its reader leaves."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http.bound.port, timeout=DEADLINE_S)
        try:
            connection.request("GET", path, headers={key.replace("_", "-"): value for key, value in headers.items()})
            response = connection.getresponse()
            yield response
            response.close()
        finally:
            connection.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Open until the test is over."""
    found = Site(tmp_path)
    yield found
    found.close()


def next_event(response: http.client.HTTPResponse) -> tuple[int, dict[str, Any]]:
    """The next event of a stream, comments passed over: its id and its data."""
    fields: dict[str, str] = {}
    last_s = time.monotonic() + DEADLINE_S
    while True:
        assert time.monotonic() < last_s, "only comments came"
        raw = response.readline()
        assert raw, "the stream ended"
        line = raw.decode().rstrip("\n")
        if not line and "data" in fields:
            assert fields["event"] == "prediction"
            return int(fields["id"]), json.loads(fields["data"])
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def test_one_prediction_is_told_at_its_newest(site: Site) -> None:
    """Its revision replaces what was said before."""
    with site.get("/v1/predictions/p1") as response:
        assert json.loads(response.read())["status"] == "provisional"
    site.opened.store.book.answered(verdict("p1", 1)).result()
    with site.get("/v1/predictions/p1") as response:
        assert response.headers["Content-Type"] == "application/json"
        found = json.loads(response.read())
    assert (found["status"], found["escalation"]["outcome"]) == ("revised", "answered")


@pytest.mark.parametrize("path", ["/v1/predictions/p9", "/v1/predictions/", "/v1/other", "/v1/predictions/..%2Fx"])
def test_what_is_not_there_is_404(path: str, site: Site) -> None:
    """It says what there is, and the other pages are still there."""
    with site.get(path) as response:
        assert response.status == 404
        assert b"prediction" in response.read()
    with site.get("/livez") as response:
        assert response.read() == b"ok\n"


def test_a_stream_tells_what_comes_and_what_is_revised(site: Site) -> None:
    """From when it was opened on."""
    with site.get(STREAM) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        site.opened.commit(record_unit(site.opened.store, b"k3", answer(site.opened, "p3")))
        first, event = next_event(stream)
        assert (event["id"], event["status"]) == ("p3", "provisional")
        site.opened.store.book.answered(verdict("p1", 1)).result()
        second, event = next_event(stream)
        assert (event["id"], event["status"]) == ("p1", "revised")
        assert second > first


def test_a_reader_that_comes_back_misses_nothing(site: Site) -> None:
    """What came and changed while it was away is replayed from the store, each prediction once."""
    place = site.opened.store.news.last()
    site.opened.commit(record_unit(site.opened.store, b"k3", answer(site.opened, "p3")))
    site.opened.store.book.answered(verdict("p2", 1)).result()
    site.opened.store.book.answered(verdict("p3", 2)).result()
    with site.get(STREAM, Last_Event_ID=str(place)) as stream:
        told = [next_event(stream)[1] for _ in range(2)]
    assert [(one["id"], one["status"]) for one in told] == [("p2", "revised"), ("p3", "revised")]


def test_a_place_of_a_store_that_is_gone_replays_all(site: Site) -> None:
    """Twice is better than never: a reader knows what it has by id and revision."""
    with site.get(STREAM, Last_Event_ID="999999") as stream:
        assert next_event(stream)[1]["id"] == "p1"


def test_a_stream_of_one_binding_leaves_out_the_others(site: Site) -> None:
    """And goes on past them."""
    with (
        site.get(f"{STREAM}?binding=other", Last_Event_ID="0") as others,
        site.get(f"{STREAM}?binding=press", Last_Event_ID="0") as own,
    ):
        assert next_event(own)[1]["id"] == "p1"
        assert others.readline() == b":\n"
        assert others.readline() == b"\n"
        others.fp.raw._sock.settimeout(0.5)  # type: ignore[attr-defined]  # not public
        with pytest.raises(TimeoutError):
            others.readline()


@pytest.mark.parametrize("place", ["x", "-1", "1e3", "99999999999999999999"])
def test_a_senseless_place_is_refused(place: str, site: Site) -> None:
    """With the reason."""
    with site.get(STREAM, Last_Event_ID=place) as response:
        assert response.status == 400
        assert b"Last-Event-ID" in response.read()


def test_streams_are_few_and_other_pages_do_not_wait_behind_them(site: Site) -> None:
    """One too many is told to come back; it may, once another has left."""
    with site.get(STREAM) as first, site.get(STREAM) as second:
        assert (first.status, second.status) == (200, 200)
        with site.get(STREAM) as third:
            assert (third.status, third.headers["Retry-After"]) == (503, "5")
        with site.get("/v1/predictions/p1") as one:
            assert one.status == 200

    def is_let_in() -> bool:
        site.opened.store.news.wake()
        site.opened.commit(record_unit(site.opened.store, b"", answer(site.opened, "p3")))
        with site.get(STREAM, Last_Event_ID="0") as again:
            return again.status == 200

    wait_until(is_let_in, DEADLINE_S, "a stream's permit")


def test_closing_ends_the_streams(site: Site) -> None:
    """A reader sees the end at once, and comes back later."""
    with site.get(STREAM) as stream:
        site.http.close()
        assert stream.read().strip(b":\n") == b""


def test_a_closed_store_is_said(site: Site) -> None:
    """Both kinds of request get an answer."""
    site.opened.store.close()
    for path in ("/v1/predictions/p1", STREAM):
        with site.get(path) as response:
            assert response.status == 503


class Flood:
    """A store in which more comes than anybody reads; says how far its readers got."""

    def __init__(self) -> None:
        self.place = 0

    def newest(self, _prediction_id: str) -> Event | None:
        """Nobody asks."""
        return None

    def last(self) -> int:
        """At the beginning."""
        return 0

    def since(self, place: int, limit: int) -> list[NewsItem]:
        """Always more."""
        self.place = max(self.place, place)
        return [NewsItem(place + number, {"binding": "press", "pad": "x" * 1000}) for number in range(1, limit + 1)]

    def wait(self, seen: int, _timeout_s: float) -> int:
        """There always is something."""
        return seen + 1

    def wake(self) -> None:
        """Nobody waits."""


def test_a_reader_that_does_not_read_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is piled up for it: no more is read than the socket takes, and its permit is free soon."""
    flood = Flood()
    agent = AgentHttp(Address("127.0.0.1", 0), Registry(), tuple, dict, WatchApi(flood, max_streams=1))
    agent.open()
    try:
        with socket.create_connection(("127.0.0.1", agent.bound.port)) as slow:
            slow.sendall(f"GET {STREAM} HTTP/1.0\r\n\r\n".encode())
            assert b"200" in slow.recv(12)  # it is let in before the other asks, and reads no more

            def is_let_in() -> bool:
                with socket.create_connection(("127.0.0.1", agent.bound.port)) as other:
                    other.sendall(f"GET {STREAM} HTTP/1.0\r\n\r\n".encode())
                    return b"200" in other.recv(64)

            wait_until(is_let_in, DEADLINE_S, "the end of the stream that nobody reads")
            assert 0 < flood.place < 100_000
    finally:
        agent.close()
    assert "metrics_request_failed" not in caplog.messages
