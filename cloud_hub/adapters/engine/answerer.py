"""Owns the one loop that answers: stored questions in, full models asked, verdicts into the log, streams woken.

The database is the queue, so what was stored before a crash is answered after it. Questions go to the full models
behind everything live, by the same batches (`cloud_hub.serving`). Numbering verdicts is the store's, delivering them is
the streams'.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from cloud_hub.adapters.engine.early import EarlyAnswers
from cloud_hub.adapters.engine.escalated import EscalatedModels
from cloud_hub.errors import HubError, PackUnavailableError
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Answer, Clock, EscalationStore, StreamBell, WaitingItem
from cloud_hub.serving.errors import InputRefusedError, ModelFailedError, ServingFullError
from cloud_hub.serving.interface import BACKLOG_PRIORITY, Caller, InferenceServing, Inferred, ModelDescription
from model_packs.process.crash_points import CrashPoint, crash_point
from model_packs.scoring import Scored
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
_NS_PER_MS = 1e6


class Answerer:
    """Answers what is waiting, as many at once as there are; the newest do not wait for a backlog.

    Args:
        store: Where questions wait and verdicts go.
        serving: Answers questions.
        bell: Told which devices' logs have grown.
        metrics: Where runs and verdicts are counted.
        clock: Wall clock, for the verdicts' time.
        page: Most questions that are asked at once.
        poll_s: How often the loop looks without being woken.
        early: What was answered before it was stored; None: nothing is.
    """

    def __init__(
        self,
        store: EscalationStore,
        serving: InferenceServing,
        bell: StreamBell,
        metrics: HubMetrics,
        clock: Clock,
        *,
        page: int,
        poll_s: float = POLL_S,
        early: EarlyAnswers | None = None,
    ) -> None:
        self._early = early
        self._store = store
        self._serving = serving
        self._models = EscalatedModels(serving)
        self._bell = bell
        self._metrics = metrics
        self._clock = clock
        self._page = max(_MIN_PAGE, page)
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
                if await self.answer_waiting() < self._page:  # all that waited; what came since has woken the loop
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
        items = await self._store.waiting(self._page, tuple(self._resting))
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
        answers = await asyncio.gather(*(self._ask(model, item) for item in items))
        if answered := [answer for answer in answers if answer is not None]:
            await self._log(answered)

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

    async def _ask(self, model: ModelDescription, item: WaitingItem) -> Answer | None:
        """Answer one question; None leaves it waiting."""
        early = None if self._early is None else await self._early.take(item.device, item.question)
        if early is not None:
            said, infer_ms = early.inferred, early.inferred.compute_ns / _NS_PER_MS
            return replace(self._answer(item, said.models, _only(said), infer_ms=infer_ms), decided_at_ns=early.at_ns)
        try:
            tensors = escalation_from_bytes(item.payload).inputs
        except CodecError:
            logger.exception("stored_question_unreadable", extra={"prediction_id": item.question.prediction_id})
            return self._answer(item, model.models, Scored(None, 0.0, UNREADABLE), infer_ms=0.0)
        inputs = {tensor.name: tensor.to_array() for tensor in tensors}
        caller = Caller(item.device.site_id, item.device.device_id)
        try:
            said = await self._serving.infer(model, inputs, caller=caller, priority=BACKLOG_PRIORITY, is_scored=True)
        except (ModelFailedError, InputRefusedError):  # the serving core has logged why
            return self._answer(item, model.models, Scored(None, 0.0, ENGINE_ERROR), infer_ms=0.0)
        except ServingFullError as error:
            self._resting[item.hub_pack] = time.monotonic() + error.retry_after_s
            return None
        except HubError as error:
            logger.warning("question_left_waiting", extra={"pack": item.hub_pack, "reason": str(error)})
            self._resting[item.hub_pack] = time.monotonic() + RETRY_PACKS_S
            return None
        return self._answer(item, said.models, _only(said), infer_ms=said.compute_ns / _NS_PER_MS)

    def _answer(self, item: WaitingItem, models: tuple[ModelUse, ...], said: Scored, *, infer_ms: float) -> Answer:
        return Answer(
            item=item,
            tier=Tier.HUB,
            output=said.output,
            unscorable=said.unscorable,
            confidence=said.confidence,
            models=models,
            decided_at_ns=self._clock(),
            infer_ms=infer_ms,
        )


def _only(said: Inferred) -> Scored:
    """The one window of an escalation."""
    return said.scored[0] if said.scored else Scored(None, 0.0, ENGINE_ERROR)
