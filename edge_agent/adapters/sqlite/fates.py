"""Owns what becomes of predictions and escalations: decided, delivered, evicted, expired, ended, answered.

Every change of fate is counted in the transaction that makes it. The state table is `core/escalation.py`, what fits
is `core/outbox.py`, what a revised event says is `core/prediction.py`; here they meet the rows.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from edge_agent.adapters.sqlite import outbox, policy_totals
from edge_agent.adapters.sqlite.early_acks import EarlyAcks
from edge_agent.adapters.sqlite.errors import NoRoomYetError
from edge_agent.adapters.sqlite.outbox import HUB, OutboxRow, RowState, StoredRow, Subject
from edge_agent.adapters.sqlite.stored_escalations import (
    StoredEscalation,
    is_judged,
    old_escalations,
    read_edge_event,
    read_escalation,
    read_event,
    read_numbered,
)
from edge_agent.adapters.sqlite.transaction import EACH, Transaction
from edge_agent.core.accounting import DEVICE, Count, of_reason
from edge_agent.core.escalation import MOVES, PENDING, Move, Outcome, next_state
from edge_agent.core.feedback import is_edge_answer
from edge_agent.core.outbox import (
    TOO_LARGE,
    Evict,
    Insert,
    Limits,
    OnFull,
    Refuse,
    Wait,
    is_roomy,
    plan_insert,
    shortage_bytes,
)
from edge_agent.core.prediction import agrees, revise, settled, unrevised
from edge_agent.ports import BindingName, Decided, Event, Publish, Returned, RowId
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import Escalation, ItemClass, PredictionId, Verdict
from protos.messages.inference import Tier

NO_ROOM = "no_room"
"""Why news of an eviction was itself not kept: it may not push out anything else."""

BY_HAND = "purged"
"""Why a message is not kept that a person dropped."""

_NO_ROOM_YET = (
    "outbox: no room for another {}, so messages are left with their broker (block); raise outbox.max_bytes, or find "
    "out why the hub or the broker is away"
)
_DEVICE = BindingName(DEVICE)
_LOOKED_AT = 1000
_MAX_GENEROSITY = 3
_ROW_STATE = {Move.SEND: RowState.SENT, Move.ACK: RowState.ACKED, Move.REQUEUE: RowState.QUEUED}
_PUBLISHED = {
    Subject.PREDICTION: Count.PREDICTIONS_PUBLISHED,
    Subject.REVISION: Count.REVISIONS_PUBLISHED,
    Subject.ALARM: Count.ALARMS_PUBLISHED,
}
_EXPIRED = {
    Subject.PREDICTION: Count.PREDICTIONS_EXPIRED,
    Subject.REVISION: Count.REVISIONS_EXPIRED,
    Subject.ALARM: Count.ALARMS_EXPIRED,
}
_EVICTED = {
    Subject.PREDICTION: Count.PREDICTIONS_EVICTED,
    Subject.REVISION: Count.REVISIONS_EVICTED,
    Subject.FEEDBACK: Count.FEEDBACK_EVICTED,
    Subject.ALARM: Count.ALARMS_EVICTED,
}
_ASKED = (Count.ESCALATIONS_WANTED, Count.ESCALATIONS_CREATED)
_ASKED_AS_AUDIT = (Count.AUDITS_DRAWN, Count.AUDITS_CREATED)
_JUDGED = {True: Count.AUDITS_AGREED, False: Count.AUDITS_DISAGREED, None: Count.AUDITS_UNJUDGED}
_ENDED = {
    Outcome.ANSWERED: Count.ESCALATIONS_ANSWERED,
    Outcome.ANSWERED_LATE: Count.ESCALATIONS_ANSWERED_LATE,
    Outcome.REJECTED: Count.ESCALATIONS_REJECTED,
    Outcome.EXPIRED: Count.ESCALATIONS_EXPIRED,
    Outcome.EVICTED: Count.ESCALATIONS_EVICTED,
    Outcome.DEAD_LETTERED: Count.ESCALATIONS_DEAD_LETTERED,
    Outcome.PURGED: Count.ESCALATIONS_PURGED,
}

logger = logging.getLogger(__name__)


class Fates:
    """The moves; every method writes inside the transaction that it is given.

    Args:
        limits: The outbox's bounds and what to do when they are reached.
        escalation_max_age_s: Older escalations expire.
        retain_after_ack_s: What the hub acknowledged is kept for so long, for a hub that is put back to an older state.
        early: Rows of messages that their brokers have already; they need not be written.
    """

    def __init__(
        self,
        limits: Limits,
        escalation_max_age_s: float,
        retain_after_ack_s: float,
        early: EarlyAcks,
    ) -> None:
        self._limits = limits
        self._early = early
        self._escalation_max_age_s = escalation_max_age_s
        self._retain_after_ack_s = retain_after_ack_s
        self._may_block = OnFull.BLOCK in limits.on_full.values()
        self._numbered: dict[ItemClass, int] = {}
        self._retained_looked_up_to = 0
        self._escalations_looked_up_to = 0
        self._messages_looked_up_to = 0

    def begin(self, tx: Transaction) -> None:
        """Note what is in the outbox before a unit or a verdict, which may have to wait for some of it to go."""
        if self._may_block:
            found = tx.connection.execute("SELECT class, last FROM sequence")
            self._numbered = {ItemClass(item_class): last for item_class, last in found}

    def decide(self, tx: Transaction, decided: Sequence[Decided], returned: Sequence[Returned] = ()) -> None:
        """Store predictions, their messages and their escalations, in order; of what callers hold, the totals only.

        Raises:
            NoRoomYetError: There is no room for them yet.
        """
        now = tx.now
        new = _new_ones(tx, decided)
        tx.insert(
            "prediction",
            [
                (
                    None, one.prediction_id, one.binding, one.publish.payload.decode(), 0, one.status,
                    one.publish.broker, one.publish.topic, one.publish.qos, one.publish.expiry_s,
                    now.wall_ns, now.monotonic_s, now.boot_id, now.synced,
                )
                for one in new.values()
            ],
        )  # fmt: skip
        tx.insert(
            "provenance", [(one.prediction_id, one.partition, None, None) for one in decided], "ON CONFLICT DO NOTHING"
        )
        for one in decided:
            tx.count(one.binding, Count.PREDICTIONS_DECIDED)
            for name in one.counted:
                tx.count(one.binding, name)
        self._tell(tx, decided)
        policy_totals.count_decided(tx, new.values(), returned)
        for one in decided:
            if one.escalate is not None:
                self._escalate(tx, one.escalate, one.escalate_class)

    def _tell(self, tx: Transaction, decided: Sequence[Decided]) -> None:
        """Put the messages of new answers into the outbox, but for those that their broker has already."""
        waiting: list[OutboxRow] = []
        for one in decided:
            said = [(one.publish, Subject.PREDICTION)]
            if one.alarm is not None:
                tx.count(one.binding, Count.ALARMS_MADE)
                said.insert(0, (one.alarm, Subject.ALARM))
            for publish, subject in said:
                if not publish.broker:
                    tx.count(one.binding, Count.PREDICTIONS_RETURNED)
                    tx.wakes_publisher = True  # and those who watch
                elif publish.row in self._early:
                    tx.published.append(publish.row)
                    tx.count(one.binding, _PUBLISHED[subject])
                else:
                    waiting.append(OutboxRow.of_publish(publish, subject, one.binding, one.prediction_id))
        if is_roomy(outbox.usage_bytes(tx.connection), self._limits, [(row.item_class, row.bytes) for row in waiting]):
            outbox.insert_all(tx, waiting)
            return
        for row in waiting:
            self.deliver(tx, [row], may_wait=row.subject is Subject.PREDICTION)

    def published(self, tx: Transaction, rows: Iterable[RowId]) -> None:
        """The broker has these messages."""
        for row, binding, subject in outbox.delete_all(tx, rows):
            tx.published.append(row)
            tx.count(binding, _PUBLISHED[subject])

    def end(self, tx: Transaction, prediction_id: PredictionId, move: Move, policy: str = "") -> None:
        """End an escalation without an answer, and say so where its prediction was published."""
        self.deliver(tx, self._ended(tx, prediction_id, move, policy))

    def purge(self, tx: Transaction, row: StoredRow) -> None:
        """Drop what a person does not want delivered; that an escalation ends so is told, as every end is."""
        if row.subject is Subject.ESCALATION:
            self.end(tx, row.prediction_id, Move.PURGE)
        elif outbox.delete(tx, row.row):
            self._lost(tx, row.subject, row.binding, row.prediction_id, BY_HAND)

    def answered(self, tx: Transaction, verdict: Verdict) -> None:
        """Take a verdict: end the escalation, and revise its prediction if the verdict is better than what is known.

        A verdict without an input digest is a person's about an answer, whether that was ever escalated or not. The hub
        answers no window that a person has judged: an escalation of it ends when both are known, the person's word here
        and the window at the hub.
        """
        tx.count(_DEVICE, Count.VERDICTS_RECEIVED)
        event = read_event(tx, verdict.prediction_id)
        if event is None:
            tx.count(_DEVICE, Count.VERDICTS_FORGOTTEN)
            logger.warning("verdict_for_a_forgotten_prediction", extra={"prediction": verdict.prediction_id})
            return
        found = read_escalation(tx, verdict.prediction_id) if verdict.input_digest else None
        if verdict.input_digest and (found is None or found.input_digest != verdict.input_digest):
            tx.count(_DEVICE, Count.VERDICTS_OTHER_INPUT)
            logger.error("verdict_for_another_input", extra={"prediction": verdict.prediction_id})
            return
        if found is not None:  # also the one that was sent once more to a new incarnation: the hub has it
            outbox.set_state(tx, found.item_class, found.seq, RowState.ACKED)
            if (found.state, Move.ANSWER) in MOVES:
                self._move(tx, found, Move.ANSWER, verdict=verdict)
        revised = revise(event, verdict, tx.now.wall_ns)
        asked = read_escalation(tx, verdict.prediction_id)
        if verdict.tier is Tier.HUMAN and asked is not None and asked.state is Outcome.ACKED:
            self._move(tx, asked, Move.ANSWER, verdict=verdict)
        tx.count(_DEVICE, Count.VERDICTS_UNCHANGED if revised is None else Count.VERDICTS_APPLIED)
        if revised is not None:
            self.begin(tx)
            self.deliver(tx, self._rewritten(tx, verdict.prediction_id, revised), may_wait=True)
        elif found is not None and found.item_class is ItemClass.AUDIT:
            _settle(tx, found)

    def expire(self, tx: Transaction) -> None:
        """End what is too old, a piece of the tables at a time: escalations by their limit, messages by their own."""
        old, self._escalations_looked_up_to = old_escalations(
            tx, self._escalation_max_age_s, self._escalations_looked_up_to, _LOOKED_AT
        )
        for prediction_id in old:
            self.end(tx, prediction_id, Move.EXPIRE)
        overdue, self._messages_looked_up_to = outbox.overdue(
            tx.connection, tx.now, self._messages_looked_up_to, _LOOKED_AT
        )
        for row in overdue:
            outbox.delete(tx, row.row)
            tx.count(row.binding, _EXPIRED[row.subject])
        self._retained_looked_up_to = outbox.expire_retained(
            tx, self._retain_after_ack_s, self._retained_looked_up_to, _LOOKED_AT
        )

    def move_item(self, tx: Transaction, item_class: ItemClass, seq: int, move: Move) -> None:
        """Send, ack or requeue what is numbered (class, seq); a repeated or overtaken message changes nothing.

        An escalation that has ended stays so: then only its row moves, on its way to a hub that forgot it.
        """
        found = read_numbered(tx, item_class, seq)
        if found is not None and found.state in PENDING:
            if (found.state, move) not in MOVES:
                return
            if self._move(tx, found, move) is Outcome.ACKED and is_judged(tx, found.prediction_id):
                self._move(tx, replace(found, state=Outcome.ACKED), Move.ANSWER)
        outbox.set_state(tx, item_class, seq, _ROW_STATE[move])

    def tell_again(self, tx: Transaction) -> None:
        """Queue everything that a hub had, for one that has not: open escalations, and answered ones as rows only."""
        tx.connection.execute(
            "UPDATE escalation SET state = 'queued', changed_ns = ? WHERE state = 'acked' AND (class, seq) IN "
            "(SELECT class, seq FROM outbox WHERE destination = 'hub' AND state = 'acked')",
            (tx.now.wall_ns,),
        )
        tx.connection.execute("UPDATE outbox SET state = 'queued' WHERE destination = 'hub' AND state = 'acked'")
        tx.wakes_link = True

    def _escalate(self, tx: Transaction, asked: Escalation, item_class: ItemClass) -> None:
        binding = BindingName(asked.binding)
        if read_escalation(tx, asked.prediction_id) is not None:
            return  # asked before the same id came again
        is_audit = item_class is ItemClass.AUDIT
        for name in _ASKED_AS_AUDIT if is_audit else _ASKED:
            tx.count(binding, name)
        seq, now = outbox.next_seq(tx, item_class), tx.now
        tx.connection.execute(
            "INSERT INTO escalation VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                asked.prediction_id, binding, item_class, seq, asked.reason, asked.propensity, asked.input_digest,
                Outcome.QUEUED, now.wall_ns, now.monotonic_s, now.boot_id, now.synced, now.wall_ns,
            ),
        )  # fmt: skip
        row = OutboxRow(
            row=tx.new_row(),
            item_class=item_class,
            destination=HUB,
            subject=Subject.ESCALATION,
            binding=binding,
            prediction_id=asked.prediction_id,
            payload=escalation_to_bytes(asked),
            seq=seq,
        )
        self.deliver(tx, [row], may_wait=True)

    def deliver(self, tx: Transaction, rows: Iterable[OutboxRow], *, may_wait: bool = False) -> None:
        """Insert rows within the bounds; what has to go for them is told where there is room for that, too.

        Raises:
            NoRoomYetError: A class is full and blocks, and what is inserted may wait.
        """
        for row in rows:
            left_behind = self._insert(tx, row, may_evict=True, may_wait=may_wait)
            for news in left_behind:
                self._insert(tx, news, may_evict=False)

    def _insert(self, tx: Transaction, row: OutboxRow, *, may_evict: bool, may_wait: bool = False) -> list[OutboxRow]:
        """Insert one row, or count its loss; the messages that evicted and refused ones leave behind."""
        if row.subject is Subject.REVISION:
            tx.count(row.binding, Count.REVISIONS_MADE)
        left_behind: list[OutboxRow] = []
        usage = outbox.usage_bytes(tx.connection)
        plan = plan_insert(usage, self._limits, row.item_class, row.bytes)
        if plan != Insert() and plan != Refuse(TOO_LARGE):  # what the hub has gives way first, to any class
            outbox.release_retained(tx, shortage_bytes(usage, self._limits, row.bytes, row.item_class))
            plan = plan_insert(outbox.usage_bytes(tx.connection), self._limits, row.item_class, row.bytes)
        if isinstance(plan, Wait) and may_wait and outbox.has_waiting(tx, row.item_class, self._numbered):
            raise NoRoomYetError(_NO_ROOM_YET.format(row.item_class.name.lower()))
        if isinstance(plan, Wait) or (isinstance(plan, Evict) and not may_evict):
            plan = Refuse(NO_ROOM)
        if isinstance(plan, Refuse):
            return self._lost(tx, row.subject, row.binding, row.prediction_id, plan.reason)
        if isinstance(plan, Evict):
            for item_class, wanted_bytes in plan.bytes_by_class.items():
                left_behind += self._evict(tx, item_class, wanted_bytes)
        outbox.insert(tx, row)
        return left_behind

    def _evict(self, tx: Transaction, item_class: ItemClass, wanted_bytes: int) -> list[OutboxRow]:
        """Drop rows of a class until they and the news of their end leave so many bytes free.

        They go from the end that the class's policy gives up. News can be as large as what it is about: then only the
        wanted bytes are sure to be freed, and a few times as much is dropped at most.
        """
        left_behind: list[OutboxRow] = []
        freed_bytes = net_bytes = 0
        is_newest = self._limits.on_full[item_class] is OnFull.DROP_NEWEST
        policy = OnFull.DROP_NEWEST if is_newest else OnFull.DROP_OLDEST
        while freed_bytes < wanted_bytes:
            victims = outbox.undelivered(tx.connection, item_class, is_newest_first=is_newest)
            if not victims:
                break
            for victim in victims:
                is_enough = freed_bytes >= wanted_bytes and freed_bytes >= _MAX_GENEROSITY * wanted_bytes
                if net_bytes >= wanted_bytes or is_enough:
                    break
                outbox.delete(tx, victim.row)
                news = self._lost(tx, victim.subject, victim.binding, victim.prediction_id, policy)
                freed_bytes += victim.bytes
                net_bytes += victim.bytes - sum(row.bytes for row in news)
                left_behind += news
        return left_behind

    def _lost(
        self, tx: Transaction, subject: Subject, binding: BindingName, prediction_id: PredictionId, policy: str
    ) -> list[OutboxRow]:
        if subject is Subject.ESCALATION:
            return self._ended(tx, prediction_id, Move.EVICT, policy)
        if subject is Subject.FEEDBACK:  # the same words may come again: these never reached the hub
            tx.connection.execute("UPDATE provenance SET feedback = NULL WHERE prediction_id = ?", (prediction_id,))
        tx.count(binding, of_reason(_EVICTED[subject], policy))
        return []

    def _ended(self, tx: Transaction, prediction_id: PredictionId, move: Move, policy: str) -> list[OutboxRow]:
        found = read_escalation(tx, prediction_id)
        if found is None:
            return []
        outbox.delete_item(tx, found.item_class, found.seq)
        if (found.state, move) not in MOVES:
            return []
        state = self._move(tx, found, move, policy)
        event = read_event(tx, prediction_id)
        told = None if event is None else unrevised(event, state, tx.now.wall_ns)
        if found.item_class is ItemClass.AUDIT:
            _settle(tx, found)
        return [] if told is None else self._rewritten(tx, prediction_id, told)

    def _move(
        self, tx: Transaction, found: StoredEscalation, move: Move, policy: str = "", *, verdict: Verdict | None = None
    ) -> Outcome:
        """Apply a move and count it; an answer comes with its verdict."""
        state = next_state(found.state, move)
        tx.connection.execute(
            "UPDATE escalation SET state = ?, changed_ns = ? WHERE prediction_id = ?",
            (state, tx.now.wall_ns, found.prediction_id),
        )
        if found.item_class is ItemClass.AUDIT:
            _count_audit(tx, found, state, verdict)
            return state
        if found.state not in PENDING:
            tx.count(found.binding, _ENDED[found.state], -1)
        if state not in PENDING:
            tx.count(found.binding, of_reason(_ENDED[state], policy) if policy else _ENDED[state])
            _count_end(tx, found, state, verdict)
        return state

    def _rewritten(self, tx: Transaction, prediction_id: PredictionId, event: Event) -> list[OutboxRow]:
        """Keep the new event of a prediction, tell who waits for it, and give its message, where a broker is told."""
        tx.revised.append(event)
        tx.wakes_publisher = True
        payload = json.dumps(event, separators=(",", ":")).encode()
        if not is_edge_answer(event):  # what the edge said itself stays known, for what people say about it
            tx.connection.execute(
                "UPDATE provenance SET edge_event = (SELECT event FROM prediction WHERE id = :id) "
                "WHERE prediction_id = :id AND edge_event IS NULL",
                {"id": prediction_id},
            )
        binding, broker, topic, qos, expiry_s = tx.connection.execute(
            "UPDATE prediction SET event = ?, revision = ?, status = ? WHERE id = ? "
            "RETURNING binding, broker, topic, qos, expiry_s",
            (payload.decode(), event["revision"], event["status"], prediction_id),
        ).fetchone()
        if not broker:
            return []
        publish = Publish(tx.new_row(), broker, topic, payload, qos, expiry_s=expiry_s)
        return [OutboxRow.of_publish(publish, Subject.REVISION, binding, prediction_id)]


def _new_ones(tx: Transaction, decided: Sequence[Decided]) -> dict[PredictionId, Decided]:
    """The first of each prediction that is not stored yet."""
    ids = json.dumps([one.prediction_id for one in decided])
    found = tx.connection.execute(f"SELECT id FROM prediction WHERE id IN ({EACH})", (ids,))  # noqa: S608 - own text
    known = {name for (name,) in found}
    new: dict[PredictionId, Decided] = {}
    for one in decided:
        if one.prediction_id not in known:
            new.setdefault(one.prediction_id, one)
    return new


def _count_audit(tx: Transaction, found: StoredEscalation, state: Outcome, verdict: Verdict | None) -> None:
    """Count how an audit ended, for the device and for the policy that it tests; a late answer takes a loss back."""
    if state in PENDING:
        return
    lost = of_reason(Count.AUDITS_LOST, found.state)
    said = read_edge_event(tx, found.prediction_id)
    if found.state not in PENDING:
        tx.count(found.binding, lost, -1)
    if state in {Outcome.ANSWERED, Outcome.ANSWERED_LATE}:
        tx.count(found.binding, _JUDGED[None if said is None or verdict is None else agrees(said, verdict)])
    else:
        tx.count(found.binding, of_reason(Count.AUDITS_LOST, state))
    if said is not None:
        is_answered = state in {Outcome.ANSWERED, Outcome.ANSWERED_LATE}
        was_lost = found.state not in PENDING
        policy_totals.count_audit_end(tx, said, answered=int(is_answered), lost=int(not is_answered) - int(was_lost))


def _count_end(tx: Transaction, found: StoredEscalation, state: Outcome, verdict: Verdict | None) -> None:
    """Count how an escalation ended for the policy that wanted it, or was short of budget for it."""
    said = read_edge_event(tx, found.prediction_id)
    if said is None:
        return
    end = policy_totals.EscalationEnd(found.state, state)
    if verdict is not None:
        is_first = said["output"] is None and verdict.output is not None
        end = policy_totals.EscalationEnd(found.state, state, agrees(said, verdict), is_first)
    policy_totals.count_escalation_end(tx, said, end)


def _settle(tx: Transaction, found: StoredEscalation) -> None:
    """Keep how an audit ended in the event of a prediction that this does not change: nothing is published."""
    event, asked = read_event(tx, found.prediction_id), read_escalation(tx, found.prediction_id)
    if event is None or asked is None or event["escalation"]["outcome"] == asked.state:
        return
    tx.connection.execute(
        "UPDATE prediction SET event = ? WHERE id = ?",
        (json.dumps(settled(event, asked.state), separators=(",", ":")), found.prediction_id),
    )
