"""Owns the way of feedback through a pass: read, bury what is none, hand the rest to the store with its message's ack.

Which answer it speaks about, and whether it came before, only the store can tell: it looks in the commit that keeps it.
"""

import logging
from collections.abc import Callable

from edge_agent.core.accounting import DEVICE, Count, of_reason
from edge_agent.core.durability import DEFAULT_TERMS
from edge_agent.core.feedback import read_feedback
from edge_agent.errors import InputFault, InputFaultError
from edge_agent.inference.draft import Draft
from edge_agent.inference.lane import DECODER
from edge_agent.ports import BindingName, DeadLetter, Delivery, GivenFeedback

logger = logging.getLogger(__name__)


class FeedbackLane:
    """Feedback of one device, from all its brokers. Implements `Taker` under the device's own name.

    Args:
        on_failure: Told of every failure of the decoder, with `DECODER`.
    """

    binding = BindingName(DEVICE)
    terms = DEFAULT_TERMS

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure

    def restore(self, now_s: float) -> None:
        """Nothing waits in memory."""

    def accept(self, delivery: Delivery, now_s: float, draft: Draft) -> None:
        """Take one message into the pass."""
        del now_s
        draft.count(self.binding, Count.FEEDBACK_RECEIVED)
        if delivery.ack is not None:
            draft.acks.append(delivery.ack)
        try:
            said = read_feedback(delivery.payload)
        except InputFaultError as fault:
            self._bury(delivery, fault.reason, fault.message, draft)
        except Exception as error:  # decoding a stranger's bytes: whatever it does, the flow goes on
            logger.exception("decoder_failed", extra={"topic": delivery.topic})
            self._on_failure(DECODER)
            self._bury(delivery, InputFault.DECODER_FAILED, f"the agent's decoder failed: {error!r}", draft)
        else:
            draft.feedback.append(GivenFeedback(said, delivery.topic, delivery.received_ns, delivery.payload))

    def tick(self, now_s: float, now_ns: int, draft: Draft) -> None:
        """Nothing waits for time to pass."""

    def answer(self, draft: Draft, *, is_durable: bool) -> None:
        """Nothing is inferred."""

    def look(self) -> None:
        """There is no input."""

    def shed(self, reason: str, amount: int, draft: Draft) -> None:
        """Count messages that were never looked at."""
        draft.count(self.binding, Count.FEEDBACK_RECEIVED, amount)
        draft.count(self.binding, of_reason(Count.FEEDBACK_SHED, reason), amount)

    def _bury(self, delivery: Delivery, reason: InputFault, detail: str, draft: Draft) -> None:
        draft.count(self.binding, of_reason(Count.FEEDBACK_DEAD_LETTERED, reason))
        draft.dead_letters.append(
            DeadLetter(self.binding, delivery.topic, reason.value, detail, delivery.received_ns, delivery.payload)
        )
