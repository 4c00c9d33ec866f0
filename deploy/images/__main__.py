"""Owns `make images`: plays the demo's story and takes the pictures of the docs while everything still runs.

Exit codes: 0 all pictures are there, 1 a goal of the demo was missed (then there are none), 69 something cannot be had.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from deploy.demo.baselines import layout
from deploy.demo.fleet import DIGITS_EDGE_PACK, LEFT
from deploy.demo.hub_api import HubApiError
from deploy.demo.programs import ProgramError
from deploy.demo.report import Report
from deploy.demo.results import ListenerError
from deploy.demo.sensors import SensorError
from deploy.demo.story import Story
from deploy.images.browser import BrowserError, photograph, photograph_file, shots
from deploy.images.terminal import Recorder, drawn
from model_packs.cli import execute as model_pack
from model_packs.process.exits import CliError, Exit, Parser, run
from model_packs.shipped.motion_band.dataset import DEFAULT_CACHE, DatasetError

_REPOSITORY: Final = Path(__file__).parents[2]
_FOLDER: Final = _REPOSITORY / "docs" / "images"
_GOAL_MISSED: Final = 1


def main() -> int:
    """Take all pictures.

    Returns:
        The exit code.

    Raises:
        CliError: Something that it takes cannot be had.
    """
    args = _arguments()
    place = _REPOSITORY / "build" / "images"
    place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=place))
    recorder = Recorder(sys.stderr)
    story = Story(folder=folder / "run", cache=_REPOSITORY / DEFAULT_CACHE, speed=1.0, seed=1, view=recorder)
    try:
        report = story.tell()
        if not report.ok:
            recorder.summary(report)
            return _GOAL_MISSED
        _take(story, recorder, report, args.out)
    except DatasetError as exc:
        raise CliError(str(exc), exc.mend, Exit.UNAVAILABLE) from exc
    except (ProgramError, HubApiError, ListenerError, SensorError, BrowserError) as exc:
        raise CliError(str(exc), "mend that, and run it again", Exit.UNAVAILABLE) from exc
    finally:
        story.close()
        shutil.rmtree(folder)
    return Exit.OK


def _arguments() -> argparse.Namespace:
    parser = Parser(prog="python -m deploy.images", description="Take the pictures of the docs from a run of the demo.")
    parser.add_argument("--out", type=Path, default=_FOLDER, help="folder for them (default: docs/images)")
    return parser.parse_args()


def _take(story: Story, recorder: Recorder, report: Report, out: Path) -> None:
    disputed = story.api.disputed(LEFT.name)
    if not disputed:
        raise ProgramError(f"the hub disagreed with no answer of {LEFT.name}")
    out.mkdir(parents=True, exist_ok=True)
    taken = {name: text.encode() for name, text in drawn(recorder, report).items()}
    taken |= dict(photograph(report.login, shots(disputed[-1].prediction_id)))
    taken |= report_pictures()
    for name, content in taken.items():
        (out / name).write_bytes(content)
        recorder.event(f"{name}: {len(content)} bytes")


def report_pictures() -> dict[str, bytes]:
    """Show what `model-pack report` says of the digits' student.

    Returns:
        PNG by file name.

    Raises:
        CliError: The data of its field rows cannot be had.
        BrowserError: There is no browser.
    """
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        model_pack(
            ["report", str(layout(DIGITS_EDGE_PACK)), "--data", str(_REPOSITORY / DEFAULT_CACHE), "-o", str(page)]
        )
        return dict(photograph_file(page, "report"))


if __name__ == "__main__":
    run(main)
