"""Owns what can go wrong at the hub, each with the status that a peer gets.

    HubError
    ├── DeviceFault                     the caller's
    │   ├── TokenUnknownError           UNAUTHENTICATED
    │   ├── TokenExpiredError           PERMISSION_DENIED
    │   ├── TokenUsedUpError            PERMISSION_DENIED
    │   ├── TokenBoundError             PERMISSION_DENIED
    │   ├── DeviceNameError             INVALID_ARGUMENT
    │   ├── DeviceTakenError            ALREADY_EXISTS
    │   ├── DeviceUnknownError          UNAUTHENTICATED
    │   ├── DeviceRemovedError          PERMISSION_DENIED
    │   ├── DeviceKeyError              PERMISSION_DENIED
    │   ├── CertificateRequestError     INVALID_ARGUMENT
    │   ├── StreamOrderError            INVALID_ARGUMENT
    │   ├── HelloLateError              DEADLINE_EXCEEDED
    │   ├── WireVersionError            FAILED_PRECONDITION
    │   ├── QuestionInvalidError        INVALID_ARGUMENT
    │   ├── QuestionChangedError        ALREADY_EXISTS
    │   ├── PlaceTakenError             ABORTED
    │   └── FeedbackInvalidError        INVALID_ARGUMENT
    ├── PersonFault                     of who uses the console, the HTTP API or the command line
    │   ├── CaseUnknownError            NOT_FOUND
    │   ├── CaseInputAbsentError        NOT_FOUND
    │   ├── LabelUnknownError           INVALID_ARGUMENT      a device's, too
    │   ├── AssignmentError             INVALID_ARGUMENT
    │   │   └── DeviceAbsentError       NOT_FOUND
    │   ├── PeopleFault
    │   │   ├── PersonNameError         INVALID_ARGUMENT
    │   │   ├── PersonTakenError        ALREADY_EXISTS
    │   │   ├── PersonUnknownError      NOT_FOUND
    │   │   └── PasswordWeakError       INVALID_ARGUMENT
    │   ├── SignInNeededError           UNAUTHENTICATED
    │   ├── RoleTooLowError             PERMISSION_DENIED
    │   ├── ForeignRequestError         PERMISSION_DENIED
    │   ├── TooManySignInsError         RESOURCE_EXHAUSTED
    │   └── RequestInvalidError         INVALID_ARGUMENT
    ├── WaitingRoomFullError            RESOURCE_EXHAUSTED    nobody's: the full models are slower than the devices
    ├── PackUnavailableError            FAILED_PRECONDITION   the operator's
    ├── PackNotFoundError               NOT_FOUND             the caller's, or the operator's
    ├── (cloud_hub.serving.errors)
    │   ├── ModelUnknownError           NOT_FOUND             the caller's
    │   ├── ModelUnloadedError          UNAVAILABLE           the operator's
    │   ├── ServingFullError            RESOURCE_EXHAUSTED    nobody's: more is asked than the models can do
    │   ├── DeadlinePassedError         DEADLINE_EXCEEDED     the caller's
    │   ├── InputRefusedError           INVALID_ARGUMENT      the caller's
    │   └── ModelFailedError            INTERNAL              the engine's
    ├── BlobNotFoundError               NOT_FOUND
    ├── BlobRangeError                  OUT_OF_RANGE
    └── StorageError                    UNAVAILABLE           the world's

    OperatorError                       no peer ever sees one; the person at the hub mends it
    ├── KeyFileError                    a key or certificate file cannot be used
    ├── NoDatabaseError                 the database is missing or empty
    └── ListenError                     a port cannot be bound

What a status means for the caller (retry or not, HTTP twin) is `protos.status`; how a command ends is
`commands.endings`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from protos.status import Status

_SHOWN_LABELS = 20


class HubError(Exception):
    """Anything that the hub refuses or fails; `status` is what the peer is told, `str()` is for a person."""

    status: ClassVar[Status] = Status.INTERNAL


class DeviceFault(HubError):  # noqa: N818 - names whose fault it is; its members are the errors
    """What a device (or who holds its token) has to mend."""


class TokenUnknownError(DeviceFault):
    """No such join token, or its secret is wrong; which of the two is not told."""

    status = Status.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__("the join token is not known here: make one with `cloud-hub tokens create --site SITE`")


class TokenExpiredError(DeviceFault):
    """The join token's time is over."""

    status = Status.PERMISSION_DENIED

    def __init__(self, token_id: str) -> None:
        super().__init__(f"join token {token_id} has expired: make one with `cloud-hub tokens create --site SITE`")
        self.token_id = token_id


class TokenUsedUpError(DeviceFault):
    """The join token has enrolled as many devices as it may."""

    status = Status.PERMISSION_DENIED

    def __init__(self, token_id: str, max_uses: int) -> None:
        times = "once" if max_uses == 1 else f"{max_uses} times"
        super().__init__(
            f"join token {token_id} is used up (it may be used {times}): "
            "make a new one with `cloud-hub tokens create --site SITE`"
        )
        self.token_id = token_id


