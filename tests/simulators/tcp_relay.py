"""Owns a bad network: a TCP relay on 127.0.0.1 whose connections can be cut, or swallow everything."""

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from tests.simulators.network import LOOPBACK

_CHUNK_BYTES = 65_536
_POLL_S = 0.02


class TcpRelay:
    """Passes bytes between whoever connects to ``port`` and ``target_port``; use it as a context manager."""

    host = LOOPBACK

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server = socket.create_server((LOOPBACK, 0))
        self.port: int = self._server.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._frozen = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tcp-relay")

    def __enter__(self) -> Self:
        """Start relaying."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """End every connection and free the port."""
        self._closed.set()
        self._thread.join()
        self.cut()
        self._selector.close()
        self._server.close()

    def cut(self) -> None:
        """Close every connection at both ends, as a router does that was restarted."""
        with self._lock:
            for one in list(self._peers):
                self._drop(one)

    def freeze(self) -> None:
        """Keep every connection open and pass nothing more, as a cable does that was pulled."""
        self._frozen.set()

    def thaw(self) -> None:
        """Pass bytes again; those that came in between are passed too."""
        self._frozen.clear()

    def passes(self, data: bytes) -> bool:
        """Whether these bytes reach the other end; a subclass swallows what it likes."""
        del data
        return True

    def _run(self) -> None:
        while not self._closed.is_set():
            if self._frozen.is_set():
                self._closed.wait(_POLL_S)
                continue
            for key, _ in self._selector.select(_POLL_S):
                with self._lock:
                    self._serve(key.fileobj)

    def _serve(self, ready: object) -> None:
        if ready is self._server:
            self._join_up(self._server.accept()[0])
        elif isinstance(ready, socket.socket) and ready in self._peers:
            try:
                data = ready.recv(_CHUNK_BYTES)
                if data:
                    if self.passes(data):
                        self._peers[ready].sendall(data)
                    return
            except OSError:
                pass
            self._drop(ready)

    def _join_up(self, client: socket.socket) -> None:
        try:
            target = socket.create_connection((LOOPBACK, self._target_port))
        except OSError:
            client.close()
            return
        self._peers[client], self._peers[target] = target, client
        self._selector.register(client, selectors.EVENT_READ)
        self._selector.register(target, selectors.EVENT_READ)

    def _drop(self, one: socket.socket) -> None:
        other = self._peers.pop(one, None)
        if other is None:
            return
        self._peers.pop(other, None)
        for end in (one, other):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()
