"""Owns one binding's way through a pass: record → samples → windows → answers. No thread, no I/O of its own.

How a payload decodes, which windows close and what an answer says are `core/` and `answering.py`; what a pass adds up
to is `draft.py`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edge_agent.core.accounting import Count, of_reason
from edge_agent.core.payload import PayloadSpec, Vectors, decode_vectors
from edge_agent.core.windows import Changes, HoppingWindows, PartitionState
from edge_agent.errors import InputFault, InputFaultError
from edge_agent.inference.answering import Answerer, Asked
from edge_agent.inference.dedupe import SeenKeys
from edge_agent.inference.draft import Draft
from edge_agent.ports import BindingName, Clock, DeadLetter, Delivery, JournalRow, RowId, UnitStore
from protos.topics import TopicTemplate

DECODER = "decoder"

_TIMES = np.dtype("<i8")
_VALUES = np.dtype("<f4")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """What a lane knows of its binding.

    Attributes:
        topic: Where records come from.
        partition: Captures that tell partitions apart.
        result_topic: Where answers go; its captures are those of `partition` or fixed ones.
        seen_limit: Dedupe keys that are remembered.
    """

    binding: BindingName
    broker: str
    topic: TopicTemplate
    partition: tuple[str, ...]
    payload: PayloadSpec
    result_topic: TopicTemplate
    result_qos: int
    result_expiry_s: int | None
    fixed_captures: Mapping[str, str]
    seen_limit: int


class Lane:
    """One binding.

    Args:
        spec: What is declared.
        new_windows: Makes empty windows; `restore` fills them.
        answerer: The model behind it.
        store: For row ids, and for what the last commit left.
        clock: Whether arrival times are to be trusted.
        on_failure: Told of every failure of the decoder, with `DECODER`.
    """

    def __init__(
        self,
        spec: LaneSpec,
        new_windows: Callable[[], HoppingWindows],
        answerer: Answerer,
        store: UnitStore,
        clock: Clock,
        *,
        on_failure: Callable[[str], None],
    ) -> None:
        self._spec = spec
        self._new_windows = new_windows
        self._windows = new_windows()
        self._answerer = answerer
        self._store = store
        self._clock = clock
        self._on_failure = on_failure
        self._seen = SeenKeys(spec.seen_limit)
        self._closed: list[Asked] = []
        self._abandoned: list[Changes] = []

    @property
    def binding(self) -> BindingName:
        """Its binding."""
        return self._spec.binding

    def restore(self, now_s: float) -> None:
        """Go on where the last commit was.

        Args:
            now_s: Monotonic.
        """
        known = self._store.remembered(self._spec.binding)
        self._seen = SeenKeys(self._spec.seen_limit, known.seen)
        self._windows = self._new_windows()
        self._closed = []
        states = {name: PartitionState.from_json(text) for name, text in known.states.items()}
        # Windows that the configuration has changed since cannot go on: the next pass counts what they held.
        left: dict[str, dict[int, int]] = {name: {} for name in self._windows.restore(states, now_s)}
        for row in known.journal:
            if row.partition in left:
                left[row.partition][row.row] = row.pending
                continue
            values = np.frombuffer(row.values, _VALUES).reshape(-1, self._spec.payload.channels)
            pending = self._windows.replay(row.partition, row.row, np.frombuffer(row.times_ns, _TIMES), values)
            if pending != row.pending:
                logger.error("journal_row_differs", extra={"row": row.row, "held": row.pending, "rebuilt": pending})
        self._abandoned = [self._windows.abandon(name, rows) for name, rows in left.items()]

    def accept(self, delivery: Delivery, now_s: float, draft: Draft) -> None:
        """Take one record into the pass.

        Args:
            delivery: As it arrived.
            now_s: Monotonic.
            draft: The pass.
        """
        self._give_up(draft)
        binding = self._spec.binding
        draft.count(binding, Count.RECORDS_RECEIVED)
        if delivery.ack is not None:
            draft.acks.append(delivery.ack)
        captures = self._spec.topic.match(delivery.topic) or {}
        received_ns = delivery.received_ns if self._clock.is_synced() else None
        if not all(captures.values()):
            self._bury(delivery, InputFault.MALFORMED, "the topic has an empty level", draft)
            return
        try:
            vectors = decode_vectors(delivery.payload, self._spec.payload, delivery.topic, received_ns)
        except InputFaultError as fault:
            self._bury(delivery, fault.reason, fault.message, draft)
            return
        except Exception as error:  # decoding a stranger's bytes: whatever it does, the flow goes on
            logger.exception("decoder_failed", extra={"binding": binding, "topic": delivery.topic})
            self._on_failure(DECODER)
            self._bury(delivery, InputFault.DECODER_FAILED, f"the agent's decoder failed: {error!r}", draft)
            return
        if vectors.key in self._seen:
            draft.count(binding, Count.RECORDS_DUPLICATE)
            return
        draft.seen.append((binding, vectors.key))
        draft.forgotten += [(binding, gone) for gone in self._seen.add(vectors.key)]
        draft.count(binding, Count.RECORDS_JOURNALED)
        self._feed(delivery, captures, vectors, now_s, draft)

    def tick(self, now_s: float, now_ns: int, draft: Draft) -> None:
        """Close the windows of silent partitions.

        Args:
            now_s: Monotonic.
            now_ns: Wall clock; the latency of what closes by silence counts from here.
            draft: The pass.
        """
        self._give_up(draft)
        self._take(self._windows.tick(now_s), now_ns, draft)

    def answer(self, draft: Draft, *, is_durable: bool) -> None:
        """Infer everything that closed in this pass, together.

        Args:
            draft: The pass.
            is_durable: Whether the store commits at present.
        """
        if not self._closed:
            return
        closed, self._closed = self._closed, []
        decided = self._answerer.answer(closed, is_durable=is_durable)
        draft.count(self._spec.binding, Count.WINDOWS_INFERRED, len(decided))
        draft.decided += decided

    def _give_up(self, draft: Draft) -> None:
        """Count what windows of another shape left behind, before anything new is fed."""
        abandoned, self._abandoned = self._abandoned, []
        for changes in abandoned:
            self._take(changes, 0, draft)

    def _bury(self, delivery: Delivery, reason: InputFault, detail: str, draft: Draft) -> None:
        binding = self._spec.binding
        draft.count(binding, of_reason(Count.RECORDS_DEAD_LETTERED, reason))
        draft.dead_letters.append(
            DeadLetter(binding, delivery.topic, reason.value, detail, delivery.received_ns, delivery.payload)
        )

    def _feed(
        self, delivery: Delivery, captures: Mapping[str, str], vectors: Vectors, now_s: float, draft: Draft
    ) -> None:
        row = self._store.new_row()
        partition = "/".join(captures[name] for name in self._spec.partition)
        draft.journal[row] = JournalRow(
            row,
            self._spec.binding,
            partition,
            delivery.received_ns,
            vectors.times_ns.astype(_TIMES).tobytes(),
            vectors.values.astype(_VALUES).tobytes(),
            pending=0,
        )
        changes = self._windows.feed(
            partition, row, vectors.times_ns, vectors.values, now_s, out_of_range=vectors.out_of_range
        )
        self._take(changes, delivery.received_ns, draft)

    def _take(self, changes: Changes, received_ns: int, draft: Draft) -> None:
        binding, spec = self._spec.binding, self._spec
        for name, amount in changes.counts.items():
            draft.count(binding, name, amount)
        draft.settle(
            {RowId(row): left for row, left in changes.pending.items()}, tuple(RowId(row) for row in changes.released)
        )
        draft.states.update(
            {(binding, name): None if state is None else state.to_json() for name, state in changes.states.items()}
        )
        for window in changes.closed:
            values = dict(zip(spec.partition, window.partition.split("/"), strict=False))
            topic = spec.result_topic.render({**spec.fixed_captures, **values})
            self._closed.append(Asked(window, received_ns, spec.broker, topic, spec.result_qos, spec.result_expiry_s))
