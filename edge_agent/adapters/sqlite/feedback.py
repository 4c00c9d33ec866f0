"""Owns the store's part of feedback: joined with its answer, kept until the hub has it, delivered in batches.

Implements `FeedbackBook`. What a judgement says is `core/feedback.py`; bounds and eviction are `fates.py`.
"""

import json
import threading
from collections.abc import Iterable

from edge_agent.adapters.sqlite import outbox
from edge_agent.adapters.sqlite.book import STORE_ID
from edge_agent.adapters.sqlite.dead_letters import DeadLetters
from edge_agent.adapters.sqlite.fates import Fates
from edge_agent.adapters.sqlite.outbox import HUB_FEEDBACK, OutboxRow, Subject
from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.adapters.sqlite.writer import Writer
from edge_agent.core.accounting import DEVICE, Count, of_reason
from edge_agent.core.feedback import Answered, is_edge_answer, judged
from edge_agent.errors import InputFault, InputFaultError
from edge_agent.ports import BindingName, Clock, DeadLetter, GivenFeedback
from protos.codec.feedback import feedback_from_bytes, feedback_to_bytes
from protos.messages.escalation import ItemClass, StoreId
from protos.messages.feedback import Feedback, FeedbackBatch, FeedbackItem, FeedbackReceipt, FeedbackRefusal
from protos.status import TABLE, Retry

_DEVICE = BindingName(DEVICE)
_HOLD_S = {Retry.NOT_UNTIL_FIXED: 30.0}
_MIN_HOLD_S = 1.0


class Judgements:
    """Takes feedback into the outbox, inside the transaction that it is given.

    Args:
        fates: Inserts within the bounds.
        dead_letters: Where goes what speaks about nothing.
    """

    def __init__(self, fates: Fates, dead_letters: DeadLetters) -> None:
        self._fates = fates
        self._dead_letters = dead_letters

    def given(self, tx: Transaction, one: GivenFeedback) -> None:
        """Join with the answer and keep; count what was kept before, or speaks about nothing."""
        said = one.said
        answered, last = _answered(tx, said.prediction_id)
        if answered is None:
            detail = f"no answer {said.prediction_id} is known here (any more)"
            self.bury(tx, one.letter(InputFault.UNKNOWN_PREDICTION, detail))
            return
        if last == said.digest:
            tx.count(_DEVICE, Count.FEEDBACK_DUPLICATE)
            return
        try:
            feedback = judged(said, answered, one.received_ns)
        except InputFaultError as fault:
            self.bury(tx, one.letter(fault.reason, fault.message))
            return
        tx.connection.execute(
            "UPDATE provenance SET feedback = ? WHERE prediction_id = ?", (said.digest, said.prediction_id)
        )
        row = OutboxRow(
            row=tx.new_row(),
            item_class=ItemClass.FEEDBACK,
            destination=HUB_FEEDBACK,
            subject=Subject.FEEDBACK,
            binding=_DEVICE,
            prediction_id=said.prediction_id,
            payload=feedback_to_bytes(feedback),
            topic=one.topic,
        )
        self._fates.deliver(tx, [row])

    def bury(self, tx: Transaction, letter: DeadLetter) -> None:
        """Keep and count a dead letter that only the store could tell; the commit announces it."""
        tx.count(_DEVICE, of_reason(Count.FEEDBACK_DEAD_LETTERED, letter.reason))
        self._dead_letters.bury(tx, letter)
        tx.dead_letters.append(letter)


