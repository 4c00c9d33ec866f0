"""Owns `python -m tests.chaos`: runs scenarios, prints one line for each row of the list, and writes the docs' table.

python -m tests.chaos                      every scenario, once
python -m tests.chaos flap gray --seed 7   some, as they were
python -m tests.chaos --hours 8            a soak: all of them again and again, each time with another seed
"""

import argparse
import os
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.plant import found
from tests.chaos.reliability_page import Outcome, Result, write_page
from tests.chaos.runner import Round, run_all
from tests.chaos.scenarios import ROWS, SCENARIOS, Scenario

REPOSITORY = Path(__file__).parents[2]
RUNS = REPOSITORY / "build" / "chaos"
PAGE = REPOSITORY / "docs" / "reliability.md"

_WORKERS_A_CORE = 2
_S_PER_HOUR = 3600.0


class Told:
    """Prints a row when all of it that was chosen is done; remembers what became of each.

    Args:
        rows: What was chosen, by row.
        scale: For the command that repeats a failure.
    """

    def __init__(self, rows: list[list[Scenario]], scale: float) -> None:
        self._rows = rows
        self._scale = scale
        self.results: dict[str, Result] = {}

    @property
    def by_row(self) -> list[list[Result]]:
        """What came of each row."""
        return [[self.results[one.name] for one in row] for row in self._rows]

    def __call__(self, result: Result) -> None:
        """One scenario has ended."""
        self.results[result.name] = result
        row = next(row for row in self._rows if result.name in [one.name for one in row])
        if all(one.name in self.results for one in row):
            self._print([self.results[one.name] for one in row])

    def _print(self, row: list[Result]) -> None:
        names = ", ".join(one.name for one in row)
        said = " | ".join(f"{one.said} ({one.took_s:.0f} s)" for one in row if one.outcome is not Outcome.FAILED)
        print(f"{names:<34} {'/'.join(dict.fromkeys(one.outcome for one in row)):<7} {said}", flush=True)  # noqa: T201 - a program
        for one in row:
            if one.outcome is Outcome.FAILED:
                again = f"make chaos ARGS='{one.name} --seed {one.seed} --scale {self._scale:g}'"
                print(one.said)  # noqa: T201 - a program
                print(f"seed {one.seed}; logs in {RUNS / one.name}; again with: {again}", flush=True)  # noqa: T201


def main(arguments: list[str]) -> int:
    """Run what the arguments say.

    Returns:
        0 when nothing failed; in CI (CI=true) also nothing may have been skipped.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Hurt the system; count what is left.")
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--seed", type=int, help="repeat what this seed did")
    parser.add_argument("--scale", type=float, default=1.0, help="how much longer each takes; 1 is usual")
    parser.add_argument("--hours", type=float, default=0.0, help="go on, with other seeds, until the time is over")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=int, default=_WORKERS_A_CORE * cores, help="how many run at once (two for each core)"
    )
    parser.add_argument("--write", action="store_true", help=f"then write {PAGE.relative_to(REPOSITORY)}'s table")
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # so that every program is ended, too
    if unknown := set(args.names) - SCENARIOS.keys():
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(SCENARIOS)}")
    if args.write and args.names:
        parser.error("--write writes the whole table: name no scenario")
    names = args.names or SCENARIOS
    rows = [wanted for row in ROWS if (wanted := [one for one in row if one.name in names])]
    until_s = time.monotonic() + args.hours * _S_PER_HOUR
    good = (Outcome.OK,) if os.environ.get("CI") == "true" else (Outcome.OK, Outcome.SKIPPED)
    is_good = True
    RUNS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as founding:
        founded = found(Path(founding))
        while True:
            seed = secrets.randbits(32) if args.seed is None else args.seed
            told = Told(rows, args.scale)
            began_s = time.monotonic()
            run_all([one for row in rows for one in row], Round(RUNS, founded, seed, args.scale), args.workers, told)
            is_good &= all(one.outcome in good for one in told.results.values())
            print(_summary(told, time.monotonic() - began_s, seed), flush=True)  # noqa: T201 - a program
            if time.monotonic() >= until_s:
                break
    if args.write and all(one.outcome is Outcome.OK for one in told.results.values()):
        write_page(PAGE, told.by_row)
    return 0 if is_good else 1


def _summary(told: Told, took_s: float, seed: int) -> str:
    passed = sum(all(one.outcome is Outcome.OK for one in row) for row in told.by_row)
    return f"{passed} of {len(told.by_row)} passed in {took_s:.0f} s, seed {seed}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
