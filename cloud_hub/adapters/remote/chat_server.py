"""Owns the calls to one configured server of chat completions, by the standard library's HTTP client.

The temperature is 0, so that the same text has the same answer, as far as the server keeps that. Each call has a
connection of its own and one deadline, and is never repeated. How sure the model was is the geometric mean of its
tokens' probabilities, exp(mean(logprob)), where the server tells them.
"""

import http.client
import json
import math
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloud_hub.adapters.remote.bearer_token import read_token
from cloud_hub.adapters.remote.remote_model import RemoteModel
from cloud_hub.model_servers import ModelServerConfig
from model_packs.errors import EngineError, RunTimeoutError

MAX_ANSWER_BYTES: Final = 16 << 20

_CHUNK_BYTES: Final = 1 << 16
_SHOWN_CHARS: Final = 200
_SLOW_MEND: Final = "raise its deadline_s, lower max_tokens in the pack, or find out why the server is slow"
_LOG_MEND: Final = "look at the server's log"
_MENDS: Final = {
    401: "give [model_server] a token_file whose token the server accepts",
    403: "give [model_server] a token_file whose token the server accepts",
    404: "correct the address in hub.toml (it usually ends with /v1), or load the model on the server",
    429: "the server is full; ask it for less, or give it more room",
}


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model said.

    Attributes:
        text: The answer.
        confidence: From 0 to 1; NaN where the server tells no probabilities.
    """

    text: str
    confidence: float


class ChatServer:
    """A server that can be asked.

    Args:
        name: Its name in the configuration.
        config: How it is reached.
        root: Folder that the configuration's paths are relative to.
    """

    def __init__(self, name: str, config: ModelServerConfig, root: Path) -> None:
        self._name = name
        self._config = config
        self._root = root
        self._tls: ssl.SSLContext | None = None
        self._headers: dict[str, str] = {}

    def open(self) -> None:
        """Read the files that the configuration names; each call dials for itself.

        Raises:
            EngineError: One cannot be read, or is no certificate or key.
        """
        config = self._config
        try:
            if config.is_tls:
                self._tls = ssl.create_default_context(cafile=str(self._root / config.ca) if config.ca else None)
                if config.certificate:
                    self._tls.load_cert_chain(self._root / config.certificate, self._root / config.key)
        except OSError as error:
            raise EngineError(
                f"[model_server.{self._name}]: a certificate or key cannot be read: {error}",
                "correct the paths in hub.toml, or put the files there",
            ) from error
        if config.token_file:
            self._headers["Authorization"] = f"Bearer {read_token(self._name, self._root / config.token_file)}"

    def has_model(self, model: str) -> bool:
        """Ask whether the server lists a model.

        Args:
            model: Its name.

        Returns:
            False only if it lists others; a server without a list is believed to have it.

        Raises:
            EngineError: The server does not answer.
        """
        status, body = self._call("GET", "/models", None)
        if status == http.client.NOT_FOUND:
            return True
        listed = self._object(status, body).get("data")
        names = [one.get("id") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        return not names or model in names

    def complete(self, model: RemoteModel, text: str) -> Completion:
        """Ask for the answer to a text.

        Args:
            model: Which model, and what it is told before.
            text: The text.

        Returns:
            What the model said.

        Raises:
            RunTimeoutError: No whole answer came within the deadline.
            EngineError: The server refuses, or what it says is no completion.
        """
        messages = [{"role": "system", "content": model.system}] if model.system else []
        question: dict[str, Any] = {
            "model": model.model,
            "messages": [*messages, {"role": "user", "content": text}],
            "temperature": 0,
            "logprobs": True,
        }
        if model.max_tokens is not None:
            question["max_tokens"] = model.max_tokens
        status, body = self._call("POST", "/chat/completions", json.dumps(question).encode())
        try:
            choice = self._object(status, body)["choices"][0]
            said = choice["message"]["content"]
            tokens = (choice.get("logprobs") or {}).get("content") or []
            chances = [float(token["logprob"]) for token in tokens]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise self._error("answered with something else than a completion", _LOG_MEND) from error
        if not isinstance(said, str):
            raise self._error("answered without a text", _LOG_MEND)
        return Completion(said, confidence(chances))

    def _call(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        config = self._config
        end_s = time.monotonic() + config.deadline_s
        connection = (
            http.client.HTTPConnection(config.host, config.port, timeout=config.deadline_s)
            if self._tls is None
            else http.client.HTTPSConnection(config.host, config.port, timeout=config.deadline_s, context=self._tls)
        )
        headers = {**self._headers, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.connect()
            line = connection.sock  # the connection forgets it when the server ends it after this answer
            connection.request(method, config.path + path, body, headers)
            with connection.getresponse() as response:
                return response.status, self._read(line, response, end_s)
        except TimeoutError as error:
            raise self._late() from error
        except (OSError, http.client.HTTPException) as error:
            reason = f"cannot be asked: {str(error) or type(error).__name__}"
            raise self._error(reason, "start the server, or correct its address in hub.toml") from error
        finally:
            connection.close()

    def _read(self, line: socket.socket, response: http.client.HTTPResponse, end_s: float) -> bytes:
        """Read the body, however slowly it comes, up to the deadline and the largest size."""
        parts: list[bytes] = []
        size_bytes = 0
        while not response.isclosed():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise self._late()
            line.settimeout(left_s)
            part = response.read1(_CHUNK_BYTES)
            if not part:
                break
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > MAX_ANSWER_BYTES:
                raise self._error(f"answered with more than {MAX_ANSWER_BYTES} bytes", _LOG_MEND)
        return b"".join(parts)

    def _object(self, status: int, body: bytes) -> dict[str, Any]:
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if status != http.client.OK:
            said = found.get("error") if isinstance(found, dict) else None
            text = said.get("message") if isinstance(said, dict) else said
            shown = str(text or body[:_SHOWN_CHARS].decode("utf-8", "replace"))[:_SHOWN_CHARS]
            raise self._error(f"answered {status}: {shown}", _MENDS.get(status, _LOG_MEND))
        if not isinstance(found, dict):
            raise self._error("answered with something else than a JSON object", _LOG_MEND)
        return found

    def _late(self) -> RunTimeoutError:
        return RunTimeoutError(f"{self._config.address} had no answer within {self._config.deadline_s:g} s", _SLOW_MEND)

    def _error(self, reason: str, mend: str) -> EngineError:
        return EngineError(f"{self._config.address} {reason}", mend)


def confidence(log_probabilities: list[float]) -> float:
    """How sure a model was of a text.

    Args:
        log_probabilities: Natural logarithm of each token's probability.

    Returns:
        The geometric mean of the probabilities, exp(mean(logprob)), from 0 to 1; NaN if there are none, or one is no
        logarithm of a probability.
    """
    if not log_probabilities or not all(value <= 0.0 for value in log_probabilities):
        return math.nan
    return math.exp(math.fsum(log_probabilities) / len(log_probabilities))
