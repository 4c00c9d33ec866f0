"""Owns a pass in the making: what the lanes of the pipeline gather until it becomes one `Unit`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from edge_agent.core.durability import DEFAULT_TERMS, JournalTerms
from edge_agent.core.window_changes import Changes, PartitionState
from edge_agent.ports import (
    AckHandle,
    BindingName,
    CounterKey,
    DeadLetter,
    Decided,
    GivenFeedback,
    JournalRow,
    RowId,
    Unit,
)


@dataclass(slots=True)
class Draft:
    """Mutable twin of `Unit`; lives for one pass, in one thread.

    Attributes:
        is_synced: Whether the device's clock is synchronised, and arrival times are to be trusted.
        journal: Records of this pass that windows need; None for one that is let go of with its own changes.
    """

    terms: JournalTerms = DEFAULT_TERMS
    is_synced: bool = False
    counts: Counter[CounterKey] = field(default_factory=Counter)
    journal: dict[RowId, JournalRow | None] = field(default_factory=dict)
    pending: dict[RowId, int] = field(default_factory=dict)
    released: list[RowId] = field(default_factory=list)
    seen: list[tuple[BindingName, bytes]] = field(default_factory=list)
    forgotten: list[tuple[BindingName, bytes]] = field(default_factory=list)
    states: dict[tuple[BindingName, str], PartitionState | None] = field(default_factory=dict)
    decided: list[Decided] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    feedback: list[GivenFeedback] = field(default_factory=list)
    acks: list[AckHandle] = field(default_factory=list)

    def count(self, binding: BindingName, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self.counts[binding, name] += amount

    def change(self, binding: BindingName, changes: Changes) -> None:
        """Note what windows counted and still need; a record that came and went within the pass is never journaled."""
        for name, amount in changes.counts.items():
            self.counts[binding, name] += amount
        self.pending.update(cast("Mapping[RowId, int]", changes.pending))
        for row in map(RowId, changes.released):
            self.pending.pop(row, None)
            if row in self.journal:
                del self.journal[row]
            else:
                self.released.append(row)
        for name, state in changes.states.items():
            self.states[binding, name] = state

    def unit(self) -> Unit | None:
        """The finished pass; None when nothing happened."""
        if not (self.counts or self.acks or self.decided or self.released or self.states):
            return None
        kept = [row for row in self.journal.values() if row is not None]
        pending = [self.pending.pop(row.row) for row in kept]
        rows = [
            row if row.pending == left else replace(row, pending=left) for row, left in zip(kept, pending, strict=True)
        ]
        return Unit(
            counts={key: amount for key, amount in self.counts.items() if amount},
            journal=tuple(rows),
            pending=self.pending,
            released=tuple(self.released),
            seen=tuple(self.seen),
            forgotten=tuple(self.forgotten),
            states={key: None if state is None else state.to_json() for key, state in self.states.items()},
            decided=tuple(self.decided),
            dead_letters=tuple(self.dead_letters),
            feedback=tuple(self.feedback),
            acks=tuple(self.acks),
            terms=self.terms,
        )
