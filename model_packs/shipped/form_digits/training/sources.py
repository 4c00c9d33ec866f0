"""Which files made the packs.

Owns the list of sources whose digests are recorded in the packs' provenance: whoever changes one of them has to rebuild
the packs, and a test says so. Standard library only, so that the test needs no torch.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

FAMILY = Path(__file__).parent.parent

# What decides the weights, given the data (which are pinned by their own digest).
TRAINING_SOURCES = (
    "crops.py",
    "split.py",
    "training/learning.py",
    "training/networks.py",
    "training/recipes.py",
)
# What decides the figures of the quantised student.
QUANTISING_SOURCES = (
    *TRAINING_SOURCES,
    "training/measuring.py",
    "training/quantising.py",
    "training/requirements.txt",
)
# What decides the packs.
ALL_SOURCES = (
    *QUANTISING_SOURCES,
    "dataset.py",
    "training/card.py",
    "training/sources.py",
    "training/train.py",
)


def source_digests(names: Iterable[str] = ALL_SOURCES) -> dict[str, str]:
    """The sources' digests by path inside the family, as `sha256:` and 64 hex digits."""
    return {name: "sha256:" + hashlib.sha256((FAMILY / name).read_bytes()).hexdigest() for name in names}
