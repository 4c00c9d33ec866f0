"""Owns what people say, from whichever door it comes: which labels a window may get, storing, telling, counting.

The console and the HTTP API come in by `give`, devices by `receive`. Rules are `core.feedback`, rows the store's.
"""

from collections.abc import Iterable, Sequence

from cloud_hub.core.cases import Case
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import LabelGiven, LabelOutcome, Said, Source, check_feedback, check_label
from cloud_hub.errors import CaseUnknownError, FeedbackInvalidError, LabelUnknownError
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import CaseRecords, Clock, PackFacts, PackShelf, StreamBell
from model_packs.manifest import DETECTION, PackRef
from model_packs.outputs import NOTHING_FOUND
from protos.messages.escalation import PredictionId, Verdict
from protos.messages.feedback import FeedbackBatch, FeedbackItem, FeedbackReceipt, FeedbackRefusal


class Labelling:
    """Takes labels and judgements, and sends what follows from them on its way.

    Args:
        records: Where cases are kept.
        shelf: The published packs: their classes are the labels.
        bell: Told which devices' logs have grown.
        metrics: Where judgements and labels are counted.
        clock: Wall clock.
    """

    def __init__(
        self, records: CaseRecords, shelf: PackShelf, bell: StreamBell, metrics: HubMetrics, clock: Clock
    ) -> None:
        self._records = records
        self._shelf = shelf
        self._bell = bell
        self._metrics = metrics
        self._clock = clock

    async def choices(self, case: Case) -> tuple[str, ...]:
        """Name the labels that a case may get.

        Args:
            case: The case.

        Returns:
            The classes of its packs, in the full model's order; none when neither is published here any more. Of boxes,
            which nobody writes: what edge and hub told, and that there is nothing.

        Raises:
            StorageError: The pack store cannot be read.
        """
        for pack in (case.hub_pack, case.edge_pack):
            facts = await self._published(pack)
            if facts is not None and facts.manifest.task == DETECTION:
                told = (case.edge_label, case.hub_label, case.human_label, NOTHING_FOUND)
                return tuple(dict.fromkeys(label for label in told if label is not None))
        return await self._classes(case.hub_pack, case.edge_pack)

    async def give(
        self, device: DeviceKey, prediction_id: PredictionId, label: str | None, *, by: str, note: str = ""
    ) -> LabelOutcome:
        """Take what a person of the console says of a case.

        Args:
            device: Whose window it is.
            prediction_id: Which one.
            label: The class; None: they cannot tell.
            by: The person's name.
            note: What else they say; cut to what is kept.

        Returns:
            The verdict that it made, if any; it is on its way to the device.

        Raises:
            CaseUnknownError: There is no such case.
            LabelUnknownError: The label is none of its classes.
            StorageError: The database or the pack store cannot be used.
        """
        if label is not None:
            detail = await self._records.case(device, prediction_id)
            if detail is None:
                raise CaseUnknownError(prediction_id, str(device))
            check_label(label, await self.choices(detail.case))
        outcome = await self._records.label(LabelGiven(device, prediction_id, label, by, note, self._clock()))
        if not outcome.is_repeat:
            self._count_said((Said.UNSURE if label is None else Said.LABEL,))
        self._tell(device, Source.CONSOLE, () if outcome.verdict is None else (outcome.verdict,))
        return outcome

    async def receive(
        self, device: DeviceKey, batch: FeedbackBatch, refused: Sequence[FeedbackRefusal] = ()
    ) -> FeedbackReceipt:
        """Take what people at a device say of its answers.

        Args:
            device: Whose certificate brought it.
            batch: What it delivers; may be empty.
            refused: What of it could not even be read; joins the receipt.

        Returns:
            What was stored, now or before, and what never will be.

        Raises:
            StorageError: The database or the pack store cannot be used; nothing is stored.
        """
        kept: list[FeedbackItem] = []
        refusals = list(refused)
        for item in batch.items:
            try:
                check_feedback(item, await self._classes_of(device, item))
            except (FeedbackInvalidError, LabelUnknownError) as error:
                refusals.append(FeedbackRefusal(item.seq, error.status, str(error)))
            else:
                kept.append(item)
        taken = await self._records.receive_feedback(
            device, FeedbackBatch(batch.store_id, tuple(kept)), refusals, self._clock()
        )
        self._count_said(taken.new)
        self._tell(device, Source.OPERATOR, taken.verdicts)
        return taken.receipt

    async def _classes_of(self, device: DeviceKey, item: FeedbackItem) -> tuple[str, ...]:
        """The classes of the pack that answered; if the hub does not have it, those of the pack that was asked."""
        own = await self._classes(item.feedback.edge_model.pack)
        if own or not item.feedback.label:
            return own
        detail = await self._records.case(device, item.feedback.prediction_id)
        return () if detail is None else await self._classes(detail.case.hub_pack)

    async def _classes(self, *packs: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for pack in packs:
            facts = await self._published(pack)
            if facts is not None and facts.manifest.task != DETECTION:  # its labels are those of single boxes
                found |= dict.fromkeys(facts.manifest.labels)
        return tuple(found)

    async def _published(self, pack: str) -> PackFacts | None:
        try:
            ref = PackRef.parse(pack)
        except ValueError:  # a device may call its model anything
            return None
        found = await self._shelf.pack(ref)
        return found if isinstance(found, PackFacts) else None

    def _count_said(self, said: Iterable[Said]) -> None:
        for one in said:
            self._metrics.feedback.labels(one.value).inc()

    def _tell(self, device: DeviceKey, source: Source, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            self._metrics.labels.labels(source.value).inc()
            self._metrics.verdicts.labels(verdict.tier.value).inc()
        self._bell.ring([(device, verdict) for verdict in verdicts])
