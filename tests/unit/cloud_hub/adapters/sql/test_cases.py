"""Cases in a real database: what is listed, in which order to review, and what labels and feedback do to them."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.cases import CaseFilter, CaseState
from cloud_hub.core.delivery import ItemKey, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind
from cloud_hub.core.feedback import FeedbackTaken, LabelGiven, LabelOutcome, Said, Source
from cloud_hub.errors import CaseUnknownError
from cloud_hub.ports import Answer, Delivered
from model_packs.boxes import Box
from model_packs.outputs import NOTHING_FOUND, Detection, Output, RawTensors, Regression
from model_packs.tensors import Tensor
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import Escalation, ItemClass, PredictionId, Reason, StoreId
from protos.messages.feedback import Feedback, FeedbackBatch, FeedbackItem, FeedbackRefusal, Judgement
from protos.messages.inference import ModelUse, Tier
from protos.status import Status
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.sql.test_store import MODELS, STORE, hello, opened
from tests.unit.cloud_hub.escalations import PRESS, SAW, A, B, escalation

P1 = PredictionId("p1")


async def escalate(store: SqlStore, *asked: Escalation, device: DeviceKey = PRESS, now_ns: int = 10) -> None:
    """Store questions."""
    items = [
        Delivered(
            ItemKey(StoreId(one.prediction_id), ItemClass.ESCALATION, 1),
            Question(one.prediction_id, one.input_digest),
            one.hub_pack,
            escalation_to_bytes(one),
            one,
        )
        for one in asked
    ]
    await store.apply(device, items, now_ns)


async def answer(store: SqlStore, output: Output | None = A, confidence: float = 0.9) -> None:
    """Let the full model say the same of all that waits."""
    waiting = await store.waiting(100)
    await store.answer([Answer(item, Tier.HUB, output, None, confidence, MODELS, 7, 1.5) for item in waiting])


async def label(store: SqlStore, said: str | None, by: str = "ada", prediction: str = "p1") -> LabelOutcome:
    """Let a person of the console say something."""
    return await store.label(LabelGiven(PRESS, PredictionId(prediction), said, by, "", 20))


def item(seq: int, prediction: str, judgement: Judgement, said: str = "", by: str = "shift 2") -> FeedbackItem:
    """What somebody at a device says."""
    edge = ModelUse("small@1.0.0", "sha256:1")
    place = (PredictionId(prediction), judgement, said, by, "", 8, "band", "left", 1_000, 2_000)
    return FeedbackItem(seq, Feedback(*place, edge, A, 0.97, 0.0))


async def receive(store: SqlStore, *items: FeedbackItem, device: DeviceKey = PRESS) -> FeedbackTaken:
    """Deliver feedback."""
    return await store.receive_feedback(device, FeedbackBatch(STORE, items), (), 30)


async def queue(store: SqlStore, by: str = "ada", limit: int = 10) -> list[str]:
    """What a person is to review, in order."""
    return [case.prediction_id for case in await store.review_queue(limit, by)]


@in_loop
async def test_a_case_shows_what_edge_and_hub_said(tmp_path: Path) -> None:
    """The row is filled when the item is stored and when it is answered, and survives a restart."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1", edge=B))
        (case,) = (await store.cases(CaseFilter(), 10)).cases
        assert (case.state, case.edge_label, case.hub_label, case.agrees) == (CaseState.WAITING, "b", None, None)
        await answer(store, A)
    async with opened(tmp_path) as store:
        (case,) = (await store.cases(CaseFilter(), 10)).cases
        assert (case.state, case.hub_label, case.hub_confidence) == (CaseState.ANSWERED, "a", 0.9)
        assert (case.agrees, case.hub_digest, case.threshold) == (False, MODELS[0].digest, 0.8)
        assert (case.window_start_ns, case.window_end_ns, case.received_at_ns) == (1_000, 2_000, 10)


