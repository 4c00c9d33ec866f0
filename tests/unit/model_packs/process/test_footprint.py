"""Memory that only the start needed: what is given back, and what must never be."""

import json
import subprocess
import sys

import pytest

from model_packs.process.footprint import Region, clean_regions

SMAPS = """\
1000-2000 r-xp 00000000 08:01 42    /usr/lib/libgood.so.1
Rss:                   4 kB
Anonymous:             0 kB
3000-4000 r--p 00000000 08:01 42    /usr/lib/libgood.so.1
Anonymous:             {written} kB
5000-6000 rw-p 00000000 08:01 42    /usr/lib/libgood.so.1
Anonymous:             0 kB
7000-8000 r--p 00000000 08:01 43    /usr/lib/locale/LC_CTYPE
Anonymous:             0 kB
9000-a000 r-xp 00000000 00:00 0     [vdso]
Anonymous:             0 kB
"""

PROGRAM = """
import json
from pathlib import Path

import numpy as np

from model_packs.process.footprint import give_back

def of_files_kib():
    fields = dict(line.split()[:2] for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return int(fields["Rss:"]) - int(fields["Anonymous:"])

before = np.linalg.inv(np.eye(64) * 2)
held_kib = of_files_kib()
give_back()
left_kib = of_files_kib()
after = np.linalg.inv(np.eye(64) * 2)
print(json.dumps([held_kib, left_kib, bool((before == after).all())]))
"""


@pytest.mark.parametrize("written", [0, 4])
def test_only_untouched_pages_of_libraries_are_given_back(written: int) -> None:
    """Not what was relocated, can be written to, or is no library."""
    untouched = [Region(0x1000, 0x2000), Region(0x3000, 0x4000)]
    found = list(clean_regions(SMAPS.format(written=written).splitlines()))
    assert found == (untouched[:1] if written else untouched)


@pytest.mark.skipif(sys.platform != "linux", reason="madvise and /proc/self/smaps are Linux's")
def test_a_program_goes_on_without_the_pages_that_it_gave_back() -> None:
    """What it computes is the same; how many go is the kernel's choice, which leaves those that others use."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60)
    held_kib, left_kib, is_same = json.loads(ended.stdout)
    assert is_same
    assert left_kib <= held_kib
