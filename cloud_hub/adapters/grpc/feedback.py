"""Owns the feedback service: who calls, reading what it brings, and the receipt. What follows is `labelling`."""

import asyncio
import logging

from cloud_hub.adapters.grpc.gate import Context, Gate, refusals_told
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import MAX_ID_CHARS
from cloud_hub.errors import FeedbackInvalidError, StorageError
from cloud_hub.labelling import Labelling
from protos.codec.errors import CodecError
from protos.codec.feedback import MAX_BATCH, batch_from_wire, receipt_to_wire
from protos.messages.escalation import StoreId
from protos.messages.feedback import FeedbackBatch, FeedbackItem, FeedbackReceipt, FeedbackRefusal
from protos.status import Status
from protos.tandem.v1 import feedback_pb2 as pb

logger = logging.getLogger(__name__)

DEADLINE_S = 20.0
"""How long one call may take; the device's own deadline may be shorter."""


class FeedbackService:
    """`tandem.v1.FeedbackService`.

    Args:
        gate: Says who calls.
        labelling: Takes what people say.
    """

    def __init__(self, gate: Gate, labelling: Labelling) -> None:
        self._gate = gate
        self._labelling = labelling

    async def Give(self, request: pb.FeedbackBatch, context: Context) -> pb.FeedbackReceipt:  # noqa: N802 - the service's own name
        """Store a batch, each item once; answer when it is durable."""
        async with refusals_told(context):
            device = await self._gate.admit(context)
            try:
                async with asyncio.timeout(DEADLINE_S):
                    receipt = await self._take(device, request)
            except TimeoutError as error:
                raise StorageError(f"feedback was not stored within {DEADLINE_S:g} s") from error
        return receipt_to_wire(receipt)

    async def _take(self, device: DeviceKey, request: pb.FeedbackBatch) -> FeedbackReceipt:
        batch, unreadable = _read(request)
        receipt = await self._labelling.receive(device, batch, unreadable)
        for refusal in receipt.refused:
            extra = {"device": str(device), "seq": refusal.seq, "reason": refusal.message}
            logger.warning("feedback_refused", extra=extra)
        return receipt


def _read(request: pb.FeedbackBatch) -> tuple[FeedbackBatch, tuple[FeedbackRefusal, ...]]:
    """Read a batch; one item that cannot be read must not hold up those behind it.

    Raises:
        FeedbackInvalidError: It has no store id, no items or too many, or an item has no place to be refused by.
    """
    if not 1 <= len(request.store_id) <= MAX_ID_CHARS:
        raise FeedbackInvalidError(f"the store id has {len(request.store_id)} characters, wanted 1 to {MAX_ID_CHARS}")
    if not 1 <= len(request.items) <= MAX_BATCH:
        raise FeedbackInvalidError(f"{len(request.items)} items, wanted 1 to {MAX_BATCH}")
    if any(item.seq == 0 for item in request.items):
        raise FeedbackInvalidError("an item has seq 0; sequences start at 1")
    items: list[FeedbackItem] = []
    unreadable: list[FeedbackRefusal] = []
    for item in request.items:
        try:
            items += batch_from_wire(pb.FeedbackBatch(store_id=request.store_id, items=[item])).items
        except CodecError as error:
            unreadable.append(FeedbackRefusal(item.seq, Status.INVALID_ARGUMENT, str(error)))
    return FeedbackBatch(StoreId(request.store_id), tuple(items)), tuple(unreadable)
