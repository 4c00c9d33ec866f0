"""News changes the record of the policy that decided, each once, and a broken promise is in the twin at once."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.delivery import ItemKey, Question
from cloud_hub.core.events import EventKind
from cloud_hub.core.feedback import LabelGiven
from cloud_hub.core.monitoring.naming import Drift
from cloud_hub.core.monitoring.record import Overdue, PolicyRecord, Stratum
from cloud_hub.core.monitoring.response import AUTOMATIC, DEFAULT_RULES, Rules
from cloud_hub.core.monitoring.watch import Alarm, Measure, Promise
from cloud_hub.core.policies import PolicyDesire
from cloud_hub.ports import Answer, Delivered
from model_packs.boxes import Box
from model_packs.outputs import Detection, Output
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import Escalation, ItemClass, PredictionId, Reason
from protos.messages.feedback import Feedback, FeedbackBatch, FeedbackItem, Judgement
from protos.messages.fleet import (
    DesiredPolicy,
    DesiredSlot,
    DriftReport,
    Heartbeat,
    PolicyMode,
    PolicyReport,
    PolicyState,
)
from protos.messages.inference import ModelUse, Tier
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.sql.test_store import MODELS, STORE
from tests.unit.cloud_hub.escalations import PRESS, SAW, A, B, escalation

DIGEST = escalation("p").edge_model.digest
ON_HUB = Promise(Measure.DISAGREEMENT, 0.05, 0.05, 0.9, "sha256:certificate")
ON_ERROR = replace(ON_HUB, risk=Measure.ERROR)
ALL_FOR_PEOPLE = Rules(people_share=1.0)
REPORT = PolicyReport("band", 0, "small@1.0.0", DIGEST, 100, 90, 10, 9, 0, 0.1, 0.8, PolicyState.ACTIVE)


@contextlib.asynccontextmanager
async def watching(
    folder: Path, promise: Promise | None = ON_HUB, rules: Rules = DEFAULT_RULES
) -> AsyncIterator[SqlStore]:
    """A store that knows what the pack promises."""
    store = SqlStore(database.make_engine(f"sqlite+aiosqlite:///{folder / 'hub.db'}"), lambda: 1, rules=rules)
    await store.upgrade()
    await store.open()
    try:
        for device in (PRESS, SAW):
            await store.register_local(device, 1)
        if promise is not None:
            await store.policies.keep_promises({DIGEST: promise})
        yield store
    finally:
        await store.close()


def audits(first: int, count: int, *, version: int = 0, edge: Output | None = A) -> list[Escalation]:
    """Audited windows, numbered from `first`."""
    return [
        replace(escalation(f"p{n}", edge=edge, reason=Reason.AUDIT), propensity=0.1, policy_version=version, group="a")
        for n in range(first, first + count)
    ]


async def ask(store: SqlStore, asked: Sequence[Escalation]) -> None:
    """Let a device deliver windows."""
    items = [
        Delivered(
            ItemKey(STORE, ItemClass.AUDIT, int(one.prediction_id[1:]) + 1),
            Question(one.prediction_id, one.input_digest),
            one.hub_pack,
            escalation_to_bytes(one),
            one,
        )
        for one in asked
    ]
    await store.apply(PRESS, items, 10)


async def answer(store: SqlStore, output: Output | None, confidence: float = 0.9) -> None:
    """Let the full model say the same of all that waits."""
    waiting = await store.waiting(1000)
    await store.answer([Answer(one, Tier.HUB, output, None, confidence, MODELS, 20, 1.0) for one in waiting])


async def label(store: SqlStore, prediction: str, said: str | None) -> None:
    """Let a person of the console say something."""
    await store.label(LabelGiven(PRESS, PredictionId(prediction), said, "ada", "", 30))


async def beat(store: SqlStore, *reports: PolicyReport, drift: tuple[DriftReport, ...] = (), at_ns: int = 40) -> None:
    """Let the device report."""
    await store.save_heartbeat(PRESS, Heartbeat(1, 1, "ok", (), 0, 0, None, (), policies=reports, drift=drift), at_ns)


async def want(store: SqlStore, mode: PolicyMode, threshold: float | None = None) -> int:
    """State how the binding should decide; returns the version."""
    _, desire = await store.policies.desire(
        PRESS, "band", lambda version: PolicyDesire("band", DesiredPolicy(version, mode, threshold), "", "ada", 5)
    )
    return desire.policy.version


async def the_record(store: SqlStore) -> PolicyRecord:
    """The only one."""
    (record,) = await store.policies.records(PRESS)
    return record


async def told(store: SqlStore) -> list[EventKind]:
    """What was told of policies, oldest first."""
    kinds = [event.kind for event in await store.events(0, 1000)]  # type: ignore[arg-type]  # 0 lies before the first
    return [kind for kind in kinds if kind not in {EventKind.DEVICE_ENROLLED, EventKind.LABEL_GIVEN}]


@in_loop
async def test_a_void_certificate_is_told_and_tightened_with_the_verdict_that_voids_it(tmp_path: Path) -> None:
    """Verdict, evidence, event and the tighter policy are one transaction; the device's next heartbeat gets it."""
    async with watching(tmp_path) as store:
        await ask(store, audits(0, 8))
        await answer(store, B)
        record = await the_record(store)
        assert record.is_void
        assert record.drift is Drift.SILENT_FAILURE
        assert await told(store) == [EventKind.CERTIFICATE_VOID, EventKind.RISK_CHANGED, EventKind.POLICY_DESIRED]
        twin = await store.save_heartbeat(PRESS, Heartbeat(1, 1, "ok", (), 0, 0, None, ()), 50)
        assert twin is not None
        (wanted,) = twin.policies
        assert (wanted.set_by, wanted.reason, wanted.set_at_ns) == (AUTOMATIC, "void", 20)
        assert wanted.policy == DesiredPolicy(
            1, PolicyMode.HUB_ONLY, pack_digest=DIGEST, voided_certificate=ON_HUB.certificate
        )
        assert twin.message(takes_policies=True).slots == (DesiredSlot("band", "", "", wanted.policy),)
        assert twin.message().slots == ()


