"""Owns a device under a test's hand: it says over real gRPC exactly what the test wants, and shows what comes back.

No retries, no outbox, no policy: that is the agent.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from model_packs.outputs import Classification
from model_packs.tensors import Tensor
from protos.codec.enrolment import request_to_wire as enrol_to_wire
from protos.codec.enrolment import response_from_wire as enrolled_from_wire
from protos.codec.escalation import request_to_wire, response_from_wire
from protos.codec.feedback import batch_to_wire, receipt_from_wire
from protos.codec.fleet import directive_from_wire, report_to_wire
from protos.link.credentials import certificate_request_der, new_private_key_pem
from protos.link.identity import DeviceIdentity
from protos.link.tls import CHANNEL_OPTIONS, DEVICE_METADATA
from protos.link.tokens import JoinToken
from protos.messages.enrolment import EnrolRequest, EnrolResponse
from protos.messages.escalation import (
    WIRE_VERSION,
    EscalateRequest,
    EscalateResponse,
    Escalation,
    Hello,
    Item,
    ItemClass,
    PredictionId,
    Reason,
    StoreId,
)
from protos.messages.feedback import Feedback, FeedbackBatch, FeedbackItem, FeedbackReceipt, Judgement
from protos.messages.fleet import DeviceReport, HubDirective
from protos.messages.inference import ModelUse
from protos.tandem.v1 import (
    enrolment_pb2_grpc,
    escalation_pb2,
    escalation_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    fleet_pb2_grpc,
)

ResponseT = TypeVar("ResponseT")

_DEADLINE_S = 20.0
STORE = StoreId("5a0c0b6e-7f35-4b8e-9d1c-0d5f3f2f7a11")


async def enrol(
    port: int,
    token: JoinToken,
    *,
    device_id: str = "press-07",
    key_pem: bytes | None = None,
    csr_der: bytes | None = None,
    wire_version: int = WIRE_VERSION,
    trusting: bytes | None = None,
) -> tuple[EnrolResponse, bytes]:
    """Enrol over TLS; returns the answer and the private key.

    Raises:
        grpc.aio.AioRpcError: The hub refused, or its certificate is not trusted.
    """
    key = key_pem or new_private_key_pem()
    request = EnrolRequest(
        token.token_id,
        token.secret,
        csr_der if csr_der is not None else certificate_request_der(key, device_id),
        device_id,
        "test",
        wire_version,
    )
    credentials = grpc.ssl_channel_credentials(trusting or token.ca_pem)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=CHANNEL_OPTIONS) as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        answer = await stub.Enrol(enrol_to_wire(request), timeout=_DEADLINE_S)
    return enrolled_from_wire(answer), key


def identity_of(answer: EnrolResponse, key_pem: bytes) -> DeviceIdentity:
    """The identity as a device would keep it."""
    return DeviceIdentity.from_parts(
        key_pem=key_pem,
        chain_pem=answer.certificate_chain_pem,
        ca_pem=answer.trust_bundle_pem,
        site_key_pem=answer.site_key_pem,
    )


@contextlib.asynccontextmanager
async def device_channel(port: int, identity: DeviceIdentity) -> AsyncIterator[grpc.aio.Channel]:
    """A mutual TLS channel to the device port."""
    credentials = grpc.ssl_channel_credentials(identity.ca_pem, identity.key_pem, identity.chain_pem)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=CHANNEL_OPTIONS) as channel:
        yield channel


@contextlib.asynccontextmanager
async def plain_channel(port: int) -> AsyncIterator[grpc.aio.Channel]:
    """A channel without TLS."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
        yield channel


def device_metadata(device: str) -> tuple[tuple[str, str], ...]:
    """The metadata that names a device where there is no TLS."""
    return ((DEVICE_METADATA, device),)


