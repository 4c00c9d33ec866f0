"""Owns the apply-once rule: what to do with a delivered item, given what is stored already.

An item is known by its place in the device's outbox, a question by its prediction id. Both may come again, after a
lost ack, a crash of either side, or under a new store id; neither may be applied twice, and neither may change.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from protos.messages.escalation import ItemClass, PredictionId, StoreId


@dataclass(frozen=True, slots=True)
class ItemKey:
    """An item's place in the outbox of one device; never reused."""

    store_id: StoreId
    item_class: ItemClass
    seq: int


@dataclass(frozen=True, slots=True)
class Question:
    """What an item asks: the answer to this prediction, for exactly this input."""

    prediction_id: PredictionId
    input_digest: str


@dataclass(frozen=True, slots=True)
class Apply:
    """New: store it, and have it answered."""


@dataclass(frozen=True, slots=True)
class AlreadyApplied:
    """Nothing is left to do but to acknowledge it.

    Attributes:
        is_new_key: The question is known, this place in the outbox is not (the device lost its store): note the place,
            ask nothing again, and say again what was answered.
    """

    is_new_key: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """Refuse it (`ALREADY_EXISTS`); `reason` is for a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class PlaceTaken:
    """Refuse it (`ABORTED`), and its outbox with it: an older copy of the device's database numbers anew.

    Under another store id the same question is welcome. `reason` is for a person.
    """

    reason: str


Delivery = Apply | AlreadyApplied | Conflict | PlaceTaken


def decide(question: Question, *, at_key: Question | None, digest_of_prediction: str | None) -> Delivery:
    """Say what to do with one item.

    Args:
        question: What the item asks.
        at_key: What is stored at the item's key, None if nothing is.
        digest_of_prediction: The input digest stored for the item's prediction id, None if the id is new.

    Returns:
        The decision.
    """
    if at_key is not None:
        if at_key == question:
            return AlreadyApplied(is_new_key=False)
        return PlaceTaken(
            f"this place in the outbox holds prediction {at_key.prediction_id} with input {at_key.input_digest} already"
        )
    if digest_of_prediction is None:
        return Apply()
    if digest_of_prediction == question.input_digest:
        return AlreadyApplied(is_new_key=True)
    return Conflict(f"prediction {question.prediction_id} is known with another input, {digest_of_prediction}")


def asked_again(decided: Iterable[tuple[PredictionId, Delivery]]) -> frozenset[PredictionId]:
    """Pick the predictions whose answer the device has to be told again.

    Args:
        decided: What was asked, each with what was decided.

    Returns:
        Those that are known, but not at this place in the outbox.
    """
    return frozenset(at for at, delivery in decided if delivery == AlreadyApplied(is_new_key=True))


def ranges(seqs: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Write numbers as the fewest inclusive ranges.

    Args:
        seqs: Numbers in any order, repeats allowed.

    Returns:
        `(first, last)` pairs, ascending, with gaps between them.
    """
    found: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if found and found[-1][1] == seq - 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return tuple(found)
