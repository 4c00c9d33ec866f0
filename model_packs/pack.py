"""Owns a loaded pack: its manifest and checked access to its files.

A `Pack` is made by `PackStore.load`, which has checked every digest; files are checked again when they are read, since
a disk may change in between. Running a pack is `engines/`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from model_packs.certificate.document import Certificate
from model_packs.certificate.errors import CertificateError
from model_packs.digests import Digest, digest_of
from model_packs.errors import PackError, TensorError
from model_packs.golden import read_npy
from model_packs.manifest import PackManifest, PackRef
from model_packs.signing import KeyId
from model_packs.tensors import TensorSpec, datatype_of

_REFETCH = (
    "bring the pack here again: `edge-agent enrol` on a device, `cloud-hub packs publish LAYOUT` on a hub, "
    "`model-pack build` where it is built"
)


class Pack:
    """A pack whose digests hold.

    Args:
        manifest: What it says about itself.
        files: Where each of its files lies, by path inside the pack.
        signed_by: Keys whose signatures came along.
    """

    def __init__(self, manifest: PackManifest, files: Mapping[str, Path], signed_by: tuple[KeyId, ...]) -> None:
        self.manifest = manifest
        self.signed_by = signed_by
        self._files = files

    @property
    def ref(self) -> PackRef:
        """Name and version."""
        return self.manifest.ref

    @property
    def digest(self) -> Digest:
        """The pack digest (of pack.json)."""
        return self.manifest.digest

    @property
    def certificate(self) -> Certificate | None:
        """The certificate that backs the threshold; None if the pack carries none.

        Raises:
            PackError: It is damaged.
        """
        path = self.manifest.certificate_path
        if path is None:
            return None
        try:
            return Certificate.from_json(self.read(path))
        except CertificateError as error:
            raise PackError(str(self.ref), f"{path}: {error}", _REFETCH) from error

    def path(self, path: str) -> Path:
        """Find a file on disk.

        Args:
            path: Path inside the pack.

        Returns:
            Where its bytes lie (its name there is its digest).

        Raises:
            PackError: The pack has no such file.
        """
        try:
            return self._files[path]
        except KeyError as error:
            raise PackError(str(self.ref), f"has no file {path!r}", f"it has {', '.join(self._files)}") from error

    def read(self, path: str) -> bytes:
        """Read a file.

        Args:
            path: Path inside the pack.

        Returns:
            Its bytes, checked against pack.json.

        Raises:
            PackError: The pack has no such file, or its bytes have changed since the pack was loaded.
        """
        found = self.path(path)
        try:
            data = found.read_bytes()
        except OSError as error:
            raise PackError(str(self.ref), f"{path}: cannot be read: {error.strerror}", _REFETCH) from error
        if digest_of(data) != self.manifest.file(path).digest:
            raise PackError(str(self.ref), f"{path}: {found} holds other bytes", _REFETCH)
        return data

    def golden(self) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Read the golden examples.

        Returns:
            Inputs and outputs by tensor name, each [n_examples, …] and read-only; both empty if the pack has none.

        Raises:
            PackError: A file is damaged or contradicts the manifest.
        """
        golden = self.manifest.golden
        if golden is None:
            return {}, {}
        inputs = {spec.name: self._array(golden.inputs[spec.name], spec) for spec in self.manifest.inputs}
        outputs = {spec.name: self._array(golden.outputs[spec.name], spec) for spec in self.manifest.outputs}
        for array in (*inputs.values(), *outputs.values()):
            if array.shape[0] != golden.n_examples:
                reason = f"golden files hold {array.shape[0]} examples, pack.json says {golden.n_examples}"
                raise PackError(str(self.ref), reason, _REFETCH)
        return inputs, outputs

    def _array(self, path: str, spec: TensorSpec) -> NDArray[Any]:
        try:
            array = read_npy(self.read(path))
            wrong = TensorSpec(spec.name, spec.datatype, (-1, *spec.shape[1:])).mismatch(
                datatype_of(array.dtype), array.shape
            )
        except TensorError as error:
            raise PackError(str(self.ref), f"{path}: {error}", _REFETCH) from error
        if wrong is not None:
            raise PackError(str(self.ref), f"{path}: {wrong}", _REFETCH)
        return array
