"""The systemd units: as hardened as promised, and not so hardened that the programs cannot do their work."""

import re
import subprocess
from pathlib import Path

import pytest

from cloud_hub.cli import parser as hub_parser
from edge_agent.cli import parser as agent_parser
from edge_agent.config import DEFAULT_PATH
from tests.simulators.processes import run_to_end
from tests.simulators.requirements import require

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNITS = tuple(sorted(FOLDER.glob("*.service")))
MOST_EXPOSURE_TENTHS = 25

each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, which needs no running systemd for these."""
    return run_to_end([require("systemd", "systemd-analyze"), *arguments], cwd=FOLDER)


def settings(unit: Path) -> dict[str, list[str]]:
    """The assignments of a unit file, in order, by key."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_there_is_a_unit_for_each_daemon() -> None:
    """The agent and the hub run under systemd."""
    assert [unit.name for unit in UNITS] == ["cloud-hub.service", "edge-agent.service"]


@each_unit
def test_the_exposure_is_at_most_2_5(unit: Path) -> None:
    """Systemd's own judgement of the sandbox; above the threshold it ends with an error."""
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE_TENTHS}", "--no-pager", str(unit))
    assert done.returncode == 0, done.stdout + done.stderr


@each_unit
def test_the_state_folder_is_all_that_may_be_written(unit: Path) -> None:
    """The whole file system is read-only, but for the unit's own state and its own /tmp."""
    found = settings(unit)
    assert found["ProtectSystem"] == ["strict"]
    assert found["PrivateTmp"] == ["yes"]
    assert "ReadWritePaths" not in found


@each_unit
def test_systemd_understands_every_line(unit: Path) -> None:
    """No key is misspelt; that the program is not installed on this machine is all that systemd has to say."""
    done = analyze("verify", str(unit))
    complaints = [line for line in done.stderr.splitlines() if "is not executable: No such file" not in line]
    assert complaints == [], done.stderr


@each_unit
def test_the_command_is_one_that_the_program_has(unit: Path) -> None:
    """The program's own parser takes the unit's arguments."""
    program, *arguments = settings(unit)["ExecStart"][0].split()
    parser = {"edge-agent": agent_parser, "cloud-hub": hub_parser}[Path(program).name]()
    assert parser.parse_args(arguments).config.is_absolute()


def test_the_agents_config_is_where_its_commands_look() -> None:
    """`edge-agent status` needs no --config on such a device."""
    assert settings(FOLDER / "edge-agent.service")["ExecStart"][0].split()[-1] == str(DEFAULT_PATH)


@each_unit
def test_only_errors_that_a_restart_can_mend_are_met_with_one(unit: Path) -> None:
    """A wrong command line (64) and a wrong configuration (78) stay down; everything else is tried again."""
    found = settings(unit)
    assert found["Restart"] == ["always"]
    assert found["RestartPreventExitStatus"] == ["64 78"]


@each_unit
def test_readiness_is_not_claimed(unit: Path) -> None:
    """Without sd_notify in the programs, Type=notify would let every start fail."""
    assert settings(unit)["Type"] == ["exec"]


@each_unit
def test_the_user_of_the_unit_is_declared(unit: Path) -> None:
    """Sysusers makes each user that a unit names, with the unit's state folder as its home."""
    found = settings(unit)
    lines = [line.split() for line in (FOLDER / "tandem.sysusers.conf").read_text().splitlines() if line[:1] == "u"]
    homes = {fields[1]: fields[-1] for fields in lines}
    assert homes[found["User"][0]] == f"/var/lib/{found['StateDirectory'][0]}"


def test_the_agent_may_ask_whether_the_clock_is_synchronised() -> None:
    """It reads that with clock_adjtime; the call is outside @system-service, and ProtectClock would forbid it."""
    found = settings(FOLDER / "edge-agent.service")
    assert {"@system-service", "clock_adjtime", "adjtimex"} <= set(found["SystemCallFilter"][0].split())
    assert "ProtectClock" not in found


@each_unit
def test_the_programs_see_processor_and_boot(unit: Path) -> None:
    """ONNX Runtime reads /proc/cpuinfo and the agent the boot's id: both are gone with ProcSubset=pid."""
    assert "ProcSubset" not in settings(unit)
