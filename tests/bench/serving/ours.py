"""Owns starting our own programs for a bench: the agent with one local binding, the hub with published packs.

Both are the installed programs on signed packs, made ready as a person would: by their own commands and files.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final, ParamSpec

from model_packs.signing import generate_site_key
from tests.bench.serving.environments import COMPILED
from tests.bench.serving.models import BenchModel, build_pack
from tests.bench.serving.target import Launch, Target, TargetError
from tests.bench.serving.wire import Wire, question
from tests.simulators.network import LOOPBACK, free_port
from tests.simulators.processes import Process, installed_program, run_to_end
from tests.simulators.site import HubPorts

P = ParamSpec("P")

AGENT: Final = "tandem agent"
HUB: Final = "tandem hub"

_AGENT_TOML: Final = """\
[device]
id = "bench"

[packs]
trusted_keys = ["site.pub"]

[oip]
listen = "{host}:{oip}"

[http]
listen = "{host}:{http}"
"""

_HUB_TOML: Final = """\
[grpc]
host = "{host}"
port = {grpc}
enrolment_port = {enrolment}

[http]
host = "{host}"
port = {http}
"""

_OIP_TOML: Final = """
[oip]
enabled = true
host = "{host}"
grpc_port = {oip}
http_port = {rest}
"""

_LOCAL_BINDING_TOML: Final = """\
[[binding]]
name = "{name}"
pack = "./pack/layout"
"""


def agent(bench: BenchModel) -> Target:
    """The agent on one local binding, alone: no broker, no hub."""
    return Target(AGENT, bench, partial(_prepare_agent, bench), "decides and counts each answer")


def write_hub(bench: BenchModel, folder: Path, oip_port: int | None = None) -> tuple[Path, HubPorts]:
    """Make a hub in `folder / "hub"` with one pack published; the path of its hub.toml and its other ports."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "hub" / "hub.toml"
    if not config.exists():
        _command(folder, "init", str(config.parent))
        elsewhere(sign_pack, bench, "hub", folder)
        _command(folder, "packs", "publish", str(folder / "pack" / "layout"), "--config", str(config))
    ports = HubPorts(free_port(), free_port(), free_port())
    serving = "" if oip_port is None else _OIP_TOML.format(host=LOOPBACK, oip=oip_port, rest=free_port())
    config.write_text(_HUB_TOML.format(host=LOOPBACK, **asdict(ports)) + serving)
    return config, ports


def hub(bench: BenchModel) -> Target:
    """The hub with one published pack, as it is by default: it chooses batches and instances itself."""
    return Target(HUB, bench, partial(_prepare_hub, bench), "chooses batches and instances by what it measured at load")


def hub_process(config: Path, *more: str) -> Process:
    """A hub to be started."""
    line = [installed_program("cloud-hub"), "serve", "--config", str(config), *more]
    return Process(line, log_path=config.parent.parent / "cloud-hub.log", cwd=config.parent, environ=COMPILED)


def _prepare_hub(bench: BenchModel, folder: Path) -> Launch:
    port = free_port()
    config, _ports = write_hub(bench, folder, port)
    return Launch(hub_process(config), Wire.GRPC, port, question(Wire.GRPC, bench, ""))


def sign_pack(bench: BenchModel, role: str, folder: Path, escalates_to: str | None = None) -> None:
    """Build a pack into `folder / "pack"`, signed with `site.key`; the public half is `site.pub`."""
    key = generate_site_key(folder / "site.key")
    (folder / "site.pub").write_text(key.public.pem)
    build_pack(bench, role, folder / "pack", key, escalates_to=escalates_to)


def elsewhere(work: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> None:
    """Work in a process of its own: building a pack loads the engine, and a page that two map counts half for each."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(work, *arguments, **named).result()


def _command(folder: Path, *arguments: str) -> None:
    done = run_to_end([installed_program("cloud-hub"), *arguments], cwd=folder)
    if done.returncode:
        raise TargetError(f"cloud-hub {arguments[0]} ended with {done.returncode}: {done.stderr}")


def _prepare_agent(bench: BenchModel, folder: Path) -> Launch:
    elsewhere(sign_pack, bench, "edge", folder)
    port = free_port()
    config = folder / "agent.toml"
    config.write_text(_AGENT_TOML.format(host=LOOPBACK, oip=port, http=free_port()))
    (folder / "bindings.toml").write_text(_LOCAL_BINDING_TOML.format(name=bench.name))
    line = [installed_program("edge-agent"), "run", "--config", str(config)]
    process = Process(line, log_path=folder / "edge-agent.log", cwd=folder, environ=COMPILED)
    return Launch(process, Wire.GRPC, port, question(Wire.GRPC, bench, ""))
