"""What waits runs by rank, in turns, in each caller's own order; nothing is lost and nothing comes twice."""

from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.serving.queue import BACKLOG_RANK, FairQueue, rank_of

BACKLOG = 1 << 32


@dataclass(frozen=True)
class Item:
    """A request."""

    name: str
    rows: int = 1
    form: str | None = None


def names(items: list[Item]) -> str:
    """Their names in order."""
    return " ".join(item.name for item in items)


def test_callers_take_turns_whatever_they_send() -> None:
    """Of a caller with many requests and two with one each, all have one in the first batch of three."""
    queue: FairQueue[Item] = FairQueue()
    for name in ("a1", "a2", "a3", "a4"):
        queue.push(8, "a", Item(name))
    queue.push(8, "b", Item("b1"))
    queue.push(8, "c", Item("c1"))
    assert names(queue.take(3)) == "a1 b1 c1"
    assert names(queue.take(3)) == "a2 a3 a4"
    assert (queue.rows, queue.take(3)) == (0, [])


def test_ranks_go_before_turns_and_a_backlog_moves_all_the_same() -> None:
    """Live goes first; after as many batches as the patience allows, one batch begins with the last rank."""
    queue: FairQueue[Item] = FairQueue(patience=2)
    queue.push(BACKLOG_RANK, "a", Item("old"))
    for index in range(6):
        queue.push(8, "b", Item(f"live{index}"))
    queue.push(1, "c", Item("urgent"))
    assert [names(queue.take(2)) for _ in range(3)] == ["urgent live0", "live1 live2", "old live3"]


def test_no_rank_between_two_busy_ones_waits_for_ever() -> None:
    """Urgent requests without end and a backlog without end: what is neither has its place now and then."""
    queue: FairQueue[Item] = FairQueue(patience=2)
    for _ in range(30):
        queue.push(1, "a", Item("urgent"))
        queue.push(BACKLOG_RANK, "b", Item("old"))
    queue.push(8, "c", Item("live1"))
    queue.push(8, "c", Item("live2"))
    ran = [names(queue.take(1)) for _ in range(12)]
    assert ran[:6] == ["urgent", "urgent", "live1", "old", "urgent", "live2"]
    assert ran.count("urgent") > ran.count("old") > 1


def test_a_batch_holds_one_form_and_its_limit() -> None:
    """What has another form, or no room, closes the batch; one that is larger than the limit runs alone."""
    queue: FairQueue[Item] = FairQueue()
    for item in (Item("long", 1, "x"), Item("short", 1, "y"), Item("two", 2, "y"), Item("huge", 9, "y")):
        queue.push(8, "a", item)
    assert [names(queue.take(2)) for _ in range(4)] == ["long", "short", "two", "huge"]


def test_what_is_taken_out_is_counted_out() -> None:
    """A removed request runs no more and holds no turn; removing it again does nothing."""
    queue: FairQueue[Item] = FairQueue()
    first, second = Item("first", 3), Item("second", 2)
    queue.push(8, "a", first)
    queue.push(8, "b", second)
    assert queue.remove(8, "a", first)
    assert not queue.remove(8, "a", first)
    assert not queue.remove(5, "a", first)
    assert (queue.rows, queue.rows_before(8), queue.rows_before(7)) == (2, 2, 0)
    assert (queue.requests_of(8, "b"), queue.requests_of(8, "a"), queue.requests_of(3, "b")) == (1, 0, 0)
    assert names(queue.take(9)) == "second"


@pytest.mark.parametrize(
    ("priority", "rank"), [(0, 8), (1, 1), (7, 7), (8, 9), (14, 15), (10_000, 15), (BACKLOG, 16), (2**63, 16), (-1, 8)]
)
def test_a_priority_has_a_rank(priority: int, rank: int) -> None:
    """One is the most urgent, none lies between, backlog is last."""
    assert rank_of(priority, BACKLOG) == rank


_PUSH = st.tuples(st.just("push"), st.sampled_from((1, 8, 16)), st.sampled_from("abc"), st.integers(1, 4))
_TAKE = st.tuples(st.just("take"), st.integers(1, 8), st.just(""), st.just(0))
_REMOVE = st.tuples(st.just("remove"), st.integers(0, 40), st.just(""), st.just(0))


@given(st.lists(st.one_of(_PUSH, _TAKE, _REMOVE), max_size=60))
def test_every_request_comes_out_once_in_its_callers_order(steps: list[tuple[str, int, str, int]]) -> None:
    """Under any steps: taken or removed exactly once, in order within caller and rank, and the counts are right."""
    queue: FairQueue[Item] = FairQueue(patience=3)
    inside: dict[tuple[int, str], list[Item]] = defaultdict(list)
    pushed: list[tuple[int, str, Item]] = []

    def take(limit: int) -> None:
        batch = queue.take(limit)
        assert len(batch) == 1 or sum(item.rows for item in batch) <= limit
        for item in batch:
            (key,) = (key for key, items in inside.items() if item in items)
            assert inside[key].pop(0) == item

    for index, (step, number, caller, rows) in enumerate(steps):
        if step == "push":
            item = Item(str(index), rows)
            queue.push(number, caller, item)
            inside[number, caller].append(item)
            pushed.append((number, caller, item))
        elif step == "take":
            take(number)
        elif number < len(pushed):
            rank, whose, item = pushed[number]
            assert queue.remove(rank, whose, item) == (item in inside[rank, whose])
            if item in inside[rank, whose]:
                inside[rank, whose].remove(item)
        assert queue.rows == sum(item.rows for items in inside.values() for item in items)
        assert all(queue.requests_of(*key) == len(items) for key, items in inside.items())
    while queue.rows:
        take(5)
    assert not any(inside.values())
