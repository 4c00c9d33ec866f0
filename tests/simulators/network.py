"""Owns free ports and the question whether one is listened on. All on 127.0.0.1."""

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the ports that Linux gives to outgoing connections. So a port is free again after a kill, and a client that
# keeps dialling a dead server can neither take its port nor connect to itself.
_PORTS = range(20_000, 32_000)

_given: set[int] = set()
"""Ports that this process gave out: nobody listens on them yet, perhaps."""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing held a moment ago, another one each time."""
    for port in random.sample(_PORTS, len(_PORTS)):
        if port in _given:
            continue
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((LOOPBACK, port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise RuntimeError(f"no free port between {_PORTS.start} and {_PORTS.stop} on {LOOPBACK}")


def is_listening(port: int) -> bool:
    """True when something accepts connections on 127.0.0.1:``port``."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
