"""How failures end a command."""

import pytest

from cloud_hub.commands.endings import FAILURES, Failure, cli_error
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
from model_packs.process.exits import Exit

ENDINGS: list[tuple[Failure, Exit, str]] = [
    (StorageError("the database is away"), Exit.UNAVAILABLE, "the database is away"),
    (NoDatabaseError("sqlite+aiosqlite:///hub.db"), Exit.UNAVAILABLE, "hub.db"),
    (ListenError("devices", "127.0.0.1:1", "taken"), Exit.UNAVAILABLE, "127.0.0.1:1"),
    (KeyFileError("ca.key is no key", "restore it"), Exit.CONFIG, "ca.key"),
    (SigningError("site.key is no key", "restore it"), Exit.CONFIG, "site.key"),
    (PackError("tiny@1.0.0", "a blob is damaged", "publish it again"), Exit.DATA, "tiny@1.0.0"),
    (DeviceNameError("site", "Hall 1"), Exit.USAGE, "Hall 1"),
    (AssignmentError("press-07 has no binding 'b'", "choose another"), Exit.USAGE, "press-07"),
    (PeopleFault("'bob' is no person of this hub", "choose another"), Exit.USAGE, "bob"),
    (PermissionError(13, "Permission denied", "hub.db"), Exit.UNAVAILABLE, "hub.db: Permission denied"),
]


@pytest.mark.parametrize(("failure", "code", "word"), ENDINGS, ids=lambda value: type(value).__name__)
def test_each_failure_ends_with_its_code_and_a_mend(failure: Failure, code: Exit, word: str) -> None:
    """The message names what is at fault, and there is something to do about it."""
    ending = cli_error(failure)
    assert ending.exit is code
    assert word in ending.message
    assert ending.mend


def test_every_kind_of_failure_is_tried_here() -> None:
    """A kind that is added to the table is added to this test."""
    assert {type(failure) for failure, _, _ in ENDINGS if not isinstance(failure, OSError)} == set(FAILURES) - {OSError}
