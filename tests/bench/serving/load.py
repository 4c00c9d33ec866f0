"""Owns making load and measuring it: h2load for every protocol, one call by hand to see that the answer is right.

h2load keeps one request in flight on each connection (a closed loop), logs each request's time, and costs the machine
some 20 us a request, the same for every server. What a server's process tree costs meanwhile is read from /proc.
"""

import http.client
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np

from tests.bench.serving.process_tree import cpu_s
from tests.bench.serving.wire import FRAME_BYTES, Question, Wire, framed
from tests.simulators.network import LOOPBACK

CALL_DEADLINE_S: Final = 10.0
_H2LOAD_MEND: Final = "h2load is missing: apt-get install nghttp2-client"
_SPARE_S: Final = 30.0
_US_PER_MS: Final = 1000.0
_MAX_MESSAGE_BYTES: Final = 64 << 20
_REQUESTS = re.compile(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored")
_STATUSES = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_RATE = re.compile(r"finished in [\d.]+\w*, ([\d.]+) req/s")
_DATA = re.compile(r"traffic: .* (?:headers \(.*?\)|headers), [\d.]+\w+ \((\d+)\) data")


class LoadError(Exception):
    """A server did not answer as it should; the message names what came."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of load measured.

    Attributes:
        per_s: Requests answered a second.
        cpu_s: Processor seconds of the server's tree for 1,000 requests.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s: float


def h2load() -> str:
    """Its path.

    Raises:
        LoadError: It is not installed.
    """
    path = shutil.which("h2load")
    if path is None:
        raise LoadError(_H2LOAD_MEND)
    return path


def ask(wire: Wire, port: int, question: Question) -> bytes:
    """Ask once; the reply's body.

    Raises:
        OSError: Nobody listens.
        LoadError: The server refused; names its status.
    """
    return _ask_grpc(port, question) if wire is Wire.GRPC else _ask_http(port, question)


def run(
    wire: Wire, port: int, question: Question, *, clients: int, seconds: float, reply_bytes: int, pid: int, folder: Path
) -> Load:
    """Keep so many clients asking for so long.

    Args:
        wire: How it is asked.
        port: Of 127.0.0.1.
        question: What is asked.
        clients: Connections with one request in flight each.
        seconds: How long.
        reply_bytes: Size of the right answer's body.
        pid: Of the server.
        folder: For the body and the log.

    Raises:
        LoadError: Not every request was answered with that many bytes and status 2xx.
    """
    body, log = folder / "body", folder / "requests.log"
    body.write_bytes(framed(question.body) if wire is Wire.GRPC else question.body)
    log.unlink(missing_ok=True)
    headers = [part for name, value in question.headers for part in ("-H", f"{name}: {value}")]
    files = ["-d", str(body), "--log-file", str(log)]
    frame_bytes = FRAME_BYTES if wire is Wire.GRPC else 0
    version = [] if wire is Wire.GRPC else ["--h1"]
    line = [h2load(), "-t1", f"-c{clients}", "-m1", f"-D{seconds * 1000:.0f}ms", *version, *files, *headers]
    before_s = cpu_s(pid)
    done = subprocess.run(
        [*line, f"http://{LOOPBACK}:{port}{question.path}"],
        capture_output=True,
        text=True,
        timeout=seconds + _SPARE_S,
        check=False,
    )
    used_s = cpu_s(pid) - before_s
    answered, per_s = _judged(done.stdout or done.stderr, clients, frame_bytes + reply_bytes)
    times_ms = np.loadtxt(log, usecols=2, ndmin=1) / _US_PER_MS
    p50_ms, p99_ms = (float(value) for value in np.quantile(times_ms, [0.5, 0.99]))
    return Load(per_s, p50_ms, p99_ms, used_s * 1000 / answered)


def _judged(printed: str, clients: int, reply_bytes: int) -> tuple[int, float]:
    """Requests answered, and how many a second. A reply of each client may come as the time ends, uncounted."""
    requests, statuses, rate, data = (each.search(printed) for each in (_REQUESTS, _STATUSES, _RATE, _DATA))
    if not (requests and statuses and rate and data):
        raise LoadError(f"h2load printed no result: {' '.join(printed.split())[-200:]}")
    total, succeeded, failed, errored = map(int, requests.groups())
    if failed or errored or not succeeded or any(map(int, statuses.groups()[1:])):
        raise LoadError(f"{failed + errored} of {total} requests failed ({statuses.group()})")
    if abs(int(data.group(1)) - succeeded * reply_bytes) > clients * reply_bytes:
        raise LoadError(f"{succeeded} replies of {data.group(1)} bytes; the right answer has {reply_bytes}")
    return succeeded, float(rate.group(1))


def _ask_grpc(port: int, question: Question) -> bytes:
    options = [("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES), ("grpc.use_local_subchannel_pool", 1)]
    metadata = tuple(pair for pair in question.headers if pair[0] not in {"content-type", "te"})
    with grpc.insecure_channel(f"{LOOPBACK}:{port}", options=options) as channel:
        call = channel.unary_unary(question.path, lambda body: body, lambda body: body)
        try:
            reply: bytes = call(question.body, timeout=CALL_DEADLINE_S, metadata=metadata)
        except grpc.RpcError as exc:
            raise LoadError(f"{exc.code().name}: {exc.details()}") from exc
    return reply


def _ask_http(port: int, question: Question) -> bytes:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=CALL_DEADLINE_S)
    try:
        connection.request("POST", question.path, question.body, dict(question.headers))
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as exc:
        raise LoadError(f"no HTTP answer: {exc!r}") from exc
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise LoadError(f"HTTP {response.status}: {body[:200].decode(errors='replace')}")
    return body
