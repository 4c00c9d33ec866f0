"""What a failed call to the hub means."""

from pathlib import Path

import grpc
import pytest

from edge_agent.adapters.grpc.dialling import LoopbackPlain, MutualTls, explained
from edge_agent.errors import HubError
from protos.status import Status
from tests.simulators.clocks import SystemClock


class Failure(grpc.RpcError):
    """A call that failed with a code and a text."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        """The code."""
        return self._code

    def details(self) -> str:
        """The text."""
        return self._details


@pytest.mark.parametrize(
    ("code", "said", "thing", "mend"),
    [
        ("UNAVAILABLE", "connect failed: Connection refused (111)", "nothing listens", "cloud-hub serve"),
        ("UNAVAILABLE", "SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: ...", "is not accepted", "name that stands"),
        ("UNAVAILABLE", "SSL: WRONG_VERSION_NUMBER", "does not speak TLS", "--insecure"),
        ("UNAVAILABLE", "DNS resolution failed for hub.lan:8443", "does not resolve", "DNS"),
        (
            "UNAVAILABLE",
            "errors resolving hub.lan:8443: [field:hostname lookup error:address lookup failed: Domain name not found]",
            "does not resolve",
            "check hub.address",
        ),
        ("UNAVAILABLE", "Hostname Verification Check failed.", "is not accepted", "name that stands"),
        ("UNAVAILABLE", "Socket closed", "closed the connection", "edge-agent enrol --force"),
        ("UNAVAILABLE", "something new", "cannot be reached: something new", "firewall"),
        ("PERMISSION_DENIED", "device press-07 is removed", "press-07 is removed", "--force"),
        ("UNAUTHENTICATED", "unknown", "refuses this device", "--force"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "in time", "cloud-hub doctor"),
        ("FAILED_PRECONDITION", "wire version 2", "wire version 2", "same release"),
        ("INTERNAL", "boom", "INTERNAL: boom", "log"),
    ],
)
def test_each_failure_names_hub_thing_and_mend(code: str, said: str, thing: str, mend: str) -> None:
    """The words of gRPC become words for a person."""
    error = explained("hub.lan:8443", Failure(grpc.StatusCode[code], said))
    assert "hub.lan:8443" in error.message
    assert thing in error.message
    assert mend in error.mend
    assert error.status is Status[code]


def test_plain_text_never_leaves_the_machine() -> None:
    """An address that is not on loopback is refused before anything is sent."""
    with pytest.raises(HubError, match="loopback") as failure:
        LoopbackPlain("10.0.0.7:8443", "press-07").dial()
    assert "hub.insecure" in failure.value.mend


def test_without_an_identity_nothing_is_dialled(tmp_path: Path) -> None:
    """The mend says to enrol."""
    with pytest.raises(HubError) as failure:
        MutualTls("hub.lan:8443", tmp_path, SystemClock()).dial()
    assert "edge-agent enrol" in failure.value.mend
