"""Owns which pack answers for a name: versions in their order, and weighted routes that one key always takes alike."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model_packs.manifest import PackRef

VersionKey = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


def version_key(version: str) -> VersionKey:
    """Order versions as Semantic Versioning 2.0.0, section 11, does.

    Args:
        version: Of a pack.

    Returns:
        What to sort by: a release after its own previews, numbers by value and before words.
    """
    core, _, preview = version.partition("-")
    major, minor, patch = (int(part) for part in core.split("."))
    words = tuple(
        (False, int(word), "") if word.isdecimal() else (True, 0, word) for word in preview.split(".") if preview
    )
    return (major, minor, patch, not preview, words)


def newest(versions: Iterable[str]) -> str | None:
    """Choose what answers for a name without a version.

    Args:
        versions: What is published.

    Returns:
        The newest release; where there is none the newest preview, and None where there is nothing.
    """
    ordered = sorted(versions, key=version_key)
    releases = [version for version in ordered if "-" not in version]
    chosen = releases or ordered
    return chosen[-1] if chosen else None


@dataclass(frozen=True, slots=True)
class Route:
    """Packs that share what comes in under a name.

    Attributes:
        targets: The packs with their weights, more than 0.
    """

    targets: tuple[tuple[PackRef, float], ...]

    @classmethod
    def of(cls, targets: Mapping[str, float]) -> "Route":
        """Read a route.

        Args:
            targets: Weight by name@version.

        Returns:
            The route.

        Raises:
            ValueError: There is no target, a name is not name@version, or a weight is not more than 0.
        """
        if not targets:
            raise ValueError("expected at least one pack with its weight")
        if min(targets.values()) <= 0:
            raise ValueError("expected weights of more than 0")
        return cls(tuple((PackRef.parse(name), float(weight)) for name, weight in sorted(targets.items())))

    def choose(self, key: str) -> PackRef:
        """Choose a target.

        Args:
            key: Of the request; the same key takes the same target as long as the route stays as it is.

        Returns:
            One of the targets, over many keys in proportion to the weights.
        """
        if len(self.targets) == 1:
            return self.targets[0][0]
        drawn = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / 2**64
        left = drawn * sum(weight for _, weight in self.targets)
        for ref, weight in self.targets:
            left -= weight
            if left < 0:
                return ref
        return self.targets[-1][0]
