"""Owns the errors of everything that concerns packs at rest and engines.

    ModelPackError
    ├── TensorError      the caller's arrays or a peer's bytes do not make a tensor
    ├── OutputError      a peer's bytes do not make a tagged output
    ├── ManifestError    the pack's author: pack.json breaks its schema (every problem listed)
    ├── PackError        a pack at rest is damaged, untrusted or unknown; do not run it
    │   ├── UntrustedPackError   no trusted key has signed it
    │   ├── VersionTakenError    the store holds this version with other content
    │   ├── DamagedPackError     its blobs on this disk are missing or hold other bytes
    │   └── BlobError    one blob: it arrived damaged, is too large or is being received already
    ├── SigningError     a key file cannot be used, or a signature does not hold
    └── EngineError      an engine refuses the model or fails while running it
        ├── MissingEngineError   its library, or the hardware that it takes, is not here; names what
        └── RunTimeoutError      a run took too long and was ended; the engine still works

None of them is worth an immediate retry of the same call. Messages name the thing and the mend.
"""


class ModelPackError(Exception):
    """Root of what this package raises."""


class TensorError(ModelPackError):
    """Bytes, a shape and a datatype do not belong together, or exceed a cap."""


class OutputError(ModelPackError):
    """A document is no tagged output."""


class ManifestError(ModelPackError):
    """A pack.json that breaks the schema.

    Args:
        problems: Every problem found, each with the key path.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("pack.json: " + "; ".join(problems))
        self.problems = problems


class PackError(ModelPackError):
    """A pack that must not run.

    Args:
        ref: The pack (`name@version`), or the layout's path when no pack is known yet.
        reason: What is wrong; names the file.
        mend: What can be done.
    """

    def __init__(self, ref: str, reason: str, mend: str) -> None:
        super().__init__(f"{ref}: {reason}")
        self.ref = ref
        self.reason = reason
        self.mend = mend


class BlobError(PackError):
    """One blob cannot be received or read; `ref` holds its digest."""


class WrongBytesError(BlobError):
    """What was received is not the blob that was announced."""


class UntrustedPackError(PackError):
    """A pack that no trusted key has signed."""


class VersionTakenError(PackError):
    """A version that the store holds with other content; a version never changes."""


class DamagedPackError(PackError):
    """A pack whose blobs on this disk are missing or hold other bytes; a whole copy, brought here again, heals it."""


class SigningError(ModelPackError):
    """A key cannot be used or a signature does not hold.

    Args:
        reason: What is wrong; names the key file or key id.
        mend: What can be done.
    """

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mend = mend


class EngineError(ModelPackError):
    """An engine cannot run a model.

    Args:
        reason: What is wrong; names the engine and the model file.
        mend: What can be done.
    """

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mend = mend


class MissingEngineError(EngineError):
    """No engine that the pack can run on is installed, or its hardware is not in this machine."""


class RunTimeoutError(EngineError):
    """A run took longer than the limit and was ended. The same again would take as long."""
