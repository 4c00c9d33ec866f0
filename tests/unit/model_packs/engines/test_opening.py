"""Which variant opens, and what is said when none can."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_packs.engines.opening import open_session
from model_packs.engines.options import EngineOptions
from model_packs.errors import MissingEngineError
from model_packs.pack_spec import VariantEntry
from tests.simulators.packs import build_tiny

ROOT = Path(__file__).parents[4]


def test_the_best_variant_with_a_known_engine_opens(tmp_path: Path) -> None:
    """A variant of a better rank for an engine of the future is passed over."""
    pack = build_tiny(
        tmp_path,
        variants=(
            VariantEntry(id="fast", engine="warp", file="model.onnx", rank=0),
            VariantEntry(id="plain", file="model.onnx", rank=1),
            VariantEntry(id="spare", file="model.onnx", rank=2),
        ),
    )
    session = open_session(pack, EngineOptions(threads=2))
    assert (session.facts.variant, session.facts.threads) == ("plain", 2)
    session.close()


def test_a_pack_for_unknown_engines_only_is_refused(tmp_path: Path) -> None:
    """The message names what the pack wants and what is known."""
    pack = build_tiny(tmp_path, variants=(VariantEntry(id="fast", engine="warp", file="model.onnx"),))
    with pytest.raises(MissingEngineError, match="runs on warp; this program knows onnxruntime"):
        open_session(pack)


WITHOUT_ENGINE = """
import sys
from pathlib import Path
sys.modules["onnxruntime"] = None  # as if it were not installed
from model_packs.engines.opening import open_session
from model_packs.errors import MissingEngineError
from model_packs.manifest import PackRef
from model_packs.store import PackStore
pack = PackStore(Path(sys.argv[1])).load(PackRef("tiny-edge", "1.0.0"), None)
try:
    open_session(pack)
except MissingEngineError as error:
    print(error.mend)
"""


def test_a_missing_engine_names_the_extra(tmp_path: Path) -> None:
    """Everything up to opening works without any engine installed; then the mend is a command."""
    build_tiny(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_ENGINE, str(tmp_path / "layout")],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert ended.stdout == "pip install 'tandem-edge[cpu]'\n"
    assert ended.stderr == ""


START = """
import sys
from pathlib import Path
from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.store import PackStore
session = open_session(PackStore(Path(sys.argv[1])).load(PackRef("tiny-edge", "1.0.0"), None))
session.close()
"""


def test_opening_prints_nothing(tmp_path: Path) -> None:
    """The engine's own chatter stays out of the program's output."""
    build_tiny(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path / "layout")], check=True, capture_output=True, cwd=ROOT, timeout=60
    )
    assert (ended.stdout, ended.stderr) == (b"", b"")


WATCHED_ENGINE = """
import sys
from pathlib import Path
from types import SimpleNamespace
from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.store import PackStore
pack = PackStore(Path(sys.argv[1])).load(PackRef("tiny-edge", "1.0.0"), None)
def call(frame, event, function):
    if event == "c_call" and getattr(function, "__name__", "") == "disable_telemetry_events":
        print("disabled by call")
sys.setprofile(call)
open_session(pack).close()
sys.setprofile(None)
import os
print("disabled by environment", os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_an_engine_opens_with_its_telemetry_off_and_says_nothing(tmp_path: Path) -> None:
    """ONNX Runtime would call its maker; the variable stops it before it loads, the call where it has no variable."""
    build_tiny(tmp_path)
    environ = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED_ENGINE, str(tmp_path / "layout")],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environ,
        timeout=60,
    )
    assert ended.stdout.splitlines() == ["disabled by call", "disabled by environment 1"]
    assert ended.stderr == ""
