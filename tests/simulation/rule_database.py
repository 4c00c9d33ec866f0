"""Owns the hub's database as rules: `cloud_hub.core` on dictionaries, with the statements' meaning and nothing else.

That it means the same as the statements do is shown, history by history, by `test_hubs_agree.py`.
"""

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace

from cloud_hub.core.cases import Case, CaseState, answered, caught_up, heard, opened
from cloud_hub.core.delivery import AlreadyApplied, Apply, Delivery, ItemKey, Question, asked_again, decide
from cloud_hub.core.feedback import (
    FeedbackTaken,
    Given,
    LabelGiven,
    LabelOutcome,
    Said,
    Source,
    is_repeat,
    makes_verdict,
    standing,
    unsure_n,
)
from cloud_hub.core.provenance import from_device, in_console
from cloud_hub.core.restores import NEVER_NS, is_older_than, revision_floor, verdict_floor
from cloud_hub.core.revisions import Answered, next_revision
from cloud_hub.ports import Answer, Delivered, Forgotten, OpenedSession, WaitingItem
from model_packs.outputs import Classification
from protos.messages.escalation import Hello, HubIncarnation, ItemClass, PredictionId, StoreId, Verdict
from protos.messages.feedback import FeedbackBatch, FeedbackReceipt
from protos.messages.inference import Tier
from tests.simulation.hub_database import DEVICE, Stored, without_names

_NO_STORE = StoreId("")


@dataclass(slots=True)
class _Row:
    """One item; `is_repeat`: the same question from another place."""

    row_id: int
    delivered: Delivered
    received_at_ns: int
    is_repeat: bool = False
    is_waiting: bool = False


@dataclass(slots=True)
class _Session:
    store_id: StoreId = _NO_STORE
    epoch: int = 0
    verdict_seq: int = 0
    verdict_acked: int = 0


@dataclass(slots=True)
class _Tables:
    """Everything that is durable; copied whole for a backup."""

    incarnation: HubIncarnation
    restored_at_ns: int = NEVER_NS
    last_row_id: int = 0
    session: _Session | None = None
    rows: dict[ItemKey, _Row] = field(default_factory=dict)
    floors: dict[tuple[StoreId, ItemClass], tuple[int, int]] = field(default_factory=dict)
    log: dict[int, Verdict] = field(default_factory=dict)
    cases: dict[PredictionId, Case] = field(default_factory=dict)
    given: dict[PredictionId, tuple[Given, ...]] = field(default_factory=dict)
    places: dict[tuple[StoreId, int], PredictionId] = field(default_factory=dict)

    def copied(self) -> "_Tables":
        """Containers and mutable rows anew; what is frozen is shared."""
        values = {one.name: copy(getattr(self, one.name)) for one in fields(self)}
        values["rows"] = {key: copy(row) for key, row in self.rows.items()}
        return _Tables(**values)


