"""Owns the agent's configuration: the declarations behind `agent.toml`, loading both files, and the environment.

The only module of the agent that reads the environment. All problems of both files are told at once. The declarations
behind `[outbox]` and `[budget]` are `bounds_config.py`, those behind `bindings.toml` `binding_config.py`.
"""

import math
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, TypeVar

from edge_agent.binding_config import BindingsConfig
from edge_agent.bounds_config import BudgetConfig, OutboxConfig
from edge_agent.core.outbox import OnFull
from edge_agent.value_rules import Problems
from model_packs.engines.options import DEFAULT_PROVIDERS, DEFAULT_RUN_LIMIT_S, provider_problems
from model_packs.process.settings import Problem, SettingsError, load_toml, sample_toml, setting
from model_packs.process.toml_lines import KeyLines
from protos.link.identity import is_name

ENVIRONMENT_KEY = "EDGE_AGENT_CONFIG"
"""Path of agent.toml when the command line names none."""

DEFAULT_PATH = Path("/etc/tandem/agent.toml")
AGENT_FILE = "agent.toml"
BINDINGS_FILE = "bindings.toml"

_ENROLMENT_PORT = 8444
_MAX_PORT = 65_535
_MAX_THREADS = 64
_MAX_WAITERS = 256
_MIN_MESSAGE_BYTES = 4 << 10
_MAX_MESSAGE_BYTES = 512 << 20

