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


def refuse_skip_in_ci(report: pytest.TestReport) -> None:
    """Make a failure of a test that skipped itself, where ``CI=true``: there a skip would hide a check."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"may not be skipped in CI: {reason}"


def found_perf_analyzer() -> str | None:
    """The path of NVIDIA's perf_analyzer, by `PERF_ANALYZER` or the PATH; None where it is not installed."""
    return os.environ.get("PERF_ANALYZER") or shutil.which("perf_analyzer")


def has_gpu() -> bool:
    """Whether an NVIDIA driver is here and finds a GPU (CUDA Driver API: cuInit, cuDeviceGetCount)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return bool(driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0)
