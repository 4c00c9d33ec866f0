"""Owns the environments of the peers: one each below build/bench/peers, made once, with pinned versions.

A peer that cannot be installed is a reason in words, never a failure of the bench.
"""

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.harness import RESULTS_FOLDER

FOLDER: Final = RESULTS_FOLDER / "peers"
DEBIAN_PYTHON: Final = "/usr/bin/python3.11"
# An installed program has its compiled modules beside it; a checkout that may not write them would compile them at
# every start.
COMPILED: Final = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(RESULTS_FOLDER / "pycache")}
_INSTALL_DEADLINE_S: Final = 900.0


class InstallError(Exception):
    """A peer's environment could not be made; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of one peer.

    Attributes:
        name: Of its folder.
        requirements: As pip takes them; ours of ONNX Runtime comes on top, so that all run the same engine.
        interpreter: The Python that it is made with.
    """

    name: str
    requirements: tuple[str, ...]
    interpreter: str = sys.executable

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return FOLDER / self.name / "bin" / "python"

    @property
    def pinned(self) -> tuple[str, ...]:
        """What is installed."""
        return (*self.requirements, f"onnxruntime=={importlib.metadata.version('onnxruntime')}")

    @property
    def is_made(self) -> bool:
        """Whether it is there, as declared."""
        stamp = self._stamp
        return self.python.exists() and stamp.exists() and stamp.read_text() == self._digest

    def make(self) -> None:
        """Make it anew.

        Raises:
            InstallError: The interpreter is missing, or pip failed; its log lies beside.
        """
        if shutil.which(self.interpreter) is None:
            raise InstallError(f"{self.interpreter} is missing: apt-get install python3.11-venv")
        folder = FOLDER / self.name
        shutil.rmtree(folder, ignore_errors=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._run(self.interpreter, "-m", "venv", str(folder))
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.pinned)
        self._run(str(self.python), *pip)
        self._stamp.write_text(self._digest)

    @property
    def _stamp(self) -> Path:
        return FOLDER / self.name / "installed"

    @property
    def _digest(self) -> str:
        return hashlib.sha256("\n".join((self.interpreter, *self.pinned)).encode()).hexdigest()

    def _run(self, *line: str) -> None:
        log_path = FOLDER / f"{self.name}.log"
        with log_path.open("ab") as log:
            try:
                done = subprocess.run(
                    line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_INSTALL_DEADLINE_S, check=False
                )
            except subprocess.TimeoutExpired as exc:
                raise InstallError(f"not installed within {_INSTALL_DEADLINE_S:.0f} s, see {log_path}") from exc
        if done.returncode:
            said = [text for text in log_path.read_text(errors="replace").splitlines() if "ERROR" in text.upper()]
            reason = said[-1].strip() if said else f"exit status {done.returncode}"
            raise InstallError(f"not installed: {reason} (see {log_path.name} in {FOLDER.name}/)")
