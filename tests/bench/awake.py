"""Owns keeping the processors of this machine awake, as a person does who tunes a device for answers in time.

While the file is held open, Linux keeps every processor out of the sleep states that take longer to leave than the file
says (docs.kernel.org/power/pm_qos_interface.html). Only root may write it.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LATENCY: Final = Path("/dev/cpu_dma_latency")


@contextmanager
def kept_awake(path: Path = _LATENCY) -> Iterator[None]:
    """Let no processor sleep until the end of the block.

    Raises:
        OSError: This system has no such file, or not for this user.
    """
    with path.open("r+b", buffering=0) as held:
        held.write(struct.pack("i", 0))
        yield
