"""Owns one scenario in a process of its own: runs it, keeps its result in its folder. `runner.py` starts it.

python -m tests.chaos.one NAME FOLDER FOUNDED SEED SCALE
"""

import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.disks import UnableError
from tests.chaos.plant import Setting
from tests.chaos.reliability_page import Outcome, Result
from tests.chaos.scenarios import SCENARIOS


def main(name: str, folder: Path, founded: Path, seed: int, scale: float) -> None:
    """Run it; whatever comes of it is kept in its folder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # so that its programs are ended, too
    scenario = SCENARIOS[name]
    began_s = time.monotonic()
    try:
        outcome, said = Outcome.OK, scenario.run(Setting(folder, founded, seed, scale))
    except UnableError as error:
        outcome, said = Outcome.SKIPPED, str(error)
    except AssertionError as error:
        outcome, said = Outcome.FAILED, str(error)
    took_s = time.monotonic() - began_s
    today = datetime.now(UTC).date().isoformat()
    Result(name, scenario.pass_line, outcome, said, took_s, seed, today).keep(folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
