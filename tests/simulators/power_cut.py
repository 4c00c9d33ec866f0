"""Owns what a power cut leaves of files: a model of a disk that may lose whatever was not yet synced.

Pure: events in, files out. Who records the events of a real program is `power_cut_recorder.py`; what a program promised
stands among them, in order. The model is harsher than most disks, within what SQLite and POSIX allow:

- What was written to a file since its last sync survives by sectors of 512 bytes: none, all, those before some point
  in time, or a random few, drawn for each file on its own. So a later write may be there without an earlier one, and
  a page may be half new.
- A sync makes everything before it durable, in that file only. Its name is durable after a sync of the folder.
- A sync that failed drops what it should have written: programs read it until the cut, and no later sync brings it to
  the disk, as on Linux, where the pages count as clean from then on (https://lwn.net/Articles/752063/).
- Names that were made or removed since then survive up to some point in time: file systems keep their order.
- A sector that was not written keeps its bytes, and a hole is read as zeros (SQLite's "powersafe overwrite").
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Created:
    """A new, empty file."""

    name: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A file's name is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class FolderSynced:
    """The names of the folder are durable."""


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes at a place of a file."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """A file has this size now."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Synced:
    """Everything written to the file before is durable."""

    name: str


@dataclass(frozen=True, slots=True)
class SyncFailed:
    """Everything written to the file since its last sync is never on the disk, unless it is written once more."""

    name: str


@dataclass(frozen=True, slots=True)
class Promised:
    """From here on somebody counts on a fact.

    Attributes:
        fact: In words.
        sql: A question to the database whose answer is 1 as long as the fact is true.
        parameters: Of the question.
    """

    fact: str
    sql: str
    parameters: tuple[object, ...] = ()


Change = Written | Truncated
Event = Created | Removed | FolderSynced | Written | Truncated | Synced | SyncFailed | Promised


@dataclass(frozen=True, slots=True)
class Trace:
    """What happened in one folder.

    Attributes:
        files: Its durable files before, by name.
        events: In order.
    """

    files: Mapping[str, bytes]
    events: tuple[Event, ...]

    def moment(self, rng: random.Random) -> int:
        """Draw a moment for a cut: any, or as often one beside some kind of event, so that rare kinds get theirs.

        Returns:
            How many events come before the cut.
        """
        if rng.random() < 0.5:
            return _point(self.events, rng)
        moments: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for number, event in enumerate(self.events):
            moments[type(event).__name__, getattr(event, "name", "")].append(number)
        return rng.choice(moments[rng.choice(sorted(moments))]) + rng.randint(0, 1)

    def promises(self, cut: int) -> list[Promised]:
        """What was promised before the cut."""
        return [event for event in self.events[:cut] if isinstance(event, Promised)]

    def files_after(self, cut: int, rng: random.Random | None = None) -> dict[str, bytes]:
        """The files that a cut after so many events leaves; without a generator all that may survive does."""
        disk = _Disk(self.files)
        for event in self.events[:cut]:
            disk.apply(event)
        return disk.files(rng)


class _File:
    def __init__(self, durable: bytes) -> None:
        self.durable = bytearray(durable)
        self.pending: list[Change] = []

    def sync(self) -> None:
        _write(self.durable, self.pending)
        self.pending.clear()

    def fail_to_sync(self) -> None:
        self.pending = [change for change in self.pending if isinstance(change, Truncated)]  # no page, so not dropped


class _Disk:
    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._names = {name: _File(data) for name, data in files.items()}
        self._durable_names = dict(self._names)
        self._pending_names: list[tuple[str, _File | None]] = []

    def apply(self, event: Event) -> None:
        match event:
            case Written(name) | Truncated(name):
                self._names[name].pending.append(event)
            case Synced(name):
                self._names[name].sync()
            case SyncFailed(name):
                self._names[name].fail_to_sync()
            case Created(name):
                self._names[name] = _File(b"")
                self._pending_names.append((name, self._names[name]))
            case Removed(name):
                del self._names[name]
                self._pending_names.append((name, None))
            case FolderSynced():
                self._durable_names = dict(self._names)
                self._pending_names.clear()
            case Promised():
                pass

    def files(self, rng: random.Random | None) -> dict[str, bytes]:
        kept = len(self._pending_names) if rng is None else _point(self._pending_names, rng)
        names: dict[str, _File | None] = {**self._durable_names, **dict(self._pending_names[:kept])}
        files: dict[str, bytes] = {}
        for name, file in names.items():
            if file is not None:
                image = bytearray(file.durable)
                _write(image, file.pending if rng is None else _survivors(file.pending, rng))
                files[name] = bytes(image)
        return files


class _Fate(Enum):
    NOTHING = auto()
    EVERYTHING = auto()
    IN_ORDER = auto()
    SCATTERED = auto()


def _survivors(pending: Sequence[Change], rng: random.Random) -> Sequence[Change]:
    pieces = [piece for change in pending for piece in _by_sector(change)]
    match rng.choice(list(_Fate)):
        case _Fate.NOTHING:
            return ()
        case _Fate.EVERYTHING:
            return pieces
        case _Fate.IN_ORDER:
            return pieces[: _point(pieces, rng)]
        case _Fate.SCATTERED:
            share = rng.random()
            return [piece for piece in pieces if rng.random() < share]


def _point(pending: Sequence[object], rng: random.Random) -> int:
    return rng.randint(0, len(pending))


def _by_sector(change: Change) -> Iterable[Change]:
    if isinstance(change, Truncated):
        yield change
        return
    start, end = change.offset, change.offset + len(change.data)
    while start < end:
        until = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield Written(change.name, start, change.data[start - change.offset : until - change.offset])
        start = until


def _write(image: bytearray, changes: Iterable[Change]) -> None:
    for change in changes:
        if isinstance(change, Truncated):
            del image[change.size_bytes :]
            image.extend(bytes(change.size_bytes - len(image)))
        else:
            image.extend(bytes(max(0, change.offset - len(image))))
            image[change.offset : change.offset + len(change.data)] = change.data
