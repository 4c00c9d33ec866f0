"""Owns what callers of the serving core see: the port, and the values that cross it.

How requests are queued, batched and run is behind it (`serving.py`); which protocol they came in by is in front of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from cloud_hub.errors import HubError
from model_packs.manifest import PackManifest
from model_packs.scoring import Scored
from protos.messages.inference import ModelUse

DEFAULT_PRIORITY = 0
"""No wish; Open Inference Protocol clients send 1 for the most urgent, then 2, 3, …"""

BACKLOG_PRIORITY = 1 << 32
"""After everything live: what is stored and comes again anyway."""


class Caller(NamedTuple):
    """Who asks, for fairness and for the accounts; a tuple because it is looked up for every request.

    Attributes:
        tenant: Who pays: the site of a device, or the role of a person or program.
        name: Who it is: the device, the person or the program.
    """

    tenant: str
    name: str


class Inferred(NamedTuple):
    """One request's answer; a tuple because one is made for every request.

    Attributes:
        outputs: One array per declared output, [windows, …]; read only, views of the run's arrays.
        pack: name@version of the pack that answered; for an ensemble its name.
        version: Its version.
        queue_ns: From admission to the start of the run, in nanoseconds.
        compute_ns: The run, whatever its batch, in nanoseconds; 0 for an answer out of the cache.
        batch: Windows in the run.
        is_cached: No model ran for it.
        models: The packs that took part.
        scored: One answer with its confidence for each window, if asked for.
    """

    outputs: Mapping[str, NDArray[Any]]
    pack: str
    version: str
    queue_ns: int
    compute_ns: int
    batch: int
    is_cached: bool
    models: tuple[ModelUse, ...]
    scored: tuple[Scored, ...] | None


class Ask(NamedTuple):
    """One request of those that are answered together.

    Attributes:
        inputs: As for `InferenceServing.infer`.
        caller: Who asks.
        is_scored: As for `InferenceServing.infer`.
        came_ns: When it came, `time.perf_counter_ns`.
    """

    inputs: Mapping[str, NDArray[Any]]
    caller: Caller
    is_scored: bool
    came_ns: int


class ModelState(StrEnum):
    """How a model stands, in the words of the model repository extension."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One version of one model, as the repository's index shows it; `reason` says why it is not ready."""

    name: str
    version: str
    state: ModelState
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class ModelDescription:
    """What a model takes and gives; compared by identity, so that it can be a key.

    Attributes:
        name: What callers ask for: a pack's name, a route's or an ensemble's.
        version: The version that this describes.
        versions: All that can be asked for, oldest first.
        manifest: Of the pack that answers; of an ensemble's first member (all take and give the same).
        digest: Pack digest; of an ensemble, of its declaration with its members' digests.
        batch: Most windows that are put together in one run; 1: batching does not pay for this model.
        models: The packs that take part.
    """

    name: str
    version: str
    versions: tuple[str, ...]
    manifest: PackManifest
    digest: str
    batch: int
    models: tuple[ModelUse, ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """How often something was done and how long it took in all."""

    count: int
    ns: int


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """What one version of a model did since the program started.

    Attributes:
        inference_count: Windows answered by runs.
        execution_count: Runs.
        last_inference_ms: When the last run ended, milliseconds since the Unix epoch; 0 for never.
        success: Requests answered, from admission to answer.
        fail: Requests refused or failed after admission.
        queue: Waiting, one count a request.
        compute_input: Putting windows together, one count a request.
        compute_infer: Runs, one count a request.
        compute_output: Taking answers apart, one count a request.
        cache_hit: Requests answered out of the cache.
        cache_miss: Requests that the cache was asked for in vain.
        batches: Runs by windows in the run: windows, count and time.
    """

    name: str
    version: str
    inference_count: int
    execution_count: int
    last_inference_ms: int
    success: Spent
    fail: Spent
    queue: Spent
    compute_input: Spent
    compute_infer: Spent
    compute_output: Spent
    cache_hit: Spent
    cache_miss: Spent
    batches: tuple[tuple[int, Spent], ...]


class InferenceServing(Protocol):
    """Answers requests with the full models of this hub. Everything is called on the event loop's thread."""

    def resolve(self, name: str, version: str = "", key: str = "") -> ModelDescription | None:
        """Find the loaded model for a request, by look-ups only.

        Args:
            name: A pack's name, a route's or an ensemble's.
            version: A version; empty for the default (the route's, else the newest published).
            key: Chooses among the targets of a weighted route: one key, one target.

        Returns:
            The model to give to `infer`, the same object while it stays loaded; None if it is not loaded now.
        """

    async def find(self, name: str, version: str = "", key: str = "") -> ModelDescription:
        """Find the model for a request, loading it where it is not loaded; arguments as for `resolve`.

        Raises:
            ModelUnknownError: NOT_FOUND.
            ModelUnloadedError: UNAVAILABLE.
            PackUnavailableError: FAILED_PRECONDITION; it is published and does not load.
            ServingFullError: RESOURCE_EXHAUSTED; there is no memory for it now.
        """

    async def infer(
        self,
        model: ModelDescription,
        inputs: Mapping[str, NDArray[Any]],
        *,
        caller: Caller,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        is_scored: bool = False,
    ) -> Inferred:
        """Answer one request; cancelling the awaiting task takes it out of the queue.

        Args:
            model: What `resolve` or `find` gave; one that was unloaded since is loaded again.
            inputs: One array per declared input, [windows, …], dtype and shape as declared: the caller has checked that
                (what does not fit is refused alone all the same); read only, left alone until the answer is there.
            caller: Who asks.
            deadline_s: When the answer is worth nothing any more, on the clock of `loop.time()`; None: never.
            priority: `DEFAULT_PRIORITY`, 1 (most urgent) and up, or `BACKLOG_PRIORITY`.
            is_scored: Also answer with label and confidence, where the pack's task has them.

        Returns:
            The answer.

        Raises:
            ModelUnloadedError: UNAVAILABLE.
            InputRefusedError: INVALID_ARGUMENT; the message names the tensor.
            ServingFullError: RESOURCE_EXHAUSTED, with `retry_after_s`.
            DeadlinePassedError: DEADLINE_EXCEEDED.
            ModelFailedError: INTERNAL.
        """

    def infer_now(self, model: ModelDescription, requests: Sequence[Ask]) -> list[Inferred | HubError | None]:
        """Answer requests together before anything else is done, if that is quick; any thread may ask.

        Args:
            model: What `resolve` or `find` gave.
            requests: What came together, at least one.

        Returns:
            For each its answer, or why it has none (`InputRefusedError`, `ModelFailedError`); None where it has to
            wait for it, or to be refused: ask `infer`.
        """

    async def describe(self, name: str, version: str = "") -> ModelDescription:
        """Describe a model without loading it; raises ModelUnknownError, PackUnavailableError, StorageError."""

    async def index(self) -> tuple[ModelEntry, ...]:
        """List every version that can be asked for, by name and version; raises StorageError."""

    def is_ready(self, name: str, version: str = "") -> bool:
        """Tell whether a request would find the model loaded; False for an unknown one."""

    async def load(self, name: str, version: str = "") -> None:
        """Load and warm up a model, also one that was unloaded by hand.

        A newer version answers under the name once it is warm, and not before.
        Raises ModelUnknownError, PackUnavailableError, StorageError.
        """

    async def unload(self, name: str, version: str = "") -> None:
        """Unload a model, all versions where none is named, until somebody loads it; what waits is answered first.

        Raises ModelUnknownError, StorageError.
        """

    def statistics(self, name: str = "", version: str = "") -> tuple[ModelStatistics, ...]:
        """Read what models did, of one name and version or of all; raises ModelUnknownError."""
