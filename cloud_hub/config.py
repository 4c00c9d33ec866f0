"""Owns the hub's settings: the declarations behind `hub.toml`, its sample, and where things lie in the hub's folder.

The only module of the hub that reads a settings file. What the values mean for a part is that part's business.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloud_hub.core.devices import checked_name
from cloud_hub.core.monitoring.response import Reaction, Rules
from cloud_hub.core.monitoring.watch import BROKEN, Alarm, Limits
from cloud_hub.errors import DeviceNameError
from cloud_hub.model_servers import ModelServerConfig
from cloud_hub.oip_config import OipConfig
from cloud_hub.serving_config import ServingConfig
from model_packs.engines.options import DEFAULT_PROVIDERS, provider_problems
from model_packs.process.settings import load_toml, sample_toml, setting
from protos.messages.fleet import PolicyMode

CONFIG_NAME = "hub.toml"
_MAX_PORT = 65535
_MAX_BATCH = 4096
_MAX_DAYS = 3650
_MAX_EVENTS = 10_000_000


@dataclass(frozen=True, slots=True)
class IdentityConfig:
    """Names in certificates."""

    org_id: str = setting(
        "default", doc="Organisation; part of every device's identity. Fixed once devices are enrolled."
    )
    trust_domain: str = setting("tandem", doc="Trust domain of the SPIFFE ids in certificates. Fixed likewise.")
    certificate_days: int = setting(
        365, doc="How long a device's certificate is valid, in days. A device enrols again when it ends."
    )

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        for key, name in (("org_id", self.org_id), ("trust_domain", self.trust_domain)):
            try:
                checked_name(key, name)
            except DeviceNameError as error:
                yield key, str(error)
        if not 1 <= self.certificate_days <= _MAX_DAYS:
            yield "certificate_days", f"expected 1 to {_MAX_DAYS}"


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    """Where devices connect."""

    host: str = setting("0.0.0.0", doc="IP address to listen on for devices, both ports.")  # noqa: S104 - devices are on other machines; TLS guards both ports
    port: int = setting(8443, doc="Port of the device services (mutual TLS). 0 takes a free one.")
    enrolment_port: int = setting(8444, doc="Port of the enrolment service (server TLS). 0 takes a free one.")

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        yield from _address_problems("host", self.host)
        yield from _port_problems("port", self.port)
        yield from _port_problems("enrolment_port", self.enrolment_port)
        if self.port and self.port == self.enrolment_port:
            yield "enrolment_port", "the same as port: each service needs its own"


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Where people and programs connect."""

    host: str = setting(
        "127.0.0.1",
        doc="IP address of the HTTP app. People log in; on other than loopback, give it a certificate or a TLS proxy.",
    )
    port: int = setting(8080, doc="Port of the HTTP app. 0 takes a free one.")
    certificate: str = setting(
        "", doc="Certificate with its chain (PEM) to serve over TLS; relative to state_dir. Empty: plain HTTP."
    )
    key: str = setting("", doc="Its private key (PEM, mode 0600).")
    session_life_s: float = setting(43_200.0, doc="How long a login lasts, in seconds.")

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        yield from _address_problems("host", self.host)
        yield from _port_problems("port", self.port)
        if bool(self.certificate) != bool(self.key):
            missing = "key" if self.certificate else "certificate"
            yield missing, "certificate and key go together: give both, or neither for plain HTTP"
        if self.session_life_s < 1:
            yield "session_life_s", "expected at least 1"


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    """How full models run."""

    max_batch: int = setting(64, doc="Most windows in one run; a pack's own limit holds, too.")
    threads: int | None = setting(
        None,
        doc="Threads of one full model's session. Without it: as many as `model-pack bench` measured to pay, else 1.",
        example=1,
    )
    providers: tuple[str, ...] = setting(
        DEFAULT_PROVIDERS,
        doc='Where ONNX graphs run, the preferred one first: "tensorrt", "cuda", "cpu". The first that carries out a '
        "real inference is taken.",
    )
    run_limit_s: float = setting(60.0, doc="A model run that takes longer is ended, and fails, in seconds.")
    inline_below_ms: float = setting(
        1.0, doc="A model whose full batch ran in less than this at load runs between two messages, others in a thread."
    )

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        if not 1 <= self.max_batch <= _MAX_BATCH:
            yield "max_batch", f"expected 1 to {_MAX_BATCH}"
        if self.threads is not None and self.threads < 1:
            yield "threads", "expected at least 1"
        yield from provider_problems(self.providers)
        if self.run_limit_s <= 0:
            yield "run_limit_s", "expected more than 0"
        if self.inline_below_ms < 0:
            yield "inline_below_ms", "expected 0 or more"


