"""Owns the baseline of bench_ingest: a paho subscriber that acknowledges every message at once and keeps nothing.

Run as a program: `-m tests.bench.bare_acker HOST PORT TOPIC_FILTER COUNT_FILE`; the file holds how many came, 8 bytes.
"""

import mmap
import sys
from pathlib import Path
from typing import Final

from tests.bench.bare_client import serve

COUNT_BYTES: Final = 8


def main() -> None:
    """Count messages until ended."""
    host, port, topic_filter, count_file = sys.argv[1:5]
    with Path(count_file).open("r+b") as file:
        came = memoryview(mmap.mmap(file.fileno(), COUNT_BYTES)).cast("Q")

    def count(*_facts: object) -> None:
        came[0] += 1

    serve((host, int(port)), topic_filter, 1, "bench-acker", count)


if __name__ == "__main__":
    main()
