"""What is missing on a developer's machine is a skip by name; in CI it is a failure."""

import pytest

from tests.simulators.requirements import found_perf_analyzer, refuse_skip_in_ci, require


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


def test_perf_analyzer_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PERF_ANALYZER` names it; without it the PATH decides, and there may be none."""
    monkeypatch.setenv("PERF_ANALYZER", "/somewhere/perf_analyzer")
    assert found_perf_analyzer() == "/somewhere/perf_analyzer"
    monkeypatch.delenv("PERF_ANALYZER")
    monkeypatch.setenv("PATH", "/nowhere")
    assert found_perf_analyzer() is None


@pytest.mark.parametrize(("ci", "outcome"), [("true", "failed"), ("", "skipped")])
def test_a_skip_is_a_failure_in_ci_only(monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str) -> None:
    """Whatever a test skips itself for, CI says so as a failure, with the reason."""
    monkeypatch.setenv("CI", ci)
    where = ("tests/a.py", 3, "Skipped: no disk")
    report = pytest.TestReport("tests/a.py::b", ("tests/a.py", 3, "b"), {}, "skipped", where, "call")
    refuse_skip_in_ci(report)
    assert report.outcome == outcome
    assert "no disk" in str(report.longrepr)