_ConfigT = TypeVar("_ConfigT")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `host:port`; an IPv6 host stands in brackets.

        Raises:
            ValueError: It has another form.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or any(c in host for c in "/ @") or not (port.isascii() and port.isdigit()):
            raise ValueError(f"expected host:port, found {text!r}")
        if int(port) > _MAX_PORT:
            raise ValueError(f"expected a port up to {_MAX_PORT}, found {port}")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine's own."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """Who this device is, and where it keeps its state."""

    id: str = setting(
        doc="Name of this device, unique in its site. Fixed by enrolment. Part of every prediction's id.",
        example="press-07",
    )
    state_dir: Path = setting(
        Path("state"), doc="Folder of the device's identity, packs, journal and outbox; made if it is not there."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        if not is_name(self.id):
            yield "id", "expected 1 to 64 lower-case letters, digits, '.', '_', '-', a letter or digit first and last"

    @property
    def identity_dir(self) -> Path:
        """Where enrolment leaves the device's identity."""
        return self.state_dir / "identity"

    @property
    def packs_dir(self) -> Path:
        """The store of verified packs."""
        return self.state_dir / "packs"

    @property
    def engines_dir(self) -> Path:
        """What engines build from graphs; it may be removed while the agent is stopped."""
        return self.state_dir / "engines"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """The central hub. Without this table the device works alone, for ever."""

    address: str = setting(doc="host:port of the hub's device services.", example="localhost:8443")
    enrol_address: str = setting(
        "", doc="host:port of its enrolment service. Empty: the same host, port 8444.", example="localhost:8444"
    )
    insecure: bool = setting(
        default=False,
        doc="Talk without TLS and without an identity. For tests on this machine only: address must be loopback.",
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        yield from _address_problems("address", self.address)
        if self.enrol_address:
            yield from _address_problems("enrol_address", self.enrol_address)
        if self.insecure and not _is_loopback(self.address):
            yield "insecure", f"{self.address} is not on this machine: data would travel in the clear"

    @property
    def services(self) -> Address:
        """Where the device services are."""
        return Address.parse(self.address)

    @property
    def enrolment(self) -> Address:
        """Where the enrolment service is."""
        return Address.parse(self.enrol_address or str(Address(self.services.host, _ENROLMENT_PORT)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PacksConfig:
    """Which packs may run, and what a new one must show first."""

    trusted_keys: tuple[Path, ...] = setting(
        (),
        doc="Public keys (PEM, Ed25519) whose signature a pack may carry, beside the site key that enrolment pins. "
        "Needed on a device without a hub.",
        example=("site.pub",),
    )
    bake_s: float = setting(
        60.0,
        doc="How long a new pack answers on trial before it is committed, in seconds; the old one stays till then.",
    )
    probe_timeout_s: float = setting(
        60.0, doc="How long a new pack may take to load and to answer its golden inputs, in a process of its own."
    )
    keep_free_bytes: int = setting(
        64 << 20, doc="Space that fetching a pack leaves free on the disk, in bytes; a pack that needs it waits."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        for index, path in enumerate(self.trusted_keys):
            if not path.is_file():
                yield f"trusted_keys[{index}]", f"no such file: {path}"
        for key, value in (("bake_s", self.bake_s), ("probe_timeout_s", self.probe_timeout_s)):
            if not 0 < value < math.inf:
                yield key, "expected more than 0"
        if self.keep_free_bytes < 0:
            yield "keep_free_bytes", "expected 0 or more"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Where metrics and health are served."""

    listen: str = setting(
        "127.0.0.1:9464", doc="host:port of /metrics, /livez and /readyz. There is no login. Port 0 takes a free one."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        yield from _address_problems("listen", self.listen)

    @property
    def address(self) -> Address:
        """The same, parsed."""
        return Address.parse(self.listen)


@dataclass(frozen=True, slots=True, kw_only=True)
class OipConfig:
    """Local calls: the Open Inference Protocol v2, over gRPC here and over REST on the port of `[http]`."""

    listen: str = setting(
        "127.0.0.1:8001",
        doc="host:port of gRPC. There is no login: whoever reaches it may ask. Port 0 takes a free one. REST below "
        "/v2/ of [http] answers programs on this machine; others, too, once this address is not loopback.",
    )
    max_waiters: int = setting(
        16,
        doc="Streams, and calls that wait for the hub's verdict, at once; one more is told to come back. Other calls "
        "always have their turn.",
    )
    max_message_bytes: int = setting(
        16 << 20, doc="Largest request and largest response, in bytes; a larger request is refused before it is read."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        yield from _address_problems("listen", self.listen)
        if not 0 <= self.max_waiters <= _MAX_WAITERS:
            yield "max_waiters", f"expected 0 to {_MAX_WAITERS}"
        if not _MIN_MESSAGE_BYTES <= self.max_message_bytes <= _MAX_MESSAGE_BYTES:
            yield "max_message_bytes", f"expected {_MIN_MESSAGE_BYTES} to {_MAX_MESSAGE_BYTES}"

    @property
    def address(self) -> Address:
        """The address, parsed."""
        return Address.parse(self.listen)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How models run."""

    threads: int | None = setting(
        None,
        doc="Threads of one model run. Without it: as many as `model-pack bench` measured to pay here, else 1.",
        example=1,
    )
    providers: tuple[str, ...] = setting(
        DEFAULT_PROVIDERS,
        doc='Where ONNX graphs run, the preferred one first: "tensorrt", "cuda", "cpu". The first that carries out a '
        'real inference is taken; status says why others were not. "tensorrt" builds for minutes when a pack opens.',
    )
    device: int = setting(0, doc="Number of the GPU.")
    run_limit_s: float = setting(
        DEFAULT_RUN_LIMIT_S, doc="A model run that takes longer is ended, and counts as failed, in seconds."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        if self.threads is not None and not 1 <= self.threads <= _MAX_THREADS:
            yield "threads", f"expected 1 to {_MAX_THREADS}"
        yield from provider_problems(self.providers)
        if self.device < 0:
            yield "device", "expected 0 or more"
        if not 0 < self.run_limit_s < math.inf:
            yield "run_limit_s", "expected more than 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What the agent writes to stderr."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", doc="Lowest level that is logged.")
    format: Literal["auto", "json", "text"] = setting(
        "auto", doc='"json" (one object a line), "text" (for people), or "auto": text on a terminal, else json.'
    )

    @property
    def is_json(self) -> bool | None:
        """Whether lines are JSON; None: by where they go."""
        return None if self.format == "auto" else self.format == "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Everything in `agent.toml`."""

    bindings: Path = setting(
        Path(BINDINGS_FILE), doc="File of brokers and bindings; a relative path is taken from this file's folder."
    )
    device: DeviceConfig = setting(doc="Who this device is, and where it keeps its state.")
    hub: HubConfig | None = setting(
        None, doc="The central hub. Without this table the device works alone, for ever.", example=True
    )
    packs: PacksConfig = setting(PacksConfig, doc="Which packs may run, and what a new one must show first.")
    http: HttpConfig = setting(HttpConfig, doc="Where metrics and health are served.")
    oip: OipConfig | None = setting(
        None,
        doc="Local calls over the Open Inference Protocol (gRPC and REST): clients of Triton and KServe work as they "
        "are, each binding is a model. Without this table there are none.",
    )
    engine: EngineConfig = setting(EngineConfig, doc="How models run.")
    outbox: OutboxConfig = setting(
        OutboxConfig, doc="What still must be delivered, to brokers and to the hub: a hard bound on disk space."
    )
    budget: BudgetConfig = setting(
        BudgetConfig, doc="What the whole device may ask of the hub. Without a key there is no bound."
    )
    log: LogConfig = setting(LogConfig, doc="What the agent writes to stderr.")


@dataclass(frozen=True, slots=True)
class Config:
    """Both files.

    Attributes:
        path: The agent's file.
        agent: Its content.
        bindings: The content of the file that it names.
    """

    path: Path
    agent: AgentConfig
    bindings: BindingsConfig

    def pack_path(self, pack: str) -> Path:
        """Where the OCI layout lies that a binding names by its path."""
        return self.agent.bindings.absolute().parent / pack


def load(path: Path) -> Config:
    """Read both files.

    Args:
        path: Of agent.toml.

    Returns:
        The configuration.

    Raises:
        SettingsError: Every problem of both files.
    """
    problems: list[Problem] = []
    agent = _read(path, AgentConfig, problems)
    bindings_path = _bindings_path(path) if agent is None else agent.bindings
    bindings = None if bindings_path is None else _read(bindings_path, BindingsConfig, problems)
    if agent is not None and bindings is not None:
        config = Config(path, agent, bindings)
        problems += _disagreements(config)
        if not problems:
            return config
    raise SettingsError(tuple(problems))


def default_path() -> Path:
    """Where agent.toml is when the command line does not say.

    Returns:
        The environment's `EDGE_AGENT_CONFIG`, else /etc/tandem/agent.toml.
    """
    return Path(os.environ.get(ENVIRONMENT_KEY) or DEFAULT_PATH)


def sample_agent() -> str:
    """The commented sample of agent.toml."""
    return sample_toml(AgentConfig)


def sample_bindings() -> str:
    """The commented sample of bindings.toml."""
    return sample_toml(BindingsConfig)


def _read(path: Path, config: type[_ConfigT], problems: list[Problem]) -> _ConfigT | None:
    try:
        return load_toml(path, config)
    except SettingsError as error:
        problems += error.problems
        return None


def _bindings_path(path: Path) -> Path | None:
    """Where the bindings are when agent.toml has problems elsewhere; None when even that cannot be told."""
    try:
        name = tomllib.loads(path.read_text(encoding="utf-8")).get("bindings", BINDINGS_FILE)
    except (OSError, ValueError):
        return None
    return path.absolute().parent / name if isinstance(name, str) else None


def _blocking_problems(config: BindingsConfig) -> Iterator[tuple[str, str]]:
    """What a binding must have so that its messages can be left with their broker."""
    for index, binding in enumerate(config.binding):
        if not binding.is_fed:
            continue
        if binding.qos == 0:
            yield (
                f"binding[{index}].qos",
                'outbox policy "block": a broker holds no message back at qos 0, write qos = 1',
            )
        if any(earlier.broker == binding.broker for earlier in config.binding[:index]):
            message = (
                f'outbox policy "block": a full outbox would hold up all bindings of [mqtt.{binding.broker}], whose '
                "messages are acknowledged in one order; give each a table, and a client_id, of its own"
            )
            yield f"binding[{index}].broker", message


def _disagreements(config: Config) -> Iterator[Problem]:
    """What the declarations cannot say: paths are taken from the file's folder, and policies need certain bindings."""
    path = config.agent.bindings
    lines = KeyLines(path.read_text(encoding="utf-8"))
    for index, binding in enumerate(config.bindings.binding):
        key = f"binding[{index}].pack"
        if binding.is_pack_path and not config.pack_path(binding.pack).is_dir():
            yield Problem(path, lines.find(key), key, f"no such folder: {config.pack_path(binding.pack)}")
        if not binding.is_fed and config.agent.oip is None:
            key, agent = f"binding[{index}].topic", config.path
            message = f"without broker and topic it answers local calls only, and {agent} has no [oip] table"
            yield Problem(path, lines.find(f"binding[{index}].name"), key, message)
    if OnFull.BLOCK in config.agent.outbox.limits().on_full.values():
        for key, message in _blocking_problems(config.bindings):
            yield Problem(path, lines.find(key), key, message)


def _address_problems(key: str, text: str) -> Iterator[tuple[str, str]]:
    try:
        Address.parse(text)
    except ValueError as error:
        yield key, str(error)


def _is_loopback(text: str) -> bool:
    try:
        return Address.parse(text).is_loopback
    except ValueError:
        return True  # told as a problem of the address
