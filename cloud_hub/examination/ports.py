"""Owns the doctor's look at the ports: does this hub listen on them, and if it does not run, are they free."""

import socket
import ssl
from collections.abc import Iterator
from http import client

from cloud_hub.adapters.http.web import NAME
from cloud_hub.config import HttpConfig, HubConfig
from cloud_hub.examination.findings import Finding, failed, ok

_HTTP_TIMEOUT_S = 2.0


def examine_ports(config: HubConfig) -> Iterator[Finding]:
    """Try every port that the hub binds.

    Args:
        config: Names them.
    """
    is_running = _answers(config.http)
    for name, host, port in (
        ("device port", config.grpc.host, config.grpc.port),
        ("enrolment port", config.grpc.host, config.grpc.enrolment_port),
        ("http port", config.http.host, config.http.port),
    ):
        yield _examine(name, host, port, is_running=is_running)


def _examine(name: str, host: str, port: int, *, is_running: bool) -> Finding:
    if port == 0:
        return ok(name, "a free one is taken at start")
    if is_running:
        if _is_open(host, port):
            return ok(name, f"the hub listens on {port}")
        return failed(name, f"the hub runs, but nobody listens on {port}", "restart the hub")
    if _is_free(host, port):
        return ok(name, f"{port} is free")
    return failed(name, f"another program listens on {port}", "stop it, or change the port in hub.toml")


def _answers(http: HttpConfig) -> bool:
    """Whether a hub serves its HTTP app there; who it is does not matter, so its certificate is not verified."""
    if http.port == 0:
        return False
    connection = _connection(http)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().getheader("Server") == NAME
    except (OSError, client.HTTPException):
        return False
    finally:
        connection.close()


def _connection(http: HttpConfig) -> client.HTTPConnection:
    host = _dialled(http.host)
    if not http.certificate:
        return client.HTTPConnection(host, http.port, timeout=_HTTP_TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return client.HTTPSConnection(host, http.port, timeout=_HTTP_TIMEOUT_S, context=context)


def _is_open(host: str, port: int) -> bool:
    try:
        with socket.create_connection((_dialled(host), port), timeout=_HTTP_TIMEOUT_S):
            return True
    except OSError:
        return False


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return True
    except OSError:
        return False


def _dialled(host: str) -> str:
    """The address under which this machine reaches a listener that binds `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
