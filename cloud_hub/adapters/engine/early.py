"""Owns answering a live question before it is stored: the device need not wait for two commits to hear the answer.

What is said early is for those who wait, and nobody keeps it: the question is stored and acknowledged as ever, and its
verdict is logged from the same run (`Answerer`). After a crash in between the device asks again, or the stored question
is answered again; only what is logged is stored and published at the device.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cloud_hub.adapters.engine.escalated import EscalatedModels
from cloud_hub.core.delivery import Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.questions import check_inputs, check_item
from cloud_hub.core.revisions import next_revision
from cloud_hub.errors import HubError
from cloud_hub.ports import Clock
from cloud_hub.serving.interface import Ask, Caller, InferenceServing, Inferred, ModelDescription
from protos.messages.escalation import NOT_LOGGED, Item, Verdict
from protos.messages.inference import Tier

QUICK_NS = 2_000_000
"""A model that took no longer the last time may be waited for before the next message is read."""

_KEPT = 1024
_NS_PER_MS = 1e6

Place = tuple[DeviceKey, Question]
Later = Coroutine[Any, Any, Verdict | None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """What the full model said of a question, without raw outputs, and when; wall clock, Unix epoch, UTC."""

    inferred: Inferred
    at_ns: int


class EarlyAnswers:
    """Answers of live questions, kept until their verdicts are logged.

    Args:
        serving: Answers questions.
        clock: Wall clock, for the verdicts' time.
    """

    def __init__(self, serving: InferenceServing, clock: Clock) -> None:
        self._serving = serving
        self._models = EscalatedModels(serving)
        self._clock = clock
        self._took_ns: dict[str, int] = {}
        self._said: OrderedDict[Place, Said] = OrderedDict()
        self._asking: dict[Place, asyncio.Event] = {}

    def is_quick(self, hub_pack: str) -> bool:
        """Whether the pack's model answered so quickly the last time that one may wait for it, and is loaded still."""
        return self._took_ns.get(hub_pack, QUICK_NS) < QUICK_NS and self._models.loaded(hub_pack) is not None

    def ask(self, device: DeviceKey, item: Item) -> Verdict | Later | None:
        """Ask about what has just come and is not stored yet.

        Args:
            device: Whose.
            item: As it came.

        Returns:
            What to say early, or what to wait for to have it; None when there is nothing: then the stored question is
            answered, or refused, by itself.
        """
        place = device, Question(item.body.prediction_id, item.body.input_digest)
        if place in self._asking:  # sent again meanwhile
            return None
        model = self._models.loaded(item.body.hub_pack)
        if model is None:
            return self._later(place, item)
        try:
            inputs = _inputs(item, model)
            caller = Caller(device.site_id, device.device_id)
        except HubError as error:
            _log_nothing(device, error)
            return None
        (inferred,) = self._serving.infer_now(model, [Ask(inputs, caller, True, time.perf_counter_ns())])
        if inferred is None:
            return self._later(place, item)
        if isinstance(inferred, HubError):
            _log_nothing(device, inferred)
            return None
        return self._verdict(place, item, inferred)

    async def _later(self, place: Place, item: Item) -> Verdict | None:
        """Wait for the model, and for its answer."""
        if place in self._asking:  # sent again before the first of the two began
            return None
        device, _ = place
        settled = self._asking[place] = asyncio.Event()
        try:
            model = await self._models.find(item.body.hub_pack)
            inputs = _inputs(item, model)
            caller = Caller(device.site_id, device.device_id)
            inferred = await self._serving.infer(model, inputs, caller=caller, is_scored=True)
            return self._verdict(place, item, inferred)
        except HubError as error:
            _log_nothing(device, error)
            return None
        finally:
            del self._asking[place]
            settled.set()

    def _verdict(self, place: Place, item: Item, inferred: Inferred) -> Verdict | None:
        """What is said of an answer; what the log needs of it is kept."""
        body = item.body
        said = self._kept(place, inferred)
        self._took_ns[body.hub_pack] = inferred.queue_ns + inferred.compute_ns
        revision = next_revision(None, Tier.HUB, 0)
        if said is None or not inferred.scored or revision is None:
            return None
        scored = inferred.scored[0]
        return Verdict(
            verdict_seq=NOT_LOGGED,
            prediction_id=body.prediction_id,
            input_digest=body.input_digest,
            revision=revision,
            tier=Tier.HUB,
            output=scored.output,
            confidence=scored.confidence,
            models=inferred.models,
            decided_at_ns=said.at_ns,
            infer_ms=inferred.compute_ns / _NS_PER_MS,
        )

    async def take(self, device: DeviceKey, question: Question) -> Said | None:
        """What was said of a question that is stored by now, or is about to be; None when it has to be asked."""
        asking = self._asking.get((device, question))
        if asking is not None:  # a second run behind the first would be no sooner
            await asking.wait()
        return self._said.pop((device, question), None)

    def _kept(self, place: Place, inferred: Inferred) -> Said | None:
        """Keep what the log needs: outputs may be views of a whole batch, and large."""
        if not inferred.scored:
            return None
        said = self._said[place] = Said(inferred._replace(outputs={}), self._clock())
        if len(self._said) > _KEPT:
            self._said.popitem(last=False)
        return said


def _inputs(item: Item, model: ModelDescription) -> dict[str, NDArray[Any]]:
    """The model's inputs, checked as they are before they are stored; raises QuestionInvalidError."""
    check_item(item)
    check_inputs(item.body, model.manifest)
    return {tensor.name: tensor.to_array() for tensor in item.body.inputs}


def _log_nothing(device: DeviceKey, error: HubError) -> None:
    logger.debug("not_answered_early", extra={"device": str(device), "reason": str(error)})
