"""Owns a hub with a past and three people as a process of its own, for browsers: started, killed and started again."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from cloud_hub.config import HubConfig
from cloud_hub.core.people import Role
from tests.simulators.hub_people import PASSWORD, add_person
from tests.simulators.hubs import HubSite
from tests.simulators.network import LOOPBACK, free_port
from tests.simulators.processes import Process, installed_program
from tests.simulators.seeded_hub import SKETCHES, Seeded, found, seed
from tests.simulators.site import wait_ready

PEOPLE = {"vera": Role.VIEWER, "lena": Role.LABELER, "olaf": Role.OPERATOR}

_HUB_TOML = """\
[grpc]
host = "{host}"
port = 0
enrolment_port = 0
[http]
host = "{host}"
port = {http}
[fleet]
heartbeat_interval_s = {interval_s}
"""


@dataclass(frozen=True, slots=True)
class ConsoleHub:
    """The hub, what was put into it, and its people's API tokens by name; everybody's password is ``PASSWORD``."""

    site: HubSite
    process: Process
    http_port: int
    seeded: Seeded
    tokens: dict[str, str]

    @property
    def origin(self) -> str:
        """Where its pages are."""
        return f"http://{LOOPBACK}:{self.http_port}"

    @property
    def config(self) -> HubConfig:
        """Its settings, for whoever opens its database beside it."""
        return self.site.config

    @property
    def password(self) -> str:
        """Everybody's."""
        return PASSWORD

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process.start()
        wait_ready(self.process, self.http_port)


def console_hub(folder: Path, *, heartbeat_interval_s: float = 600.0) -> ConsoleHub:
    """Make the hub; it is not started. Devices look as alive as they were when it was made, for as long as a test."""
    site = found(folder / "hub", heartbeat_interval_s=heartbeat_interval_s)
    http_port = free_port()
    site.config_path.write_text(_HUB_TOML.format(host=LOOPBACK, http=http_port, interval_s=heartbeat_interval_s))
    seeded = asyncio.run(seed(site, SKETCHES))
    tokens = {name: add_person(site.config, name, role) for name, role in PEOPLE.items()}
    argv = [installed_program("cloud-hub"), "serve", "--config", str(site.config_path)]
    process = Process(argv, log_path=folder / "cloud-hub.log", cwd=folder)
    return ConsoleHub(site, process, http_port, seeded, tokens)
