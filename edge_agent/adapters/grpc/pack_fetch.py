"""Owns fetching a pack from the hub: its manifest, the blobs that are not here whole, and the check of it all.

An interrupted blob goes on where it stopped, in the next call or the next run. What makes a pack valid is the store's
to say; which packs are needed is the command's.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc

from edge_agent.adapters.grpc.dialling import Dialler, status_of
from edge_agent.core.pack_slots import FailureReason, PackRefusedError, reason_of
from edge_agent.core.ranges import RangeSize
from edge_agent.errors import HubError
from edge_agent.ports import OnBytes, PackBlob, PackPlan
from model_packs.admission import parse_image
from model_packs.blobs import BlobReceiver
from model_packs.digests import Digest, digest_of
from model_packs.errors import DamagedPackError, PackError, WrongBytesError
from model_packs.manifest import PackRef
from model_packs.process.progress import progress
from model_packs.signing import PublicKey
from model_packs.store import PackStore
from protos.codec.packs import chunk_from_wire, metadata_from_wire
from protos.link.tls import HubChannel
from protos.status import TABLE as STATUS_TABLE
from protos.status import Retry, Status
from protos.tandem.v1 import packs_pb2 as pb
from protos.tandem.v1.packs_pb2_grpc import PackServiceStub

METADATA_S = 15.0
RANGE_S = 60.0

_ATTEMPTS = 3
"""So many calls in a row that bring no byte end the transfer."""

_HUB_IS_DAMAGED = "run `cloud-hub doctor` on the hub; `cloud-hub packs publish LAYOUT` there heals a damaged pack"


class PackFetch:
    """Fetches packs, over a channel of its own for each. Implements `PackSource`.

    Args:
        dialler: The way to the hub.
        store: Where packs go; open.
    """

    def __init__(self, dialler: Dialler, store: PackStore) -> None:
        self._dialler = dialler
        self._store = store

    def bring(self, ref: PackRef, trusted: Sequence[PublicKey]) -> Digest:
        """Bring one pack here, verified, with a progress bar.

        Returns:
            The pack's digest.

        Raises:
            PackUnusableError: The hub does not have it, or what it has is damaged or not signed by a trusted key.
            HubError: The hub refuses, or is not there.
            OSError: The disk refuses.
        """
        plan = self.plan(ref)
        with progress(plan.total_bytes, str(ref)) as bar:
            bar.advance(shown := plan.done_bytes)

            def on_bytes(done: int) -> None:
                nonlocal shown
                bar.advance(done - shown)
                shown = done

            self.fetch(plan, on_bytes)
        try:
            return self._store.load(ref, trusted).digest
        except PackError as exc:
            raise self._refused(ref, exc) from exc

    def plan(self, ref: PackRef) -> PackPlan:
        """Ask what a pack takes; see `PackSource.plan`."""
        with self._talking(ref) as hub:
            request = pb.PackMetadataRequest(name=ref.name, version=ref.version)
            wire = PackServiceStub(hub.channel).GetMetadata(request, timeout=METADATA_S, metadata=hub.metadata)
            metadata = metadata_from_wire(wire)
            if digest_of(metadata.manifest) != metadata.manifest_digest:
                raise WrongBytesError(
                    metadata.manifest_digest, "the image manifest came as other bytes", _HUB_IS_DAMAGED
                )
            image = parse_image(str(ref), metadata.manifest)
        missing = tuple(
            PackBlob(blob.digest, blob.size_bytes)
            for blob in {blob.digest: blob for blob in image.blobs}.values()
            if not self._store.has_whole_blob(blob.digest, blob.size_bytes)
        )
        return PackPlan(
            ref,
            image.pack_layer.digest,
            metadata.manifest,
            missing,
            total_bytes=sum(blob.size_bytes for blob in missing),
            done_bytes=sum(min(self._store.partial_bytes(blob.digest), blob.size_bytes) for blob in missing),
        )

    def fetch(self, plan: PackPlan, on_bytes: OnBytes) -> None:
        """Bring what is missing; see `PackSource.fetch`."""
        with self._store.fetching(), self._talking(plan.ref) as hub:
            transfer = _Transfer(PackServiceStub(hub.channel), hub, plan.ref, self._store, on_bytes)
            for blob in plan.missing:
                transfer.bring(blob)
            self._store.add_manifest(plan.ref, plan.manifest)

    @contextmanager
    def _talking(self, ref: PackRef) -> Iterator[HubChannel]:
        """A channel; what goes wrong on it is translated."""
        hub = self._dialler.dial()
        try:
            yield hub
        except PackError as exc:
            raise self._refused(ref, exc) from exc
        except grpc.RpcError as exc:
            raise self._explain(ref, exc) from exc
        finally:
            hub.channel.close()

    def _refused(self, ref: PackRef, error: PackError) -> PackRefusedError:
        if isinstance(error, DamagedPackError):  # every blob was whole a moment ago: this disk's doing, not the hub's
            mend = "check this device's disk, then fetch again"
            return PackRefusedError(reason_of(error), str(ref), f"pack {error}", mend)
        message = f"pack {ref} from hub {self._dialler.address}: {error.reason}"
        return PackRefusedError(reason_of(error), str(ref), message, error.mend)

    def _explain(self, ref: PackRef, error: grpc.RpcError) -> HubError | PackRefusedError:
        if status_of(error) is Status.NOT_FOUND:
            said = error.details() or "not found"
            message = f"hub {self._dialler.address} has no pack {ref}: {said}"
            mend = "publish it with `cloud-hub packs publish`, or correct the binding"
            return PackRefusedError(FailureReason.NOT_FOUND, str(ref), message, mend)
        try:
            failure = self._dialler.explain(error)
        except HubError as exc:
            failure = exc
        message = f"pack {ref} could not be fetched: {failure.message}"
        return HubError(failure.address, message, failure.mend, failure.status)


class _Transfer:
    """One pack's blobs on their way."""

    def __init__(
        self, stub: PackServiceStub, hub: HubChannel, ref: PackRef, store: PackStore, on_bytes: OnBytes
    ) -> None:
        self._stub = stub
        self._hub = hub
        self._ref = str(ref)
        self._store = store
        self._on_bytes = on_bytes
        self._range = RangeSize()
        self._earlier_bytes = 0

    def bring(self, blob: PackBlob) -> None:
        """Receive one blob; a part that a power cut damaged here is found, and dropped, by the first try."""
        for _ in range(2):
            with self._store.receive(blob.digest, blob.size_bytes) as receiver:
                was_resumed = receiver.offset > 0
                try:
                    self._fill(blob, receiver)
                    receiver.commit()
                except WrongBytesError as exc:
                    if not was_resumed:
                        raise self._wrong(blob) from exc
                else:
                    self._earlier_bytes += blob.size_bytes
                    return
        raise self._wrong(blob)

    def _fill(self, blob: PackBlob, receiver: BlobReceiver) -> None:
        failures = 0
        while receiver.offset < blob.size_bytes:
            before, began_s = receiver.offset, time.monotonic()
            request = pb.ReadBlobRequest(digest=blob.digest, offset=before, limit=self._range.bytes)
            try:
                for wire in self._stub.ReadBlob(request, timeout=RANGE_S, metadata=self._hub.metadata):
                    chunk = chunk_from_wire(wire)
                    if chunk.offset != receiver.offset:
                        raise PackError(self._ref, f"blob {blob.digest} came out of order", "fetch it again")
                    receiver.append(chunk.data)
                    self._on_bytes(self._earlier_bytes + receiver.offset)
            except grpc.RpcError as exc:
                self._range.broke()
                failures = failures + 1 if receiver.offset == before else 1
                if failures >= _ATTEMPTS or STATUS_TABLE[status_of(exc)].retry is not Retry.CALL:
                    raise
            else:
                if receiver.offset == before:
                    what = f"the hub has only {before} bytes of blob {blob.digest}"
                    raise WrongBytesError(blob.digest, what, _HUB_IS_DAMAGED)
                if receiver.offset - before == self._range.bytes:
                    self._range.came(time.monotonic() - began_s)

    def _wrong(self, blob: PackBlob) -> WrongBytesError:
        return WrongBytesError(blob.digest, f"blob {blob.digest[:19]}… came as other bytes", _HUB_IS_DAMAGED)
