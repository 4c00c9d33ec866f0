"""Owns the escalation service: who calls, one `DeviceStream` a call, its place among the device's streams."""

from collections.abc import AsyncIterable

from cloud_hub.adapters.grpc.device_stream import DeviceStream, StreamParts
from cloud_hub.adapters.grpc.gate import Context, Gate, refusals_told
from cloud_hub.adapters.grpc.streams import Streams
from protos.tandem.v1 import escalation_pb2 as pb


class EscalationService:
    """`tandem.v1.EscalationService`.

    Args:
        gate: Says who calls.
        parts: What every stream shares.
        streams: The open streams.
    """

    def __init__(self, gate: Gate, parts: StreamParts, streams: Streams) -> None:
        self._gate = gate
        self._parts = parts
        self._streams = streams

    async def Escalate(  # noqa: N802 - the service's own name
        self, request_iterator: AsyncIterable[pb.EscalateRequest], context: Context
    ) -> None:
        """Serve one stream to its end."""
        async with refusals_told(context):
            device = await self._gate.admit(context)
            stream = DeviceStream(device, self._parts, request_iterator, context.write)
            await stream.open()
            if stream.found_restore:
                self._streams.tell_restored()
            self._streams.enter(stream)
            try:
                await stream.serve()
            finally:
                self._streams.leave(stream)
