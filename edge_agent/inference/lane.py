"""Owns what all bindings share of a record's way through a pass: match, dedupe, bury, count, answer. No thread, no I/O.

What a record is and when there is something to ask is the binding's `Intake`; what an answer says is `answering.py`;
what a pass adds up to is `draft.py`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from edge_agent.core.accounting import Count, of_reason
from edge_agent.core.alarm import AlarmSettings
from edge_agent.core.durability import DEFAULT_TERMS, Durability, JournalTerms
from edge_agent.errors import InputFault, InputFaultError
from edge_agent.inference.alarming import Alarms
from edge_agent.inference.answering import Answerer, Asked
from edge_agent.inference.dedupe import SeenKeys
from edge_agent.inference.draft import Draft
from edge_agent.inference.intake import DecodedT, Intake, Ready
from edge_agent.ports import BindingName, DeadLetter, Delivery, UnitStore
from protos.topics import TopicTemplate

DECODER = "decoder"
_MAX_KNOWN_TOPICS = 4096

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """What a lane knows of its binding.

    Attributes:
        topic: Where records come from.
        result_topic: Where answers go; its captures are those that a question has one value for, or fixed ones.
        seen_limit: Dedupe keys that are remembered.
        seen_max_age_s: Older ones are forgotten.
        terms: What the journal promises for its records.
        alarm: Its alarms; None for none.
    """

    binding: BindingName
    broker: str
    topic: TopicTemplate
    result_topic: TopicTemplate
    result_qos: int
    result_expiry_s: int | None
    fixed_captures: Mapping[str, str]
    seen_limit: int
    seen_max_age_s: float
    terms: JournalTerms = DEFAULT_TERMS
    alarm: AlarmSettings | None = None


class Lane(Generic[DecodedT]):
    """One binding.

    Args:
        spec: What is declared.
        intake: What its records become.
        answerer: The model behind it.
        store: For what the last commit left.
        on_failure: Told of every failure of the decoder, with `DECODER`.
    """

    def __init__(
        self,
        spec: LaneSpec,
        intake: Intake[DecodedT],
        answerer: Answerer,
        store: UnitStore,
        *,
        on_failure: Callable[[str], None],
    ) -> None:
        self._spec = spec
        self._intake = intake
        self._answerer = answerer
        self._store = store
        self._known: dict[str, Mapping[str, str]] = {}
        self._topics: dict[tuple[str, ...], tuple[str, str | None]] = {}
        self._on_failure = on_failure
        self._seen = SeenKeys(spec.seen_limit, spec.seen_max_age_s)
        self._asked: list[Asked] = []
        self._alarms = None if spec.alarm is None else Alarms(spec.alarm, store.new_row)
        self._alarm_topics: list[str] = []  # of what is asked, where there are alarms

    @property
    def binding(self) -> BindingName:
        """Its binding."""
        return self._spec.binding

    @property
    def terms(self) -> JournalTerms:
        """What the journal promises for its records."""
        return self._spec.terms

    def restore(self, now_s: float) -> None:
        """Go on where the last commit was.

        Args:
            now_s: Monotonic.
        """
        known = self._store.remembered(self._spec.binding)
        self._seen = SeenKeys(self._spec.seen_limit, self._spec.seen_max_age_s, known.seen, now_s)
        self._asked, self._alarm_topics = [], []
        if self._alarms is not None:
            self._alarms.restore()
        self._intake.restore(known, now_s)

    def accept(self, delivery: Delivery, now_s: float, draft: Draft) -> None:
        """Take one record into the pass.

        Args:
            delivery: As it arrived.
            now_s: Monotonic.
            draft: The pass.
        """
        binding = self._spec.binding
        draft.count(binding, Count.RECORDS_RECEIVED)
        if delivery.ack is not None:
            draft.acks.append(delivery.ack)
        captures = self._captures_of(delivery.topic)
        received_ns = delivery.received_ns if draft.is_synced else None
        if not all(captures.values()):
            self._bury(delivery, InputFault.MALFORMED, "the topic has an empty level", draft)
            return
        try:
            decoded = self._intake.decode(delivery, captures, received_ns)
        except InputFaultError as fault:
            self._bury(delivery, fault.reason, fault.message, draft)
            return
        except Exception as error:  # decoding a stranger's bytes: whatever it does, the flow goes on
            logger.exception("decoder_failed", extra={"binding": binding, "topic": delivery.topic})
            self._on_failure(DECODER)
            self._bury(delivery, InputFault.DECODER_FAILED, f"the agent's decoder failed: {error!r}", draft)
            return
        if decoded.key in self._seen:
            draft.count(binding, Count.RECORDS_DUPLICATE)
            return
        draft.seen.append((binding, decoded.key))
        draft.forgotten += [(binding, gone) for gone in self._seen.add(decoded.key, now_s)]
        draft.count(binding, Count.RECORDS_JOURNALED)
        self._ask(self._intake.feed(delivery, captures, decoded, now_s, draft), delivery.received_ns)

    def tick(self, now_s: float, now_ns: int, draft: Draft) -> None:
        """Let the intake close what silence closes.

        Args:
            now_s: Monotonic.
            now_ns: Wall clock; the latency of what closes by silence counts from here.
            draft: The pass.
        """
        self._ask(self._intake.tick(now_s, draft), now_ns)

    def answer(self, draft: Draft, *, is_durable: bool) -> None:
        """Infer everything that was asked in this pass, together.

        Args:
            draft: The pass.
            is_durable: Whether the store commits at present.
        """
        if not self._asked:
            return
        asked, self._asked = self._asked, []
        is_kept = is_durable and self._spec.terms.durability is not Durability.NONE
        decided = self._answerer.answer(asked, is_durable=is_kept)
        draft.count(self._spec.binding, Count.WINDOWS_INFERRED, len(decided))
        if self._alarms is not None:
            topics, self._alarm_topics = self._alarm_topics, []
            decided = list(map(self._alarms.judged, decided, topics))
        draft.decided += decided

    def look(self) -> None:
        """Look at inputs of this pass, once its answers are out."""
        self._answerer.look()

    def shed(self, reason: str, amount: int, draft: Draft) -> None:
        """Count records that were never looked at.

        Args:
            reason: Why not.
            amount: How many.
            draft: The pass.
        """
        draft.count(self._spec.binding, Count.RECORDS_RECEIVED, amount)
        draft.count(self._spec.binding, of_reason(Count.RECORDS_SHED, reason), amount)

    def _captures_of(self, topic: str) -> Mapping[str, str]:
        """The captures of a topic; those of recent topics are remembered."""
        found = self._known.get(topic)
        if found is None:
            if len(self._known) >= _MAX_KNOWN_TOPICS:
                self._known.clear()
            found = self._known[topic] = self._spec.topic.match(topic) or {}
        return found

    def _bury(self, delivery: Delivery, reason: InputFault, detail: str, draft: Draft) -> None:
        binding = self._spec.binding
        draft.count(binding, of_reason(Count.RECORDS_DEAD_LETTERED, reason))
        draft.dead_letters.append(
            DeadLetter(binding, delivery.topic, reason.value, detail, delivery.received_ns, delivery.payload)
        )

    def _ask(self, ready: Sequence[Ready], received_ns: int) -> None:
        spec = self._spec
        for one in ready:
            topic, alarm_topic = self._topics_of(one.captures)
            if alarm_topic is not None:
                self._alarm_topics.append(alarm_topic)
            self._asked.append(
                Asked(one.question, received_ns, spec.broker, topic, spec.result_qos, spec.result_expiry_s)
            )

    def _topics_of(self, captures: Mapping[str, str]) -> tuple[str, str | None]:
        """Where an answer goes, and an alarm about it; those of recent streams are remembered."""
        key = tuple(captures.values())  # their names are the binding's, always in the same order
        found = self._topics.get(key)
        if found is None:
            if len(self._topics) >= _MAX_KNOWN_TOPICS:
                self._topics.clear()
            spec, values = self._spec, {**self._spec.fixed_captures, **captures}
            alarm_topic = None if spec.alarm is None else spec.alarm.topic.render(values)
            found = self._topics[key] = (spec.result_topic.render(values), alarm_topic)
        return found