@in_loop
async def test_what_was_found_is_said_in_the_event(tmp_path: Path) -> None:
    """With the binding, the version, the numbers and the name of the drift."""
    async with watching(tmp_path) as store:
        await ask(store, audits(0, 8))
        await answer(store, B)
        (void,) = [one for one in await store.recent_events(100) if one.kind is EventKind.CERTIFICATE_VOID]
        assert void.subject == "small@1.0.0"
        assert void.detail["found"] == "8 of 8 audited windows disagreed with, promised at most 5 %"
        assert (void.detail["binding"], void.detail["policy"]) == ("band", "0")
        assert void.detail["drift"] == Drift.SILENT_FAILURE


@in_loop
async def test_late_answers_go_to_the_version_that_decided(tmp_path: Path) -> None:
    """A new version begins without evidence, and what comes late changes only the old one."""
    async with watching(tmp_path) as store:
        await ask(store, [*audits(0, 3), *audits(3, 2, version=1)])
        await answer(store, B)
        counted = {one.key.version: one.tally(Measure.DISAGREEMENT, Stratum.KEPT).n for one in await records(store)}
        assert counted == {0: 3, 1: 2}


async def records(store: SqlStore) -> tuple[PolicyRecord, ...]:
    """All of the device."""
    return await store.policies.records(PRESS)


@in_loop
async def test_each_answer_counts_once(tmp_path: Path) -> None:
    """An item that comes again, a repeated answer and a changed label change no tally."""
    async with watching(tmp_path, rules=ALL_FOR_PEOPLE) as store:
        await ask(store, audits(0, 2))
        waiting = await store.waiting(10)
        answers = [Answer(one, Tier.HUB, A, None, 0.9, MODELS, 20, 1.0) for one in waiting]
        await store.answer(answers)
        await store.answer(answers)
        await ask(store, audits(0, 2))
        await label(store, "p0", "b")
        await label(store, "p0", "a")
        record = await the_record(store)
        assert record.tally(Measure.DISAGREEMENT, Stratum.KEPT).n == 2
        assert (record.tally(Measure.ERROR, Stratum.KEPT).n, record.tally(Measure.ERROR, Stratum.KEPT).losses) == (1, 1)


