"""The commands that the README and the documentation show do what the pages say."""

import os
import sys
from pathlib import Path

import pytest

from tests.e2e.console_blocks import Page, blocks
from tests.simulators.network import is_listening
from tests.simulators.requirements import require, skip_or_fail

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(REPOSITORY))
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md"))
    if blocks(page.read_text())
)


# The pages show the programs as they come, so with their default ports.
DEFAULT_PORTS = (1883, 8080, 8443, 8444, 9464)


@pytest.mark.parametrize("page_path", PAGES)
def test_the_commands_of_a_page_do_what_it_shows(page_path: str, tmp_path: Path, run_folder: Path) -> None:
    """Each tagged block of the page runs, in order, in an empty folder, and prints what the page shows."""
    require("mosquitto", "mosquitto")
    require("mosquitto-clients", "mosquitto_sub")
    taken = [port for port in DEFAULT_PORTS if is_listening(port)]
    if taken:
        skip_or_fail(f"the pages use the default ports, and something listens on {taken} already")
    programs = str(Path(sys.executable).parent)
    environ = {
        "PATH": os.pathsep.join([programs, os.environ["PATH"], "/usr/sbin"]),
        "HOME": str(tmp_path),
        "TANDEM": str(REPOSITORY),
    }
    page = Page(tmp_path, run_folder, environ)
    try:
        for block in blocks((REPOSITORY / page_path).read_text()):
            page.run(block)
    finally:
        page.close()
