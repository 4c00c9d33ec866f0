"""Owns the doctor's look at what the devices trust: the authority, the listeners' certificate, the site key."""

from collections.abc import Iterator
from datetime import UTC, datetime

from cloud_hub.adapters.x509.authority import load_authority
from cloud_hub.adapters.x509.key_files import CertificateFacts, certificate_facts
from cloud_hub.adapters.x509.server_certificate import load_server_files
from cloud_hub.config import HubConfig
from cloud_hub.errors import KeyFileError
from cloud_hub.examination.findings import Finding, failed, ok, warning
from cloud_hub.ports import Clock
from model_packs.errors import SigningError
from model_packs.signing import SiteKey

WARN_DAYS = 30

_NS_PER_DAY = 86_400 * 1_000_000_000
_NS_PER_S = 1_000_000_000


def examine_keys(config: HubConfig, clock: Clock) -> Iterator[Finding]:
    """Load every key and certificate, and see how long the certificates last.

    Args:
        config: Says where they are.
        clock: Wall clock.
    """
    folder, now_ns = config.folder, clock()
    try:
        load_authority(folder.ca_key, folder.ca_certificate, trust_domain="check", certificate_days=1)
        yield _dated("authority", certificate_facts(folder.ca_certificate), now_ns)
    except KeyFileError as error:
        yield failed("authority", str(error), error.mend)
    try:
        load_server_files(folder.server_key, folder.server_certificate)
        yield _dated("server certificate", certificate_facts(folder.server_certificate), now_ns)
    except KeyFileError as error:
        yield failed("server certificate", str(error), error.mend)
    try:
        yield ok("site key", f"key {SiteKey.load(folder.site_key).public.key_id[:12]} signs packs")
    except SigningError as error:
        yield failed("site key", error.reason, error.mend)


def _dated(name: str, facts: CertificateFacts, now_ns: int) -> Finding:
    days = (facts.not_after_ns - now_ns) // _NS_PER_DAY
    until = datetime.fromtimestamp(facts.not_after_ns // _NS_PER_S, UTC).date().isoformat()
    message = f"valid until {until}" + (f", for {', '.join(facts.names)}" if facts.names else "")
    if days >= WARN_DAYS:
        return ok(name, message)
    mend = "make a new hub with `cloud-hub init` and enrol the devices there"
    return failed(name, message, mend) if days < 0 else warning(name, message, mend)
