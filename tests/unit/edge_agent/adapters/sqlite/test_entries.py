"""What waits for a commit, and in which order a full disk lets it come."""

from edge_agent.adapters.sqlite.entries import Call, Entry, books
from edge_agent.core.durability import Durability


def call(*, is_in_order: bool) -> Call:
    """One that does nothing."""
    return Call(lambda _: None, Durability.POWER, is_in_order=is_in_order)


def test_verdicts_keep_their_order_while_each_call_gets_its_turn() -> None:
    """The cursor goes with the last one stored: one that came behind it would be taken for a repeat, and be lost."""
    first, second = call(is_in_order=True), call(is_in_order=True)
    free, other = call(is_in_order=False), call(is_in_order=False)
    waiting: list[Entry] = [first, free, second, other]
    heads = []
    for _ in range(len(waiting)):
        waiting = list(books(waiting))
        assert waiting.index(first) < waiting.index(second)
        heads.append(waiting[0])
    assert {free, other, first} == set(heads)
