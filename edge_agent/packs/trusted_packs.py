"""Owns which keys the device trusts, and finding packs on its disk, checked down to the last byte.

Fetching packs from the hub is `adapters/grpc`; the store's format is `model_packs.store`. Nothing here writes.
"""

from edge_agent.binding_config import BindingConfig
from edge_agent.config import Config
from edge_agent.core.pack_slots import FailureReason, PackId, PackRefusedError, reason_of
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


class TrustedPacks:
    """The packs of this device's store, as far as they may run. Implements `PackTrust`.

    The keys are read anew for each pack, so that a new enrolment heals a running agent.

    Args:
        config: Names key files, and says where packs are.
    """

    def __init__(self, config: Config) -> None:
        self._config = config

    def verified(self, pack: PackId) -> Pack:
        """Load a pack after checking signature and every digest; see `PackTrust.verified`."""
        mend = f"desire another pack, or run {enrol_command(self._config)}"
        found = self._loaded(pack.pack, mend)
        if found.digest != pack.digest:
            message = f"pack {pack.pack} is {found.digest[:19]}… here, and not the wanted {pack.digest[:19]}…"
            raise PackRefusedError(FailureReason.WRONG_PACK, pack.pack, message, mend)
        return found

    def _loaded(self, name: str, mend: str) -> Pack:
        try:
            keys = trusted_keys(self._config)
        except PackUnusableError as error:
            raise PackRefusedError(FailureReason.BAD_SIGNATURE, name, error.message, error.mend) from error
        try:
            store, ref = PackStore(self._config.agent.device.packs_dir), PackRef.parse(name)
            is_here = store.is_made and store.resolve(ref) is not None
            found = store.load(ref, keys) if is_here else None
        except ValueError as error:
            raise PackRefusedError(FailureReason.NOT_FOUND, name, str(error), mend) from error
        except PackError as error:
            raise PackRefusedError(reason_of(error), name, f"pack {error}", error.mend) from error
        if found is None:
            raise PackRefusedError(FailureReason.NOT_FOUND, name, f"pack {name} is not on this device", mend)
        return found


def factory_pack(config: Config, binding: BindingConfig) -> PackId:
    """Which pack a binding's file names, without checking it.

    Args:
        config: Says where packs are.
        binding: Names one.

    Returns:
        The pack; its digest is empty when that is not known, since it is not on this device or damaged.
    """
    root = config.pack_path(binding.pack) if binding.is_pack_path else config.agent.device.packs_dir
    try:
        found = [one for one in PackStore(root).list() if binding.is_pack_path or str(one.ref) == binding.pack]
    except PackError:
        found = []
    return PackId(str(found[0].ref), found[0].digest) if found else PackId(binding.pack, "")


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
            if not store.is_made or store.resolve(ref) is None:
                return None
        return store.load(ref, trusted)
    except DamagedPackError as error:
        mend = _mend_of_damage(config, binding)
        raise PackRefusedError(reason_of(error), binding.pack, str(error), mend) from error
    except PackError as error:
        raise PackRefusedError(reason_of(error), binding.pack, str(error), error.mend) from error


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
