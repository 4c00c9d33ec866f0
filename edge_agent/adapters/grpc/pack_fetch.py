"""Owns fetching a pack from the hub: its manifest, the blobs that are not here whole, and the check of it all.

An interrupted blob goes on where it stopped, in the next call or the next run. What makes a pack valid is the store's
to say; which packs are needed is the command's.
"""

from collections.abc import Sequence

import grpc

from edge_agent.adapters.grpc.dialling import Dialler, status_of
from edge_agent.errors import HubError, PackUnusableError
from model_packs.blobs import BlobReceiver
from model_packs.digests import Digest, digest_of
from model_packs.errors import DamagedPackError, PackError, WrongBytesError
from model_packs.manifest import PackRef
from model_packs.process.progress import progress
from model_packs.signing import PublicKey
from model_packs.store import PackStore
from protos.codec.packs import chunk_from_wire, metadata_from_wire
from protos.link.tls import HubChannel
from protos.messages.packs import BlobDescriptor
from protos.status import TABLE as STATUS_TABLE
from protos.status import Retry, Status
from protos.tandem.v1 import packs_pb2 as pb
from protos.tandem.v1.packs_pb2_grpc import PackServiceStub

METADATA_S = 15.0
RANGE_S = 60.0
RANGE_BYTES = 4 << 20
MAX_BLOB_BYTES = 8 << 30

_ATTEMPTS = 3
_HUB_IS_DAMAGED = "run `cloud-hub doctor` on the hub; `cloud-hub packs publish LAYOUT` there heals a damaged pack"


class PackFetch:
    """Fetches packs over one channel.

    Args:
        dialler: The way to the hub.
        store: Where packs go; open.
        trusted: Keys that may have signed them.
    """

    def __init__(self, dialler: Dialler, store: PackStore, trusted: Sequence[PublicKey]) -> None:
        self._dialler = dialler
        self._store = store
        self._trusted = tuple(trusted)

    def fetch(self, ref: PackRef) -> Digest:
        """Bring one pack here, verified.

        Returns:
            The pack's digest.

        Raises:
            PackUnusableError: The hub does not have it, or what it has is damaged or not signed by a trusted key.
            HubError: The hub refuses, or is not there.
            OSError: The disk refuses.
        """
        hub = self._dialler.dial()
        try:
            return self._fetch(hub, ref)
        except DamagedPackError as exc:  # every blob was whole a moment ago: this disk's doing, not the hub's
            raise PackUnusableError(str(ref), f"pack {exc}", "check this device's disk, then fetch again") from exc
        except PackError as exc:
            message = f"pack {ref} from hub {self._dialler.address}: {exc.reason}"
            raise PackUnusableError(str(ref), message, exc.mend) from exc
        except grpc.RpcError as exc:
            raise self._explain(ref, exc) from exc
        finally:
            hub.channel.close()

    def _fetch(self, hub: HubChannel, ref: PackRef) -> Digest:
        stub = PackServiceStub(hub.channel)
        request = pb.PackMetadataRequest(name=ref.name, version=ref.version)
        metadata = metadata_from_wire(stub.GetMetadata(request, timeout=METADATA_S, metadata=hub.metadata))
        if digest_of(metadata.manifest) != metadata.manifest_digest:
            raise PackError(str(ref), "the image manifest came as other bytes", _HUB_IS_DAMAGED)
        for blob in metadata.blobs:
            if blob.size_bytes > MAX_BLOB_BYTES:
                mend = "publish it in smaller files"
                raise PackError(str(ref), f"blob {blob.digest} has {blob.size_bytes} bytes, too many", mend)
            if not self._store.has_whole_blob(Digest(blob.digest), blob.size_bytes):
                self._fetch_blob(stub, hub, ref, blob)
        self._store.add_manifest(ref, metadata.manifest)
        return self._store.load(ref, self._trusted).digest

    def _fetch_blob(self, stub: PackServiceStub, hub: HubChannel, ref: PackRef, blob: BlobDescriptor) -> None:
        for _ in range(2):  # a part that a power cut damaged here is found, and dropped, by the first
            with self._store.receive(Digest(blob.digest), blob.size_bytes) as receiver:
                was_resumed = receiver.offset > 0
                try:
                    self._fill(stub, hub, ref, blob, receiver)
                    receiver.commit()
                except WrongBytesError as exc:
                    if not was_resumed:
                        what = f"blob {blob.digest[:19]}… came as other bytes"
                        raise PackError(str(ref), what, _HUB_IS_DAMAGED) from exc
                else:
                    return
        raise PackError(str(ref), f"blob {blob.digest[:19]}… came as other bytes", _HUB_IS_DAMAGED)

    def _fill(
        self, stub: PackServiceStub, hub: HubChannel, ref: PackRef, blob: BlobDescriptor, receiver: BlobReceiver
    ) -> None:
        with progress(blob.size_bytes, f"{ref} {blob.digest[7:15]}") as bar:
            bar.advance(receiver.offset)
            failures = 0
            while receiver.offset < blob.size_bytes:
                before = receiver.offset
                request = pb.ReadBlobRequest(digest=blob.digest, offset=before, limit=RANGE_BYTES)
                try:
                    for wire in stub.ReadBlob(request, timeout=RANGE_S, metadata=hub.metadata):
                        chunk = chunk_from_wire(wire)
                        if chunk.offset != receiver.offset:
                            raise PackError(str(ref), f"blob {blob.digest} came out of order", "fetch it again")
                        receiver.append(chunk.data)
                        bar.advance(len(chunk.data))
                except grpc.RpcError as exc:
                    failures += 1
                    if failures >= _ATTEMPTS or STATUS_TABLE[status_of(exc)].retry is not Retry.CALL:
                        raise
                if receiver.offset == before and not failures:
                    what = f"the hub has only {before} bytes of blob {blob.digest}"
                    raise PackError(str(ref), what, _HUB_IS_DAMAGED)

    def _explain(self, ref: PackRef, error: grpc.RpcError) -> HubError | PackUnusableError:
        if status_of(error) is Status.NOT_FOUND:
            said = error.details() or "not found"
            message = f"hub {self._dialler.address} has no pack {ref}: {said}"
            return PackUnusableError(
                str(ref), message, "publish it with `cloud-hub packs publish`, or correct the binding"
            )
        try:
            failure = self._dialler.explain(error)
        except HubError as exc:
            failure = exc
        message = f"pack {ref} could not be fetched: {failure.message}"
        return HubError(failure.address, message, failure.mend, failure.status)