class FeedbackOutbox:
    """What waits for the hub. Every method that changes state returns after the commit.

    Args:
        writer: Commits changes.
        reader: Reads what is committed.
        judgements: Buries what the hub refuses for ever.
        clock: For hold-backs.
    """

    def __init__(self, writer: Writer, reader: Reader, judgements: Judgements, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._judgements = judgements
        self._clock = clock
        self._changed = threading.Condition()
        self._has_news = True
        self._held_until_s: dict[int, float] = {}

    def next_batch(self, limit: int) -> FeedbackBatch | None:
        """The oldest committed judgements that the hub may be told now; None when there are none."""
        now_s = self._clock.monotonic_s()
        with self._changed:
            self._held_until_s = {seq: until_s for seq, until_s in self._held_until_s.items() if until_s > now_s}
            held = set(self._held_until_s)
        with self._reader.transaction() as read:
            rows = read(
                "SELECT seq, payload FROM outbox WHERE destination = ? ORDER BY row LIMIT ?",
                HUB_FEEDBACK,
                limit + len(held),
            )
            ((store_id,),) = read("SELECT value FROM meta WHERE name = ?", STORE_ID)
        items = [FeedbackItem(seq, feedback_from_bytes(payload)) for seq, payload in rows if seq not in held][:limit]
        return FeedbackBatch(StoreId(store_id), tuple(items)) if items else None

    def wait_for_feedback(self, timeout_s: float) -> None:
        """Block until something new was committed, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_news, timeout_s)
            self._has_news = False

    def wake(self) -> None:
        """Something new was committed."""
        with self._changed:
            self._has_news = True
            self._changed.notify_all()

    def release(self, seqs: Iterable[int]) -> None:
        """Send these at the next chance, whatever the hub asked for."""
        with self._changed:
            for seq in seqs:
                self._held_until_s.pop(seq, None)
        self.wake()

    def settled(self, batch: FeedbackBatch, receipt: FeedbackReceipt) -> None:
        """Trim what the hub has, bury what it never takes, hold back the rest for a while."""
        refused = {one.seq: one for one in receipt.refused}
        never = {seq: one for seq, one in refused.items() if TABLE[one.status].retry is Retry.NEVER}
        sent = {item.seq: item.feedback for item in batch.items}
        applied = [seq for seq in sent if seq in receipt.applied]
        self._writer.call(lambda tx: self._settle(tx, sent, applied, never))
        now_s = self._clock.monotonic_s()
        with self._changed:
            for seq in sent.keys() - set(applied) - never.keys():
                retry = TABLE[refused[seq].status].retry if seq in refused else None
                self._held_until_s[seq] = now_s + (_MIN_HOLD_S if retry is None else _HOLD_S.get(retry, _MIN_HOLD_S))

    def _settle(
        self, tx: Transaction, sent: dict[int, Feedback], applied: list[int], never: dict[int, FeedbackRefusal]
    ) -> None:
        for seq in applied:
            if outbox.delete_item(tx, ItemClass.FEEDBACK, seq):
                tx.count(_DEVICE, Count.FEEDBACK_DELIVERED)
        for seq, refusal in never.items():
            if seq in sent:
                self._refuse(tx, seq, sent[seq], refusal)

    def _refuse(self, tx: Transaction, seq: int, feedback: Feedback, refusal: FeedbackRefusal) -> None:
        (topic,) = tx.connection.execute(
            "SELECT topic FROM outbox WHERE class = ? AND seq = ?", (ItemClass.FEEDBACK, seq)
        ).fetchone() or ("",)
        if outbox.delete_item(tx, ItemClass.FEEDBACK, seq):
            forget(tx, feedback.prediction_id)
            detail = f"the hub refuses it ({refusal.status.name}): {refusal.message}"
            reason = InputFault.REFUSED_BY_HUB.value
            letter = DeadLetter(_DEVICE, topic, reason, detail, feedback.given_at_ns, _as_said(feedback))
            self._judgements.bury(tx, letter)


def forget(tx: Transaction, prediction_id: str) -> None:
    """Let the same words about an answer count as new: the ones before never reached the hub."""
    tx.connection.execute("UPDATE provenance SET feedback = NULL WHERE prediction_id = ?", (prediction_id,))


def _answered(tx: Transaction, prediction_id: str) -> tuple[Answered | None, bytes | None]:
    """What is known of an answer, and the digest of what was last said about it."""
    found = tx.connection.execute(
        "SELECT event, partition, edge_event, feedback FROM prediction JOIN provenance ON prediction_id = id "
        "WHERE id = ?",
        (prediction_id,),
    ).fetchone()
    if found is None:
        return None, None
    newest, partition, edge_event, last = found
    event = json.loads(newest)
    edge = event if edge_event is None else json.loads(edge_event)
    if not is_edge_answer(edge):
        return None, None
    (propensity,) = tx.connection.execute(
        "SELECT propensity FROM escalation WHERE prediction_id = ?", (prediction_id,)
    ).fetchone() or (0.0,)
    return Answered(event, edge, partition, propensity), last


def _as_said(feedback: Feedback) -> bytes:
    """The message again, near enough for people: the bytes that came are gone."""
    words = {"id": feedback.prediction_id, feedback.judgement.value: feedback.label or True}
    return json.dumps({**words, "by": feedback.given_by, "note": feedback.note}, ensure_ascii=False).encode()