@in_loop
async def test_one_case_has_its_tensors_verdicts_and_feedback(tmp_path: Path) -> None:
    """The detail decodes the stored question; a prediction that was never here has none."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1"))
        await answer(store, B)
        await label(store, "b")
        detail = await store.case(PRESS, P1)
        assert detail is not None
        assert detail.escalation == escalation("p1")
        assert [said.tier for said in detail.verdicts] == [Tier.HUB, Tier.HUMAN]
        assert [(given.said, given.revision, given.hub_label) for given in detail.feedback] == [(Said.LABEL, 2, "b")]
        assert await store.case(SAW, P1) is None


@in_loop
async def test_a_question_that_cannot_be_read_any_more_is_still_a_case(tmp_path: Path) -> None:
    """Damaged bytes take the tensors away, not the row."""
    async with opened(tmp_path) as store:
        await escalate(store, escalation("p1"))
        database = sqlite3.connect(tmp_path / "hub.db")
        database.execute("UPDATE item SET payload = x'ff'")
        database.commit()
        database.close()
        detail = await store.case(PRESS, P1)
        assert detail is not None
        assert detail.escalation is None


@in_loop
async def test_cases_are_listed_newest_first_in_stable_pages(tmp_path: Path) -> None:
    """A cursor goes on where the page ended, whatever came in between."""
    async with opened(tmp_path) as store:
        await escalate(store, *(escalation(f"p{n}") for n in range(1, 6)))
        first = await store.cases(CaseFilter(), 2)
        await escalate(store, escalation("p9"))
        second = await store.cases(CaseFilter(before=first.next_cursor), 2)
        third = await store.cases(CaseFilter(before=second.next_cursor), 2)
        pages = [[case.prediction_id for case in page.cases] for page in (first, second, third)]
        assert pages == [["p5", "p4"], ["p3", "p2"], ["p1"]]
        assert third.next_cursor is None


@in_loop
async def test_cases_are_found_by_device_binding_reason_agreement_and_label(tmp_path: Path) -> None:
    """Each filter asks for one thing; together they ask for all."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await store.open_session(SAW, hello(), 1)
        await escalate(store, escalation("p1"), escalation("p2", edge=B, binding="arm"))
        await escalate(store, escalation("p3", reason=Reason.AUDIT), device=SAW)
        await answer(store, A)
        await label(store, "a")

        async def found(wanted: CaseFilter) -> set[str]:
            return {case.prediction_id for case in (await store.cases(wanted, 10)).cases}

        assert await found(CaseFilter(site_id="s")) == {"p1", "p2", "p3"}
        assert await found(CaseFilter(site_id="s", device_id="saw-01")) == {"p3"}
        assert await found(CaseFilter(binding="arm")) == {"p2"}
        assert await found(CaseFilter(reason=Reason.AUDIT)) == {"p3"}
        assert await found(CaseFilter(agrees=False)) == {"p2"}
        assert await found(CaseFilter(agrees=True)) == {"p1", "p3"}
        assert await found(CaseFilter(labelled=True)) == {"p1"}
        assert await found(CaseFilter(labelled=False)) == {"p2", "p3"}
        assert await found(CaseFilter(labelled=True, agrees=False)) == set()


@in_loop
async def test_the_queue_begins_with_doubt_and_ends_with_what_nobody_can_tell(tmp_path: Path) -> None:
    """An operator's "wrong" comes first, then disagreement and unsure answers, newest first; then the rest."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("agreed-1"), escalation("agreed-2"))
        await answer(store, A)
        await escalate(store, escalation("split"))
        await answer(store, B)
        await escalate(store, escalation("unsure-hub"))
        await answer(store, A, confidence=0.4)
        assert await queue(store) == ["unsure-hub", "split", "agreed-2", "agreed-1"]
        assert await queue(store, limit=3) == ["unsure-hub", "split", "agreed-2"]
        await receive(store, item(1, "agreed-1", Judgement.WRONG))
        assert await queue(store) == ["agreed-1", "unsure-hub", "split", "agreed-2"]
        await label(store, None, "ada", "agreed-1")
        assert await queue(store) == ["unsure-hub", "split", "agreed-2"]
        assert await queue(store, by="eva") == ["agreed-1", "unsure-hub", "split", "agreed-2"]
        await label(store, None, "eva", "agreed-1")
        assert await queue(store, by="bob") == ["unsure-hub", "split", "agreed-2", "agreed-1"]
        assert await store.review_count() == 4
        await label(store, "a", "bob", "split")
        assert await queue(store, by="bob") == ["unsure-hub", "agreed-2", "agreed-1"]
        assert await store.review_count() == 3


@in_loop
async def test_a_label_is_a_row_a_verdict_and_an_event_at_once(tmp_path: Path) -> None:
    """The human verdict is the next revision in the device's log, certain, with no models behind it."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1", digest="sha256:7"))
        await answer(store, A)
        outcome = await label(store, "b")
        assert outcome.verdict is not None
        assert (outcome.verdict.tier, outcome.verdict.revision, outcome.verdict.verdict_seq) == (Tier.HUMAN, 2, 2)
        assert (outcome.verdict.input_digest, outcome.verdict.models) == ("sha256:7", ())
        assert outcome.verdict.output is not None
        assert outcome.verdict.output.to_json()["scores"] == {"b": 1.0}
        assert await store.verdicts(PRESS, 1, 10) == (outcome.verdict,)
        (event,) = await store.recent_events(1)
        assert (event.kind, event.device, event.actor, event.subject) == (EventKind.LABEL_GIVEN, PRESS, "ada", "p1")
        assert event.detail == {"said": "label", "binding": "band", "source": "console", "label": "b"}


