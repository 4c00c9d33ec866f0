"""The status table is total and agrees with gRPC's own numbers."""

import grpc

from protos.status import TABLE, Retry, Status


def test_every_status_has_a_row() -> None:
    """Nothing can fail without a known answer to "what now?"."""
    assert set(TABLE) == set(Status)


def test_the_numbers_are_grpcs() -> None:
    """Status agrees with grpc.StatusCode, name by name."""
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {status.name: status.value for status in Status}


def test_only_success_needs_no_retry() -> None:
    """OK alone is done; every failure says what to do."""
    assert [status for status, row in TABLE.items() if row.retry is Retry.NONE_NEEDED] == [Status.OK]
