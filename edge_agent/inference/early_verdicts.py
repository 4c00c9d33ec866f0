"""Owns what a verdict is good for before the hub has logged it: callers who wait are answered, and nothing is kept.

Only the hub's log decides what the device stores and publishes. An early verdict is not in it: a person may have judged
the window before, and after a crash of the hub another run may be logged. Who waits on the line wants the full model's
answer now and gets it; the same comes again from the log, for good.
"""

import logging
from collections.abc import Callable

from edge_agent.core.prediction import revise
from edge_agent.errors import StoreError
from edge_agent.inference.revisions import Revisions
from edge_agent.ports import Clock, Event
from protos.messages.escalation import Verdict

logger = logging.getLogger(__name__)


class EarlyVerdicts:
    """Hands early verdicts to who waits.

    Args:
        revisions: Who waits.
        newest: Reads the newest event of a prediction; None when it is not known.
        clock: For the event's time.
    """

    def __init__(self, revisions: Revisions, newest: Callable[[str], Event | None], clock: Clock) -> None:
        self._revisions = revisions
        self._newest = newest
        self._clock = clock

    def heard(self, verdict: Verdict) -> None:
        """Tell who waits for it what the event will say; called from the link's thread."""
        if not self._revisions.is_awaited(verdict.prediction_id):
            return
        try:
            event = self._newest(verdict.prediction_id)
        except StoreError as error:
            logger.warning("early_verdict_unused", extra={"reason": error.message})
            return
        revised = None if event is None else revise(event, verdict, self._clock.wall_ns())
        if revised is not None:
            self._revisions.told([revised])
