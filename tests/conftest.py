"""Owns the fixtures that every level of tests may use: folders, brokers, probes, real programs.

All of them work under build/, on free ports of 127.0.0.1, and leave no process behind.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.simulators.brokers import Broker, Iotcore, Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.processes import Process, installed_program
from tests.simulators.requirements import has_gpu

REPOSITORY = Path(__file__).parents[1]


def pytest_configure() -> None:
    """A property holds however slow the machine is: examples have no time limit."""
    settings.register_profile("tandem", deadline=None)
    settings.load_profile("tandem")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a GPU the tests marked `gpu` are skipped by name; CI, which never has one, leaves them out."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu or has_gpu():
        return
    if os.environ.get("CI") == "true":
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if item not in on_gpu]
        return
    for item in on_gpu:
        item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU with its driver (libcuda.so.1)"))


@pytest.fixture
def run_folder(request: pytest.FixtureRequest) -> Path:
    """An empty folder of this test under build/test-logs/; it stays there for reading after a failure."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", request.node.nodeid.removeprefix("tests/")).strip("-")
    folder = REPOSITORY / "build" / "test-logs" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def mosquitto(run_folder: Path) -> Iterator[Mosquitto]:
    """A running mosquitto with the shipped config."""
    broker = Mosquitto(run_folder)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def iotcore(run_folder: Path) -> Iterator[Iotcore]:
    """A running iotcore broker."""
    broker = Iotcore(run_folder)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture(params=["mosquitto", "iotcore"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each of the two brokers in turn, running."""
    running: Broker = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def probe(broker: Broker) -> Iterator[MqttProbe]:
    """A connected client of the test's ``broker``."""
    with MqttProbe(broker) as client:
        yield client


@pytest.fixture
def program(run_folder: Path) -> Iterator[Callable[..., Process]]:
    """Start an installed program: ``program("edge-agent", "run", "--config", str(path))``.

    Its output goes to the test's folder under build/test-logs/; whatever still runs at the end is killed.
    """
    started: list[Process] = []

    def start(name: str, *arguments: str, **environ: str) -> Process:
        log_path = run_folder / f"{name}-{len(started)}.log"
        process = Process([installed_program(name), *arguments], log_path=log_path, cwd=run_folder, environ=environ)
        started.append(process)
        process.start()
        return process

    yield start
    for process in reversed(started):
        process.kill()
