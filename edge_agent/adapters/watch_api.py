"""Owns the local watch API: one prediction at its newest, and a stream of those that come and change.

    GET /v1/predictions/{id}
    GET /v1/predictions/stream[?binding=NAME]     server-sent events; `Last-Event-ID` goes on from there

Each stream is a thread that reads the store at its reader's pace, so a slow reader holds up nobody and fills nothing;
one that does not read at all is cut off by the server's timeout. Streams are few and counted: one more is told to come
back. What the store gives is `adapters/sqlite/news.py`.
"""

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from edge_agent.errors import StoreError
from edge_agent.ports import Event, NewsItem

WATCH_PATH = "/v1/"
MAX_STREAMS = 16

_PREDICTIONS = "/v1/predictions/"
_STREAM = "stream"
_BATCH = 100
_PACE_S = 0.02  # between two looks at the store, however much comes
_WAIT_S = 1.0
_QUIET_TURNS = 10  # a comment so often lets a reader that is gone be noticed
_COME_BACK_S = 5
_MAX_PLACE = 2**63 - 1


class Watched(Protocol):
    """The store as watchers see it."""

    def newest(self, prediction_id: str) -> Event | None:
        """The newest event of a prediction; None when it never was, or is forgotten."""
        ...

    def last(self) -> int:
        """The place of what came or changed last."""
        ...

    def since(self, place: int, limit: int) -> list[NewsItem]:
        """What came or changed after a place, in order."""
        ...

    def wait(self, seen: int, timeout_s: float) -> int:
        """Block until more was committed than `seen`, or the time is over; return how often there was."""
        ...

    def wake(self) -> None:
        """Let everybody who waits look."""
        ...


class WatchApi:
    """Answers below `/v1/`; called from the server's threads.

    Args:
        watched: The store.
        max_streams: Streams open at once.
    """

    def __init__(self, watched: Watched, max_streams: int = MAX_STREAMS) -> None:
        self._watched = watched
        self._permits = threading.BoundedSemaphore(max_streams)
        self._is_closing = threading.Event()

    def close(self) -> None:
        """End the streams; may be called twice."""
        self._is_closing.set()
        self._watched.wake()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one GET; returns when there is no more to say, or nobody to say it to."""
        url = urlsplit(request.path)
        name = unquote(url.path.removeprefix(_PREDICTIONS)) if url.path.startswith(_PREDICTIONS) else ""
        try:
            if name == _STREAM:
                self._stream(request, parse_qs(url.query))
            elif name:
                self._one(request, name)
            else:
                _say(request, HTTPStatus.NOT_FOUND, f"there is {_PREDICTIONS}{{id}}, {_PREDICTIONS}{_STREAM}")
        except ConnectionError:
            request.close_connection = True  # the reader left

    def _one(self, request: BaseHTTPRequestHandler, name: str) -> None:
        try:
            event = self._watched.newest(name)
        except StoreError as error:
            _say(request, HTTPStatus.SERVICE_UNAVAILABLE, error.message)
            return
        if event is None:
            _say(request, HTTPStatus.NOT_FOUND, f"no prediction {name} is known here (any more)")
            return
        _send(request, HTTPStatus.OK, json.dumps(event).encode(), {"Content-Type": "application/json"})

    def _stream(self, request: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        place = request.headers.get("Last-Event-ID", "")
        if place and not (place.isascii() and place.isdigit() and int(place) <= _MAX_PLACE):
            _say(request, HTTPStatus.BAD_REQUEST, "Last-Event-ID is an id of this stream")
            return
        if not self._permits.acquire(blocking=False):
            hint = {"Retry-After": str(_COME_BACK_S)}
            _say(request, HTTPStatus.SERVICE_UNAVAILABLE, "too many streams are open", hint)
            return
        try:
            begin = self._begin(int(place) if place else None)
        except StoreError as error:
            _say(request, HTTPStatus.SERVICE_UNAVAILABLE, error.message)
        else:
            request.send_response(HTTPStatus.OK)
            request.send_header("Content-Type", "text/event-stream")
            request.send_header("Cache-Control", "no-store")
            request.send_header("Connection", "close")  # a stream has no length: it ends with its connection
            request.end_headers()
            self._tell(request, begin, query.get("binding", [None])[0])
        finally:
            self._permits.release()

    def _begin(self, place: int | None) -> int:
        """Where to go on: from now on without a place, from the first with one of a store that is gone."""
        last = self._watched.last()
        if place is None:
            return last
        return place if place <= last else 0

    def _tell(self, request: BaseHTTPRequestHandler, place: int, binding: str | None) -> None:
        seen = quiet_turns = 0
        request.wfile.write(b":\n\n")  # the reader knows at once that it is heard
        while not self._is_closing.wait(_PACE_S):
            try:
                found = self._watched.since(place, _BATCH)
            except StoreError:
                return  # the store closed, or cannot be read: the reader comes back to where it was
            wanted = [one for one in found if binding is None or one.event["binding"] == binding]
            for one in wanted:
                request.wfile.write(f"id: {one.place}\nevent: prediction\ndata: {json.dumps(one.event)}\n\n".encode())
            place = found[-1].place if found else place
            quiet_turns = 0 if wanted else quiet_turns + 1
            if quiet_turns > _QUIET_TURNS:
                request.wfile.write(b":\n\n")
                quiet_turns = 0
            if len(found) < _BATCH:
                seen = self._watched.wait(seen, _WAIT_S)


def _say(request: BaseHTTPRequestHandler, status: HTTPStatus, what: str, headers: dict[str, str] | None = None) -> None:
    plain = {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}
    _send(request, status, f"{what}\n".encode(), plain)


def _send(request: BaseHTTPRequestHandler, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
