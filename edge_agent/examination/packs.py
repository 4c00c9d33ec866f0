"""Owns the doctor's look at the packs: is each that runs here, verified, and does one inference give what it should."""

import time
from collections.abc import Iterator

from edge_agent.adapters.pillow import INSTALL, is_installed
from edge_agent.adapters.slot_file import SlotFile
from edge_agent.binding_config import BindingConfig
from edge_agent.config import Config
from edge_agent.errors import PackUnusableError
from edge_agent.examination.findings import Finding, failed, ok, warning
from edge_agent.packs.binding_check import check_binding
from edge_agent.packs.engine_options import engine_options
from edge_agent.packs.trusted_packs import TrustedPacks, find_pack, trusted_keys
from model_packs.engines.opening import open_session
from model_packs.engines.session import zero_inputs
from model_packs.errors import EngineError, PackError
from model_packs.pack import Pack
from model_packs.process.exits import Exit
from model_packs.signing import PublicKey
from model_packs.verification import check_golden
from protos.link.identity import CHAIN_FILE


def examine_packs(config: Config) -> Iterator[Finding]:
    """Load every binding's pack and run it once.

    Args:
        config: Names packs and trusted keys.
    """
    try:
        trusted = trusted_keys(config)
    except PackUnusableError as error:
        yield failed("trusted keys", error.message, error.mend, Exit.CONFIG)
        return
    for binding in config.bindings.binding:
        yield from _binding(config, binding, trusted)


def _binding(config: Config, binding: BindingConfig, trusted: tuple[PublicKey, ...]) -> Iterator[Finding]:
    if binding.takes_images and not is_installed():
        yield failed(f"codec of {binding.name}", 'codec "image" needs Pillow, which is not installed', INSTALL)
    name = f"pack of {binding.name}"
    try:
        pack = _pack(config, binding, trusted)
    except PackUnusableError as error:
        yield failed(name, error.message, error.mend, Exit.DATA)
        return
    if pack is None:
        is_enrolled = (config.agent.device.identity_dir / CHAIN_FILE).exists()
        mend = (
            "the first run fetches it if the hub has it (`cloud-hub packs list` on the hub)"
            if is_enrolled
            else "run `edge-agent enrol`, which fetches it; or name an OCI layout by its path"
        )
        yield failed(name, f"{binding.pack} is not on this device", mend)
        return
    problems = check_binding(binding, pack.manifest)
    if problems:
        yield failed(
            name, f"{pack.ref} does not fit the binding: {'; '.join(problems)}", "edge-agent check", Exit.CONFIG
        )
        return
    yield ok(name, f"{pack.ref} verified, {pack.digest[:19]}…")
    yield from _inference(config, f"inference of {binding.name}", pack)


def _pack(config: Config, binding: BindingConfig, trusted: tuple[PublicKey, ...]) -> Pack | None:
    """The pack of the binding's slot: what the next start would open."""
    active = SlotFile(config.agent.device.packs_dir).read().of(binding.id).active
    return find_pack(config, binding, trusted) if active is None else TrustedPacks(config).verified(active)


def _inference(config: Config, name: str, pack: Pack) -> Iterator[Finding]:
    options = engine_options(config.agent, keeps=False)
    try:
        session = open_session(pack, options)
        try:
            began_s = time.perf_counter()
            session.run(zero_inputs(pack.manifest, 1))
            took_s = time.perf_counter() - began_s
        finally:
            session.close()
        golden = check_golden(pack, options)
        certificate = pack.certificate
    except EngineError as error:
        yield failed(name, error.reason, error.mend)
        return
    except PackError as error:
        yield failed(name, error.reason, error.mend, Exit.DATA)
        return
    message = f"{took_s * 1000:.2f} ms for one window; {golden.detail}"
    if golden.is_ok is False:
        yield failed(name, message, "this engine does not run the model as it was built: rebuild the pack", Exit.DATA)
    elif certificate is None or certificate.threshold is None:
        yield warning(
            name, f"{message}; no certified threshold", "`model-pack certify`; until then every window is escalated"
        )
    else:
        yield ok(name, message)
