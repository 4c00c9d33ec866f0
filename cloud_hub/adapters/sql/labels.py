"""Owns what a judgement changes, in one transaction: its row, a human verdict, the case, the queue, and the event.

The rules are `core.feedback`, `core.cases` and `core.revisions`; the statements are those of `judgements`, `verdicts`,
`cases` and `items`.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql import cases, events, items, judgements, monitoring, verdicts
from cloud_hub.core.cases import Case, CaseState, heard
from cloud_hub.core.delivery import ItemKey
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.events import EventKind, Happening
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
from cloud_hub.core.monitoring.response import Rules
from cloud_hub.core.provenance import from_device, in_console
from cloud_hub.errors import CaseUnknownError
from model_packs.outputs import Output, agree, spoken
from protos.messages.escalation import ItemClass, PredictionId, Verdict
from protos.messages.feedback import FeedbackBatch, FeedbackReceipt, FeedbackRefusal
from protos.messages.inference import Tier

_CERTAIN = 1.0


async def label(connection: AsyncConnection, given: LabelGiven, rules: Rules) -> LabelOutcome:
    """Store what a person of the console says of a case."""
    key, prediction_id = given.device, given.prediction_id
    case = (await cases.of_predictions(connection, key, (prediction_id,))).get(prediction_id)
    if case is None:
        raise CaseUnknownError(prediction_id, str(key))
    earlier = (await judgements.of_predictions(connection, key, (prediction_id,)))[prediction_id]
    if is_repeat(given.label, standing(earlier, Source.CONSOLE, given.by)):
        return LabelOutcome(None, is_repeat=True)
    like = await _edge_output(connection, key, prediction_id)
    outcome = LabelOutcome(await _take(connection, in_console(given, case), case, None, like), is_repeat=False)
    if given.label is not None and case.human_label is None and case.is_for_people:
        said = await _models_said(connection, key, prediction_id)
        is_edges = agree(like, spoken(given.label, like, said))
        named = replace(case, human_label=case.edge_label if is_edges else given.label)
        await monitoring.judged_by_person(connection, named, rules, given.at_ns)
    return outcome


async def receive(
    connection: AsyncConnection,
    key: DeviceKey,
    batch: FeedbackBatch,
    refused: Sequence[FeedbackRefusal],
    now_ns: int,
) -> FeedbackTaken:
    """Store what people at a device say, each once."""
    known = await judgements.applied(connection, key, batch.store_id, [one.seq for one in batch.items])
    new = {one.seq: one.feedback for one in batch.items if one.seq not in known}
    said: list[Said] = []
    logged: list[Verdict] = []
    for seq, feedback in new.items():
        at = feedback.prediction_id
        case = (await cases.of_predictions(connection, key, (at,))).get(at)
        given = from_device(key, feedback, case, now_ns)
        place = ItemKey(batch.store_id, ItemClass.FEEDBACK, seq)
        verdict = await _take(connection, given, case, place, feedback.edge_output)
        said.append(given.said)
        logged += () if verdict is None else (verdict,)
    receipt = FeedbackReceipt(tuple(sorted(known | new.keys())), tuple(refused))
    return FeedbackTaken(receipt, tuple(said), tuple(logged))


async def _edge_output(connection: AsyncConnection, key: DeviceKey, prediction_id: PredictionId) -> Output | None:
    """What the edge answered, as far as its question can still be read."""
    payload = (await connection.execute(items.select_payload(key, prediction_id))).scalar()
    asked = None if payload is None else items.read_payload(payload)
    return None if asked is None else asked.edge_output


async def _models_said(connection: AsyncConnection, key: DeviceKey, prediction_id: PredictionId) -> list[Output | None]:
    """What full models answered until now, oldest first: a person may mean one of these."""
    rows = await connection.execute(verdicts.select_of_prediction(key, prediction_id))
    logged = (verdicts.read_verdict(row) for row in rows)
    return [one.output for one in logged if one.tier is Tier.HUB]


async def _take(
    connection: AsyncConnection, given: Given, case: Case | None, place: ItemKey | None, like: Output | None
) -> Verdict | None:
    """Store one judgement with all that follows from it; returns the verdict that it made.

    What a person says becomes an answer of the kind that the models gave (`like` is the edge's); what is none is kept
    as a judgement.
    """
    at = given.prediction_id
    earlier = (await judgements.of_predictions(connection, given.device, (at,)))[at]
    verdict = None
    if given.label is not None and makes_verdict(given.label, standing(earlier, given.source, given.given_by)):
        output = spoken(given.label, like, await _models_said(connection, given.device, at))
        if output is not None:
            verdict = await _speak(connection, given, output, "" if case is None else case.input_digest)
    kept = replace(given, revision=None if verdict is None else verdict.revision)
    await judgements.add(connection, kept, place)
    if case is not None:
        after = heard(case, given.said, given.label, given.given_by)
        await cases.save(connection, [replace(after, unsure_n=unsure_n((*earlier, kept)))])
        if case.state is CaseState.WAITING and after.state is CaseState.SETTLED:
            await items.close_question(connection, case.device, case.prediction_id)
    await events.add(connection, [_happening(kept)])
    return verdict


async def _speak(connection: AsyncConnection, given: Given, said: Output, input_digest: str) -> Verdict:
    """Log a person's answer: nobody ranks above a person, so it always follows."""
    draft = verdicts.Draft(
        device=given.device,
        prediction_id=given.prediction_id,
        input_digest=input_digest,
        tier=Tier.HUMAN,
        output=said,
        confidence=_CERTAIN,
        models=(),
        decided_at_ns=given.received_at_ns,
        infer_ms=0.0,
    )
    ((_, verdict),) = await verdicts.log(connection, [draft])
    return verdict


def _happening(given: Given) -> Happening:
    """`detail`: what was said, the label if there is one, the binding, and where it was given."""
    is_console = given.source is Source.CONSOLE
    return Happening(
        at_ns=given.received_at_ns,
        kind=EventKind.LABEL_GIVEN if is_console else EventKind.FEEDBACK_RECEIVED,
        device=given.device,
        actor=given.given_by,
        subject=given.prediction_id,
        detail={
            "said": given.said.value,
            "binding": given.binding,
            "source": given.source.value,
            **({} if given.label is None else {"label": given.label}),
        },
    )