@in_loop
async def test_a_certificate_on_error_is_void_by_people_only(tmp_path: Path) -> None:
    """The hub's disagreement is told as the weaker statement, and tightens without voiding."""
    async with watching(tmp_path, ON_ERROR, ALL_FOR_PEOPLE) as store:
        await ask(store, audits(0, 8))
        await answer(store, B)
        assert set((await the_record(store)).alarms) == {Alarm.DISAGREEMENT}
        assert await told(store) == [EventKind.HUB_DISAGREES, EventKind.POLICY_DESIRED]
        twin = await store.desired(PRESS)
        assert twin is not None
        assert twin.policies[0].policy.voided_certificate == ""
        for n in range(8):
            await label(store, f"p{n}", "b")
        assert (await the_record(store)).is_void
        assert (await told(store)).count(EventKind.POLICY_DESIRED) == 1


@in_loop
async def test_labels_that_people_picked_themselves_test_nothing(tmp_path: Path) -> None:
    """Neither a label of the console outside the lottery, nor an operator's word, nor "cannot tell"."""
    async with watching(tmp_path, ON_ERROR) as store:
        await ask(store, audits(0, 1))
        await label(store, "p0", "b")
        assert await records(store) == ()
    async with watching(tmp_path, ON_ERROR, ALL_FOR_PEOPLE) as store:
        await ask(store, audits(1, 2))
        edge = ModelUse("small@1.0.0", DIGEST)
        said = Feedback(PredictionId("p1"), Judgement.LABEL, "b", "op", "", 8, "band", "left", 1, 2, edge, A, 0.9, 0.1)
        await store.receive_feedback(PRESS, FeedbackBatch(STORE, (FeedbackItem(1, said),)), (), 30)
        await label(store, "p2", None)
        assert await records(store) == ()


@in_loop
async def test_escalated_windows_are_counted_and_unscorable_ones_are_not(tmp_path: Path) -> None:
    """They are the other stratum of the estimate, and never tested."""
    async with watching(tmp_path) as store:
        await ask(store, [escalation(f"p{n}") for n in range(9)])
        await ask(store, [escalation("p9", edge=None, reason=Reason.UNSCORABLE)])
        await answer(store, B)
        record = await the_record(store)
        assert (record.tally(Measure.DISAGREEMENT, Stratum.ESCALATED).losses, record.alarms) == (9, {})


@in_loop
async def test_what_comes_by_chance_speaks_for_what_was_short_of_budget(tmp_path: Path) -> None:
    """An escalation with a chance below 1 is of the sample, never of what was asked for sure."""
    async with watching(tmp_path) as store:
        await ask(store, [escalation("p1"), replace(escalation("p2"), propensity=0.1)])
        await answer(store, B)
        record = await the_record(store)
        assert [record.tally(Measure.DISAGREEMENT, one).n for one in Stratum] == [0, 1, 1]


@in_loop
async def test_a_hub_in_doubt_calls_people(tmp_path: Path) -> None:
    """It is told, nothing is tightened towards a hub that fails, and such cases come first in the queue."""
    async with watching(tmp_path, None) as store:
        await ask(store, audits(0, 8))
        await answer(store, A, confidence=0.3)
        assert (await the_record(store)).drift is Drift.HUB_FAILS_TOO
        assert await told(store) == [EventKind.HUB_FAILS]
        await ask(store, audits(8, 1))
        await answer(store, B)
        queue = [one.prediction_id for one in await store.review_queue(20, "ada")]
        assert queue[-1] == "p8"


@in_loop
async def test_heartbeats_tell_rates_and_inputs(tmp_path: Path) -> None:
    """A storm and moved inputs are told once, whichever batch they came in, with the pack's promise known late."""
    async with watching(tmp_path, None) as store:
        await beat(store, REPORT)
        await store.policies.keep_promises({DIGEST: ON_HUB})
        storm = replace(REPORT, decided=1100, kept=90, escalated=1010)
        await beat(store, storm, drift=(DriftReport("band", "mean", 100, 3.0),))
        await beat(store, replace(storm, decided=1200, escalated=1110), drift=(DriftReport("band", "mean", 100, 3.0),))
        record = await the_record(store)
        assert set(record.alarms) == {Alarm.ESCALATES_MORE, Alarm.INPUTS_MOVED}
        assert record.drift is Drift.ESCALATION_STORM
        assert await told(store) == [EventKind.ESCALATES_MORE, EventKind.INPUTS_MOVED]
        assert (record.totals.decided, record.rates.windows, record.threshold) == (1200, 1200, 0.8)


