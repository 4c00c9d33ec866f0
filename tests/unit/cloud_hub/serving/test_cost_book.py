"""What requests cost is booked by who asked, in a bounded book that loses nothing."""

from cloud_hub.core.serving.costs import OTHERS, Cost, CostKey
from cloud_hub.serving.cost_book import CostBook


def test_a_full_book_sums_up_whom_it_has_no_row_for() -> None:
    """A known caller keeps its row; new ones of a tenant share one."""
    book = CostBook(2)
    for caller in ("a", "b", "c", "d", "a"):
        book.add(CostKey("site", caller, "p@1.0.0"), Cost(requests=1))
    booked = {key.caller: cost.requests for key, cost in book.drain().items()}
    assert booked == {"a": 2, "b": 1, OTHERS: 2}
    assert book.drain() == {}


def test_what_could_not_be_written_comes_with_the_next() -> None:
    """It is added to what was done since, field by field."""
    book = CostBook(10)
    book.add(CostKey("site", "a", "p@1.0.0"), Cost(requests=1))
    drained = book.drain()
    book.add(CostKey("site", "a", "p@1.0.0"), Cost(1, 2, 3.0, 4.0, 5.0, 6))
    book.put_back({**drained, CostKey("site", "b", "p@1.0.0"): Cost(1, 1, 1.0, 1.0, 1.0, 1)})
    assert book.drain() == {
        CostKey("site", "a", "p@1.0.0"): Cost(2, 2, 3.0, 4.0, 5.0, 6),
        CostKey("site", "b", "p@1.0.0"): Cost(1, 1, 1.0, 1.0, 1.0, 1),
    }
