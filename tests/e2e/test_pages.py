"""The commands that the README and the documentation show do what the pages say."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.console_blocks import Page, blocks
from tests.simulators.network import is_listening
from tests.simulators.own_network import OwnNetwork
from tests.simulators.requirements import require, skip_or_fail

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(REPOSITORY))
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md"))
    if blocks(page.read_text())
)


# The pages show the programs as they come, so with their default ports.
DEFAULT_PORTS = (1883, 8080, 8443, 8444, 9464)


@pytest.fixture
def network(run_folder: Path) -> Iterator[tuple[str, ...]]:
    """What to put before a command so that the default ports are free; without root they must be free anyway."""
    if OwnNetwork.is_possible():
        own = OwnNetwork(run_folder / "network.log")
        own.open()
        yield own.prefix
        own.close()
        return
    taken = [port for port in DEFAULT_PORTS if is_listening(port)]
    if taken:
        skip_or_fail(f"the pages use the default ports, and something listens on {taken} already")
    yield ()


@pytest.mark.parametrize("page_path", PAGES)
def test_the_commands_of_a_page_do_what_it_shows(
    page_path: str, tmp_path: Path, run_folder: Path, network: tuple[str, ...]
) -> None:
    """Each tagged block of the page runs, in order, in an empty folder, and prints what the page shows."""
    require("mosquitto", "mosquitto")
    require("mosquitto-clients", "mosquitto_sub")
    programs = str(Path(sys.executable).parent)
    environ = {
        "PATH": os.pathsep.join([programs, os.environ["PATH"], "/usr/sbin"]),
        "HOME": str(tmp_path),
        "TANDEM": str(REPOSITORY),
    }
    page = Page(tmp_path, run_folder, environ, network)
    try:
        for block in blocks((REPOSITORY / page_path).read_text()):
            page.run(block)
    finally:
        page.close()
