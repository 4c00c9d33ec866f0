"""Owns what lies between device and hub: one stream's messages on their way, and what the network does to them.

A stream keeps the order of what the hub's verdict log sends, as HTTP/2 does, and Hello and Welcome come first. Items,
acks and rejects may overtake each other and come twice where the network is `harsh`: harder than gRPC, and nothing may
depend on it. A cut loses what was on its way to the device; of what was on its way to the hub, some may still arrive.
"""

import random
from collections import deque
from typing import Generic, TypeVar

from protos.tandem.v1 import escalation_pb2 as pb

MessageT = TypeVar("MessageT", pb.EscalateRequest, pb.EscalateResponse)

_MAY_OVERTAKE = frozenset({"item", "ack", "reject"})
_REACH = 4
_OVERTAKES = 0.3
_COMES_TWICE = 0.1


class Way(Generic[MessageT]):
    """One direction of a stream."""

    def __init__(self) -> None:
        self._messages: deque[MessageT] = deque()

    def __len__(self) -> int:
        """How many messages are on their way."""
        return len(self._messages)

    def put(self, message: MessageT) -> None:
        """Send one."""
        self._messages.append(message)

    def take(self, rng: random.Random | None) -> MessageT:
        """Receive one: the next, or where the network is harsh one that overtook it, or one that comes again."""
        place = 0 if rng is None else self._overtaking(rng)
        message = self._messages[place]
        if rng is None or not self._may_move(message) or rng.random() >= _COMES_TWICE:
            del self._messages[place]
        return message

    def cut(self, kept: int) -> None:
        """Lose everything but the first so many."""
        while len(self._messages) > kept:
            self._messages.pop()

    def _overtaking(self, rng: random.Random) -> int:
        if rng.random() >= _OVERTAKES or not self._may_move(self._messages[0]):
            return 0
        place = rng.randrange(min(_REACH, len(self._messages)))
        return place if self._may_move(self._messages[place]) else 0

    @staticmethod
    def _may_move(message: MessageT) -> bool:
        return message.WhichOneof("kind") in _MAY_OVERTAKE


class Stream:
    """Both directions; each end notices a cut on its own."""

    def __init__(self) -> None:
        self.to_hub: Way[pb.EscalateRequest] = Way()
        self.to_device: Way[pb.EscalateResponse] = Way()
        self.is_cut = False

    def cut(self, rng: random.Random) -> None:
        """Break it: the device hears nothing more, the hub may still hear what was on its way."""
        self.is_cut = True
        self.to_device.cut(0)
        self.to_hub.cut(rng.randint(0, len(self.to_hub)))
