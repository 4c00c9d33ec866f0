"""Every refusal has a status that the table knows."""

import grpc

from cloud_hub import errors
from cloud_hub.adapters.grpc.gate import grpc_code
from cloud_hub.serving.errors import ModelFailedError
from protos.status import TABLE, Status


def leaves(root: type[errors.HubError]) -> list[type[errors.HubError]]:
    """All error classes without subclasses."""
    below = [leaf for sub in root.__subclasses__() for leaf in leaves(sub)]
    return below or [root]


def test_each_error_says_what_the_peer_is_told() -> None:
    """No leaf of the tree but an engine's failure is INTERNAL, and each status has its row and its gRPC code."""
    assert ModelFailedError in leaves(errors.HubError)
    for error in leaves(errors.HubError):
        assert (error.status is Status.INTERNAL) == (error is ModelFailedError), error
        assert error.status in TABLE
        assert isinstance(grpc_code(error.status), grpc.StatusCode)


def test_the_tree_at_the_top_names_every_error() -> None:
    """The drawing in the module's docstring is complete and has the right statuses."""
    drawn = {line.partition("── ")[2].split()[0]: line for line in (errors.__doc__ or "").splitlines() if "──" in line}
    for error in leaves(errors.HubError):
        assert error.status.name in drawn[error.__name__]
