"""Owns what a person may do to what waits in the outbox: send it again, or drop it.

Each piece is a transaction of its own, short enough for the writer. The moves are the table's (`core/escalation.py`),
the books are those of `fates.py`; whoever asks is the command `edge-agent outbox`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from edge_agent.adapters.sqlite import outbox
from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.book import Book
from edge_agent.adapters.sqlite.fates import Fates
from edge_agent.adapters.sqlite.feedback import FeedbackOutbox
from edge_agent.adapters.sqlite.outbox import StoredRow, Subject
from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.selection import Selection, pieces
from edge_agent.adapters.sqlite.stored_escalations import read_escalation
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.adapters.sqlite.writer import Writer
from edge_agent.core.escalation import PENDING, Move, Outcome
from edge_agent.ports import Clock, RowId
from protos.messages.escalation import ItemClass

_PIECE_ROWS = 50


class Action(StrEnum):
    """What to do."""

    RETRY = "retry"
    PURGE = "purge"


class Refusal(StrEnum):
    """Why an item is left as it is."""

    GOES_BY_ITSELF = "goes_by_itself"
    AT_THE_HUB = "at_the_hub"
    ENDED = "ended"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Handled:
    """What was done.

    Attributes:
        changed: Items by subject.
        refused: Items by reason.
    """

    changed: Mapping[Subject, int] = field(default_factory=dict)
    refused: Mapping[Refusal, int] = field(default_factory=dict)


class Handling:
    """Does what a person asks for; every method returns after the last commit.

    Args:
        path: edge.db; read with a connection of its own.
        writer: Commits changes.
        fates: The moves.
        book: Sends questions again.
        feedback: Sends judgements again.
        clock: For ages.
    """

    def __init__(
        self, path: Path, writer: Writer, fates: Fates, book: Book, feedback: FeedbackOutbox, *, clock: Clock
    ) -> None:
        self._path = path
        self._writer = writer
        self._fates = fates
        self._book = book
        self._feedback = feedback
        self._clock = clock

    def handle(self, action: Action, selection: Selection) -> Handled:
        """Do it to every item that fits and is there now.

        Raises:
            StoreError: The file cannot be read, or the store closed on the way; earlier pieces are done.
        """
        changed: Counter[Subject] = Counter()
        refused: Counter[Refusal] = Counter()
        reader = Reader(self._path, is_marking=True)
        reader.open()
        try:
            for rows in pieces(reader, selection, Stamp.now(self._clock), _PIECE_ROWS):
                self._piece(action, rows, changed, refused)
        finally:
            reader.close()
        return Handled(dict(changed), dict(refused))

    def _piece(self, action: Action, rows: list[RowId], changed: Counter[Subject], refused: Counter[Refusal]) -> None:
        act = self._retry if action is Action.RETRY else self._purge
        done = self._writer.call(lambda tx: [_on_row(tx, row, act) for row in rows])
        changed.update(found.subject for found, refusal in done if found is not None and refusal is None)
        refused.update(refusal for _, refusal in done if refusal is not None)
        if action is Action.RETRY:
            again = [found for found, refusal in done if found is not None and refusal is None]
            self._book.release((one.item_class, one.seq) for one in again)
            self._feedback.release(one.seq for one in again if one.item_class is ItemClass.FEEDBACK)

    def _retry(self, tx: Transaction, found: StoredRow) -> Refusal | None:
        if found.subject is Subject.ESCALATION:
            if _fate(tx, found) not in PENDING:
                return Refusal.ENDED
            self._fates.move_item(tx, found.item_class, found.seq, Move.REQUEUE)
            return None
        return None if found.subject is Subject.FEEDBACK else Refusal.GOES_BY_ITSELF

    def _purge(self, tx: Transaction, found: StoredRow) -> Refusal | None:
        if found.subject is Subject.ESCALATION:
            fate = _fate(tx, found)
            if fate is Outcome.ACKED:
                return Refusal.AT_THE_HUB
            if fate not in PENDING:
                return Refusal.ENDED
        self._fates.purge(tx, found)
        return None


def _on_row(
    tx: Transaction, row: RowId, act: Callable[[Transaction, StoredRow], Refusal | None]
) -> tuple[StoredRow | None, Refusal | None]:
    found = outbox.stored(tx.connection, "row = :row", {"row": row}, 1)
    return (found[0], act(tx, found[0])) if found else (None, Refusal.GONE)


def _fate(tx: Transaction, found: StoredRow) -> Outcome | None:
    escalation = read_escalation(tx, found.prediction_id)
    return None if escalation is None else escalation.state
