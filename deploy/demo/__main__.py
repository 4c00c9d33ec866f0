"""Owns the demo's command line: argv -> story -> summary, exit code, and an end that leaves no process behind.

`make demo` runs it. Exit codes: 0 all goals hold, 1 a goal is missed, 69 a program or the data set cannot be had, 130
and 143 when interrupted.
"""

import argparse
import contextlib
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Final, NoReturn

from deploy.demo.hub_api import HubApiError
from deploy.demo.programs import ProgramError, installed
from deploy.demo.results import ListenerError
from deploy.demo.sensors import SensorError
from deploy.demo.story import Story
from deploy.demo.view import View, choose_view
from model_packs.errors import ModelPackError
from model_packs.process.exits import CliError, Exit, Parser, run
from model_packs.shipped.motion_band.dataset import DEFAULT_CACHE, DatasetError

_REPOSITORY: Final = Path(__file__).parents[2]
_GOAL_MISSED: Final = 1
_NEXT_LINE: Final = "\n"  # the terminal has echoed ^C
_TERMINATED: Final = 143  # 128 + SIGTERM, as shells report it


def main() -> int:
    """Run the demo as the arguments say.

    Returns:
        The exit code.

    Raises:
        CliError: Something that the demo needs cannot be had.
    """
    signal.signal(signal.SIGTERM, _terminate)
    args = _arguments()
    folder = _run_folder(args.run_dir)
    is_live = sys.stdout.isatty() and sys.stderr.isatty() and not args.no_ui and not args.json
    view = choose_view(is_live=is_live)
    story = Story(folder=folder, cache=_REPOSITORY / DEFAULT_CACHE, speed=args.speed, seed=args.seed, view=view)
    is_kept = True
    view.open()
    try:
        report = story.tell()
        view.summary(report)
        if is_live:
            _hold(story)
        is_kept = args.keep or args.run_dir is not None or not report.ok
    except DatasetError as exc:
        raise CliError(str(exc), exc.mend, Exit.UNAVAILABLE) from exc
    except ModelPackError as exc:
        raise CliError(f"a shipped pack cannot be used: {exc}", "restore model_packs/shipped/", Exit.DATA) from exc
    except (ProgramError, HubApiError, ListenerError, SensorError) as exc:
        raise CliError(str(exc), f"the logs are in {folder / 'logs'}", Exit.UNAVAILABLE) from exc
    finally:
        _close(story, view)
        if is_kept:
            sys.stderr.write(f"demo: configs, state and logs are in {_relative(folder)}\n")
        else:
            shutil.rmtree(folder)
    if args.json:
        sys.stdout.write(json.dumps(report.to_json(), allow_nan=False) + "\n")
    return Exit.OK if report.ok else _GOAL_MISSED


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog="python -m deploy.demo", description="The whole system on this machine, with real sensor data."
    )
    parser.add_argument("--no-ui", action="store_true", help="plain lines on stderr; do not wait at the end")
    parser.add_argument("--json", action="store_true", help="the report as the last line of stdout; implies --no-ui")
    parser.add_argument("--speed", type=_speed, default=1.0, help="event seconds a second, 1 to 10 (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the bootstrap intervals (default 1)")
    parser.add_argument(
        "--keep", action="store_true", help="keep the run folder; it is kept anyway if a goal is missed"
    )
    parser.add_argument("--run-dir", type=Path, help="a new folder for the run, kept (default: one under build/demo/)")
    return parser.parse_args()


def _speed(text: str) -> float:
    speed = float(text)
    if not 1 <= speed <= 10:  # noqa: PLR2004 - the help text names both bounds
        raise argparse.ArgumentTypeError("1 to 10")
    return speed


def _run_folder(wanted: Path | None) -> Path:
    """The run folder: new, so that no earlier run's state is in it."""
    if wanted is None:
        place = _REPOSITORY / "build" / "demo"
        numbers = (int(path.name) for path in place.glob("[0-9]*") if path.name.isdigit())
        wanted = place / str(max(numbers, default=0) + 1)
    try:
        wanted.mkdir(parents=True)
    except FileExistsError as exc:
        raise CliError(f"{wanted} exists already", "give --run-dir a folder that does not exist", Exit.USAGE) from exc
    except OSError as exc:
        message = f"{wanted} cannot be made: {exc.strerror}"
        raise CliError(message, "give --run-dir another place", Exit.UNAVAILABLE) from exc
    return wanted.absolute()


def _hold(story: Story) -> None:
    """Keep everything alive until the person has seen enough."""
    status = f"{_relative(installed('edge-agent'))} status --config {_relative(story.config())}"
    sys.stdout.write(f"everything still runs; Ctrl-C stops it. In another terminal: {status}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _relative(path: Path | str) -> str:
    """As short as a person can type it: from the current folder, or whole when that has to climb."""
    there = Path(path)
    return str(there.relative_to(Path.cwd()) if there.is_relative_to(Path.cwd()) else there)


def _close(story: Story, view: View) -> None:
    """End everything; a second Ctrl-C does not leave half of it behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    view.close()
    sys.stderr.write(f"{_NEXT_LINE if sys.stderr.isatty() else ''}demo: stopping…\n")
    for name in story.close():
        sys.stderr.write(f"demo: {name} did not stop by itself\n")


def _terminate(_number: int, _frame: object) -> NoReturn:
    """SIGTERM ends the demo as Ctrl-C does, through the same `finally`."""
    sys.exit(_TERMINATED)


if __name__ == "__main__":
    run(main)
