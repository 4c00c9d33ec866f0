"""Owns the doctor's look at the packs: is each whole, and signed with this hub's site key."""

from collections.abc import Iterator

from cloud_hub.config import HubConfig
from cloud_hub.examination.findings import Finding, failed, ok, warning
from model_packs.errors import PackError, SigningError
from model_packs.signing import PublicKey, SiteKey
from model_packs.store import PackStore


def examine_packs(config: HubConfig) -> Iterator[Finding]:
    """Verify every published pack.

    Args:
        config: Says where the packs and the site key are.
    """
    store = PackStore(config.folder.packs)
    try:
        stored = store.list()
    except PackError as error:
        yield failed("packs", f"{error.ref}: {error.reason}", error.mend)
        return
    if not stored:
        yield warning("packs", "none is published", "cloud-hub packs publish LAYOUT")
    trusted = _trusted(config)
    for one in stored:
        name = f"pack {one.ref}"
        try:
            pack = store.load(one.ref, trusted)
            yield ok(name, f"{pack.manifest.role} pack, verified, {one.digest[:19]}…")
        except PackError as error:
            yield failed(name, error.reason, error.mend)


def _trusted(config: HubConfig) -> tuple[PublicKey, ...]:
    try:
        return (SiteKey.load(config.folder.site_key).public,)
    except SigningError:  # a finding of its own, in `keys.py`; without the key no pack is trusted
        return ()
