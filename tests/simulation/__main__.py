"""Shows one history again, or looks for one that fails: `.venv/bin/python -m tests.simulation 908`.

`0-10000` lives many and shows the first that fails; `--sql` takes the hub's real tables. Exits with 1 when one fails.
"""

import argparse
import logging
import sys

from tests.simulation.lives import live
from tests.simulation.rule_database import RuleDatabase
from tests.simulation.sql_database import SqlDatabase


def main(arguments: list[str]) -> int:
    """Live what was asked for.

    Args:
        arguments: Of the command line.

    Returns:
        0 when nothing is wrong, 1 otherwise.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", help="one seed, or a range such as 0-10000 (the last is left out)")
    parser.add_argument("--sql", action="store_true", help="on the hub's real tables")
    chosen = parser.parse_args(arguments)
    first, _, end = chosen.seeds.partition("-")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    logging.disable(logging.CRITICAL)
    for seed in seeds:
        lived = live(seed, SqlDatabase() if chosen.sql else RuleDatabase())
        if lived.problems or len(seeds) == 1:
            _say(f"seed {seed}, faults {', '.join(lived.faults) or 'none'}", *lived.trace, "", *lived.problems)
        if lived.problems:
            return 1
    _say(f"nothing is wrong in {len(seeds):,} of {len(seeds):,} histories")
    return 0


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
