"""Owns how long somebody who guesses passwords has to wait, in bounded memory, and that nobody locks another out.

An attempt counts as failed until it succeeds, so that guesses made side by side count each. A few mistakes are free;
from then on the wait doubles up to a limit. It is counted for a name at an address, loosely for an address, and very
loosely for a name from everywhere: that last wait is short, and none for an address from which the person has logged in
before. What was quiet for a while is forgotten, and so is the oldest entry of a full table.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

FORGET_AFTER_S = 900.0
LONGEST_WAIT_S = 60.0
MOST_ENTRIES = 4096
FREE_BY_NAME = 5
FREE_BY_ADDRESS = 20
FREE_ANYWHERE = 100
LONGEST_ANYWHERE_S = 5.0
_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    latest_s: float


class SignInThrottle:
    """Failed attempts by name and by address, and from where people have logged in."""

    def __init__(self) -> None:
        self._pairs = _Table(FREE_BY_NAME, LONGEST_WAIT_S)
        self._addresses = _Table(FREE_BY_ADDRESS, LONGEST_WAIT_S)
        self._names = _Table(FREE_ANYWHERE, LONGEST_ANYWHERE_S)
        self._desks: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, name: str, address: str, now_s: float) -> int:
        """Ask whether an attempt may be made, and count it if so.

        Args:
            name: Who somebody says to be.
            address: Where the request comes from.
            now_s: Monotonic clock.

        Returns:
            0 if it may; otherwise the whole seconds to wait.
        """
        pair = (name, address)
        wait_s = max(self._pairs.wait_s(pair, now_s), self._addresses.wait_s(address, now_s))
        if pair not in self._desks:
            wait_s = max(wait_s, self._names.wait_s(name, now_s))
        if wait_s > 0:
            return math.ceil(wait_s)
        self._pairs.add(pair, now_s)
        self._addresses.add(address, now_s)
        self._names.add(name, now_s)
        return 0

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of who got in, and remember from where that was.

        Args:
            name: Who it was.
            address: Where from.
        """
        pair = (name, address)
        self._pairs.forget(pair)
        self._addresses.forget(address)
        self._names.forget(name)
        self._desks[pair] = None
        self._desks.move_to_end(pair)
        while len(self._desks) > MOST_ENTRIES:
            self._desks.popitem(last=False)


class _Table:
    """Failures by key, the longest quiet first."""

    def __init__(self, free: int, longest_s: float) -> None:
        self._free = free
        self._longest_s = longest_s
        self._failures: OrderedDict[Hashable, _Failures] = OrderedDict()

    def wait_s(self, key: Hashable, now_s: float) -> float:
        """How long to wait; 0 or less: not at all."""
        failures = self._current(key, now_s)
        over = failures.count - self._free
        if over < 0:
            return 0.0
        return failures.latest_s + min(2.0 ** min(over, _DOUBLINGS), self._longest_s) - now_s

    def add(self, key: Hashable, now_s: float) -> None:
        """Count one more."""
        self._failures[key] = _Failures(self._current(key, now_s).count + 1, now_s)
        self._failures.move_to_end(key)
        while len(self._failures) > MOST_ENTRIES:
            self._failures.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Count from zero again."""
        self._failures.pop(key, None)

    def _current(self, key: Hashable, now_s: float) -> _Failures:
        failures = self._failures.get(key)
        if failures is None or now_s - failures.latest_s > FORGET_AFTER_S:
            return _Failures(0, now_s)
        return failures
