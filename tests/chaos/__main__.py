"""Owns `python -m tests.chaos`: runs scenarios in turn, prints one line each, and writes what it printed into the docs.

python -m tests.chaos                      every scenario, once
python -m tests.chaos flap gray --seed 7   some, as they were
python -m tests.chaos --hours 8            a soak: all of them again and again, each time with another seed
"""

import argparse
import secrets
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.plant import Setting, clean, found
from tests.chaos.reliability_page import Result, kept, write_page
from tests.chaos.scenarios import SCENARIOS, Scenario

REPOSITORY = Path(__file__).parents[2]
RUNS = REPOSITORY / "build" / "chaos"
PAGE = REPOSITORY / "docs" / "reliability.md"
_S_PER_HOUR = 3600.0


def main(arguments: list[str]) -> int:
    """Run what the arguments say.

    Returns:
        0 when every scenario passed.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Hurt the system; count what is left.")
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--seed", type=int, help="repeat what this seed did")
    parser.add_argument("--scale", type=float, default=1.0, help="how much longer each takes; 1 is usual")
    parser.add_argument("--hours", type=float, default=0.0, help="go on, with other seeds, until the time is over")
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"then write the latest results into {PAGE.relative_to(REPOSITORY)}",
    )
    args = parser.parse_args(arguments)
    if unknown := set(args.names) - SCENARIOS.keys():
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(SCENARIOS)}")
    chosen = [SCENARIOS[name] for name in args.names or SCENARIOS]
    until_s = time.monotonic() + args.hours * _S_PER_HOUR
    with tempfile.TemporaryDirectory(prefix="chaos-") as founding:
        founded = found(Path(founding))
        results: list[Result] = []
        while True:
            seed = secrets.randbits(32) if args.seed is None else args.seed
            results += [run(one, founded, seed, args.scale) for one in chosen]
            if time.monotonic() >= until_s:
                break
    failed = [one for one in results if not one.passed]
    took_s = sum(one.took_s for one in results)
    print(f"{len(results) - len(failed)} of {len(results)} passed in {took_s:.0f} s")  # noqa: T201 - a program
    if args.write and not failed:
        write_page(PAGE, kept(RUNS / name for name in SCENARIOS))
    return 1 if failed else 0


def run(scenario: Scenario, founded: Path, seed: int, scale: float) -> Result:
    """Run one scenario and print its line; after a failure also what was wrong, and how to have it again."""
    folder = clean(RUNS / scenario.name)
    began_s = time.monotonic()
    try:
        figures, wrong = scenario.run(Setting(folder, founded, seed, scale)), ""
    except AssertionError as error:
        figures, wrong = "", str(error)
    took_s = time.monotonic() - began_s
    result = Result(
        scenario.name, scenario.pass_line, not wrong, figures, took_s, seed, datetime.now(UTC).date().isoformat()
    )
    result.keep(folder)
    print(f"{scenario.name:<34} {'ok' if result.passed else 'FAILED':<6} {figures} ({took_s:.0f} s)", flush=True)  # noqa: T201
    if wrong:
        print(wrong)  # noqa: T201 - a program
        again = f"make chaos ARGS='{scenario.name} --seed {seed} --scale {scale:g}'"
        print(f"seed {seed}; logs in {folder}; again with: {again}", flush=True)  # noqa: T201 - a program
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