class HandStream:
    """One escalation stream, driven message by message."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.call = escalation_pb2_grpc.EscalationServiceStub(channel).Escalate(metadata=metadata)

    async def say(self, *requests: EscalateRequest) -> None:
        """Send messages."""
        for request in requests:
            await self.call.write(request_to_wire(request))

    async def say_raw(self, request: escalation_pb2.EscalateRequest) -> None:
        """Send a message that the codec would not write."""
        await self.call.write(request)

    async def hear(self) -> EscalateResponse:
        """The next message.

        Raises:
            grpc.aio.AioRpcError: The hub ended the call with a status.
            EOFError: The hub ended the call.
        """
        async with asyncio.timeout(_DEADLINE_S):
            wire = await self.call.read()
        if wire is grpc.aio.EOF:
            raise EOFError
        return response_from_wire(wire)

    async def hear_until(self, kind: type[ResponseT], wanted: Callable[[ResponseT], bool] = bool) -> ResponseT:
        """The next message of a kind; others are passed over."""
        while True:
            response = await self.hear()
            if isinstance(response, kind) and wanted(response):
                return response

    async def hear_rest(self) -> list[EscalateResponse]:
        """Half-close, and everything that still comes."""
        await self.call.done_writing()
        heard: list[EscalateResponse] = []
        with contextlib.suppress(EOFError):
            while True:
                heard.append(await self.hear())
        return heard

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """How the call ended."""
        async with asyncio.timeout(_DEADLINE_S):
            return await self.call.code(), await self.call.details()


class HandReports:
    """One fleet session, driven report by report."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.call = fleet_pb2_grpc.FleetServiceStub(channel).Session(metadata=metadata)

    async def say(self, report: DeviceReport) -> None:
        """Send a report."""
        await self.call.write(report_to_wire(report))

    async def hear(self) -> HubDirective:
        """The next directive.

        Raises:
            grpc.aio.AioRpcError: The hub ended the call with a status.
            EOFError: The hub ended the call.
        """
        async with asyncio.timeout(_DEADLINE_S):
            wire = await self.call.read()
        if wire is grpc.aio.EOF:
            raise EOFError
        return directive_from_wire(wire)

    async def hear_rest(self) -> list[HubDirective]:
        """Half-close, and everything that still comes."""
        await self.call.done_writing()
        heard: list[HubDirective] = []
        with contextlib.suppress(EOFError):
            while True:
                heard.append(await self.hear())
        return heard


def hello(cursor: int = 0, *, store: StoreId = STORE, wire_version: int = WIRE_VERSION) -> Hello:
    """The first message."""
    return Hello(store, (), cursor, None, "test", (), wire_version)


def question(
    seq: int,
    window: NDArray[Any],
    *,
    prediction: str | None = None,
    digest: str | None = None,
    hub_pack: str = "motion-band-hub@1.0.0",
    item_class: ItemClass = ItemClass.ESCALATION,
    input_name: str = "window",
) -> Item:
    """An item that asks about one window, FP32 [1, samples, channels]."""
    tensor = Tensor.from_array(input_name, window.astype(np.float32))
    return Item(
        item_class=item_class,
        seq=seq,
        low_water=1,
        age_ms=5,
        body=Escalation(
            prediction_id=PredictionId(prediction or f"prediction-{seq}"),
            input_digest=digest or tensor.digest(),
            binding="band",
            partition="right",
            window_start_ns=1_000_000_000 * seq,
            window_end_ns=1_000_000_000 * (seq + 1),
            window_samples=window.shape[1],
            window_fill=1.0,
            clock="synced",
            edge_model=ModelUse("motion-band-edge@1.0.0", "sha256:" + "0" * 64),
            hub_pack=hub_pack,
            reason=Reason.LOW_CONFIDENCE,
            propensity=1.0,
            confidence=0.4,
            edge_output=Classification("a", {"a": 0.6, "b": 0.4}),
            inputs=(tensor,),
            trace="",
        ),
    )


async def give_feedback(
    channel: grpc.aio.Channel, request: feedback_pb2.FeedbackBatch, metadata: tuple[tuple[str, str], ...] = ()
) -> FeedbackReceipt:
    """Deliver judgements.

    Raises:
        grpc.aio.AioRpcError: The hub refused the call.
    """
    stub = feedback_pb2_grpc.FeedbackServiceStub(channel)
    return receipt_from_wire(await stub.Give(request, timeout=_DEADLINE_S, metadata=metadata))


def judgement(
    seq: int,
    prediction: str,
    said: Judgement,
    label: str = "",
    *,
    edge_pack: str = "motion-band-edge@1.0.0",
    by: str = "shift 2",
) -> FeedbackItem:
    """What somebody at the device says about one of its answers."""
    feedback = Feedback(
        prediction_id=PredictionId(prediction),
        judgement=said,
        label=label,
        given_by=by,
        note="seen from the walkway",
        given_at_ns=1_700_000_000_000_000_000,
        binding="band",
        partition="right",
        window_start_ns=1_000_000_000,
        window_end_ns=2_000_000_000,
        edge_model=ModelUse(edge_pack, "sha256:" + "0" * 64),
        edge_output=Classification("PEN", {"PEN": 0.97, "ROW": 0.03}),
        confidence=0.97,
        propensity=0.0,
    )
    return FeedbackItem(seq, feedback)


def feedback_batch(*items: FeedbackItem, store: StoreId = STORE) -> feedback_pb2.FeedbackBatch:
    """What a device delivers in one call."""
    return batch_to_wire(FeedbackBatch(store, items))
