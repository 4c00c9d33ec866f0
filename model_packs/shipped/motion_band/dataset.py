"""The recordings behind the motion-band family: fetching, checking and reading them.

Owns the one file that the family is made of, `seglearn/data/watch_dataset.npy` out of the `seglearn==1.2.5` wheel, from
the package index to typed recordings. The wheel is only opened as a zip: the package is never installed or imported.
Which rows train, tune, calibrate and are shown as the field is `split`'s business.

    fetch(cache_dir)   wheel -> watch_dataset.npy, digest checked, path returned
    load(cache_dir)    fetch, then the recordings
"""

import hashlib
import io
import pickle  # the file is a pickled dict: read by digest and with an allow-list of globals
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

PACKAGE: Final = "seglearn==1.2.5"
MEMBER: Final = "seglearn/data/watch_dataset.npy"
SHA256: Final = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
DEFAULT_CACHE: Final = Path("build/data")

RATE_HZ: Final = 50
CHANNELS: Final = ("ax", "ay", "az", "wx", "wy", "wz")
EXERCISES: Final = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")

_DOWNLOAD_TIMEOUT_S: Final = 600.0
# The data set writes the side of the body as 1 = right, 0 = left (docstring of seglearn.datasets.load_watch).
_RIGHT: Final = 1


class DatasetError(Exception):
    """The data set cannot be had or is not the one that the family was built from.

    Attributes:
        mend: What a person can do about it.
    """

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(f"{message} ({mend})")
        self.mend = mend


class Wrist(StrEnum):
    """The wrist that wore the watch."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class Recording:
    """One person doing one exercise with the watch on one wrist.

    Attributes:
        index: Position in the data set, 0 to 139; the recording's identity.
        subject: The person, 1 to 10.
        wrist: The wrist that wore the watch.
        exercise: One of `EXERCISES`.
        samples: float32 [rows, channels], channels as in `CHANNELS` (accelerometer in g, gyroscope in rad/s), 50 rows a
            second, C order, read-only.
    """

    index: int
    subject: int
    wrist: Wrist
    exercise: str
    samples: NDArray[np.float32] = field(repr=False, compare=False)

    @property
    def exercise_index(self) -> int:
        """The exercise as a class index, 0 to 6."""
        return EXERCISES.index(self.exercise)


def load(cache_dir: Path = DEFAULT_CACHE, progress: Callable[[str], None] | None = None) -> tuple[Recording, ...]:
    """Read all recordings, fetching the file first when the cache does not hold it.

    Args:
        cache_dir: Where the wheel and the file are kept between runs.
        progress: Called with one line for each step that takes time.

    Returns:
        The 140 recordings in the data set's order.

    Raises:
        DatasetError: The file cannot be fetched, or is not the pinned one.
    """
    return _read(fetch(cache_dir, progress).read_bytes())


def fetch(cache_dir: Path = DEFAULT_CACHE, progress: Callable[[str], None] | None = None) -> Path:
    """Bring the data set's file into the cache, unless it is there.

    1. A file in the cache with the pinned digest is used as it is.
    2. Otherwise pip downloads the wheel (11 MB), without its dependencies and without building anything.
    3. The one file is taken out of the zip, its digest is checked, and it is renamed into place.

    Args:
        cache_dir: Folder for the wheel and the file; made when missing.
        progress: Called with one line for each step that takes time.

    Returns:
        The path of `watch_dataset.npy`.

    Raises:
        DatasetError: No pip, no network, a wheel without the file, or another digest.
    """
    say = progress or _silent
    target = cache_dir / Path(MEMBER).name
    if target.exists():
        _check_digest(target.read_bytes(), target)
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    wheel = _cached_wheel(cache_dir)
    if wheel is None:
        say(f"downloading {PACKAGE} (11 MB) to {cache_dir}")
        wheel = _download_wheel(cache_dir)
    say(f"taking {MEMBER} out of {wheel.name}")
    data = _member(wheel)
    _check_digest(data, wheel)
    part = target.with_suffix(".part")
    part.write_bytes(data)
    part.replace(target)
    return target


def _silent(_line: str) -> None:
    """Drop a progress line."""


def _cached_wheel(cache_dir: Path) -> Path | None:
    """The wheel that an earlier run left in the cache."""
    name, version = PACKAGE.split("==")
    return next(iter(sorted(cache_dir.glob(f"{name}-{version}-*.whl"))), None)


def _download_wheel(cache_dir: Path) -> Path:
    """Let pip fetch the wheel from the index that the machine is configured with."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(  # noqa: S603 (a fixed command, no shell, no input from outside)
            [*command, PACKAGE, "--dest", str(cache_dir)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_DOWNLOAD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as exc:
        raise DatasetError(
            f"{PACKAGE} was not downloaded within {_DOWNLOAD_TIMEOUT_S:.0f} s", _by_hand(cache_dir)
        ) from exc
    wheel = _cached_wheel(cache_dir)
    if done.returncode != 0 or wheel is None:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"pip exited with {done.returncode}"
        raise DatasetError(f"{PACKAGE} could not be downloaded: {reason}", _by_hand(cache_dir))
    return wheel


def _by_hand(cache_dir: Path) -> str:
    """The mend for a download that did not work."""
    return (
        "check that `python -m pip` works, the network and the package index; or run, on another machine, "
        f"`pip download --no-deps {PACKAGE}` and put the wheel into {cache_dir}"
    )


def _member(wheel: Path) -> bytes:
    """The data set's file out of the wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(MEMBER)
    except (zipfile.BadZipFile, KeyError) as exc:
        raise DatasetError(f"{wheel} does not hold {MEMBER}: {exc}", f"delete {wheel} and run again") from exc


def _check_digest(data: bytes, source: Path) -> None:
    """Refuse any file but the pinned one."""
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise DatasetError(
            f"{source}: wrong digest of {Path(MEMBER).name}: sha256 is {found}, expected {SHA256}",
            f"delete {source} and run again",
        )


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can build numpy arrays of numbers and plain containers, and nothing else."""

    # `__reduce__` names numpy's `_reconstruct` in any numpy: the module that holds it moved in numpy 2.
    _ALLOWED: Mapping[tuple[str, str], object] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): str.encode,  # `encode(text, "latin1")`, how pickle protocol 2 writes bytes
    }

    def find_class(self, module: str, name: str, /) -> object:
        """Resolve an allowed global; refuse all others before they are imported."""
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the global {module}.{name} is not allowed in a data set") from None


