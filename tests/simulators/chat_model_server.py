"""Owns a small server of chat completions on 127.0.0.1: it repeats what it is asked, in capitals, or misbehaves."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "loud-1b"


class ChatModelServer:
    """What the server does, and what it was asked.

    Attributes:
        asked: Bodies of the completions that were asked for.
        headers: Their headers.
        logprobs: Log probabilities of each answer's tokens; None: it tells none.
        reply: Status and body in the place of a completion.
        drips: It sends a byte of its answer, and the rest when `may_answer` is set.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.logprobs: list[float] | None = [-0.1, -0.3]
        self.models: list[str] | None = [MODEL]
        self.reply: tuple[int, bytes] | None = None
        self.drips = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    @contextmanager
    def running(self) -> Iterator[int]:
        """Serve on a free port; gives the port."""
        behaviour = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if behaviour.models is None:
                    self._answer(404, b"{}")
                else:
                    data = {"data": [{"id": name} for name in behaviour.models]}
                    self._answer(200, json.dumps(data).encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                behaviour.asked.append({"path": self.path, **body})
                behaviour.headers.append(dict(self.headers.items()))
                if not behaviour.drips:
                    assert behaviour.may_answer.wait(60), "the test never let the server answer"
                self._answer(*(behaviour.reply or (200, behaviour.completion(body))))

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if behaviour.drips:
                    self.wfile.write(body[:1])
                    assert behaviour.may_answer.wait(60), "the test never let the server answer"
                self.wfile.write(body[1:] if behaviour.drips else body)

            def log_message(self, *_arguments: object) -> None:
                """Stay silent."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            self.may_answer.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def completion(self, asked: dict[str, Any]) -> bytes:
        """Answer in capitals."""
        tokens = None if self.logprobs is None else {"content": [{"logprob": value} for value in self.logprobs]}
        message = {"role": "assistant", "content": asked["messages"][-1]["content"].upper()}
        return json.dumps({"choices": [{"message": message, "logprobs": tokens}]}).encode()
