"""Owns picking rows of the outbox by what a person names: an item, a class, where it goes, how it stands, its age.

Reads only, a piece at a time, so that a long outbox is never held. What is done with the rows is `handling.py`, what
is told of them `fate_report.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.adapters.sqlite.age import OLDER, Stamp
from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.core.escalation import PENDING, Outcome
from edge_agent.ports import BindingName, RowId
from protos.messages.escalation import ItemClass, PredictionId

FATE = """coalesce(
    (SELECT e.state FROM escalation AS e WHERE e.prediction_id = outbox.prediction_id AND subject = 'escalation'),
    state
)"""
"""How the item of a row stands. What ended and is only kept, in case a hub has to be told again, does not wait."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person named of what waits; every part that is given has to fit, and nothing given fits every item."""

    prediction_id: PredictionId | None = None
    row: RowId | None = None
    item_class: ItemClass | None = None
    destination: str | None = None
    state: Outcome | None = None
    binding: BindingName | None = None
    older_than_s: float | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing was named."""
        return self == Selection()

    @property
    def may_wait(self) -> bool:
        """Whether something that waits can fit."""
        return self.state is None or self.state in PENDING

    def where(self, now: Stamp) -> tuple[str, dict[str, object]]:
        """The condition on rows of the outbox that wait, with its parameters."""
        named = {
            "prediction_id": self.prediction_id,
            "row": self.row,
            "class": self.item_class,
            "destination": self.destination,
            "binding": self.binding,
        }
        conditions = [f"(state != 'acked' OR {FATE} = 'acked')"]
        conditions += [f"{column} = :{column}" for column, value in named.items() if value is not None]
        if self.state is not None:
            conditions.append(f"{FATE} = :fate")
        if self.older_than_s is not None:
            conditions.append(OLDER.format(limit_s=":older_than_s"))
        parameters = {**now.parameters(), **named, "fate": self.state, "older_than_s": self.older_than_s}
        return " AND ".join(conditions), parameters


def pieces(reader: Reader, selection: Selection, now: Stamp, size: int) -> Iterator[list[RowId]]:
    """Rows that fit and are there now, oldest first; none that are inserted while they are gone through.

    Args:
        reader: Each piece is a transaction of its own, so that the log of the writer can be cut back meanwhile.
        selection: What to pick.
        now: The present, for ages.
        size: Rows of a piece.

    Yields:
        Up to `size` rows.
    """
    condition, parameters = selection.where(now)
    # In the order of rows, not of an index that fits better and would be sorted again for every piece.
    piece = (
        "SELECT row FROM outbox NOT INDEXED WHERE row > :after AND row <= :last "  # noqa: S608 - own conditions
        f"AND {condition} ORDER BY row LIMIT :size"
    )
    with reader.transaction() as read:
        ((last,),) = read("SELECT coalesce(max(row), 0) FROM outbox")
    after = 0
    while True:
        with reader.transaction() as read:
            found = read(piece, **parameters, after=after, last=last, size=size)
        if not found:
            return
        after = found[-1][0]
        yield [RowId(row) for (row,) in found]