class RuleDatabase:
    """Fills `HubDatabase`."""

    def __init__(self) -> None:
        self._incarnations = 1
        self._tables = _Tables(HubIncarnation("hub-1"))

    def open_session(self, hello: Hello, now_ns: int) -> OpenedSession:
        """Start an epoch; a device that has seen more than there is gives this database away as an older copy."""
        tables = self._tables
        before = tables.session
        is_older = before is not None and is_older_than(hello, tables.incarnation, before.verdict_seq)
        if is_older:
            self.renew_incarnation(now_ns)
        session = before or _Session()
        session.epoch += 1
        session.store_id = hello.store_id
        session.verdict_seq = max(hello.verdict_cursor, session.verdict_seq)
        session.verdict_acked = max(hello.verdict_cursor, session.verdict_acked)
        tables.session = session
        applied = sorted((c, top) for (store_id, c), (_, top) in tables.floors.items() if store_id == hello.store_id)
        return OpenedSession(session.epoch, tuple(applied), tables.incarnation, is_restored=is_older)

    def apply(self, items: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """Store each item at most once, and say again what is asked from a new place."""
        decided = tuple(self._apply(one, now_ns) for one in items)
        for one in items:
            at = (one.key.store_id, one.key.item_class)
            low_water, applied = self._tables.floors.get(at, (0, 0))
            self._tables.floors[at] = (
                max(low_water, min(one.low_water, one.key.seq)),
                max(applied, one.key.seq),
            )
        self._repeat(asked_again(zip((one.question.prediction_id for one in items), decided, strict=True)))
        return decided

    def waiting(self, limit: int) -> tuple[WaitingItem, ...]:
        """Half the newest, half the oldest where there are more than `limit`."""
        rows = sorted((row for row in self._tables.rows.values() if row.is_waiting), key=lambda row: row.row_id)
        if len(rows) > limit:
            n_newest = (limit + 1) // 2
            rows = [*rows[: limit - n_newest], *rows[-n_newest:]]
        return tuple(_waiting_item(row) for row in rows)

    def waiting_count(self) -> int:
        """How many items have no answer."""
        return sum(row.is_waiting for row in self._tables.rows.values())

    def answer(self, answers: Sequence[Answer]) -> None:
        """Log verdicts, note them with their cases, close the items."""
        for one in answers:
            said = self._speak(
                Verdict(
                    verdict_seq=0,
                    prediction_id=one.item.question.prediction_id,
                    input_digest=one.item.question.input_digest,
                    revision=0,
                    tier=one.tier,
                    output=one.output,
                    confidence=one.confidence,
                    models=one.models,
                    decided_at_ns=one.decided_at_ns,
                    infer_ms=one.infer_ms,
                )
            )
            case = self._tables.cases.get(one.item.question.prediction_id)
            if said is not None and case is not None:
                self._tables.cases[case.prediction_id] = answered(case, said)
        closed = {one.item.row_id for one in answers}
        for row in self._tables.rows.values():
            if row.row_id in closed:
                row.is_waiting = False

    def verdicts(self, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """A page of the log."""
        log = self._tables.log
        return tuple(log[seq] for seq in sorted(seq for seq in log if seq > after_seq)[:limit])

    def acknowledge(self, verdict_seq: int) -> None:
        """Advance the cursor; never back, and never past what was given out."""
        session = self._tables.session
        if session is not None and session.verdict_acked < verdict_seq <= session.verdict_seq:
            session.verdict_acked = verdict_seq

    def label(self, given: LabelGiven) -> LabelOutcome | None:
        """Take what a person of the console says."""
        case = self._tables.cases.get(given.prediction_id)
        if case is None:
            return None
        earlier = self._tables.given.get(given.prediction_id, ())
        if is_repeat(given.label, standing(earlier, Source.CONSOLE, given.by)):
            return LabelOutcome(None, is_repeat=True)
        return LabelOutcome(self._take(in_console(given, case), case), is_repeat=False)

    def receive_feedback(self, batch: FeedbackBatch, now_ns: int) -> FeedbackTaken:
        """Take what people at the device say, each once."""
        said: list[Said] = []
        logged: list[Verdict] = []
        for one in batch.items:
            place = (batch.store_id, one.seq)
            if place in self._tables.places:
                continue
            case = self._tables.cases.get(one.feedback.prediction_id)
            given = from_device(DEVICE, one.feedback, case, now_ns)
            verdict = self._take(given, case)
            self._tables.places[place] = one.feedback.prediction_id
            said.append(given.said)
            logged += () if verdict is None else (verdict,)
        receipt = FeedbackReceipt(tuple(sorted(one.seq for one in batch.items)), ())
        return FeedbackTaken(receipt, tuple(said), tuple(logged))

    def renew_incarnation(self, now_ns: int) -> None:
        """Another database than the devices know."""
        self._incarnations += 1
        self._tables.incarnation = HubIncarnation(f"hub-{self._incarnations}")
        self._tables.restored_at_ns = now_ns

    def forget(self, before_ns: int) -> Forgotten:
        """Forget what is old, answered, known to the device, unlabelled, and cannot come again."""
        tables = self._tables
        session = tables.session
        gone = [] if session is None else [key for key in tables.rows if self._may_go(key, session, before_ns)]
        ids = {tables.rows[key].delivered.question.prediction_id for key in gone if not tables.rows[key].is_repeat}
        for key in gone:
            del tables.rows[key]
        for prediction_id in ids:
            tables.cases.pop(prediction_id, None)
        verdicts = [seq for seq, said in tables.log.items() if said.prediction_id in ids]
        for seq in verdicts:
            del tables.log[seq]
        return Forgotten(len(gone), len(verdicts))

    def backup(self) -> object:
        """A copy of everything."""
        return self._tables.copied()

    def put_back(self, copied: object) -> None:
        """Replace everything by a copy."""
        assert isinstance(copied, _Tables)
        self._tables = copied.copied()

    def stored(self) -> Stored:
        """What is there now."""
        rows = sorted(self._tables.rows.values(), key=lambda row: row.row_id)
        asked = [row for row in rows if not row.is_repeat]
        return Stored(
            questions=tuple(row.delivered.question.prediction_id for row in asked),
            waiting=frozenset(row.delivered.question.prediction_id for row in asked if row.is_waiting),
            places=without_names((key.store_id, int(key.item_class), key.seq) for key in self._tables.rows),
            log=self.verdicts(0, len(self._tables.log)),
            judgements=tuple(self._tables.places.values()),
        )

    def close(self) -> None:
        """Nothing is open."""

    def _apply(self, one: Delivered, now_ns: int) -> Delivery:
        tables, asked = self._tables, one.question
        held = tables.rows.get(one.key)
        digest = self._digest_of(asked.prediction_id)
        at_key = None if held is None else held.delivered.question
        delivery = decide(asked, at_key=at_key, digest_of_prediction=digest)
        is_new = isinstance(delivery, Apply)
        if is_new or (isinstance(delivery, AlreadyApplied) and delivery.is_new_key):
            tables.last_row_id += 1
            row = _Row(tables.last_row_id, one, now_ns, is_repeat=not is_new)
            if is_new:
                earlier = tables.given.get(asked.prediction_id, ())
                case = caught_up(opened(DEVICE, one.escalation, now_ns), earlier)
                tables.cases[asked.prediction_id] = case
                row.is_waiting = case.state is CaseState.WAITING
            tables.rows[one.key] = row
        return delivery

    def _digest_of(self, prediction_id: PredictionId) -> str | None:
        asked = [row.delivered.question for row in self._tables.rows.values()]
        return next((one.input_digest for one in asked if one.prediction_id == prediction_id), None)

    def _repeat(self, ids: Collection[PredictionId]) -> None:
        """Put the latest answer to each of these at the end of the log."""
        tables, session = self._tables, self._tables.session
        latest: dict[PredictionId, Verdict] = {}
        for said in sorted(tables.log.values(), key=lambda said: said.revision):
            if said.prediction_id in ids:
                latest[said.prediction_id] = said
        if not latest or session is None:
            return
        last = max(session.verdict_seq, verdict_floor(tables.restored_at_ns))
        for place, before in enumerate(sorted(said.verdict_seq for said in latest.values()), start=last + 1):
            tables.log[place] = replace(tables.log.pop(before), verdict_seq=place)
        session.verdict_seq = last + len(latest)

    def _speak(self, draft: Verdict) -> Verdict | None:
        """Log one answer with its place and its revision; None when somebody higher has spoken."""
        tables = self._tables
        before = [said for said in tables.log.values() if said.prediction_id == draft.prediction_id]
        last = max(before, key=lambda said: said.revision, default=None)
        latest = None if last is None else Answered(last.revision, last.tier)
        revision = next_revision(latest, draft.tier, revision_floor(tables.restored_at_ns))
        if revision is None:
            return None
        session = tables.session = tables.session or _Session()
        session.verdict_seq = max(session.verdict_seq, verdict_floor(tables.restored_at_ns)) + 1
        said = replace(draft, verdict_seq=session.verdict_seq, revision=revision)
        tables.log[said.verdict_seq] = said
        return said

    def _take(self, given: Given, case: Case | None) -> Verdict | None:
        """Store one judgement with all that follows from it."""
        tables, at = self._tables, given.prediction_id
        earlier = tables.given.get(at, ())
        verdict = None
        if given.label is not None and makes_verdict(given.label, standing(earlier, given.source, given.given_by)):
            verdict = self._speak(_human(given, given.label, "" if case is None else case.input_digest))
        kept = replace(given, revision=None if verdict is None else verdict.revision)
        tables.given[at] = (*earlier, kept)
        if case is not None:
            after = heard(case, given.said, given.label, given.given_by)
            tables.cases[at] = replace(after, unsure_n=unsure_n((*earlier, kept)))
            if case.state is CaseState.WAITING and after.state is CaseState.SETTLED:
                self._close_question(at)
        return verdict

    def _close_question(self, prediction_id: PredictionId) -> None:
        for row in self._tables.rows.values():
            if row.delivered.question.prediction_id == prediction_id:
                row.is_waiting = False

    def _may_go(self, key: ItemKey, session: _Session, before_ns: int) -> bool:
        row, tables = self._tables.rows[key], self._tables
        prediction_id = row.delivered.question.prediction_id
        floor = tables.floors.get((key.store_id, key.item_class))
        if floor is None or row.is_waiting or row.received_at_ns >= before_ns:
            return False
        case = tables.cases.get(prediction_id)
        is_labelled = case is not None and case.human_label is not None
        is_on_its_way = any(
            said.prediction_id == prediction_id and said.verdict_seq > session.verdict_acked
            for said in tables.log.values()
        )
        cannot_come = key.seq < floor[0] or key.store_id != session.store_id
        return cannot_come and not is_labelled and not is_on_its_way


def _waiting_item(row: _Row) -> WaitingItem:
    one = row.delivered
    asked = Question(one.question.prediction_id, one.question.input_digest)
    return WaitingItem(row.row_id, DEVICE, one.key.item_class, asked, one.hub_pack, one.payload)


def _human(given: Given, said: str, input_digest: str) -> Verdict:
    return Verdict(
        verdict_seq=0,
        prediction_id=given.prediction_id,
        input_digest=input_digest,
        revision=0,
        tier=Tier.HUMAN,
        output=Classification(said, {said: 1.0}),
        confidence=1.0,
        models=(),
        decided_at_ns=given.received_at_ns,
        infer_ms=0.0,
    )
