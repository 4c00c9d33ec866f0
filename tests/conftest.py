"""Owns the fixtures that every level of tests may use: folders, brokers, probes, real programs.

All of them work under build/, on free ports of 127.0.0.1, and leave no process behind.
"""

import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings

from tests.simulation.lived import total_of
from tests.simulators.brokers import Broker, Iotcore, Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.processes import Process, installed_program
from tests.simulators.requirements import found_perf_analyzer, has_gpu, refuse_skip_in_ci
from tests.simulators.sharing_out import ProgramsInOne

REPOSITORY = Path(__file__).parents[1]

# What CI may be without, by the marker of the tests that need it: whether it is here, and what is missing if not.
_OPTIONAL: Final[Mapping[str, tuple[Callable[[], object], str]]] = {
    "gpu": (has_gpu, "needs an NVIDIA GPU with its driver (libcuda.so.1)"),
    "perf_analyzer": (
        found_perf_analyzer,
        "needs perf_analyzer: pip install perf-analyzer (glibc 2.38), or name it in PERF_ANALYZER",
    ),
}


def pytest_configure() -> None:
    """A property holds however slow the machine is: examples have no time limit."""
    settings.register_profile("tandem", deadline=None)
    settings.load_profile("tandem")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ProgramsInOne:  # noqa: ANN401 - xdist gives it no type
    """Share the tests out as `tests/simulators/sharing_out.py` says."""
    return ProgramsInOne(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What CI may be without is skipped by name where it is missing; CI, where a skip hides a check, leaves it out."""
    for marker, (is_here, reason) in _OPTIONAL.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not marked or is_here():
            continue
        if os.environ.get("CI") == "true":
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if item not in marked]
            continue
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one."""
    report = yield
    refuse_skip_in_ci(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many histories the simulation lived."""
    lived = total_of(terminalreporter.getreports(""))  # of setups and teardowns: the counts are known at the end
    if lived:
        terminalreporter.write_line(f"simulation: {lived:,} random histories lived")


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
