"""Owns the hub's self-examination: each check says what it found and, if need be, the mend. It changes nothing."""

import asyncio
import http.client
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.x509.authority import (
    CertificateFacts,
    certificate_facts,
    load_authority,
    load_server_files,
)
from cloud_hub.config import HubConfig
from cloud_hub.errors import KeyFileError, StorageError
from cloud_hub.ports import Clock
from model_packs.errors import PackError, SigningError
from model_packs.signing import PublicKey, SiteKey
from model_packs.store import PackStore

DOCTOR_SCHEMA = "tandem.doctor/1"
MIN_FREE_BYTES = 1 << 30
WARN_DAYS = 30
_NS_PER_DAY = 86_400 * 1_000_000_000
_NS_PER_S = 1_000_000_000
_HTTP_TIMEOUT_S = 2.0


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `mend` is empty when nothing has to be done."""

    name: str
    state: State
    message: str
    mend: str = ""


def examine(config: HubConfig, clock: Clock) -> tuple[Check, ...]:
    """Examine a hub, running or not.

    Args:
        config: Its settings, read without error already.
        clock: Wall clock.

    Returns:
        Every check, in a fixed order.
    """
    site_key = _site_key(config)
    return (
        *_certificates(config, clock()),
        site_key if isinstance(site_key, Check) else _ok("site key", f"key {site_key.key_id[:12]} signs packs"),
        asyncio.run(_database(config)),
        *_packs(config, None if isinstance(site_key, Check) else site_key),
        *_ports(config),
        _disk(config),
    )


def document(checks: tuple[Check, ...]) -> dict[str, Any]:
    """Write the findings for programs.

    Args:
        checks: From `examine`.

    Returns:
        A JSON document; its schema is cloud_hub/schemas/doctor.schema.json.
    """
    return {
        "schema": DOCTOR_SCHEMA,
        "ok": all(check.state is not State.FAILED for check in checks),
        "checks": [
            {"name": check.name, "state": check.state.value, "message": check.message, "mend": check.mend or None}
            for check in checks
        ],
    }


def _ok(name: str, message: str) -> Check:
    return Check(name, State.OK, message)


def _certificates(config: HubConfig, now_ns: int) -> Iterator[Check]:
    folder = config.folder
    try:
        load_authority(folder.ca_key, folder.ca_certificate, trust_domain="check", certificate_days=1)
        yield _dated("authority", certificate_facts(folder.ca_certificate), now_ns)
    except KeyFileError as error:
        yield Check("authority", State.FAILED, str(error), error.mend)
    try:
        load_server_files(folder.server_key, folder.server_certificate)
        yield _dated("server certificate", certificate_facts(folder.server_certificate), now_ns)
    except KeyFileError as error:
        yield Check("server certificate", State.FAILED, str(error), error.mend)


def _dated(name: str, facts: CertificateFacts, now_ns: int) -> Check:
    days = (facts.not_after_ns - now_ns) // _NS_PER_DAY
    until = datetime.fromtimestamp(facts.not_after_ns // _NS_PER_S, UTC).date().isoformat()
    message = f"valid until {until}" + (f", for {', '.join(facts.names)}" if facts.names else "")
    if days >= WARN_DAYS:
        return _ok(name, message)
    state = State.FAILED if days < 0 else State.WARNING
    return Check(name, state, message, "make a new hub with `cloud-hub init` and enrol the devices there")


def _site_key(config: HubConfig) -> PublicKey | Check:
    try:
        return SiteKey.load(config.folder.site_key).public
    except SigningError as error:
        return Check("site key", State.FAILED, error.reason, error.mend)


async def _database(config: HubConfig) -> Check:
    name = "database"
    try:
        engine = database.make_engine(config.database)
        try:
            at = await database.revision(engine)
        finally:
            await engine.dispose()
    except StorageError as error:
        return Check(name, State.FAILED, str(error), "check database_url and that the database runs")
    if at is None:
        return Check(
            name, State.FAILED, "has no tables", "`cloud-hub init DIR` makes a hub, `serve` upgrades its database"
        )
    if at != database.head():
        return Check(name, State.WARNING, f"at revision {at}, not {database.head()}", "`cloud-hub serve` upgrades it")
    return _ok(name, f"at revision {at}, the newest")


def _packs(config: HubConfig, site_key: PublicKey | None) -> Iterator[Check]:
    store = PackStore(config.folder.packs)
    try:
        stored = store.list()
    except PackError as error:
        yield Check("packs", State.FAILED, f"{error.ref}: {error.reason}", error.mend)
        return
    if not any(True for _ in stored):
        yield Check("packs", State.WARNING, "none is published", "cloud-hub packs publish LAYOUT")
    for one in stored:
        name = f"pack {one.ref}"
        try:
            pack = store.load(one.ref, () if site_key is None else (site_key,))
            yield _ok(name, f"{pack.manifest.role} pack, verified, {one.digest[:19]}…")
        except PackError as error:
            yield Check(name, State.FAILED, error.reason, error.mend)


def _ports(config: HubConfig) -> Iterator[Check]:
    is_running = _answers(config.http.host, config.http.port)
    for name, host, port in (
        ("device port", config.grpc.host, config.grpc.port),
        ("enrolment port", config.grpc.host, config.grpc.enrolment_port),
        ("http port", config.http.host, config.http.port),
    ):
        if port == 0:
            yield _ok(name, "a free one is taken at start")
        elif is_running:
            is_open = _is_open(host, port)
            yield (
                _ok(name, f"the hub listens on {port}")
                if is_open
                else Check(name, State.FAILED, f"the hub runs, but nobody listens on {port}", "restart the hub")
            )
        elif _is_free(host, port):
            yield _ok(name, f"{port} is free")
        else:
            yield Check(
                name, State.FAILED, f"another program listens on {port}", "stop it, or change the port in hub.toml"
            )


def _answers(host: str, port: int) -> bool:
    """Whether a hub serves its HTTP app there."""
    if port == 0:
        return False
    connection = http.client.HTTPConnection(_dialled(host), port, timeout=_HTTP_TIMEOUT_S)
    try:
        connection.request("GET", "/")
        return b'"cloud-hub"' in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


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


def _disk(config: HubConfig) -> Check:
    name = "disk"
    try:
        free = shutil.disk_usage(config.state_dir).free
    except OSError as error:
        return Check(name, State.FAILED, f"{config.state_dir}: {error.strerror}", "check state_dir in hub.toml")
    message = f"{free / MIN_FREE_BYTES:.1f} GiB free in {config.state_dir}"
    if free < MIN_FREE_BYTES:
        return Check(name, State.WARNING, message, "free some space: every escalated window is kept")
    return _ok(name, message)
