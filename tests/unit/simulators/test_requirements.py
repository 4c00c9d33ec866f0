"""What is missing on a developer's machine is a skip by name; in CI it is a failure."""

import pytest

from tests.simulators.requirements import require


def test_what_is_there_is_given_with_its_path() -> None:
    """The path of the program comes back."""
    assert require("bash", "bash").endswith("/bash")


def test_what_is_missing_skips_and_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CI the test is skipped with one line that names the Debian package."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is missing: apt-get install some-package"):
        require("some-package", "no-such-program")


def test_what_is_missing_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CI=true a missing package fails, for a skip would hide the check."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install some-package"):
        require("some-package", "no-such-program")
