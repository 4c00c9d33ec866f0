"""Owns how the agent's errors end a command: one table from error to exit code."""

from edge_agent.core.escalation import IllegalMoveError
from edge_agent.core.pack_slots import SlotMoveError
from edge_agent.errors import (
    AgentError,
    BrokerError,
    CallError,
    ConfigurationError,
    EnrolmentError,
    HubError,
    InputFaultError,
    PackUnusableError,
    StoreError,
)
from model_packs.process.exits import CliError, Exit

EXITS: dict[type[AgentError], Exit] = {
    InputFaultError: Exit.DATA,
    ConfigurationError: Exit.CONFIG,
    EnrolmentError: Exit.UNAVAILABLE,
    PackUnusableError: Exit.DATA,
    BrokerError: Exit.UNAVAILABLE,
    HubError: Exit.UNAVAILABLE,
    StoreError: Exit.UNAVAILABLE,
    CallError: Exit.UNAVAILABLE,
    IllegalMoveError: Exit.UNAVAILABLE,
    SlotMoveError: Exit.DATA,
}


def cli_error(error: AgentError) -> CliError:
    """Turn an error into the end of a command.

    Args:
        error: Any error of the agent.

    Returns:
        The same message and mend, with the exit code of the table; raise it `from` the error.
    """
    code = next(EXITS[kind] for kind in type(error).__mro__ if kind in EXITS)
    return CliError(error.message, error.mend, code)
