"""Owns who may do what in the console: people, their roles, and what a name and a password must be."""

import re
from dataclasses import dataclass
from enum import StrEnum

from cloud_hub.errors import PasswordWeakError, PersonNameError

MIN_PASSWORD_CHARS = 10
MAX_PASSWORD_CHARS = 256

_NAME = re.compile(r"[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?")


class Role(StrEnum):
    """What a person may do; each may do what those before may."""

    VIEWER = "viewer"
    """Look."""
    LABELER = "labeler"
    """Label cases."""
    OPERATOR = "operator"
    """Change what devices run, let devices in, and manage people."""

    @property
    def rank(self) -> int:
        """Place in the order viewer < labeler < operator."""
        return tuple(Role).index(self)

    def allows(self, least: "Role") -> bool:
        """Say whether this role may do what needs at least another.

        Args:
            least: What is needed.

        Returns:
            True if this one ranks as high.
        """
        return self.rank >= least.rank


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may log in; created_at_ns by the hub's wall clock, Unix epoch, UTC."""

    name: str
    role: Role
    created_at_ns: int


def checked_person_name(name: str) -> str:
    """Let a name through if it can stand in a log line, a URL and a table.

    Args:
        name: The name.

    Returns:
        The same name.

    Raises:
        PersonNameError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise PersonNameError(name)
    return name


def checked_password(password: str) -> str:
    """Let a password through if it is long enough to be one, and short enough to be hashed (NIST SP 800-63B, 5.1.1).

    Args:
        password: As the person chose it; nothing is cut off or replaced.

    Returns:
        The same password.

    Raises:
        PasswordWeakError: It is too short or too long.
    """
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise PasswordWeakError(MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS)
    return password
