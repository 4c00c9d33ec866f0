"""Owns what happens when a test needs what this machine has not: a skip by name, a failure in CI."""

import ctypes
import os
import shutil
from typing import NoReturn

import pytest

# Debian keeps daemons where the PATH of an ordinary user does not look.
_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def require(package: str, binary: str) -> str:
    """Return the path of ``binary``; without it skip the test, naming the Debian ``package``.

    With ``CI=true`` in the environment a missing package fails the test: CI installs what it needs,
    so there a skip would hide a check.
    """
    path = shutil.which(binary, path=_SEARCH_PATH)
    if path is None:
        skip_or_fail(f"{binary} is missing: apt-get install {package}")
    return path


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test with one line that names the ``reason``; with ``CI=true`` fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def has_gpu() -> bool:
    """Whether an NVIDIA driver is here and finds a GPU (CUDA Driver API: cuInit, cuDeviceGetCount)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return bool(driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0)