@in_loop
async def test_reports_that_no_table_can_hold_are_left_out(tmp_path: Path) -> None:
    """A refused policy never decided; an old drift and an endless name are no news."""
    async with watching(tmp_path) as store:
        await beat(
            store,
            replace(REPORT, state=PolicyState.REFUSED),
            replace(REPORT, binding="b" * 200),
            replace(REPORT, pack_digest=""),
            replace(REPORT, policy_version=2**63),
            replace(REPORT, binding="other"),
            drift=(DriftReport("other", "mean", 3, 1.0),),
        )
        record = await the_record(store)
        assert (record.key.binding, record.alarms) == ("other", {})


@in_loop
async def test_a_policy_s_own_certificate_is_what_it_is_tested_by(tmp_path: Path) -> None:
    """Back to the pack's own: its promise; a tighter policy promises nothing; a version nobody wants neither."""
    async with watching(tmp_path) as store:
        first = await want(store, PolicyMode.SERVE)
        await beat(store, replace(REPORT, policy_version=first))
        assert (await records(store))[0].promise == ON_HUB
        second = await want(store, PolicyMode.TIGHTEN, 0.9)
        await beat(store, replace(REPORT, policy_version=second), replace(REPORT, policy_version=7))
        found = {one.key.version: one.promise for one in await records(store)}
        assert (first, second) == (1, 2)
        assert found == {1: ON_HUB, 2: None, 7: None}
        assert await want(store, PolicyMode.SERVE) == 8


@in_loop
async def test_a_pack_that_is_desired_later_keeps_the_policy(tmp_path: Path) -> None:
    """Packs and policies are wanted side by side; ending one leaves the other."""
    async with watching(tmp_path) as store:
        await want(store, PolicyMode.HUB_ONLY)
        await store.desire(PRESS, [DesiredSlot("band", "small@2.0.0", "sha256:2")], actor="ada", now_ns=6)
        twin = await store.desired(PRESS)
        assert twin is not None
        (slot,) = twin.message(takes_policies=True).slots
        assert (slot.pack, slot.policy) == ("small@2.0.0", twin.policies[0].policy)
        left = await store.end_desire(PRESS, "band", actor="ada", now_ns=7)
        assert left is not None
        assert [one.pack for one in left.message(takes_policies=True).slots] == [""]


@in_loop
async def test_what_waits_too_long_is_counted(tmp_path: Path) -> None:
    """Audits without an answer and chosen cases without a label, apart by policy version; nothing before its time."""
    async with watching(tmp_path, rules=ALL_FOR_PEOPLE) as store:
        await ask(store, audits(0, 3))
        assert await store.policies.overdue(PRESS, 10) == {}
        assert list((await store.policies.overdue(PRESS, 11)).values()) == [Overdue(3, 3)]
        await answer(store, A)
        await label(store, "p0", "a")
        assert list((await store.policies.overdue(None, 11)).values()) == [Overdue(0, 2)]
        assert await store.policies.overdue(SAW, 11) == {}


@in_loop
async def test_field_rows_are_read_oldest_first(tmp_path: Path) -> None:
    """Of one pack in one binding, with what everybody said and how likely each was to come."""
    async with watching(tmp_path, rules=ALL_FOR_PEOPLE) as store:
        await ask(store, [*audits(0, 1), escalation("p1", binding="other"), escalation("p2")])
        await answer(store, B)
        await label(store, "p2", "a")
        rows = await store.policies.field_rows(PRESS, "band", DIGEST, 0)
        assert [(row.prediction_id, row.propensity, row.edge, row.hub, row.human) for row in rows] == [
            ("p0", 0.1, "a", "b", None),
            ("p2", 1.0, "a", "b", "a"),
        ]
        assert await store.policies.field_rows(PRESS, "band", DIGEST, 11) == ()


@in_loop
async def test_boxes_that_mean_the_same_are_no_disagreement_in_field_rows(tmp_path: Path) -> None:
    """Hub and person tell nearly the edge's boxes: a new certificate may rest on that."""
    edge = Detection((Box("nut", 0.75, 0.0, 0.0, 4.0, 4.0),), "pixels", 0.5)
    hub = replace(edge, boxes=(edge.boxes[0]._replace(x1=5.0),))
    async with watching(tmp_path, rules=ALL_FOR_PEOPLE) as store:
        await ask(store, [escalation("p1", edge=edge)])
        await answer(store, hub)
        await label(store, "p1", hub.told)
        (row,) = await store.policies.field_rows(PRESS, "band", DIGEST, 0)
        assert (row.edge, row.hub, row.human) == (edge.told, edge.told, edge.told)
