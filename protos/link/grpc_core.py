"""Owns the choices for gRPC's C core that it reads from the environment when it is imported; the programs set them.

This module imports no gRPC, so that a program can ask here first.
"""

from importlib.metadata import version
from typing import Final

VERBOSITY: Final = "NONE"
"""Of `GRPC_VERBOSITY`: else the core puts its own lines on stderr before our errors."""

POLL_STRATEGY: Final = "poll"
"""Of `GRPC_POLL_STRATEGY`: each completion queue waits for its own sockets.

By default (epoll1) all queues of a process share one epoll set, and whichever thread waits reads every socket: beside
the link's `grpc.aio`, whose thread always waits, a server on a queue of its own then gets each request by a wake-up of
another thread. The price is a wait that looks at each socket of its queue (docs/serving.md has both as measured).
"""

_KNOWN_UNTIL: Final = (1, 85)


def experiments() -> str:
    """Choose the core's experiments, for `GRPC_EXPERIMENTS`.

    A server listens without the core's event engine: whoever waits on the completion queue reads the sockets itself, so
    a request has one change of threads less before Python sees it. A bare `grpc.aio` server of a tiny model then takes
    0.26 to 0.38 instead of 0.36 to 0.38 CPU-seconds for 1,000 requests of 8 clients, and a median of 0.34 to 0.39
    instead of 0.43 to 0.52 ms for one client (2026-11-22, two cores, grpcio 1.85.1). TLS, deadlines and limits stay.

    Returns:
        The choice; nothing for a core that was not looked at: one that knows no such experiment says so on stderr.
    """
    major, minor = version("grpcio").split(".")[:2]
    return "-event_engine_listener" if (int(major), int(minor)) <= _KNOWN_UNTIL else ""
