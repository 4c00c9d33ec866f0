"""Owns the process that the chaos test kills: a device that boots, and installs what it is told until it dies.

It is the agent's own code, wired by `tests/simulators/pack_device.py`; only the hub is a folder. It is forked from a
server that has imported everything already, so that a kill hits the installing and not the importing.
"""

import logging
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

from edge_agent.core.pack_slots import PackId
from protos.messages.fleet import SlotState
from tests.simulators.pack_device import PackDevice

_TURN_S = 0.01


def install_for_ever(folder: Path, wanted: PackId, said: "Connection[str, str]") -> None:
    """Boot, say what answers, then turn both loops until somebody kills the process.

    Args:
        folder: The device's.
        wanted: What the hub wants now.
        said: Hears "booted NAME" once it answers, and "committed NAME" when the wanted pack is.
    """
    logging.disable(logging.CRITICAL)
    device = PackDevice(folder)
    device.boot()
    answer = device.ask()[0]
    said.send(f"booted {device.runs.pack} {answer.status}")
    device.desire(wanted)
    while device.step().active != wanted or device.slot.state is SlotState.TRIAL:
        device.ask()  # a stream of questions: a trial ends after the first answers
        time.sleep(_TURN_S)
    said.send(f"committed {device.runs.pack}")
    said.close()
    os._exit(0)
