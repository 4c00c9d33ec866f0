"""Owns what can go wrong between a request and the model that should answer it, each with the status for the caller.

The tree is drawn in `cloud_hub.errors`; there, too, is what a published pack that does not load raises.
"""

from cloud_hub.errors import HubError
from protos.status import Status


class ModelUnknownError(HubError):
    """No hub pack, route or ensemble has this name, or it has no such version."""

    status = Status.NOT_FOUND

    def __init__(self, name: str, version: str, known: str) -> None:
        asked = f"{name!r} has no version {version!r} here" if version else f"{name!r} is not served here"
        super().__init__(f"model {asked}: {known}")
        self.name = name
        self.version = version


class ModelUnloadedError(HubError):
    """Somebody unloaded the model by hand; it stays so until somebody loads it."""

    status = Status.UNAVAILABLE

    def __init__(self, pack: str) -> None:
        super().__init__(f"model {pack} was unloaded: load it with RepositoryModelLoad")
        self.pack = pack


class ServingFullError(HubError):
    """The request found no place, or would not have been answered in its time because of what waits before it."""

    status = Status.RESOURCE_EXHAUSTED

    def __init__(self, pack: str, reason: str, retry_after_s: float) -> None:
        super().__init__(f"model {pack}: {reason}; try again in {retry_after_s:.3g} s")
        self.pack = pack
        self.retry_after_s = retry_after_s


class DeadlinePassedError(HubError):
    """The deadline passed before the run began, or is nearer than one run takes."""

    status = Status.DEADLINE_EXCEEDED

    def __init__(self, pack: str, reason: str) -> None:
        super().__init__(f"model {pack}: {reason}")
        self.pack = pack


class InputRefusedError(HubError):
    """An input is missing, unknown, or of another datatype or shape than the model declares; the message names it."""

    status = Status.INVALID_ARGUMENT


class ModelFailedError(HubError):
    """The engine failed on this request alone; what ran beside it is answered."""

    status = Status.INTERNAL

    def __init__(self, pack: str, reason: str) -> None:
        super().__init__(f"model {pack} failed on this input: {reason}")
        self.pack = pack
