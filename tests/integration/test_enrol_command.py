"""`edge-agent enrol` as a new user meets it: a real hub, real TLS, every refusal with its mend and exit code."""

import itertools
import stat
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from edge_agent.adapters.grpc.enrolment import WAITING_KEY_FILE, enrol
from edge_agent.errors import EnrolmentError, HubError
from protos.link.identity import CHAIN_FILE, KEY_FILE, DeviceIdentity
from protos.link.tokens import JoinToken
from protos.status import Status
from tests.simulators.network import LOOPBACK, free_port
from tests.simulators.processes import installed_program, run_to_end
from tests.simulators.site import BINDING, EDGE_PACK, SITE_NAME, Hub, command, found_hub

NUMBERS = itertools.count(1)

BINDINGS = f"""
[mqtt.site]
url = "mqtt://{LOOPBACK}:1"

[[binding]]
name = "{BINDING}"
broker = "site"
pack = "PACK"
topic = "plant/{{machine}}/raw"
partition = ["machine"]

[binding.payload]
rate_hz = 5

[binding.window]
size_s = 1.0
hop_s = 1.0

[binding.result]
topic = "plant/{{machine}}/inference"
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One running hub with the tiny packs."""
    made = Hub(tmp_path_factory.mktemp("hub"), found_hub(tmp_path_factory.mktemp("founded")))
    made.prepare()
    made.start()
    yield made
    made.process.kill()


class Device:
    """A folder with the two files of an agent, and its enrol command."""

    def __init__(self, folder: Path, address: str, enrol_address: str, pack: str = EDGE_PACK) -> None:
        self.name = f"press-{next(NUMBERS)}"
        self.folder = folder
        self.config = folder / "agent.toml"
        self.identity = folder / "state" / "identity"
        folder.mkdir(exist_ok=True)
        self.config.write_text(
            f'[device]\nid = "{self.name}"\n[hub]\naddress = "{address}"\nenrol_address = "{enrol_address}"\n'
        )
        (folder / "bindings.toml").write_text(BINDINGS.replace("PACK", pack))

    def enrol(self, *options: str) -> CompletedProcess[str]:
        """Run the command."""
        return run_to_end(
            [installed_program("edge-agent"), "enrol", "--config", str(self.config), *options], cwd=self.folder
        )


def device_of(hub: Hub, folder: Path, pack: str = EDGE_PACK) -> Device:
    """A device that knows the right addresses."""
    return Device(folder, f"{LOOPBACK}:{hub.ports.grpc}", f"{LOOPBACK}:{hub.ports.enrolment}", pack)


def test_a_token_becomes_an_identity_and_the_packs(hub: Hub, tmp_path: Path) -> None:
    """The key is private, the name comes from the certificate, the pack is here and verified."""
    device = device_of(hub, tmp_path)
    done = device.enrol("--token", hub.token())
    assert done.returncode == 0, done.stderr
    identity = DeviceIdentity.load(device.identity)
    assert (identity.spiffe.site, identity.spiffe.device) == (SITE_NAME, device.name)
    assert stat.S_IMODE((device.identity / KEY_FILE).stat().st_mode) == 0o600
    assert not (device.identity / WAITING_KEY_FILE).exists()
    assert identity.spiffe.uri in done.stdout
    assert f"{EDGE_PACK} (sha256:" in done.stdout
    assert "fetched, signature checked" in done.stdout


def test_a_token_may_come_from_a_file(hub: Hub, tmp_path: Path) -> None:
    """White space around it does not matter."""
    device = device_of(hub, tmp_path)
    (tmp_path / "token").write_text(f"\n{hub.token()}\n")
    assert device.enrol("--token-file", str(tmp_path / "token")).returncode == 0


def test_an_enrolled_device_says_so_and_stays(hub: Hub, tmp_path: Path) -> None:
    """A second run needs no token, changes nothing and exits 0; --force wants a token and replaces the identity."""
    device = device_of(hub, tmp_path)
    device.enrol("--token", hub.token())
    before = (device.identity / CHAIN_FILE).read_bytes()
    again = device.enrol()
    assert again.returncode == 0
    assert "already enrolled (--force replaces it)" in again.stdout
    assert "is here, signature checked" in again.stdout
    assert (device.identity / CHAIN_FILE).read_bytes() == before
    assert device.enrol("--force").returncode == 64


