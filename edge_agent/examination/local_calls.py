"""Owns the doctor's look at local calls: whether they are reached, and by whom."""

import socket
from collections.abc import Iterator

from edge_agent.config import Address, Config
from edge_agent.examination.findings import Finding, failed, ok, warning
from edge_agent.reporting.run_file import FILE_NAME, Running
from model_packs.process.exits import Exit

_TIMEOUT_S = 2.0


def examine_calls(config: Config, *, is_running: bool) -> Iterator[Finding]:
    """Look at the address of local calls; nothing is asked where there are none.

    Args:
        config: Says where they are answered.
        is_running: Whether the agent runs, and should answer now.
    """
    oip = config.agent.oip
    if oip is None:
        return
    if not oip.address.is_loopback:
        mend = "set oip.listen to 127.0.0.1, or let nobody reach it but those who may ask"
        yield warning("local calls", f"{oip.listen} is not this machine's own: there is no login", mend)
    running = Running.read(config.agent.device.state_dir / FILE_NAME) if is_running else None
    if running is not None and running.oip_port is not None:
        yield _reached(Address(running.oip_host or oip.address.host, running.oip_port))
    elif not is_running:
        yield _free(oip.address)


def _reached(address: Address) -> Finding:
    try:
        socket.create_connection((address.host, address.port), _TIMEOUT_S).close()
    except OSError as error:
        mend = "look at the agent's log, and restart it"
        return failed("local calls", f"{address} is not answered: {error.strerror or error}", mend, Exit.UNAVAILABLE)
    return ok("local calls", f"answered on {address}")


def _free(address: Address) -> Finding:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            mend = "stop what listens there, or set another oip.listen"
            return failed("local calls", f"{address} cannot be bound: {error.strerror or error}", mend, Exit.CONFIG)
    return ok("local calls", f"{address} is free for the agent")
