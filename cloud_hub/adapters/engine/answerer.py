"""Owns the one loop that answers: stored questions in, full-model runs, verdicts into the log, streams woken.

The database is the queue, so what was stored before a crash is answered after it. Numbering verdicts is the store's,
delivering them is the streams'.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_hub.errors import PackUnavailableError
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Answer, Clock, EscalationStore, FullModel, FullModels, StreamBell, WaitingItem
from model_packs.errors import TensorError
from model_packs.process.crash_points import CrashPoint, crash_point
from model_packs.scoring import Scored, score
from model_packs.tensors import Tensor
from protos.codec.errors import CodecError
from protos.codec.escalation import escalation_from_bytes
from protos.link.backoff import Backoff
from protos.messages.inference import ModelUse, Tier

logger = logging.getLogger(__name__)

POLL_S = 1.0
"""How often the loop looks without being woken: a stream that broke off right after its commit wakes nobody."""

RETRY_PACKS_S = 30.0
"""How long questions to a pack that does not load are left waiting before it is tried again."""

ENGINE_ERROR = "engine_error"
UNREADABLE = "unreadable"
_MIN_PAGE = 2  # the newest and the oldest
_MS_PER_S = 1000.0


@dataclass(frozen=True, slots=True)
class _Question:
    """A waiting item with its tensors, in the order of the model's inputs."""

    item: WaitingItem
    inputs: dict[str, Tensor]


class Answerer:
    """Answers what is waiting, as many at once as there are; the newest do not wait for a backlog.

    Args:
        store: Where questions wait and verdicts go.
        models: The full models.
        bell: Told which devices' logs have grown.
        metrics: Where runs and verdicts are counted.
        clock: Wall clock, for the verdicts' time.
        max_batch: Most windows in one run.
        poll_s: How often the loop looks without being woken.
    """

    def __init__(
        self,
        store: EscalationStore,
        models: FullModels,
        bell: StreamBell,
        metrics: HubMetrics,
        clock: Clock,
        *,
        max_batch: int,
        poll_s: float = POLL_S,
    ) -> None:
        self._store = store
        self._models = models
        self._bell = bell
        self._metrics = metrics
        self._clock = clock
        self._max_batch = max_batch
        self._poll_s = poll_s
        self._work = asyncio.Event()
        self._resting: dict[str, float] = {}

    def wake(self) -> None:
        """Something new is stored."""
        self._work.set()

    async def run(self) -> None:
        """Answer until cancelled. A failure is logged and counted; its questions stay waiting and come again."""
        backoff = Backoff(initial_s=0.1, cap_s=10.0)
        while True:
            try:
                self._work.clear()
                if not await self.answer_waiting():
                    await self._rest()
                backoff.reset()
            except Exception:  # the top of this loop: whatever broke, the questions are still in the database
                logger.exception("answering_failed")
                self._metrics.loop_failures.labels("answerer").inc()
                await asyncio.sleep(backoff.next_s())

    async def answer_waiting(self) -> int:
        """Answer one batch of what is waiting.

        Returns:
            How many questions were looked at; 0 when nothing waits.

        Raises:
            StorageError: The database refused; the questions stay waiting.
        """
        now_s = time.monotonic()
        self._resting = {pack: until_s for pack, until_s in self._resting.items() if until_s > now_s}
        items = await self._store.waiting(max(_MIN_PAGE, self._max_batch), tuple(self._resting))
        by_pack: dict[str, list[WaitingItem]] = {}
        for item in items:
            by_pack.setdefault(item.hub_pack, []).append(item)
        for pack, group in by_pack.items():
            await self._answer_pack(pack, group)
        return len(items)

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._work.wait()

    async def _answer_pack(self, pack: str, items: Sequence[WaitingItem]) -> None:
        try:
            model = await self._models.find(pack)
        except PackUnavailableError as error:
            logger.warning("hub_pack_unavailable", extra={"pack": pack, "reason": error.reason, "mend": error.mend})
            self._resting[pack] = time.monotonic() + RETRY_PACKS_S
            return
        step = min(self._max_batch, model.manifest.max_batch)
        for first in range(0, len(items), step):
            await self._log(await self._ask(model, items[first : first + step]))

    async def _log(self, answers: Sequence[Answer]) -> None:
        crash_point(CrashPoint.HUB_SCORED)
        logged = await self._store.answer(answers)
        crash_point(CrashPoint.HUB_ANSWERED)
        for _, verdict in logged:
            self._metrics.verdicts.labels(verdict.tier.value).inc()
        for answer in answers:
            if answer.unscorable is not None:
                self._metrics.unscorable.labels(answer.unscorable).inc()
        self._bell.ring(logged)

    async def _ask(self, model: FullModel, items: Sequence[WaitingItem]) -> list[Answer]:
        """Answer the readable questions in one run, and say of the others that nobody can."""
        questions: list[_Question] = []
        answers: list[Answer] = []
        for item in items:
            try:
                tensors = escalation_from_bytes(item.payload).inputs
                questions.append(_Question(item, {tensor.name: tensor for tensor in tensors}))
            except CodecError:
                logger.exception("stored_question_unreadable", extra={"prediction_id": item.question.prediction_id})
                answers.append(self._answer(model, item, Scored(None, 0.0, UNREADABLE), infer_ms=0.0))
        if questions:
            answers += await self._run(model, questions)
        return answers

    async def _run(self, model: FullModel, questions: Sequence[_Question]) -> list[Answer]:
        began_s = time.perf_counter()
        scored = await self._scored(model, questions)
        if scored is None and len(questions) > 1:  # one bad window must not take its neighbours along
            return [answer for one in questions for answer in await self._run(model, [one])]
        took_s = time.perf_counter() - began_s
        self._metrics.infer_s.observe(took_s)
        self._metrics.batch_windows.observe(len(questions))
        return [
            self._answer(model, one.item, said, infer_ms=took_s * _MS_PER_S)
            for one, said in zip(questions, scored or (Scored(None, 0.0, ENGINE_ERROR),), strict=True)
        ]

    async def _scored(self, model: FullModel, questions: Sequence[_Question]) -> tuple[Scored, ...] | None:
        """One engine run; None when the engine failed."""
        inputs = _stacked(model, questions)
        facts = {"pack": str(model.manifest.ref), "windows": len(questions)}
        try:
            outputs = model.run(inputs) if model.is_quick else await asyncio.to_thread(model.run, inputs)
        except Exception:  # calling an engine: whatever it does, the windows are unscorable and the loop goes on
            logger.exception("full_model_failed", extra=facts)
            return None
        try:
            return score(model.manifest, outputs)
        except TensorError:
            logger.exception("full_model_gave_other_outputs_than_declared", extra=facts)
            return None

    def _answer(self, model: FullModel, item: WaitingItem, said: Scored, *, infer_ms: float) -> Answer:
        return Answer(
            item=item,
            tier=Tier.HUB,
            output=said.output,
            unscorable=said.unscorable,
            confidence=said.confidence,
            models=(ModelUse(pack=str(model.manifest.ref), digest=model.digest),),
            decided_at_ns=self._clock(),
            infer_ms=infer_ms,
        )


def _stacked(model: FullModel, questions: Sequence[_Question]) -> dict[str, NDArray[Any]]:
    """One array an input, windows along the first axis."""
    return {
        spec.name: np.concatenate([one.inputs[spec.name].to_array() for one in questions])
        for spec in model.manifest.inputs
    }