@in_loop
async def test_the_hubs_answer_never_follows_a_persons(tmp_path: Path) -> None:
    """A case that waits is settled by a label and asked no more; an answer under way then is not logged either."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1"))
        under_way = await store.waiting(1)
        outcome = await label(store, "b")
        assert outcome.verdict is not None
        assert outcome.verdict.revision == 1
        assert await store.waiting(1) == ()
        late = [Answer(one, Tier.HUB, A, None, 0.9, MODELS, 7, 1.5) for one in under_way]
        assert await store.answer(late) == ()
        assert await store.verdicts(PRESS, 0, 10) == (outcome.verdict,)
        (case,) = (await store.cases(CaseFilter(), 1)).cases
        assert (case.state, case.human_label, case.human_by, case.hub_label) == (CaseState.SETTLED, "b", "ada", None)


@in_loop
async def test_a_repeat_is_stored_once_and_a_changed_mind_is_a_revision(tmp_path: Path) -> None:
    """Ada says b, b again, then a, then b: three rows, three verdicts."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1"))
        outcomes = [await label(store, said) for said in ("b", "b", "a", "b")]
        assert [outcome.is_repeat for outcome in outcomes] == [False, True, False, False]
        assert [outcome.verdict and outcome.verdict.revision for outcome in outcomes] == [1, None, 2, 3]
        detail = await store.case(PRESS, P1)
        assert detail is not None
        assert [(given.label, given.revision) for given in detail.feedback] == [("b", 1), ("a", 2), ("b", 3)]


@in_loop
async def test_of_two_persons_the_last_holds_and_both_are_kept(tmp_path: Path) -> None:
    """A second opinion with the same class is a row without a verdict; with another class it is the answer."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1"))
        outcomes = [await label(store, *said) for said in (("b", "ada"), ("b", "eva"), ("a", "bob"))]
        assert [(one.verdict and one.verdict.revision, one.is_repeat) for one in outcomes] == [
            (1, False),
            (None, False),
            (2, False),
        ]
        detail = await store.case(PRESS, P1)
        assert detail is not None
        assert [(given.given_by, given.label) for given in detail.feedback] == [
            ("ada", "b"),
            ("eva", "b"),
            ("bob", "a"),
        ]
        assert (detail.case.human_label, detail.case.human_by) == ("a", "bob")


@in_loop
async def test_two_labels_in_one_commit_follow_each_other(tmp_path: Path) -> None:
    """Whoever comes second sees what the first did, also inside one transaction."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1"))
        said = (("b", "ada"), ("a", "eva"), ("a", "bob"))
        outcomes = await asyncio.gather(*(label(store, *one) for one in said))
        assert [one.verdict and (one.verdict.verdict_seq, one.verdict.revision) for one in outcomes] == [
            (1, 1),
            (2, 2),
            None,
        ]
        (case,) = (await store.cases(CaseFilter(), 1)).cases
        assert (case.human_label, case.human_by) == ("a", "bob")


@in_loop
async def test_a_label_for_no_case_is_refused(tmp_path: Path) -> None:
    """Another device's prediction is none of this one's."""
    async with opened(tmp_path) as store:
        await escalate(store, escalation("p1"), device=SAW)
        with pytest.raises(CaseUnknownError, match="never escalated"):
            await label(store, "a")
        assert await store.recent_events(5) == ()