@dataclass(frozen=True, slots=True)
class EscalationConfig:
    """What devices may have in flight, and waiting for the full models."""

    credit_items: int = setting(64, doc="Unacknowledged items a device may have on its stream.")
    credit_bytes: int = setting(8 * 1024 * 1024, doc="The same in bytes.")
    max_waiting: int = setting(
        100_000, doc="Items that may wait for the full models; a device keeps what finds no place, and tries again."
    )
    max_waiting_per_device: int = setting(10_000, doc="The same of one device.")

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        for key in ("credit_items", "credit_bytes", "max_waiting", "max_waiting_per_device"):
            if getattr(self, key) < 1:
                yield key, "expected at least 1"
        if self.max_waiting_per_device > self.max_waiting:
            yield "max_waiting_per_device", "expected at most max_waiting"


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """How devices report, and how long the hub waits and remembers."""

    heartbeat_interval_s: float = setting(
        10.0, doc="How often a device reports, in seconds. Stale after 3 missed reports, offline after 10."
    )

    install_timeout_s: float = setting(
        900.0,
        doc="A device that says nothing of a desired pack, or does not begin, for this long has failed to take it.",
    )
    trend_bucket_s: float = setting(60.0, doc="Length of one point of the curves, in seconds.")
    trend_days: int = setting(7, doc="How long the curves are kept, in days.")
    event_days: int = setting(90, doc="How long events are kept, in days.")
    answered_days: int = setting(
        90,
        doc="How long answered escalations that nobody labelled are kept, in days.",
    )
    max_events: int = setting(100_000, doc="How many events are kept at most; the oldest go first.")

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        for key, seconds in (
            ("heartbeat_interval_s", self.heartbeat_interval_s),
            ("install_timeout_s", self.install_timeout_s),
        ):
            if seconds <= 0:
                yield key, "expected more than 0"
        if self.trend_bucket_s < 1:
            yield "trend_bucket_s", "expected at least 1"
        for key in ("trend_days", "event_days", "answered_days"):
            if not 1 <= getattr(self, key) <= _MAX_DAYS:
                yield key, f"expected 1 to {_MAX_DAYS}"
        if not 1 <= self.max_events <= _MAX_EVENTS:
            yield "max_events", f"expected 1 to {_MAX_EVENTS}"


@dataclass(frozen=True, slots=True)
class MonitoringConfig:
    """How certificates are tested in the field, and what follows when one does not hold."""

    on_violation: Literal["hub_only", "tighten", "alarm"] = setting(
        "hub_only",
        doc="What follows on its own: everything is escalated, the threshold is raised to tighten_to, or nothing does.",
    )
    tighten_to: float = setting(0.99, doc='With "tighten": the threshold that then holds.')
    tighten_on: tuple[str, ...] = setting(
        ("void", "changed", "disagreement"),
        doc="Alarms that it follows on: certificate void, risk changed, and the hub disagrees (the weaker statement).",
    )
    run_length: float = setting(
        1000.0, doc="Audits that a false alarm of change takes on average, at the least; heartbeats for rates."
    )
    escalation_factor: float = setting(
        2.0, doc="How many times more or fewer escalations than at calibration are an alarm."
    )
    people_share: float = setting(
        0.25,
        doc="Share of cases, drawn by lot, that people must label first: only these labels test a certificate.",
    )
    hub_error: float = setting(0.1, doc="Share of audited windows in which people may contradict the hub.")
    hub_doubt: float = setting(0.1, doc="Share of audited windows in which the hub may be in doubt itself.")
    hub_delta: float = setting(0.05, doc="Chance of a false alarm about the hub, over the life of a policy version.")
    overdue_s: float = setting(
        3600.0, doc="An audit without an answer of the hub, or a chosen case without a label, is overdue after this."
    )

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        for key in ("hub_error", "hub_doubt", "hub_delta"):
            if not 0 < getattr(self, key) < 1:
                yield key, "expected more than 0 and less than 1"
        for key in ("tighten_to", "people_share"):
            if not 0 <= getattr(self, key) <= 1:
                yield key, "expected 0 to 1"
        for name in self.tighten_on:
            if name not in BROKEN:
                yield "tighten_on", f'expected some of {", ".join(sorted(BROKEN))}, found "{name}"'
        if self.run_length < 1:
            yield "run_length", "expected at least 1"
        if self.escalation_factor <= 1:
            yield "escalation_factor", "expected more than 1"
        if self.overdue_s <= 0:
            yield "overdue_s", "expected more than 0"

    @property
    def rules(self) -> Rules:
        """The same, as the records of policies are kept by."""
        mode = None if self.on_violation == "alarm" else PolicyMode(self.on_violation)
        limits = Limits(
            run_length=self.run_length,
            hub_error=self.hub_error,
            hub_doubt=self.hub_doubt,
            hub_delta=self.hub_delta,
            rate_factor=self.escalation_factor,
        )
        alarms = frozenset(Alarm(name) for name in self.tighten_on)
        return Rules(limits, Reaction(mode, self.tighten_to, alarms), self.people_share)


