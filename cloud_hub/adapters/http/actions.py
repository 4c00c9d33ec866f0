"""Owns what people may change over HTTP, once for the console's forms and the API's bodies.

Who may do which is said beside each address (`views.py`, `api/`); each of these is refused by name, as a HubError, or
done wholly.
"""

from cloud_hub.assigning import assign, unassign
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import LabelOutcome
from cloud_hub.core.people import Person, Role, checked_password, checked_person_name
from cloud_hub.core.twin import DesiredTwin
from cloud_hub.inviting import Invitation, Inviting, MadeToken
from cloud_hub.labelling import Labelling
from cloud_hub.ports import Clock, FleetRecords, PackShelf, PasswordHasher, People
from protos.messages.escalation import PredictionId


class Actions:
    """What a person does; `by` is always who is logged in, never what a request says.

    Args:
        fleet: Where desires are stored.
        shelf: The published packs.
        labelling: Takes labels.
        inviting: Makes join tokens.
        people: Who may log in.
        hasher: Hashes passwords.
        clock: Wall clock.
    """

    def __init__(
        self,
        *,
        fleet: FleetRecords,
        shelf: PackShelf,
        labelling: Labelling,
        inviting: Inviting,
        people: People,
        hasher: PasswordHasher,
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._shelf = shelf
        self._labelling = labelling
        self._inviting = inviting
        self._people = people
        self._hasher = hasher
        self._clock = clock

    async def label(
        self, by: Person, device: DeviceKey, prediction_id: PredictionId, label: str | None, note: str = ""
    ) -> LabelOutcome:
        """Say what a case is, or that one cannot tell (`label` None).

        Raises:
            CaseUnknownError: There is no such case.
            LabelUnknownError: No pack of the case answers that.
            StorageError: The database does not answer.
        """
        return await self._labelling.give(device, prediction_id, label, by=by.name, note=note)

    async def desire(self, by: Person, device: DeviceKey, binding: str, pack: str) -> DesiredTwin:
        """Say what a binding of a device should run; `pack` is name@version.

        Raises:
            DeviceAbsentError: There is no such device.
            AssignmentError: The pack is not published, is no edge pack or cannot be read; or there is no such binding.
            StorageError: The database does not answer.
        """
        now_ns = self._clock()
        return await assign(self._fleet, self._shelf, device, binding, pack, actor=by.name, now_ns=now_ns)

    async def end_desire(self, by: Person, device: DeviceKey, binding: str) -> DesiredTwin:
        """Say that nothing is wanted of a binding any more.

        Raises:
            DeviceAbsentError: There is no such device.
            AssignmentError: Nothing is desired there.
            StorageError: The database does not answer.
        """
        return await unassign(self._fleet, device, binding, actor=by.name, now_ns=self._clock())

    async def invite(self, invitation: Invitation) -> MadeToken:
        """Make a join token.

        Raises:
            DeviceNameError: The site or the device cannot be a name.
            StorageError: The database does not answer.
        """
        return await self._inviting.invite(invitation)

    async def add_person(self, by: Person, name: str, role: Role, password: str) -> Person:
        """Let somebody log in.

        Raises:
            PersonNameError: That cannot be a name.
            PasswordWeakError: That is no password.
            PersonTakenError: Somebody has the name.
            StorageError: The database does not answer.
        """
        person = Person(checked_person_name(name), role, self._clock())
        await self._people.add_person(person, await self._hasher.hash(checked_password(password)), actor=by.name)
        return person

    async def set_password(self, by: Person, name: str, password: str) -> None:
        """Replace somebody's password; all their sessions end.

        Raises:
            PasswordWeakError: That is no password.
            PersonUnknownError: Nobody has the name.
            StorageError: The database does not answer.
        """
        hashed = await self._hasher.hash(checked_password(password))
        await self._people.set_password(name, hashed, actor=by.name, now_ns=self._clock())

    async def remove_person(self, by: Person, name: str) -> None:
        """Let somebody in no more; their sessions and tokens end.

        Raises:
            PersonUnknownError: Nobody has the name.
            StorageError: The database does not answer.
        """
        await self._people.remove_person(name, actor=by.name, now_ns=self._clock())
