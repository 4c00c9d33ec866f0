"""Owns how a binding's pack comes to be here, whole: from this disk, or from the hub when it is missing or damaged.

`run` and `enrol` share it. What makes a pack good is `trusted_packs.py`; the transfer is `adapters/grpc/pack_fetch.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.binding_config import BindingConfig
from edge_agent.config import Config
from edge_agent.errors import HubError, PackUnusableError
from edge_agent.packs.trusted_packs import enrol_command, find_pack
from model_packs.errors import PackError
from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.signing import PublicKey

FetchPack = Callable[[PackRef, tuple[PublicKey, ...]], object]
"""Brings a pack here, signed by one of the keys; a damaged blob that is here is replaced."""


@dataclass(frozen=True, slots=True)
class Supplied:
    """A verified pack.

    Attributes:
        was_fetched: Whether the hub was asked for it.
        damage: What was wrong with the copy that was here before; None if there was none or it is good.
    """

    pack: Pack
    was_fetched: bool
    damage: str | None


def supply_pack(
    config: Config, binding: BindingConfig, trusted: tuple[PublicKey, ...], fetch: FetchPack | None
) -> Supplied:
    """Find a binding's pack, or fetch it; a copy that must not run is healed from the hub.

    Args:
        config: Says where packs are.
        binding: Names one.
        trusted: One of these keys must have signed it.
        fetch: Asks the hub; None without one.

    Returns:
        The pack, verified.

    Raises:
        PackUnusableError: There is no good copy, here or at the hub; or the one here is bad and the hub is away.
        HubError: It is not here, and the hub that has it cannot be asked.
    """
    damage: PackUnusableError | None = None
    try:
        found = find_pack(config, binding, trusted)
    except PackUnusableError as error:
        if fetch is None or binding.is_pack_path:
            raise
        found, damage = None, error
    if found is not None:
        return Supplied(found, was_fetched=False, damage=None)
    if fetch is not None:
        _fetched(config, binding, trusted, fetch, damage)
        found = find_pack(config, binding, trusted)
    if found is None:
        raise PackUnusableError(
            binding.pack,
            f"pack {binding.pack} of binding {binding.name!r} is not on this device, and no hub is configured",
            "name the pack's OCI layout by its path in bindings.toml, or configure a hub and enrol",
        )
    return Supplied(found, was_fetched=True, damage=None if damage is None else damage.message)


def _fetched(
    config: Config,
    binding: BindingConfig,
    trusted: tuple[PublicKey, ...],
    fetch: FetchPack,
    damage: PackUnusableError | None,
) -> None:
    try:
        fetch(PackRef.parse(binding.pack), trusted)
    except PackError as error:  # the store of packs itself cannot be opened
        mend = f"move {config.agent.device.packs_dir} away; {enrol_command(config)} fetches the packs anew"
        raise PackUnusableError(binding.pack, str(error), mend) from error
    except HubError as error:
        if damage is None:
            raise
        message = f"{damage.message}, and a good copy cannot be had: {error.message}"
        raise PackUnusableError(binding.pack, message, f"{error.mend}; then {enrol_command(config)}") from error
    except PackUnusableError as error:
        if damage is None:
            raise
        raise PackUnusableError(binding.pack, f"{damage.message}; {error.message}", error.mend) from error
