"""Owns what happens when a test needs a Debian package that is not there: a skip by name, a failure in CI."""

import os
import shutil

import pytest

# Debian keeps daemons where the PATH of an ordinary user does not look.
_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def require(package: str, binary: str) -> str:
    """Return the path of ``binary``; without it skip the test, naming the Debian ``package``.

    With ``CI=true`` in the environment a missing package fails the test: CI installs what it needs,
    so there a skip would hide a check.
    """
    path = shutil.which(binary, path=_SEARCH_PATH)
    if path is not None:
        return path
    message = f"{binary} is missing: apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