@dataclass(frozen=True, slots=True)
class HubConfig:
    """Everything in `hub.toml`."""

    state_dir: Path = setting(Path(), doc="Folder of the hub's keys, certificates, packs and database.", example=".")
    database_url: str = setting(
        "", doc='SQLAlchemy URL; empty for SQLite in the state folder ("sqlite+aiosqlite:///STATE_DIR/hub.db").'
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", doc="Lowest level that is logged.")
    identity: IdentityConfig = setting(IdentityConfig, doc="Names in the certificates that this hub issues.")
    grpc: GrpcConfig = setting(GrpcConfig, doc="Where devices connect.")
    http: HttpConfig = setting(
        HttpConfig, doc="Where people and programs connect: the console, /api/v1, /readyz, /metrics."
    )
    oip: OipConfig = setting(
        OipConfig, doc="Where programs infer by the Open Inference Protocol v2, with the clients of Triton and KServe."
    )
    inference: InferenceConfig = setting(InferenceConfig, doc="How full models run.")
    serving: ServingConfig = setting(ServingConfig, doc="How requests reach full models.")
    model_server: Mapping[str, ModelServerConfig] = setting(
        dict, doc="A server of full models elsewhere, under a name of its own. Several are allowed."
    )
    escalation: EscalationConfig = setting(
        EscalationConfig, doc="What devices may have in flight, and waiting for the full models."
    )
    fleet: FleetConfig = setting(FleetConfig, doc="How devices report, and how long the hub waits and remembers.")
    monitoring: MonitoringConfig = setting(
        MonitoringConfig, doc="How certificates are tested in the field, and what follows when one does not hold."
    )

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        if self.database_url and "://" not in self.database_url:
            yield "database_url", 'expected a URL such as "sqlite+aiosqlite:////var/lib/tandem/hub.db"'

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite+aiosqlite:///{self.state_dir.absolute() / 'hub.db'}"

    @property
    def folder(self) -> "HubFolder":
        """Where things lie."""
        return HubFolder(self.state_dir)


@dataclass(frozen=True, slots=True)
class HubFolder:
    """The hub's folder: what lies where."""

    root: Path

    @property
    def ca_key(self) -> Path:
        """Private key that signs certificates; PEM, 0600."""
        return self.root / "ca" / "ca.key"

    @property
    def ca_certificate(self) -> Path:
        """The certificate authority's own certificate; PEM."""
        return self.root / "ca" / "ca.crt"

    @property
    def server_key(self) -> Path:
        """Private key of the listeners; PEM, 0600."""
        return self.root / "server" / "server.key"

    @property
    def server_certificate(self) -> Path:
        """Certificate of the listeners, with its chain; PEM."""
        return self.root / "server" / "server.crt"

    @property
    def site_key(self) -> Path:
        """Private key that signs packs; PEM, 0600."""
        return self.root / "site.key"

    @property
    def packs(self) -> Path:
        """The pack store."""
        return self.root / "packs"


def load_config(path: Path) -> HubConfig:
    """Read `hub.toml`; relative paths in it are taken from its own folder.

    Args:
        path: The file.

    Returns:
        The settings.

    Raises:
        SettingsError: Every problem of the file at once; the operator's to mend.
    """
    return load_toml(path, HubConfig)


def sample_hub() -> str:
    """Write the commented sample of `hub.toml` from the declarations above.

    Returns:
        TOML that loads as it stands.
    """
    return sample_toml(HubConfig)


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only.

    Args:
        host: An IP address.

    Returns:
        True for 127.0.0.0/8 and ::1.
    """
    return ipaddress.ip_address(host).is_loopback


def _address_problems(key: str, host: str) -> Iterable[tuple[str, str]]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        yield key, f'expected an IP address such as "127.0.0.1" or "0.0.0.0", found "{host}"'


def _port_problems(key: str, port: int) -> Iterable[tuple[str, str]]:
    if not 0 <= port <= _MAX_PORT:
        yield key, f"expected 0 to {_MAX_PORT}"