class TokenBoundError(DeviceFault):
    """The join token is for another device."""

    status = Status.PERMISSION_DENIED

    def __init__(self, token_id: str, device_id: str) -> None:
        super().__init__(f"join token {token_id} is for device {device_id} only: enrol under that name")
        self.token_id = token_id


class DeviceNameError(DeviceFault):
    """A name that cannot be part of a SPIFFE id or an MQTT topic."""

    status = Status.INVALID_ARGUMENT

    def __init__(self, field: str, name: str) -> None:
        super().__init__(
            f"{field} {name[:80]!r} cannot be a name: use 1 to 64 of a-z 0-9 . _ -, with a letter or digit at both ends"
        )


class DeviceTakenError(DeviceFault):
    """The name belongs to an enrolled device with another key."""

    status = Status.ALREADY_EXISTS

    def __init__(self, site_id: str, device_id: str) -> None:
        super().__init__(
            f"device {device_id} of site {site_id} is enrolled with another key: choose another name; to replace it, "
            f"enrol with a token from `cloud-hub tokens create --site {site_id} --device {device_id}`"
        )


class DeviceUnknownError(DeviceFault):
    """The peer presents no identity, or one that was never enrolled here."""

    status = Status.UNAUTHENTICATED

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} is not enrolled at this hub: run `edge-agent enrol` with a join token")


class DeviceRemovedError(DeviceFault):
    """The device was removed from the registry."""

    status = Status.PERMISSION_DENIED

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} was removed from this hub: enrol it again if that was a mistake")


class DeviceKeyError(DeviceFault):
    """The certificate is older than the device's latest enrolment."""

    status = Status.PERMISSION_DENIED

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} was enrolled again with another key: this certificate is no longer accepted")


class CertificateRequestError(DeviceFault):
    """The certificate request cannot be used."""

    status = Status.INVALID_ARGUMENT


class StreamOrderError(DeviceFault):
    """A stream does not begin with Hello, or says it twice."""

    status = Status.INVALID_ARGUMENT


class HelloLateError(DeviceFault):
    """A stream was opened, and nothing was said on it."""

    status = Status.DEADLINE_EXCEEDED

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"no Hello came within {waited_s:g} s")


class WireVersionError(DeviceFault):
    """The peer speaks another wire version."""

    status = Status.FAILED_PRECONDITION

    def __init__(self, theirs: int, ours: int) -> None:
        older = "the agent" if theirs < ours else "the hub"
        super().__init__(f"the agent speaks wire version {theirs}, this hub {ours}: update {older}")


class QuestionInvalidError(DeviceFault):
    """An escalated window that the full model cannot take."""

    status = Status.INVALID_ARGUMENT


class QuestionChangedError(DeviceFault):
    """The same prediction id came with another input."""

    status = Status.ALREADY_EXISTS


class PlaceTakenError(DeviceFault):
    """The same place in the outbox came with another question: the device begins anew, under another store id."""

    status = Status.ABORTED


class PersonFault(HubError):  # noqa: N818 - names whose fault it is; its members are the errors
    """What a person at the console, or their program, has to mend."""


class SignInNeededError(PersonFault):
    """Nobody, or somebody whose session or token has ended, asks for what needs a login."""

    status = Status.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__(
            "log in first: in a browser at /login, from a program with the header `Authorization: Bearer TOKEN` "
            "(`cloud-hub people token NAME` makes one)"
        )


class RoleTooLowError(PersonFault):
    """The person may not do this."""

    status = Status.PERMISSION_DENIED

    def __init__(self, name: str, has: str, needs: str) -> None:
        super().__init__(
            f"{name} has the role {has}, and this needs {needs}: "
            "ask who runs this hub for it (`cloud-hub people add NAME --role ROLE`)"
        )


class ForeignRequestError(PersonFault):
    """A change was asked for by a page that is not of this console, or by one from before the latest login."""

    status = Status.PERMISSION_DENIED

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; nothing was changed: load the page again and repeat it there")


class TooManySignInsError(PersonFault):
    """Too many wrong passwords for this name or from this address."""

    status = Status.RESOURCE_EXHAUSTED

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many wrong passwords for this name or from this address: try again in {wait_s} s")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One thing that is wrong with what was sent; `at` is its place, such as "slots[0].pack"."""

    at: str
    problem: str


class RequestInvalidError(PersonFault):
    """What was sent cannot be used; every problem of it is named."""

    status = Status.INVALID_ARGUMENT

    def __init__(self, problems: tuple[InputProblem, ...]) -> None:
        super().__init__("; ".join(f"{one.at}: {one.problem}" for one in problems))
        self.problems = problems