def test_force_replaces_the_identity(hub: Hub, tmp_path: Path) -> None:
    """With a token that is bound to this device's name, which may replace its key."""
    device = device_of(hub, tmp_path)
    device.enrol("--token", hub.token())
    before = (device.identity / KEY_FILE).read_bytes()
    options = ["--site", SITE_NAME, "--device", device.name, "--config", str(hub.config)]
    token = command("cloud-hub", "tokens", "create", *options, cwd=tmp_path).strip().splitlines()[-1]
    done = device.enrol("--force", "--token", token)
    assert done.returncode == 0, done.stderr
    assert (device.identity / KEY_FILE).read_bytes() != before


def test_a_used_up_token_is_named(hub: Hub, tmp_path: Path) -> None:
    """The second device with a token for one ends in 65 and is told how to get another."""
    token = hub.token()
    device_of(hub, tmp_path / "one").enrol("--token", token)
    second = device_of(hub, tmp_path / "two")
    done = second.enrol("--token", token)
    assert done.returncode == 65
    assert "is used up" in done.stderr
    assert done.stderr.count("cloud-hub tokens create") == 1
    assert not (second.identity / CHAIN_FILE).exists()


def test_an_expired_token_is_named(hub: Hub, tmp_path: Path) -> None:
    """Its time is over the moment that it is made."""
    options = ["--site", SITE_NAME, "--ttl-h", "0.0000001", "--config", str(hub.config)]
    token = command("cloud-hub", "tokens", "create", *options, cwd=tmp_path).strip().splitlines()[-1]
    done = device_of(hub, tmp_path).enrol("--token", token)
    assert done.returncode == 65
    assert "has expired" in done.stderr


def test_an_unknown_token_is_refused(hub: Hub, tmp_path: Path) -> None:
    """The hub does not say whether id or secret is wrong."""
    real = JoinToken.parse(hub.token())
    done = device_of(hub, tmp_path).enrol("--token", JoinToken(real.token_id, "x" * 43, real.ca_pem).encode())
    assert done.returncode == 65
    assert "not known" in done.stderr


def test_a_damaged_token_is_named_before_anything_is_sent(hub: Hub, tmp_path: Path) -> None:
    """Cut in the middle, or no token at all."""
    device = device_of(hub, tmp_path)
    for text in (hub.token()[:100], "letmein"):
        done = device.enrol("--token", text)
        assert done.returncode == 65
        assert "token" in done.stderr
        assert "mend: make a new one" in done.stderr


def test_a_token_of_another_hub_is_named(hub: Hub, tmp_path: Path) -> None:
    """Its authority did not sign this hub's certificate: nothing is sent, exit 78."""
    command("cloud-hub", "init", str(tmp_path / "other"), cwd=tmp_path)
    options = ["--site", SITE_NAME, "--config", str(tmp_path / "other" / "hub.toml")]
    token = command("cloud-hub", "tokens", "create", *options, cwd=tmp_path).strip().splitlines()[-1]
    done = device_of(hub, tmp_path / "device").enrol("--token", token)
    assert done.returncode == 78, done.stderr
    assert "another authority" in done.stderr
    assert f"{LOOPBACK}:{hub.ports.enrolment}" in done.stderr


def test_a_hub_that_is_away_is_named(hub: Hub, tmp_path: Path) -> None:
    """Exit 69, with the address and what to start."""
    port = free_port()
    done = Device(tmp_path, f"{LOOPBACK}:{port}", f"{LOOPBACK}:{port}").enrol("--token", hub.token())
    assert done.returncode == 69
    assert f"nothing listens at hub {LOOPBACK}:{port}" in done.stderr
    assert "cloud-hub serve" in done.stderr
    assert "correct hub.enrol_address" in done.stderr


def test_the_wrong_port_is_told_as_such(hub: Hub, tmp_path: Path) -> None:
    """The device services want a certificate that this device cannot have yet."""
    address = f"{LOOPBACK}:{hub.ports.grpc}"
    done = Device(tmp_path, address, address).enrol("--token", hub.token())
    assert done.returncode == 69
    assert "hub.enrol_address must be the hub's enrolment port (8444" in done.stderr
    assert "again" not in done.stderr


