"""Owns how much of a blob is asked for at once: what the line brings in a few seconds. Pure: the caller times it.

Whatever waits on a line waits for everything before it, also the answer to gRPC's own ping, without which a connection
ends. So a range is small on a slow line, and on a quick one large enough that asking costs nothing.
"""

LEAST_BYTES = 16 << 10
FIRST_BYTES = 64 << 10
MOST_BYTES = 4 << 20

_GOAL_S = 4.0


class RangeSize:
    """The size of the next range; doubles and halves by how long the last ones took.

    Attributes:
        bytes: To ask for.
    """

    def __init__(self) -> None:
        self.bytes = FIRST_BYTES

    def came(self, took_s: float) -> None:
        """A range has come whole; how long that took, in seconds."""
        if took_s > _GOAL_S:
            self.bytes = max(LEAST_BYTES, self.bytes // 2)
        elif took_s < _GOAL_S / 2:
            self.bytes = min(MOST_BYTES, self.bytes * 2)

    def broke(self) -> None:
        """A range has not come whole: the next ones are as small as they get."""
        self.bytes = LEAST_BYTES
