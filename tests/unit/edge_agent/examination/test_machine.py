"""The doctor's look at disks."""

from pathlib import Path

from edge_agent.examination.machine import filesystem_of

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/export /srv/data nfs4 rw 0 0
"""


def test_the_longest_mount_point_above_a_path_counts() -> None:
    """And a name that only begins alike does not."""
    assert filesystem_of(Path("/var/lib/tandem"), MOUNTS) == "ext4"
    assert filesystem_of(Path("/srv/data/tandem"), MOUNTS) == "nfs4"
    assert filesystem_of(Path("/srv/database"), MOUNTS) == "ext4"


def test_no_mounts_is_unknown() -> None:
    """Where there is no /proc."""
    assert filesystem_of(Path("/var"), "") == "unknown"
