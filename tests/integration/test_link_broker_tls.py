"""The MQTT adapter over TLS: a broker with a certificate, the right authority, the wrong one, and none."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_agent.adapters.mqtt.failures import LinkFailure
from edge_agent.broker_settings import BrokerSettings, TlsFiles
from edge_agent.examination.brokers import look_at
from tests.simulators.brokers import Mosquitto
from tests.simulators.network import LOOPBACK, free_port, is_listening
from tests.simulators.waiting import wait_until


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


class TlsBroker:
    """A mosquitto with a TLS listener beside its plain one."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.authority, key = write_certificate(folder, "broker")
        config = f"listener {self.port} {LOOPBACK}\ncertfile {self.authority}\nkeyfile {key}\nallow_anonymous true\n"
        self.plain = Mosquitto(folder, config=config)

    def settings(self, *, ca: Path | None, scheme: str = "mqtts", port: int | None = None) -> BrokerSettings:
        """How to reach it."""
        return BrokerSettings(
            name="plant",
            url=f"{scheme}://{LOOPBACK}:{self.port if port is None else port}",
            client_id="edge-press-07",
            status_topic="edge/press-07/status",
            tls=TlsFiles(ca=ca),
        )


@pytest.fixture
def broker(run_folder: Path) -> Iterator[TlsBroker]:
    """It, running."""
    made = TlsBroker(run_folder)
    made.plain.start()
    wait_until(lambda: is_listening(made.port), 10, "the TLS listener")
    yield made
    made.plain.kill()


def test_the_right_authority_lets_us_in(broker: TlsBroker) -> None:
    """MQTT 5 over TLS."""
    assert look_at(broker.settings(ca=broker.authority)).status is None


def test_the_wrong_authority_is_named(broker: TlsBroker, tmp_path: Path) -> None:
    """The mend is tls.ca."""
    other, _ = write_certificate(tmp_path, "other")
    with pytest.raises(LinkFailure, match="certificate that is not accepted") as failure:
        look_at(broker.settings(ca=other))
    assert "tls.ca" in failure.value.mend


def test_tls_to_a_plain_port_is_named(broker: TlsBroker) -> None:
    """mqtts:// where mqtt:// listens."""
    with pytest.raises(LinkFailure) as failure:
        look_at(broker.settings(ca=broker.authority, port=broker.plain.port))
    assert f"mqtts://{LOOPBACK}:{broker.plain.port}" in failure.value.message
    assert "mqtt://" in failure.value.mend or "address" in failure.value.mend


def test_plain_text_to_a_tls_port_is_named(broker: TlsBroker) -> None:
    """mqtt:// where mqtts:// listens."""
    with pytest.raises(LinkFailure) as failure:
        look_at(broker.settings(ca=None, scheme="mqtt"))
    assert "mqtts://" in failure.value.mend


def test_an_authority_file_that_is_none_is_named(broker: TlsBroker, tmp_path: Path) -> None:
    """The key and the path."""
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(LinkFailure, match=r"tls\.ca = .*ca\.pem cannot be used"):
        look_at(broker.settings(ca=tmp_path / "ca.pem"))