def unpickle_arrays(data: bytes) -> object:
    """Read a `.npy` file that holds one pickled object made of arrays and plain containers.

    Args:
        data: The whole file.

    Returns:
        The object.

    Raises:
        DatasetError: Not such a file, or its pickle names a global that arrays do not need.
    """
    stream = io.BytesIO(data)
    try:
        npy_format.read_magic(stream)
        _shape, _order, dtype = npy_format.read_array_header_1_0(stream)
        if dtype != np.dtype(object):
            raise DatasetError(f"the file holds {dtype}, not a pickled object", f"fetch {PACKAGE} again")
        packed = _ArraysOnly(stream).load()
    except (pickle.UnpicklingError, ValueError, EOFError) as exc:
        raise DatasetError(f"{Path(MEMBER).name} cannot be read: {exc}", f"fetch {PACKAGE} again") from exc
    # numpy pickles an object array of shape () when `save` is given a dict.
    return packed.item() if isinstance(packed, np.ndarray) and packed.shape == () else packed


def _read(data: bytes) -> tuple[Recording, ...]:
    """The recordings in a file whose digest was checked."""
    content = unpickle_arrays(data)
    if not isinstance(content, dict):
        raise DatasetError(f"{Path(MEMBER).name} holds a {type(content).__name__}", f"fetch {PACKAGE} again")
    if tuple(content["X_labels"]) != CHANNELS or tuple(content["y_labels"]) != EXERCISES:
        raise DatasetError("channels or exercises are not the expected ones", f"fetch {PACKAGE} again")
    rows = zip(content["X"], content["subject"], content["side"], content["y"], strict=True)
    return tuple(
        Recording(
            index=index,
            subject=int(subject),
            wrist=Wrist.RIGHT if int(side) == _RIGHT else Wrist.LEFT,
            exercise=EXERCISES[int(exercise)],
            samples=_frozen(samples),
        )
        for index, (samples, subject, side, exercise) in enumerate(rows)
    )


def _frozen(samples: NDArray[np.float64]) -> NDArray[np.float32]:
    """A read-only C-order float32 copy."""
    copy = np.array(samples, dtype=np.float32, order="C")
    copy.setflags(write=False)
    return copy
