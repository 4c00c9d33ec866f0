"""Every error of the agent ends a command with a code, and says what to do."""

import pytest

from edge_agent import cli  # imports every module that defines errors
from edge_agent.commands.endings import EXITS, cli_error
from edge_agent.errors import (
    AgentError,
    BrokerError,
    ConfigurationError,
    EnrolmentError,
    HubError,
    InputFault,
    InputFaultError,
    PackUnusableError,
    StoreError,
)
from model_packs.process.exits import Exit
from protos.status import TABLE, Status


def kinds(root: type[AgentError]) -> set[type[AgentError]]:
    """All classes below one."""
    return {kind for child in root.__subclasses__() for kind in {child, *kinds(child)}}


def test_every_error_has_an_exit_code() -> None:
    """The table is total."""
    assert cli.main is not None
    missing = {kind for kind in kinds(AgentError) if not any(base in EXITS for base in kind.__mro__)}
    assert missing == set()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputFaultError(InputFault.EMPTY, "no sample", "send one"), Exit.DATA),
        (ConfigurationError(("a", "b"), "correct them"), Exit.CONFIG),
        (EnrolmentError("used up", "make another token", Status.PERMISSION_DENIED), Exit.UNAVAILABLE),
        (PackUnusableError("p@1.0.0", "damaged", "fetch it again"), Exit.DATA),
        (BrokerError("site", "refused", "start it"), Exit.UNAVAILABLE),
        (HubError("h:1", "refused", "start it"), Exit.UNAVAILABLE),
        (StoreError("disk full", "free some space", Status.RESOURCE_EXHAUSTED), Exit.UNAVAILABLE),
    ],
)
def test_message_and_mend_reach_the_person(error: AgentError, code: Exit) -> None:
    """Nothing is lost on the way, and the status has its row."""
    ended = cli_error(error)
    assert (ended.message, ended.mend, ended.exit) == (error.message, error.mend, code)
    assert error.status in TABLE
