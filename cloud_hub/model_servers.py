"""Owns the settings of model servers: other machines that run what a hub pack describes (`[model_server.NAME]`).

A pack is signed and says which model it means; where that model runs is this hub's business, and stands here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from model_packs.process.settings import setting

_SCHEMES = {"oip": ("grpc", "grpcs"), "openai": ("http", "https")}
_TLS = ("grpcs", "https")
_PORTS = {"grpc": 8001, "grpcs": 8001, "http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServerConfig:
    """A server of full models beside this hub."""

    engine: Literal["oip", "openai"] = setting(
        doc="oip: Open Inference Protocol over gRPC (Triton, KServe, MLServer); openai: chat completions (vLLM).",
        example="oip",
    )
    address: str = setting(
        doc="Where it is: grpc://HOST:PORT or grpcs://HOST:PORT (TLS); for openai http://HOST:PORT/v1 or https://...",
        example="grpcs://triton.example:8001",
    )
    packs: tuple[str, ...] = setting((), doc="Names of the hub packs that it runs; none: all packs of its engine.")
    deadline_s: float = setting(10.0, doc="How long one run may take, in seconds. No run is repeated.")
    ca: str = setting("", doc="Authority of its certificate (PEM), relative to state_dir. Empty: the public ones.")
    certificate: str = setting("", doc="Certificate that the hub shows it (PEM), relative to state_dir.")
    key: str = setting("", doc="Its private key (PEM).")
    token_file: str = setting("", doc="File with a bearer token, relative to state_dir.")

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        schemes = _SCHEMES[self.engine]
        try:
            parts = urlsplit(self.address)
            is_whole = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_whole = False
        if not is_whole:
            yield "address", f'expected {schemes[0]}://HOST:PORT or {schemes[1]}://HOST:PORT, found "{self.address}"'
        elif not self.is_tls and (self.ca or self.certificate or self.key):
            yield "address", f"ca, certificate and key belong to {schemes[1]}://"
        if bool(self.certificate) != bool(self.key):
            missing = "key" if self.certificate else "certificate"
            yield missing, "certificate and key go together: give both, or neither"
        if self.deadline_s <= 0:
            yield "deadline_s", "expected more than 0"

    @property
    def is_tls(self) -> bool:
        """It is reached over TLS."""
        return self._parts.scheme in _TLS

    @property
    def host(self) -> str:
        """Its host name or IP address, without brackets."""
        return self._parts.hostname or ""

    @property
    def port(self) -> int:
        """Its port; the scheme's usual one where none is given."""
        return self._parts.port or _PORTS[self._parts.scheme]

    @property
    def path(self) -> str:
        """The path in the address, without a slash at its end."""
        return self._parts.path.rstrip("/")

    @property
    def target(self) -> str:
        """Host and port as gRPC takes them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.address)