@in_loop
async def test_feedback_is_applied_once_by_its_place(tmp_path: Path) -> None:
    """The same batch again is applied, and changes nothing; a repeat inside a batch is one."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        one, two = item(1, "p1", Judgement.LABEL, "b"), item(2, "p2", Judgement.WRONG)
        first = await receive(store, one, two, one)
        assert (first.receipt.applied, first.new) == ((1, 2), (Said.LABEL, Said.WRONG))
        assert [said.revision for said in first.verdicts] == [1]
    async with opened(tmp_path) as store:
        again = await receive(store, one, two)
        assert (again.receipt.applied, again.new, again.verdicts) == ((1, 2), (), ())
        other = await receive(store, one, device=SAW)
        assert other.new == (Said.LABEL,)


@in_loop
async def test_a_correction_of_a_final_answer_is_a_verdict_without_a_digest(tmp_path: Path) -> None:
    """A window that never was at the hub gets a human verdict, even before the device's first stream."""
    async with opened(tmp_path) as store:
        taken = await receive(store, item(1, "p1", Judgement.RIGHT, "a"))
        (said,) = taken.verdicts
        assert (said.input_digest, said.tier, said.revision, said.verdict_seq) == ("", Tier.HUMAN, 1, 1)
        assert await store.case(PRESS, P1) is None
        session = await store.open_session(PRESS, hello(), 1)
        assert session.epoch == 1
        assert await store.verdicts(PRESS, 0, 10) == (said,)
        (event,) = await store.recent_events(1)
        assert (event.kind, event.actor) == (EventKind.FEEDBACK_RECEIVED, "shift 2")


@in_loop
async def test_feedback_may_overtake_its_window(tmp_path: Path) -> None:
    """A window that comes after its label is settled on arrival; one that comes after a doubt goes to the front."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await receive(store, item(1, "p1", Judgement.LABEL, "b"), item(2, "p2", Judgement.WRONG))
        await escalate(store, escalation("p0"), escalation("p1"), escalation("p2"), escalation("p3"))
        assert {one.question.prediction_id for one in await store.waiting(10)} == {"p0", "p2", "p3"}
        detail = await store.case(PRESS, P1)
        assert detail is not None
        assert (detail.case.state, detail.case.human_label) == (CaseState.SETTLED, "b")
        assert [given.source for given in detail.feedback] == [Source.OPERATOR]
        assert await queue(store) == ["p2", "p3", "p0"]


@in_loop
async def test_what_people_said_is_listed_newest_first_in_stable_pages(tmp_path: Path) -> None:
    """Judgements of all devices in one list, which a cursor continues."""
    async with opened(tmp_path) as store:
        await escalate(store, escalation("p1"))
        await label(store, "b")
        await receive(store, item(1, "p2", Judgement.WRONG), item(2, "p3", Judgement.RIGHT, "a"), device=SAW)
        first = await store.judgements(2)
        await label(store, "a")
        second = await store.judgements(2, first.next_cursor)
        assert [given.prediction_id for _, given in first.judgements] == ["p3", "p2"]
        assert [(given.prediction_id, given.device) for _, given in second.judgements] == [("p1", PRESS)]
        assert second.next_cursor is None


@in_loop
async def test_refused_items_join_the_receipt(tmp_path: Path) -> None:
    """What could not be read is told beside what was stored."""
    async with opened(tmp_path) as store:
        refusal = FeedbackRefusal(4, Status.INVALID_ARGUMENT, "no")
        taken = await store.receive_feedback(PRESS, FeedbackBatch(STORE, ()), (refusal,), 30)
        assert (taken.receipt.applied, taken.receipt.refused) == ((), (refusal,))


@in_loop
async def test_cases_are_counted_by_bucket_device_binding_and_reason(tmp_path: Path) -> None:
    """The rate of escalation and of disagreement over time, from a moment on."""
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await store.open_session(SAW, hello(), 1)
        await escalate(store, escalation("p0"), now_ns=1_000_000_000)
        await escalate(store, escalation("p1"), escalation("p2", edge=B), now_ns=61_000_000_000)
        await escalate(store, escalation("p3", reason=Reason.AUDIT), device=SAW, now_ns=62_000_000_000)
        await answer(store, A)
        await escalate(store, escalation("p4"), now_ns=63_000_000_000)
        counts = await store.case_trend(2_000_000_000, 60.0, None)
        assert [
            (one.bucket_ns, one.device, one.binding, one.reason, one.cases, one.answered, one.disagreed)
            for one in counts
        ] == [
            (60_000_000_000, PRESS, "band", Reason.LOW_CONFIDENCE, 3, 2, 1),
            (60_000_000_000, SAW, "band", Reason.AUDIT, 1, 1, 0),
        ]
        assert [one.device for one in await store.case_trend(0, 60.0, SAW)] == [SAW]


@in_loop
async def test_numbers_agree_within_their_tolerance_and_a_person_names_a_number(tmp_path: Path) -> None:
    """Edge and hub differ by less than the edge's tolerance, then by more; what a person says is a number, too."""
    edge = Regression(12.5, 12.0, 13.0, 0.5, "mm")
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        for prediction, value, agrees in (("p1", 12.9, True), ("p2", 13.1, False)):
            await escalate(store, escalation(prediction, edge=edge))
            await answer(store, Regression(value, None, None, 0.1, "mm"))
            (case,) = (await store.cases(CaseFilter(agrees=agrees), 10)).cases
            assert (case.edge_label, case.hub_label) == ("12.5 mm", f"{value:g} mm")
        await label(store, "13 mm", prediction="p2")
        await label(store, "worn", by="bob", prediction="p2")
        detail = await store.case(PRESS, PredictionId("p2"))
        assert detail is not None
        assert detail.verdicts[-1].output == Regression(13.0, None, None, 0.5, "mm")
        assert [given.label for given in detail.feedback] == ["13 mm", "worn"]
        assert [verdict.tier for verdict in detail.verdicts] == [Tier.HUB, Tier.HUMAN]  # "worn" is no number


