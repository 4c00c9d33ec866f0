"""Owns how tests are shared out to processes: those that run whole programs stay in one, since each needs a core."""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

PROGRAMS: Final = "programs"

_FOLDERS: Final = ("tests/chaos/", "tests/e2e/", "tests/integration/")


class ProgramsInOne(LoadScopeScheduling):
    """Hands each test out by itself, but for those of whole programs, which stay together."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """What is handed out together with a test.

    Args:
        nodeid: Of the test, from the repository's root.
    """
    return PROGRAMS if nodeid.startswith(_FOLDERS) else nodeid
