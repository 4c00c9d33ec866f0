"""Owns how failures end a command: message, mend and exit code of each kind that a command may meet."""

from typing import TypeAlias

from cloud_hub.errors import (
    AssignmentError,
    DeviceNameError,
    KeyFileError,
    ListenError,
    NoDatabaseError,
    PeopleFault,
    StorageError,
)
from model_packs.errors import PackError, SigningError
from model_packs.process.exits import CliError, Exit

Failure: TypeAlias = (
    StorageError
    | NoDatabaseError
    | ListenError
    | KeyFileError
    | SigningError
    | PackError
    | DeviceNameError
    | AssignmentError
    | PeopleFault
    | OSError
)

FAILURES = (
    StorageError,
    NoDatabaseError,
    ListenError,
    KeyFileError,
    SigningError,
    PackError,
    DeviceNameError,
    AssignmentError,
    PeopleFault,
    OSError,
)
"""What ends a command with a message; anything else is a fault of this program, and shows its traceback."""


def cli_error(error: Failure) -> CliError:
    """Turn a failure into the end of a command.

    Args:
        error: One of `FAILURES`.

    Returns:
        What the person at the hub reads, with the exit code; raise it `from` the error.
    """
    match error:
        case StorageError():
            ending = (str(error), "check database_url, the disk and its free space", Exit.UNAVAILABLE)
        case NoDatabaseError() | ListenError():
            ending = (str(error), error.mend, Exit.UNAVAILABLE)
        case KeyFileError():
            ending = (str(error), error.mend, Exit.CONFIG)
        case SigningError():
            ending = (error.reason, error.mend, Exit.CONFIG)
        case PackError():
            ending = (str(error), error.mend, Exit.DATA)
        case DeviceNameError():
            ending = (str(error), "choose another name", Exit.USAGE)
        case AssignmentError() | PeopleFault():
            ending = (error.reason, error.mend, Exit.USAGE)
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            mend = "check the path, its permissions and the free space"
            ending = (f"{place}{error.strerror or error}", mend, Exit.UNAVAILABLE)
    return CliError(*ending)