@in_loop
async def test_nobody_can_tell_whether_raw_tensors_agree(tmp_path: Path) -> None:
    """Such a case is neither right nor wrong; its answers survive in the database."""
    raw = RawTensors((Tensor("y", "UINT8", (1,), b"a"),))
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1", edge=raw, reason=Reason.FORCED))
        await answer(store, raw, 0.0)
        (case,) = (await store.cases(CaseFilter(), 10)).cases
        assert (case.agrees, case.edge_label, case.hub_label) == (None, "y UINT8 [1]", "y UINT8 [1]")
        detail = await store.case(PRESS, P1)
        assert detail is not None
        assert (detail.edge_output, detail.verdicts[0].output) == (raw, raw)


@in_loop
async def test_a_person_confirms_the_boxes_of_either_tier_or_denies_all(tmp_path: Path) -> None:
    """The whole of what that tier found is the answer; of equal counts the mark says whose; nobody writes new boxes."""
    bolt = Detection((Box("bolt", 0.75, 0.0, 0.0, 4.0, 4.0),), "pixels", 0.5)
    moved = replace(bolt, boxes=(bolt.boxes[0]._replace(x0=9.0, x1=13.0),))
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1", edge=bolt), escalation("p2", edge=None))
        await answer(store, moved)
        (other, case) = (await store.cases(CaseFilter(), 10)).cases
        assert (case.edge_label, case.hub_label, case.agrees) == (bolt.told, moved.told, False)
        assert (other.edge_label, other.agrees) == (None, None)
        outcomes = [await label(store, told) for told in (moved.told, bolt.told, NOTHING_FOUND, "1 bolt")]
        spoken = [one.verdict and one.verdict.output for one in outcomes]
        assert spoken == [moved, bolt, replace(bolt, boxes=()), None]
        of_hub = await label(store, moved.told, prediction="p2")
        assert of_hub.verdict is not None
        assert of_hub.verdict.output == moved


@in_loop
async def test_boxes_agree_that_overlap_enough(tmp_path: Path) -> None:
    """By the least overlap that the edge's pack declares."""
    bolt = Detection((Box("bolt", 0.75, 0.0, 0.0, 4.0, 4.0),), "pixels", 0.5)
    near = replace(bolt, boxes=(bolt.boxes[0]._replace(x1=5.0),))
    async with opened(tmp_path) as store:
        await store.open_session(PRESS, hello(), 1)
        await escalate(store, escalation("p1", edge=bolt), escalation("p2", edge=replace(bolt, iou=0.9)))
        await answer(store, near)
        assert [case.agrees for case in (await store.cases(CaseFilter(), 10)).cases] == [False, True]
