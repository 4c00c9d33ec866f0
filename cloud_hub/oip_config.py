"""Owns the settings of inference for other programs: where the protocol is served, and within which bounds."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from model_packs.process.settings import setting

_MAX_PORT = 65535
_MAX_CALLS = 65536


@dataclass(frozen=True, slots=True)
class OipConfig:
    """Where programs infer by the Open Inference Protocol v2, with the clients of Triton and KServe."""

    enabled: bool = setting(default=False, doc="Serve the full models to other programs.")
    host: str = setting(
        "127.0.0.1",
        doc="IP address of both ports. On loopback: plain text, anybody on this machine may infer. Elsewhere: TLS with "
        "the hub's own certificate, and every call needs an API token (`cloud-hub people token NAME`).",
    )
    grpc_port: int = setting(8001, doc="Port of the gRPC form. 0 takes a free one.")
    http_port: int = setting(8000, doc="Port of the REST form. 0 takes a free one.")
    max_calls: int = setting(1024, doc="gRPC inferences at once, open streams included; more are refused.")

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            yield "host", f'expected an IP address such as "127.0.0.1" or "0.0.0.0", found "{self.host}"'
        for key in ("grpc_port", "http_port"):
            if not 0 <= getattr(self, key) <= _MAX_PORT:
                yield key, f"expected 0 to {_MAX_PORT}"
        if self.grpc_port and self.grpc_port == self.http_port:
            yield "http_port", "the same as grpc_port: each form needs its own"
        if not 1 <= self.max_calls <= _MAX_CALLS:
            yield "max_calls", f"expected 1 to {_MAX_CALLS}"
