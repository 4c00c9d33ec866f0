"""Owns the order in which requests run: by rank, and in one rank every caller in turn, each in its own order.

A rank that is passed over again and again gets a first place now and then, so that a backlog moves under any load.
How many may wait is `admission.py`; when a batch closes is the window's.
"""

from bisect import insort
from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, Protocol, TypeVar

BACKLOG_RANK: Final = 16
"""The last rank."""

_DEFAULT_RANK: Final = 8
PATIENCE: Final = 32
"""How often a rank is passed over before one of its requests goes first."""


class Queued(Protocol):
    """What waits: so many windows of one form. Only requests of equal form can run together."""

    @property
    def rows(self) -> int:
        """Windows."""

    @property
    def form(self) -> Hashable:
        """Sizes of the axes that the model leaves open; None where it leaves none but the batch."""


QueuedT = TypeVar("QueuedT", bound=Queued)


def rank_of(priority: int, backlog_priority: int) -> int:
    """Map a request's priority to a rank.

    Args:
        priority: 0: none named; 1: most urgent, then 2, 3, …
        backlog_priority: From here on it is backlog.

    Returns:
        1 to 7 as named, 8 for none, 9 to 15 for what is named less urgent, `BACKLOG_RANK` for backlog.
    """
    if priority <= 0:
        return _DEFAULT_RANK
    if priority >= backlog_priority:
        return BACKLOG_RANK
    return priority if priority < _DEFAULT_RANK else min(priority + 1, BACKLOG_RANK - 1)


class _Level(Generic[QueuedT]):
    """One rank: a queue a caller, whose turn it is, and how often others went instead since one had it."""

    __slots__ = ("passed_over", "queues", "rows", "turns")

    def __init__(self) -> None:
        self.queues: dict[Hashable, deque[QueuedT]] = {}
        self.turns: deque[Hashable] = deque()
        self.rows = 0
        self.passed_over = 0


class FairQueue(Generic[QueuedT]):
    """What waits for one model.

    Args:
        patience: See `PATIENCE`.
    """

    def __init__(self, patience: int = PATIENCE) -> None:
        self._patience = patience
        self._levels: dict[int, _Level[QueuedT]] = {}
        self._ranks: list[int] = []
        self.rows = 0

    def push(self, rank: int, caller: Hashable, item: QueuedT) -> None:
        """Put a request at the end of its caller's queue.

        Args:
            rank: What `rank_of` gave.
            caller: Who shares turns.
            item: The request.
        """
        level = self._levels.get(rank)
        if level is None:
            level = self._levels[rank] = _Level()
            insort(self._ranks, rank)
        queue = level.queues.get(caller)
        if queue is None:
            level.queues[caller] = deque((item,))
            level.turns.append(caller)
        else:
            queue.append(item)
        rows = item.rows
        level.rows += rows
        self.rows += rows

    def rows_before(self, rank: int) -> int:
        """Count the windows that run before a new request.

        Args:
            rank: Of the new request.

        Returns:
            Those of its own rank and of all before.
        """
        return sum(self._levels[one].rows for one in self._ranks if one <= rank)

    def requests_of(self, rank: int, caller: Hashable) -> int:
        """Count a caller's requests in a rank.

        Args:
            rank: The rank.
            caller: The caller.

        Returns:
            How many wait.
        """
        level = self._levels.get(rank)
        return 0 if level is None else len(level.queues.get(caller, ()))

    def take(self, limit: int) -> list[QueuedT]:
        """Take out what should run next, together.

        Args:
            limit: Most windows; one request that has more by itself is taken alone.

        Returns:
            Requests of one form, in order; none when nothing waits.
        """
        taken: list[QueuedT] = []
        room = limit
        for rank in self._order():
            room = self._take(rank, room, taken)
            if room <= 0:
                break
        return taken

    def remove(self, rank: int, caller: Hashable, item: QueuedT) -> bool:
        """Take one request out.

        Args:
            rank: As pushed.
            caller: As pushed.
            item: The request.

        Returns:
            False if it does not wait any more.
        """
        level = self._levels.get(rank)
        queue = None if level is None else level.queues.get(caller)
        if level is None or queue is None or item not in queue:
            return False
        queue.remove(item)
        level.rows -= item.rows
        self.rows -= item.rows
        if not queue:
            del level.queues[caller]
            level.turns.remove(caller)
            self._drop_if_empty(rank, level)
        return True

    def _order(self) -> list[int]:
        """The ranks as they run now."""
        ranks, levels = self._ranks, self._levels
        if len(ranks) <= 1:
            return ranks[:]
        for rank in ranks[1:]:
            levels[rank].passed_over += 1
        first = max(ranks[1:], key=lambda rank: levels[rank].passed_over)
        if levels[first].passed_over <= self._patience:
            return ranks[:]
        return [first, *(rank for rank in ranks if rank != first)]

    def _take(self, rank: int, room: int, taken: list[QueuedT]) -> int:
        """Take turns in one rank; returns the room that is left, 0 when the batch is closed."""
        level = self._levels[rank]
        queues, turns = level.queues, level.turns
        n_before = len(taken)
        form = taken[0].form if taken else queues[turns[0]][0].form
        rows_taken = 0
        while turns and room > 0:
            caller = turns[0]
            queue = queues[caller]
            item = queue[0]
            rows = item.rows
            if taken and (rows > room or item.form != form):
                room = 0
                break
            queue.popleft()
            taken.append(item)
            rows_taken += rows
            room -= rows
            if queue:
                turns.rotate(-1)
            else:
                turns.popleft()
                del queues[caller]
        if len(taken) > n_before:
            level.passed_over = 0
        level.rows -= rows_taken
        self.rows -= rows_taken
        self._drop_if_empty(rank, level)
        return room

    def _drop_if_empty(self, rank: int, level: _Level[QueuedT]) -> None:
        if not level.turns:
            del self._levels[rank]
            self._ranks.remove(rank)
