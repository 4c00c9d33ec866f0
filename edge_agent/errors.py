"""Owns what can go wrong on the device, whose fault it is, and the mend.

    AgentError                .status says the retry class (protos.status), .mend what a person can do
    ├── InputFaultError       the sender's: a message that does not decode        INVALID_ARGUMENT
    ├── CallError             the caller's or the engine's: no answer to a call    as it says
    ├── ConfigurationError    the operator's: files that contradict each other    FAILED_PRECONDITION
    ├── EnrolmentError        the operator's or the hub's: no identity            as the hub says
    ├── PackUnusableError     the publisher's: missing, unsigned, wrong digest    FAILED_PRECONDITION
    │   └── PackRefusedError      with the reason that the hub is told (core/pack_slots.py)
    ├── BrokerError           the world's: the broker refuses or is not there     UNAVAILABLE, UNAUTHENTICATED
    ├── HubError              the world's: the hub refuses or is not there        as the hub says
    ├── StoreError            the machine's: disk full, damaged or read-only      as the disk says
    ├── SlotMoveError         the operator's: no pack to go back to               FAILED_PRECONDITION
    └── IllegalMoveError      ours or the hub's (core/escalation.py)              INTERNAL

Errors of foreign libraries become one of these at their adapter. What a command's exit code is: `commands/endings.py`.
This module is pure, so that core may raise from it.
"""

from enum import StrEnum

from protos.status import Status


class AgentError(Exception):
    """Root of all errors of the agent.

    Args:
        message: What is wrong; names the file, field, device or topic.
        mend: What the reader can do about it.
        status: Its row in the status table.
    """

    def __init__(self, message: str, mend: str, status: Status) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        self.status = status


class InputFault(StrEnum):
    """Why a message was dead-lettered; the closed set of reasons of the counters `…_dead_lettered`."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    TOO_DEEP = "too_deep"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    EMPTY = "empty"
    WRONG_WIDTH = "wrong_width"
    NOT_NUMERIC = "not_numeric"
    NOT_FINITE = "not_finite"
    MISSING_VALUE = "missing_value"
    BAD_TIME = "bad_time"
    FUTURE_TIME = "future_time"
    UNKNOWN_FORMAT = "unknown_format"
    DAMAGED = "damaged"
    WRONG_SIZE = "wrong_size"
    WRONG_DEPTH = "wrong_depth"
    WRONG_COLOUR = "wrong_colour"
    ANIMATED = "animated"
    UNKNOWN_PREDICTION = "unknown_prediction"
    UNKNOWN_LABEL = "unknown_label"
    NO_ANSWER = "no_answer"
    REFUSED_BY_HUB = "refused_by_hub"
    DECODER_FAILED = "decoder_failed"
    """Ours, not the sender's: the decoder broke on it; the log has the traceback. No `InputFaultError` carries it."""


class InputFaultError(AgentError):
    """A message that does not decode to what its binding declares; it is dead-lettered, never inferred.

    Args:
        reason: Which rule it breaks.
        detail: Where and how, for a person.
        mend: What the sender or the author of the binding can change.
    """

    def __init__(self, reason: InputFault, detail: str, mend: str) -> None:
        super().__init__(detail, mend, Status.INVALID_ARGUMENT)
        self.reason = reason


class CallError(AgentError):
    """A local call without an answer: an unknown model, a caller who left, no permit to wait, a failed engine."""


class ConfigurationError(AgentError):
    """Files that are each valid and contradict each other, or the packs that they name.

    Args:
        problems: Every contradiction found, each a sentence that names its key.
        mend: What to change, or which command shows more.
    """

    def __init__(self, problems: tuple[str, ...], mend: str) -> None:
        super().__init__("; ".join(problems), mend, Status.FAILED_PRECONDITION)
        self.problems = problems


class EnrolmentError(AgentError):
    """The device got no identity, or the one on disk cannot be used."""


class PackUnusableError(AgentError):
    """A pack that a binding names is missing, damaged or not signed by a trusted key.

    Args:
        pack: name@version or the path that the binding gives.
        message: What is wrong with it.
        mend: How to get a good one.
    """

    def __init__(self, pack: str, message: str, mend: str) -> None:
        super().__init__(message, mend, Status.FAILED_PRECONDITION)
        self.pack = pack


class BrokerError(AgentError):
    """A broker refuses the agent or is not there.

    Args:
        broker: Its name in bindings.toml.
        message: What happened; names host and port.
        mend: What to check.
        status: UNAVAILABLE when trying again may help.
    """

    def __init__(self, broker: str, message: str, mend: str, status: Status = Status.UNAVAILABLE) -> None:
        super().__init__(message, mend, status)
        self.broker = broker


class HubError(AgentError):
    """The hub refuses the agent or is not there.

    Args:
        address: host:port of the hub.
        message: What happened.
        mend: What to check.
        status: As the hub said it; UNAVAILABLE when it said nothing.
    """

    def __init__(self, address: str, message: str, mend: str, status: Status = Status.UNAVAILABLE) -> None:
        super().__init__(message, mend, status)
        self.address = address


class StoreError(AgentError):
    """The store on the device's disk cannot be read or written."""
