"""The HTTP listener as a process serves it: over TLS where it is told to, and gone at once when the hub stops."""

import os
import signal
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from cloud_hub.config import load_config
from cloud_hub.core.people import Role
from cloud_hub.examination.findings import State
from cloud_hub.examination.ports import examine_ports
from model_packs.process.exits import Exit
from tests.simulators.hub_people import PASSWORD, add_person
from tests.simulators.hubs import HubSite
from tests.simulators.network import LOOPBACK, free_port
from tests.simulators.processes import Process


@pytest.fixture
def site(tmp_path: Path) -> HubSite:
    """A hub on a known HTTP port."""
    site = HubSite.found(tmp_path / "hub")
    text = site.config_path.read_text()
    before, middle, after = text.partition("[http]\n")
    site.config_path.write_text(before + middle + after.replace("port = 0", f"port = {free_port()}", 1))
    return site


def with_tls(site: HubSite, certificate: str, key: str) -> None:
    """Say what HTTP is served with."""
    lines = f'[http]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    site.config_path.write_text(site.config_path.read_text().replace("[http]\n", lines))


def test_over_tls_a_login_is_kept_on_tls_and_the_doctor_finds_the_hub(
    site: HubSite, program: Callable[..., Process]
) -> None:
    """The hub's server certificate will do; the cookie is Secure; the screen and the doctor know the scheme."""
    with_tls(site, "server/server.crt", "server/server.key")
    add_person(site.config, "vera", Role.VIEWER)
    config = load_config(site.config_path)
    hub = program("cloud-hub", "serve", "--config", str(site.config_path))
    hub.wait_for_log(f"http       https://{LOOPBACK}:{config.http.port}/")
    trusted = ssl.create_default_context(cafile=str(config.folder.ca_certificate))
    with httpx.Client(base_url=f"https://{LOOPBACK}:{config.http.port}", verify=trusted) as browser:
        login = browser.post("/login", data={"name": "vera", "password": PASSWORD})
        assert "Secure" in login.headers["set-cookie"]
        assert browser.get("/api/v1/me").json()["name"] == "vera"
    found = {finding.name: finding.state for finding in examine_ports(config)}
    assert found["http port"] is State.OK


def key_pem(password: bytes | None) -> bytes:
    """A key of another certificate."""
    guard = NoEncryption() if password is None else BestAvailableEncryption(password)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, guard)


@pytest.mark.parametrize("contents", [None, b"no key", key_pem(None), key_pem(b"word")])
def test_files_that_cannot_serve_tls_are_named(
    site: HubSite, program: Callable[..., Process], contents: bytes | None
) -> None:
    """A missing, damaged, foreign or locked key ends the start with both paths and the mend; nobody is asked."""
    with_tls(site, "server/server.crt", "web.key")
    if contents is not None:
        (site.config.folder.root / "web.key").write_bytes(contents)
    hub = program("cloud-hub", "serve", "--config", str(site.config_path))
    assert hub.wait(30.0) == Exit.CONFIG
    assert "web.key" in hub.log
    assert "mend: give a certificate" in hub.log


def test_a_hub_stops_at_once_with_pages_open(site: HubSite, program: Callable[..., Process]) -> None:
    """A page's stream ends whole on SIGTERM, and the hub does not wait for it."""
    token = add_person(site.config, "vera", Role.VIEWER)
    config = load_config(site.config_path)
    hub = program("cloud-hub", "serve", "--config", str(site.config_path))
    hub.wait_for_log("http       http://")
    lines: list[str] = []
    opened, ended = threading.Event(), threading.Event()

    def listen() -> None:
        address = f"http://{LOOPBACK}:{config.http.port}/live?topics=fleet"
        with httpx.stream("GET", address, headers={"Authorization": f"Bearer {token}"}, timeout=60.0) as stream:
            for line in stream.iter_lines():
                lines.append(line)
                opened.set()
        ended.set()  # not reached when the stream is cut off instead of ended

    page = threading.Thread(target=listen)
    page.start()
    assert opened.wait(30.0)
    os.kill(hub.pid, signal.SIGTERM)
    assert hub.wait(30.0) == Exit.OK
    page.join(30.0)
    assert lines[0].startswith("retry:")
    assert ended.is_set()
