"""Owns what a local call is answered: one row for each model input of the call, and how a verdict changes it.

A call comes from a program beside the agent, which waits for its answer and keeps it; how it comes is
`adapters/oip/`. Its answer is decided as a message's is (`decision.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edge_agent.core.decision import AnswerStatus
from protos.messages.inference import ModelUse


class CalledRow(NamedTuple):
    """The answer to one model input; a tuple because one is made for every call.

    Attributes:
        prediction_id: Names it; known to the watch API where the hub is asked.
        status: `final`, `provisional`, `revised` or `unrevised`.
        confidence: The pack's score, 0..1; of whoever answered last.
        label: The answer where its task has labels.
        reason: Why it is not good enough, or `audit`; None when it is kept.
        tier: Who answered: `edge`, `hub` or `human`.
    """

    prediction_id: str
    status: str
    confidence: float
    label: str | None
    reason: str | None
    tier: str


class CallAnswer(NamedTuple):
    """The answer to one call; a tuple as its rows are.

    Attributes:
        use: The pack that answered.
        version: Its version.
        outputs: What the engine gave, by name, [batch, …].
        rows: One for each input of the batch, in order.
    """

    use: ModelUse
    version: str
    outputs: Mapping[str, NDArray[Any]]
    rows: tuple[CalledRow, ...]


def revised_row(row: CalledRow, event: Mapping[str, Any]) -> CalledRow:
    """Tell a caller who waited what became of its answer.

    Args:
        row: The edge's answer.
        event: The newest event of its prediction (`edge.prediction/1`).

    Returns:
        The row as the event says it.
    """
    output = event["output"]
    label = None if output is None else output.get("label")
    return row._replace(status=event["status"], confidence=event["confidence"], label=label, tier=event["tier"])


def is_open(row: CalledRow) -> bool:
    """Whether the hub is asked and its caller may still hear more."""
    return row.status == AnswerStatus.PROVISIONAL


LATENCY_BUCKETS_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Upper bounds of the latencies that are told apart; the last bucket has none."""


@dataclass(slots=True)
class CallFigures:
    """What became of the calls of one binding and pack since the start of the agent.

    Attributes:
        calls: Those that were answered.
        rows: Inputs in them.
        failed: Those that the engine failed on.
        total_s: Time of all answered calls together, from the parsed request to the decision.
        queue_s: Part of it that they waited for their turn.
        run_s: Part of it that the engine ran.
        failed_s: Time of all failed calls together.
        last_s: When the last answer was decided; monotonic.
        by_bucket: Answered calls by latency, as in `LATENCY_BUCKETS_S`; not cumulated.
    """

    calls: int = 0
    rows: int = 0
    failed: int = 0
    total_s: float = 0.0
    queue_s: float = 0.0
    run_s: float = 0.0
    failed_s: float = 0.0
    last_s: float = 0.0
    by_bucket: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_S) + 1))

    def copy(self) -> "CallFigures":
        """The same numbers, which change no more."""
        return replace(self, by_bucket=list(self.by_bucket))
