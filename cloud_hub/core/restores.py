"""Owns what a database that was put back from a backup may not do: pass for the one that the devices know.

It takes a new incarnation, so that devices send again what they still hold. Its verdicts are numbered, and what people
say is revised, above all that was given out after the backup: from the time of the restore, which no counter of an
earlier life has reached, however often the same backup is put back.
"""

from protos.messages.escalation import Hello, HubIncarnation

NEVER_NS = 0
"""Time of the restore of a database that was never put back."""

_NS_PER_VERDICT = 1_000_000
_NS_PER_REVISION = 60_000_000_000


def verdict_floor(restored_at_ns: int) -> int:
    """Say above which number verdicts begin.

    Args:
        restored_at_ns: Wall clock at the latest restore, Unix epoch, UTC.

    Returns:
        One number for each millisecond: more than any device was ever told.
    """
    return restored_at_ns // _NS_PER_VERDICT


def revision_floor(restored_at_ns: int) -> int:
    """Say above which revision people speak; the full model's answers, which devices may hold already, count from 1.

    Args:
        restored_at_ns: Wall clock at the latest restore, Unix epoch, UTC.

    Returns:
        One revision for each minute: more than any prediction ever had.
    """
    return restored_at_ns // _NS_PER_REVISION


def is_older_than(hello: Hello, incarnation: HubIncarnation, verdict_seq: int) -> bool:
    """Tell from a device's Hello that this database is an older copy of the one which the device knows.

    Args:
        hello: What the device said.
        incarnation: Of this database.
        verdict_seq: The last number that this database gave to the device.

    Returns:
        True when the device holds a verdict of this very incarnation that is not in its log.
    """
    return hello.hub_incarnation == incarnation and hello.verdict_cursor > verdict_seq
