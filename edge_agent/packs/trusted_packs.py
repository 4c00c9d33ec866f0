"""Owns which keys the device trusts, and finding the pack of a binding on its disk, checked down to the last byte.

Fetching packs from the hub is `adapters/grpc`; the store's format is `model_packs.store`. Nothing here writes.
"""

from edge_agent.binding_config import BindingConfig
from edge_agent.config import Config
from edge_agent.errors import PackUnusableError
from model_packs.errors import DamagedPackError, PackError, SigningError
from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.signing import PublicKey
from model_packs.store import PackStore
from protos.link.identity import REENROL_COMMANDS, SITE_KEY_FILE


def trusted_keys(config: Config) -> tuple[PublicKey, ...]:
    """Read the keys whose signature lets a pack run.

    Args:
        config: Names key files and the state folder.

    Returns:
        The site key that enrolment pinned, if there is one, and `[packs] trusted_keys`.

    Raises:
        PackUnusableError: A key file cannot be used.
    """
    pinned = config.agent.device.identity_dir / SITE_KEY_FILE
    paths = [pinned] if pinned.exists() else []
    keys = []
    for path in [*paths, *config.agent.packs.trusted_keys]:
        try:
            keys.append(PublicKey.load(path))
        except SigningError as error:
            mend = f"enrol the device again: {REENROL_COMMANDS}" if path == pinned else error.mend
            raise PackUnusableError("trusted keys", error.reason, mend) from error
    return tuple(keys)


def find_pack(config: Config, binding: BindingConfig, trusted: tuple[PublicKey, ...] | None) -> Pack | None:
    """Load the pack that a binding names.

    Args:
        config: Says where packs are.
        binding: Names one.
        trusted: One of them must have signed it; None checks digests only.

    Returns:
        The pack; None when it is named by reference and not on this device.

    Raises:
        PackUnusableError: It is damaged, or not signed by a trusted key; or the path holds no single pack.
    """
    try:
        if binding.is_pack_path:
            store = PackStore(config.pack_path(binding.pack))
            ref = _only(store, binding.pack)
        else:
            store, ref = PackStore(config.agent.device.packs_dir), PackRef.parse(binding.pack)
            if not config.agent.device.packs_dir.is_dir() or store.resolve(ref) is None:
                return None
        return store.load(ref, trusted)
    except DamagedPackError as error:
        raise PackUnusableError(binding.pack, str(error), _mend_of_damage(config, binding)) from error
    except PackError as error:
        raise PackUnusableError(binding.pack, str(error), error.mend) from error


def enrol_command(config: Config) -> str:
    """The command that fetches packs again, for a mend."""
    return f"`edge-agent enrol --config {config.path}` (an enrolled device needs no token)"


def _mend_of_damage(config: Config, binding: BindingConfig) -> str:
    if binding.is_pack_path:
        return f"bring a whole copy of the layout {config.pack_path(binding.pack)} to this device"
    if config.agent.hub is None:
        return "name the pack's OCI layout by its path in bindings.toml, or configure a hub and enrol"
    return f"{enrol_command(config)}, or the next `edge-agent run`, fetches it again"


def _only(store: PackStore, path: str) -> PackRef:
    refs = [pack.ref for pack in store.list()]
    if len(refs) != 1:
        held = ", ".join(map(str, refs)) or "none"
        raise PackUnusableError(
            path, f"{path} must hold one pack; it holds {held}", "name the folder of an OCI layout with one pack"
        )
    return refs[0]
