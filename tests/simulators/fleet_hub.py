"""Owns a hub that desires packs and hands them out as a test tells it, in plain text on loopback.

It hears the fleet session's reports, and serves packs from a real store, cutting transfers where it is told to. A hub
that decides by itself is `hubs.py`.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import grpc

from model_packs.digests import Digest
from model_packs.layout import read_image_manifest
from model_packs.manifest import PackRef
from model_packs.store import PackStore
from protos.codec.fleet import directive_to_wire, report_from_wire
from protos.codec.packs import chunk_to_wire, metadata_to_wire
from protos.messages.escalation import HubIncarnation
from protos.messages.fleet import (
    Desired,
    DesiredSlot,
    DeviceHello,
    FleetWelcome,
    Heartbeat,
    HeartbeatAck,
    HubDirective,
    SlotReport,
)
from protos.messages.packs import BlobChunk, BlobDescriptor, PackMetadata
from protos.tandem.v1 import fleet_pb2, packs_pb2
from protos.tandem.v1.fleet_pb2_grpc import FleetServiceServicer, add_FleetServiceServicer_to_server
from protos.tandem.v1.packs_pb2_grpc import PackServiceServicer, add_PackServiceServicer_to_server
from tests.simulators.network import LOOPBACK
from tests.simulators.waiting import wait_until

CHUNK_BYTES = 64 * 1024

_DEADLINE_S = 60.0


class FleetHub(FleetServiceServicer, PackServiceServicer):
    """Use it as a context manager.

    Args:
        store: The packs that it hands out; open.
        heartbeat_interval_s: What it asks devices for.
    """

    def __init__(self, store: PackStore, *, heartbeat_interval_s: float = 60.0) -> None:
        self._store = store
        self._interval_ms = round(heartbeat_interval_s * 1000)
        self._lock = threading.Lock()
        self._sessions: list[SimpleQueue[HubDirective | None]] = []
        self._desired: Desired | None = None
        self._withheld: list[Callable[[], None]] | None = None
        self._cuts_left = 0
        self._cut_after_bytes = 0
        self.hello: DeviceHello | None = None
        self.heartbeats: list[Heartbeat] = []
        self.sent_bytes = 0
        self.cuts = 0
        self._server = grpc.server(ThreadPoolExecutor(8, thread_name_prefix="fleet-hub"))
        add_FleetServiceServicer_to_server(self, self._server)
        add_PackServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"{LOOPBACK}:0")

    def __enter__(self) -> Self:
        """Serve."""
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """End every session and the server."""
        with self._lock:
            for session in self._sessions:
                session.put(None)
        self._server.stop(0).wait()

    def desire(self, version: int, *slots: DesiredSlot) -> None:
        """Say what the device should run, now and in each new session."""
        with self._lock:
            self._desired = Desired(version, slots)
            for session in self._sessions:
                session.put(self._desired)

    def withhold(self) -> None:
        """Answer no heartbeat from now on."""
        self._withheld = []

    def answer(self) -> None:
        """Answer those that were left unanswered, and those to come."""
        withheld, self._withheld = self._withheld or [], None
        for answer in withheld:
            answer()

    def cut(self, times: int, *, after_bytes: int) -> None:
        """End the next so many transfers after so many bytes, as a network does."""
        self._cuts_left, self._cut_after_bytes = times, after_bytes

    def wait_for_slot(self, binding: str, fact: Callable[[SlotReport], bool], what: str) -> SlotReport:
        """Wait until the newest heartbeat reports a slot as ``fact`` says."""

        def found() -> SlotReport | None:
            slots = self.heartbeats[-1].slots if self.heartbeats else ()
            return next((one for one in slots if one.binding == binding and fact(one)), None)

        last = self.heartbeats[-1] if self.heartbeats else None
        report = wait_until(found, _DEADLINE_S, f"{what} (first heartbeat seen: {last})")
        assert report is not None
        return report

    def Session(  # noqa: N802 - the service's own name
        self, request_iterator: Iterator[fleet_pb2.DeviceReport], context: grpc.ServicerContext
    ) -> Iterator[fleet_pb2.HubDirective]:
        """Hear a device; answer each heartbeat."""
        del context
        directives: SimpleQueue[HubDirective | None] = SimpleQueue()
        threading.Thread(target=self._hear, args=(request_iterator, directives), daemon=True).start()
        return self._said(directives)

    def GetMetadata(  # noqa: N802 - the service's own name
        self, request: packs_pb2.PackMetadataRequest, context: grpc.ServicerContext
    ) -> packs_pb2.PackMetadata:
        """A pack's image manifest."""
        digest = self._store.resolve(PackRef(request.name, request.version))
        if digest is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no pack {request.name}@{request.version}")
            raise AssertionError("abort raises")
        manifest = self._store.read_blob(digest, 0, self._store.blob_size_bytes(digest))
        blobs = tuple(BlobDescriptor(blob.digest, blob.size_bytes) for blob in read_image_manifest(manifest).blobs)
        return metadata_to_wire(PackMetadata(manifest, digest, blobs))

    def ReadBlob(  # noqa: N802 - the service's own name
        self, request: packs_pb2.ReadBlobRequest, context: grpc.ServicerContext
    ) -> Iterator[packs_pb2.BlobChunk]:
        """A part of a blob, or the beginning of it."""
        digest = Digest(request.digest)
        offset, end = request.offset, min(self._store.blob_size_bytes(digest), request.offset + request.limit)
        is_cut = self._cuts_left > 0 and end - offset > self._cut_after_bytes
        stop = offset + self._cut_after_bytes if is_cut else end
        while offset < stop:
            data = self._store.read_blob(digest, offset, min(CHUNK_BYTES, stop - offset))
            self.sent_bytes += len(data)
            yield chunk_to_wire(BlobChunk(offset, data))
            offset += len(data)
        if is_cut:
            self._cuts_left -= 1
            self.cuts += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the network went away")

    def _said(self, directives: "SimpleQueue[HubDirective | None]") -> Iterator[fleet_pb2.HubDirective]:
        while (directive := directives.get()) is not None:
            yield directive_to_wire(directive)

    def _hear(self, reports: Iterator[fleet_pb2.DeviceReport], directives: "SimpleQueue[HubDirective | None]") -> None:
        try:
            for wire in reports:
                report = report_from_wire(wire)
                if isinstance(report, DeviceHello):
                    self.hello = report
                    directives.put(FleetWelcome(self._interval_ms, 1, HubIncarnation("hub-1")))
                    with self._lock:
                        self._sessions.append(directives)
                        if self._desired is not None:
                            directives.put(self._desired)
                else:
                    answer = partial(directives.put, HeartbeatAck(report.number, 1))
                    if self._withheld is None:
                        answer()
                    else:
                        self._withheld.append(answer)
                    self.heartbeats.append(report)
        except grpc.RpcError:
            pass  # the device cancelled the session
        finally:
            directives.put(None)