def test_a_token_file_that_is_not_there_is_named(hub: Hub, tmp_path: Path) -> None:
    """In words, without a number of the system."""
    done = device_of(hub, tmp_path).enrol("--token-file", "nofile")
    assert done.returncode == 65
    assert "error: token file nofile: no such file" in done.stderr


def damage(device: Device) -> Path:
    """Change one byte of a blob in the device's store."""
    blobs = device.folder / "state" / "packs" / "blobs" / "sha256"
    blob = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    return blob


def test_a_damaged_blob_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    """Without a token; the damage is told and gone afterwards."""
    device = device_of(hub, tmp_path)
    device.enrol("--token", hub.token())
    blob = damage(device)
    healed = device.enrol()
    assert healed.returncode == 0, healed.stderr
    assert "fetched, signature checked" in healed.stdout
    assert blob.name in healed.stdout
    assert "is here, signature checked" in device.enrol().stdout


def test_what_is_damaged_at_the_hub_is_mended_at_the_hub(tmp_path: Path) -> None:
    """The device names the hub's own command."""
    (tmp_path / "founded").mkdir()
    hurt = Hub(tmp_path, found_hub(tmp_path / "founded"))
    hurt.prepare()
    for blob in (hurt.folder / "packs" / "blobs" / "sha256").iterdir():
        data = blob.read_bytes()
        if not data.startswith(b"{"):
            blob.chmod(0o644)
            blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    hurt.process.start()
    try:
        done = device_of(hurt, tmp_path / "device").enrol("--token", hurt.token())
    finally:
        hurt.process.kill()
    assert done.returncode == 65, done.stderr
    assert "came as other bytes" in done.stderr
    assert "`cloud-hub doctor` on the hub" in done.stderr


def test_a_pack_that_the_hub_does_not_have_is_named(hub: Hub, tmp_path: Path) -> None:
    """The identity stays, so that only the packs are fetched by the next run."""
    device = device_of(hub, tmp_path, "nosuch@1.0.0")
    done = device.enrol("--token", hub.token())
    assert done.returncode == 65
    assert "has no pack nosuch@1.0.0" in done.stderr
    assert (device.identity / CHAIN_FILE).exists()


def test_without_a_hub_there_is_nobody_to_enrol_with(tmp_path: Path) -> None:
    """The table is named; a lonely device needs none."""
    device = Device(tmp_path, "x:1", "x:1")
    device.config.write_text(f'[device]\nid = "{device.name}"\n')
    done = device.enrol("--token", "tandem1.x")
    assert done.returncode == 78
    assert "no [hub]" in done.stderr


def test_a_lost_answer_is_repeated_with_the_same_key(hub: Hub, tmp_path: Path) -> None:
    """The key is on disk before the call, so that a token for one use gives the same device once more."""
    token = JoinToken.parse(hub.token())
    folder, name = tmp_path / "identity", f"press-{next(NUMBERS)}"
    with pytest.raises(HubError):
        enrol(f"{LOOPBACK}:{free_port()}", token, name, folder, "0.1.0")
    waiting = (folder / WAITING_KEY_FILE).read_bytes()
    enrol(f"{LOOPBACK}:{hub.ports.enrolment}", token, name, folder, "0.1.0")
    assert (folder / KEY_FILE).read_bytes() == waiting
    (folder / CHAIN_FILE).unlink()
    (folder / KEY_FILE).rename(folder / WAITING_KEY_FILE)  # as if the answer had never come
    identity = enrol(f"{LOOPBACK}:{hub.ports.enrolment}", token, name, folder, "0.1.0")
    assert identity.key_pem == waiting


def test_a_name_that_another_device_has_is_refused(hub: Hub, tmp_path: Path) -> None:
    """Whoever comes second keeps nothing but its waiting key."""
    name = f"press-{next(NUMBERS)}"
    address = f"{LOOPBACK}:{hub.ports.enrolment}"
    enrol(address, JoinToken.parse(hub.token()), name, tmp_path / "one", "0.1.0")
    with pytest.raises(EnrolmentError) as failure:
        enrol(address, JoinToken.parse(hub.token()), name, tmp_path / "two", "0.1.0")
    assert failure.value.status is Status.ALREADY_EXISTS
    assert not (tmp_path / "two" / CHAIN_FILE).exists()
