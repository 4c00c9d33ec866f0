"""The status table: every gRPC status, its HTTP twin, and what a caller may do about it.

Domain errors name a `Status`; adapters translate it once, here. gRPC's own types stay out, so that core may read this.
HTTP twins follow google/rpc/code.proto; the retry classes follow the gRPC guide on status codes.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Status(IntEnum):
    """gRPC status codes by their wire numbers (https://grpc.io/docs/guides/status-codes/)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Retry(Enum):
    """What now, after a failure."""

    NONE_NEEDED = "none needed"
    CALL = "retry the call"
    LARGER_STEP = "retry the larger step"
    NOT_UNTIL_FIXED = "not until the state is fixed"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One row of the table."""

    http: int
    retry: Retry


TABLE: dict[Status, StatusRow] = {
    Status.OK: StatusRow(200, Retry.NONE_NEEDED),
    Status.CANCELLED: StatusRow(499, Retry.CALL),
    Status.UNKNOWN: StatusRow(500, Retry.CALL),
    Status.INVALID_ARGUMENT: StatusRow(400, Retry.NEVER),
    Status.DEADLINE_EXCEEDED: StatusRow(504, Retry.CALL),
    Status.NOT_FOUND: StatusRow(404, Retry.NOT_UNTIL_FIXED),
    Status.ALREADY_EXISTS: StatusRow(409, Retry.NEVER),
    Status.PERMISSION_DENIED: StatusRow(403, Retry.NOT_UNTIL_FIXED),
    Status.RESOURCE_EXHAUSTED: StatusRow(429, Retry.CALL),
    Status.FAILED_PRECONDITION: StatusRow(400, Retry.NOT_UNTIL_FIXED),
    Status.ABORTED: StatusRow(409, Retry.LARGER_STEP),
    Status.OUT_OF_RANGE: StatusRow(400, Retry.NEVER),
    Status.UNIMPLEMENTED: StatusRow(501, Retry.NOT_UNTIL_FIXED),
    Status.INTERNAL: StatusRow(500, Retry.CALL),
    Status.UNAVAILABLE: StatusRow(503, Retry.CALL),
    Status.DATA_LOSS: StatusRow(500, Retry.NEVER),
    Status.UNAUTHENTICATED: StatusRow(401, Retry.NOT_UNTIL_FIXED),
}
