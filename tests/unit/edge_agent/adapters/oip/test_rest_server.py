"""Who is answered over REST: programs on this machine, others where they may; memory is shared on this machine only."""

import io
import json
import socket
from collections.abc import Callable, Mapping
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import pytest
from numpy.typing import NDArray

from edge_agent.adapters.oip.calling import Calling
from edge_agent.adapters.oip.models import Models
from edge_agent.adapters.oip.rest_server import RestServer
from edge_agent.adapters.oip.shared_memory import SharedMemory
from edge_agent.core.local_call import CallAnswer
from edge_agent.inference.revisions import Inbox
from edge_agent.ports import BindingName
from tests.unit.edge_agent.adapters.oip.served import Sure
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock

SECRET = b"what another program keeps in its memory"


class Asked:
    """One POST, as the HTTP server hands it over."""

    command = "POST"
    connection: socket.socket
    path = "/v2/models/press/infer"
    close_connection = False

    def __init__(self, peer: str, body: bytes, length: str = "") -> None:
        self.client_address = (peer, 50_000)
        self.headers = Message()
        self.headers["Content-Length"] = length or str(len(body))
        self.rfile, self.wfile = io.BytesIO(body), io.BytesIO()
        self.status = 0

    def send_response(self, status: int) -> None:
        """Begin the answer."""
        self.status = status

    def send_header(self, name: str, value: str) -> None:
        """Pass over a header."""

    def end_headers(self) -> None:
        """Begin the body."""


@pytest.fixture
def regions(tmp_path: Path) -> SharedMemory:
    """What a program on this machine shares with the agent."""
    (tmp_path / "own").write_bytes(SECRET)
    shared = SharedMemory(tmp_path)
    shared.register("own", "/own", 0, len(SECRET))
    return shared


class Doubtful(Sure):
    """A binding whose callers wait for the hub, which never says anything."""

    def call(self, inputs: Mapping[str, NDArray[Any]], **wanted: Any) -> CallAnswer:  # noqa: ANN401 - of `Callee`
        """Wait, then answer."""
        if wanted["inbox"] is not None:
            assert wanted["inbox"].next() is None
        return super().call(inputs)


def answered(regions: SharedMemory, *all_asked: Asked, callee: Sure | None = None, hangs_up: bool = False) -> Asked:
    """Hand requests to a server that answers other machines, too, over one connection; the last one."""
    clock = TestClock()
    models = Models({BindingName("press"): cast("Any", callee or Sure())}, dict, list, clock)

    def inbox(left_s: float, is_there: Callable[[], bool]) -> Inbox:
        return Inbox(left_s, clock.monotonic_s, is_there)

    calling = Calling(models, regions, 1, inbox, clock.monotonic_s)
    server = RestServer(calling, "1", lambda: True, max_message_bytes=1 << 20, is_local_only=False)
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(30.0)  # as the HTTP server's are
        if hangs_up:
            there.close()
        for asked in all_asked:
            asked.connection = here
            server.answer(cast("Any", asked))
    return all_asked[-1]


@pytest.mark.parametrize(
    ("peer", "status"), [("127.0.0.1", HTTPStatus.OK), ("192.0.2.7", HTTPStatus.BAD_REQUEST)], ids=["here", "elsewhere"]
)
def test_only_programs_on_this_machine_reach_shared_memory(
    regions: SharedMemory, peer: str, status: HTTPStatus
) -> None:
    """Who asks from elsewhere may be answered, and neither reads nor writes what is shared here."""
    place = {"shared_memory_region": "own", "shared_memory_byte_size": 12}
    tensor = {"name": "window", "datatype": "FP32", "shape": [1, 5, 2], "data": [0.0] * 10}
    document = {"inputs": [tensor], "outputs": [{"name": "logits", "parameters": place}]}
    asked = answered(regions, Asked(peer, json.dumps(document).encode()))
    assert asked.status == status
    assert (regions.read("own", 0, len(SECRET)) == SECRET) is (status is not HTTPStatus.OK)


def test_a_length_that_is_no_length_is_refused_and_the_connection_ends(regions: SharedMemory) -> None:
    """However many digits it has: what follows is not taken for the next request, and nothing of it is our fault."""
    asked = answered(regions, Asked("127.0.0.1", b"", length="9" * 5000))
    assert (asked.status, asked.close_connection) == (HTTPStatus.BAD_REQUEST, True)


def test_who_hangs_up_while_waiting_for_the_hub_gives_its_permit_back(regions: SharedMemory) -> None:
    """Its wait of ten minutes ends, and the only permit is the next one's."""
    tensor = {"name": "window", "datatype": "FP32", "shape": [1, 5, 2], "data": [0.0] * 10}
    document = {"inputs": [tensor], "parameters": {"wait_for_hub_ms": 600_000}}
    two = [Asked("127.0.0.1", json.dumps(document).encode()) for _ in range(2)]
    answered(regions, *two, callee=Doubtful(), hangs_up=True)
    assert [one.status for one in two] == [HTTPStatus.OK] * 2
