"""The doctor's look at local calls."""

import json
import socket
from pathlib import Path

import pytest

from edge_agent.config import load
from edge_agent.examination.findings import State
from edge_agent.examination.local_calls import examine_calls
from tests.simulators.network import free_port

LOCAL = '[[binding]]\nname = "motion"\npack = "motion-band-edge@1.0.0"\n'


def states(folder: Path, oip: str, *, is_running: bool = False) -> list[State]:
    """What is found under a table."""
    (folder / "agent.toml").write_text(f'[device]\nid = "press-07"\n{oip}')
    (folder / "bindings.toml").write_text(
        LOCAL
        if oip
        else '[mqtt.site]\nurl = "mqtt://localhost"\n'
        + LOCAL
        + 'broker = "site"\ntopic = "a"\npayload = { codec = "image" }\nresult = { topic = "b" }\n'
    )
    return [one.state for one in examine_calls(load(folder / "agent.toml"), is_running=is_running)]


def test_without_local_calls_nothing_is_said(tmp_path: Path) -> None:
    """There is nothing to look at."""
    assert states(tmp_path, "") == []


def test_a_free_address_is_fine_and_a_taken_one_is_not(tmp_path: Path) -> None:
    """Before a start the address must be free."""
    table = f'[oip]\nlisten = "127.0.0.1:{free_port()}"\n'
    assert states(tmp_path, table) == [State.OK]
    with socket.create_server(("127.0.0.1", 0)) as other:
        table = f'[oip]\nlisten = "127.0.0.1:{other.getsockname()[1]}"\n'
        assert states(tmp_path, table) == [State.FAILED]


def test_an_address_for_others_is_a_warning(tmp_path: Path) -> None:
    """There is no login."""
    assert states(tmp_path, '[oip]\nlisten = "0.0.0.0:0"\n')[0] is State.WARNING


@pytest.mark.parametrize("is_there", [True, False])
def test_a_running_agent_must_answer_there(tmp_path: Path, is_there: bool) -> None:  # noqa: FBT001 - a parameter
    """Where it said that it listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if is_there else free_port()
        (tmp_path / "state").mkdir()
        running = {"pid": 1, "device": "press-07", "http_host": "", "http_port": 1, "oip_host": "127.0.0.1"}
        (tmp_path / "state" / "run.json").write_text(json.dumps({**running, "oip_port": port}))
        found = states(tmp_path, '[oip]\nlisten = "127.0.0.1:0"\n', is_running=True)
    assert found == [State.OK if is_there else State.FAILED]