class FeedbackInvalidError(DeviceFault):
    """A judgement that the tables cannot hold."""

    status = Status.INVALID_ARGUMENT


class CaseUnknownError(PersonFault):
    """No such case was escalated to this hub."""

    status = Status.NOT_FOUND

    def __init__(self, prediction_id: str, device: str) -> None:
        super().__init__(f"prediction {prediction_id[:64]!r} of {device} was never escalated to this hub")


class CaseInputAbsentError(PersonFault):
    """A case has no such input, or it cannot be shown as asked."""

    status = Status.NOT_FOUND

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"input {name[:80]!r} of this case {why}: the case's own document lists its inputs")


class LabelUnknownError(PersonFault):
    """A label that no pack which answers such windows knows."""

    status = Status.INVALID_ARGUMENT

    def __init__(self, label: str, known: Collection[str]) -> None:
        choices = f": use one of {', '.join(sorted(known)[:_SHOWN_LABELS])}" if known else ""
        super().__init__(f"label {label[:80]!r} cannot be an answer to this window{choices}")
        self.label = label


class PeopleFault(PersonFault):
    """A person cannot be added or found, or a password not be used; `mend` says what can be done."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(f"{reason}: {mend}")
        self.reason = reason
        self.mend = mend


class PersonNameError(PeopleFault):
    """A name that cannot be a person's here."""

    status = Status.INVALID_ARGUMENT

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!r} cannot be a person's name",
            "use 1 to 64 of a-z 0-9 . _ @ -, with a letter or digit at both ends",
        )


class PersonTakenError(PeopleFault):
    """Somebody has this name already."""

    status = Status.ALREADY_EXISTS

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is a person of this hub already",
            "choose another name; for another role remove the person first, "
            f"for a new password run `cloud-hub people password {name}`",
        )


class PersonUnknownError(PeopleFault):
    """Nobody has this name."""

    status = Status.NOT_FOUND

    def __init__(self, name: str) -> None:
        super().__init__(f"{name[:80]!r} is no person of this hub", "`cloud-hub people list` shows who is")


class PasswordWeakError(PeopleFault):
    """A password that is too short, or longer than what is hashed."""

    status = Status.INVALID_ARGUMENT

    def __init__(self, least: int, most: int) -> None:
        super().__init__("the password cannot be used", f"choose one of {least} to {most} characters")


class AssignmentError(PersonFault):
    """What a person wants a device to run cannot be wanted; `reason` and `mend` are for them."""

    status = Status.INVALID_ARGUMENT

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(f"{reason}: {mend}")
        self.reason = reason
        self.mend = mend


class DeviceAbsentError(AssignmentError):
    """The device is not enrolled here, or no longer accepted."""

    status = Status.NOT_FOUND

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} is not accepted here", "`cloud-hub devices list` shows those that are")


class WaitingRoomFullError(HubError):
    """More questions wait for the full models than may; the device keeps its own and comes again later."""

    status = Status.RESOURCE_EXHAUSTED

    def __init__(self) -> None:
        super().__init__("too many windows wait for the full models of this hub: keep this one, and try again later")


class PackUnavailableError(HubError):
    """A hub pack is not published here, or does not load."""

    status = Status.FAILED_PRECONDITION

    def __init__(self, pack: str, reason: str, mend: str) -> None:
        super().__init__(f"hub pack {pack}: {reason}; {mend}")
        self.pack = pack
        self.reason = reason
        self.mend = mend


class PackNotFoundError(HubError):
    """A pack that a device asks for is not published here."""

    status = Status.NOT_FOUND

    def __init__(self, pack: str) -> None:
        super().__init__(f"pack {pack} is not published here: run `cloud-hub packs publish LAYOUT` on the hub")


class BlobNotFoundError(HubError):
    """A blob that a device asks for is not stored here."""

    status = Status.NOT_FOUND


class BlobRangeError(HubError):
    """A read starts outside the blob."""

    status = Status.OUT_OF_RANGE


class StorageError(HubError):
    """The database did not take or give what it should; nothing was changed."""

    status = Status.UNAVAILABLE


class OperatorError(Exception):
    """What keeps the hub from starting; `mend` says what the person at the hub can do."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


class KeyFileError(OperatorError):
    """A key or certificate file of the hub cannot be used."""


class NoDatabaseError(OperatorError):
    """The hub's database is missing or empty: it would forget every device, token and verdict."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"there is nothing in the hub's database {url}",
            "restore the database from a backup, correct database_url in hub.toml, "
            "or found a new hub with `cloud-hub init`",
        )


class ListenError(OperatorError):
    """A port cannot be bound."""

    def __init__(self, what: str, address: str, reason: str) -> None:
        super().__init__(
            f"cannot listen on {address} for {what}: {reason}",
            "free the port, or change it in hub.toml",
        )
