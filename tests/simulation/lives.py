"""Owns living a history from its seed to its examination, and telling what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.simulation.examination import problems_at_rest
from tests.simulation.history import History
from tests.simulation.hub_database import HubDatabase, Stored

_SHOWN_STEPS = 60


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of one history.

    Attributes:
        problems: What is wrong, in words.
        trace: What happened, in order.
        stored: What the hub holds in the end.
        ends: How each question ended.
        faults: Names of the kinds of trouble.
    """

    seed: int
    problems: Sequence[str]
    trace: Sequence[str]
    stored: Stored
    ends: Sequence[str]
    faults: Sequence[str]

    @property
    def told(self) -> str:
        """The whole of it for a person, with the command that shows it again."""
        shown = self.trace[-_SHOWN_STEPS:]
        left_out = [f"({len(self.trace) - len(shown)} lines before)"] if len(shown) < len(self.trace) else []
        return "\n".join(
            [
                f"seed {self.seed}, faults {', '.join(self.faults) or 'none'}",
                *self.problems,
                *left_out,
                *shown,
                f"again with: .venv/bin/python -m tests.simulation {self.seed}",
            ]
        )


def live(seed: int, database: HubDatabase) -> Lived:
    """Live one history to its end and look at it; what it raises on the way is a problem, too.

    Args:
        seed: Decides everything.
        database: The hub's, empty; it is closed in the end.
    """
    history = History(seed, database)
    try:
        try:
            history.run()
            problems = problems_at_rest(history)
        except Exception as error:  # noqa: BLE001 - told with the seed and all that led to it
            problems = [f"{type(error).__name__}: {error}"]
        rows = history.device.disk.connection.execute("SELECT state FROM escalation ORDER BY prediction_id").fetchall()
        return Lived(
            seed=seed,
            problems=problems,
            trace=history.trace,
            stored=database.stored(),
            ends=[state for (state,) in rows],
            faults=sorted(fault.name.lower() for fault in history.faults),
        )
    finally:
        history.close()
