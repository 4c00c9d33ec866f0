"""How a program ends: exit codes and what a person reads on stderr."""

import pytest

from model_packs.process.exits import CliError, Exit, Parser, run


def end(code: int) -> int:
    """A program's body that ends with a code."""
    return code


def test_the_body_decides_the_exit_code() -> None:
    """What the body returns is the process's exit code."""
    with pytest.raises(SystemExit) as caught:
        run(lambda: end(Exit.DATA))
    assert caught.value.code == 65


def test_a_cli_error_is_told_with_its_mend_and_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Message and mend go to stderr, the code is the error's."""

    def body() -> int:
        raise CliError("edge.toml: no such file", "edge-agent init writes one", Exit.CONFIG)

    with pytest.raises(SystemExit) as caught:
        run(body)
    assert caught.value.code == 78
    assert capsys.readouterr().err == "error: edge.toml: no such file\n  mend: edge-agent init writes one\n"


def test_ctrl_c_ends_without_a_traceback() -> None:
    """An interrupt is reported as shells expect it."""

    def body() -> int:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run(body)
    assert caught.value.code == 130


def test_an_unexpected_error_keeps_its_traceback() -> None:
    """A bug is not dressed up as a user's mistake."""

    def body() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(body)


def test_wrong_arguments_end_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The parser ends with 64 and says how to see what it takes."""
    parser = Parser(prog="tool")
    parser.add_argument("--count", type=int)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--count", "x"])
    assert caught.value.code == 64
    assert "tool --help" in capsys.readouterr().err


def test_an_unknown_argument_shows_the_usage_of_its_sub_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Not the whole program's; one that stands before the sub-command is the program's."""
    parser = Parser(prog="tool")
    parser.add_subparsers(required=True).add_parser("audit").add_argument("--since")
    for arguments, program in ((["audit", "--sinse", "5"], "tool audit"), (["--sinse", "audit"], "tool")):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args(arguments)
        assert caught.value.code == 64
        told = capsys.readouterr().err
        assert told.startswith(f"usage: {program} [-h]")
        assert f"mend: {program} --help" in told
        assert "--sinse" in told
    assert parser.parse_args(["audit", "--since", "5"]).since == "5"
