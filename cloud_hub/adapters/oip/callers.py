"""Owns who asks for inference, and what they may: API tokens of people's programs, or anybody on this machine.

The same tokens as for the HTTP API (`cloud-hub people token NAME`), as `Authorization: Bearer TOKEN`, in gRPC metadata
or an HTTP header. A token that was good is taken for a few seconds without asking the database again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloud_hub.core.people import Role
from cloud_hub.errors import RoleTooLowError, SignInNeededError
from cloud_hub.ports import People
from cloud_hub.serving.interface import Caller

AUTHORIZATION: Final = "authorization"

TRUSTED_S: Final = 5.0
"""How long a token is taken without asking again: a revoked one is refused after this at the latest."""

_MAX_KNOWN: Final = 4096
_BEARER: Final = "bearer"


@dataclass(frozen=True, slots=True)
class Admitted:
    """Somebody who may infer; `role` is None for who needs no token here."""

    caller: Caller
    role: Role | None


ANYBODY: Final = Admitted(Caller("local", "local"), None)
"""A program on this machine, where callers need no token."""


class Callers:
    """Says who is calling.

    Args:
        people: Whose tokens there are.
        needs_token: Every call needs one; else it is anybody's on this machine.
        monotonic_s: Monotonic clock.
    """

    def __init__(self, people: People, *, needs_token: bool, monotonic_s: Callable[[], float]) -> None:
        self._people = people
        self._monotonic_s = monotonic_s
        self._known: dict[str, tuple[float, Admitted]] = {}
        self.needs_token = needs_token

    def admitted(self, authorization: str | None) -> Admitted | None:
        """Who calls with a token that was good seconds ago, by a look-up; else `admit`. Any thread may ask."""
        until_s, admitted = self._known.get(authorization or "", (0.0, None))
        return admitted if self._monotonic_s() < until_s else None

    async def admit(self, authorization: str | None) -> Admitted:
        """Let a caller in.

        Args:
            authorization: What the call brings; None for nothing.

        Returns:
            Who it is.

        Raises:
            SignInNeededError: The call needs a token and brings none that is known.
            StorageError: The database does not answer.
        """
        return await self._owner(authorization) if self.needs_token else ANYBODY

    async def admit_operator(self, authorization: str | None) -> Admitted:
        """Let somebody in who may change what this hub serves; that needs a token on every machine.

        Args:
            authorization: What the call brings; None for nothing.

        Returns:
            Who it is.

        Raises:
            SignInNeededError: The call brings no token that is known.
            RoleTooLowError: Its owner is no operator.
            StorageError: The database does not answer.
        """
        admitted = await self._owner(authorization)
        if admitted.role is None or not admitted.role.allows(Role.OPERATOR):
            raise RoleTooLowError(admitted.caller.name, str(admitted.role), Role.OPERATOR)
        return admitted

    async def _owner(self, authorization: str | None) -> Admitted:
        now_s = self._monotonic_s()
        if authorization is None:
            raise SignInNeededError
        until_s, admitted = self._known.get(authorization, (0.0, ANYBODY))
        if now_s < until_s:
            return admitted
        scheme, _, token = authorization.partition(" ")
        person = await self._people.api_token(token.strip()) if scheme.lower() == _BEARER else None
        self._known.pop(authorization, None)
        if person is None:
            raise SignInNeededError
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        admitted = Admitted(Caller(person.role, person.name), person.role)
        self._known[authorization] = (now_s + TRUSTED_S, admitted)
        return admitted
