"""Owns the calls to one configured Open Inference Protocol server: channel, TLS, token, deadline, meaning of errors.

A call is made once and never repeated here: whoever asked knows whether the answer is still wanted.
"""

from pathlib import Path
from typing import Any, Final

import grpc

from cloud_hub.adapters.remote.bearer_token import read_token
from cloud_hub.model_servers import ModelServerConfig
from model_packs.errors import EngineError, RunTimeoutError
from protos.oip.methods import MAX_MESSAGE_BYTES, METHODS

# No keepalive: servers that are not ours end connections that ping. The deadline finds a dead one.
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]

_IDENTITY_MEND: Final = "give [model_server] a token_file whose token the server accepts"
_MENDS: Final = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "raise its deadline_s, or find out why the server is slow",
    grpc.StatusCode.INVALID_ARGUMENT: "compare the pack's inputs with the model that the server has loaded",
    grpc.StatusCode.NOT_FOUND: "load the model on the server, or correct model and version in the pack",
    grpc.StatusCode.PERMISSION_DENIED: _IDENTITY_MEND,
    grpc.StatusCode.UNAUTHENTICATED: _IDENTITY_MEND,
    grpc.StatusCode.UNAVAILABLE: "start the server, or correct its address in hub.toml",
}
_OTHER_MEND: Final = "look at the server's log"
_METHODS: Final = {method.name: method for method in METHODS}


class OipServer:
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
        self._channel: grpc.Channel | None = None
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._calls: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """Where it is."""
        return self._config.address

    def open(self) -> None:
        """Make the channel; gRPC dials with the first call.

        Raises:
            EngineError: A file that the configuration names cannot be read.
        """
        config = self._config
        if config.token_file:
            token = read_token(self._name, self._root / config.token_file)
            self._metadata = (("authorization", f"Bearer {token}"),)
        if config.is_tls:
            authority, key, chain = (
                self._read(path) if path else None for path in (config.ca, config.key, config.certificate)
            )
            credentials = grpc.ssl_channel_credentials(authority, key, chain)
            self._channel = grpc.secure_channel(config.target, credentials, options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(config.target, options=_OPTIONS)

    def ask(self, method: str, request: Any) -> Any:  # noqa: ANN401 - generated messages, by method
        """Call once.

        Args:
            method: Name of a unary method of the protocol.
            request: Its request.

        Returns:
            Its answer.

        Raises:
            RunTimeoutError: None came within the deadline.
            EngineError: The server refuses, or cannot be reached; says which, and the mend.
        """
        try:
            return self._call(method)(request, timeout=self._config.deadline_s, metadata=self._metadata)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or "no details"
            reason = f"{method} at {self.address} ended with {code.name}: {details}"
            kind = RunTimeoutError if code is grpc.StatusCode.DEADLINE_EXCEEDED else EngineError
            raise kind(reason, _MENDS.get(code, _OTHER_MEND)) from error

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        self._calls.clear()
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _call(self, name: str) -> Any:  # noqa: ANN401 - gRPC's callables have no common type
        if name not in self._calls:
            if self._channel is None:
                raise EngineError(f"{self.address} is not dialled", "call open() first")
            method = _METHODS[name]
            self._calls[name] = self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return self._calls[name]

    def _read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise EngineError(
                f"[model_server.{self._name}]: {self._root / path} cannot be read: {error.strerror}",
                "correct the path in hub.toml, or put the file there",
            ) from error
