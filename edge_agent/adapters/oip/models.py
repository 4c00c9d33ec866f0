"""Owns what callers see of the bindings as models: names and versions, codecs, readiness, statistics, and refusals.

A model is a binding: its name is the binding's, its one version that of the pack that runs. Both protocols, gRPC and
REST, look here; what a call is answered is `inference/local_calls.py`.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from edge_agent.adapters.oip.quick_forms import QuickForms
from edge_agent.core.local_call import CallAnswer, CallFigures
from edge_agent.errors import CallError
from edge_agent.ports import BindingName, Clock
from model_packs.errors import TensorError
from model_packs.manifest import PackManifest, PackRef
from protos.codec.errors import CodecError
from protos.messages.fleet import InstallPhase, SlotReport
from protos.messages.inference import ModelUse
from protos.oip.grpc_codec import GrpcCodec
from protos.oip.model import OipModel
from protos.oip.parameters import priority_of, timeout_s
from protos.oip.quick_forms import Head
from protos.oip.rest_codec import RestCodec
from protos.oip.signature import Parameter, Signature
from protos.status import Status

WAIT_FOR_HUB: Final = "wait_for_hub_ms"
"""Parameter of a request: how long its caller would wait for the hub's verdict, where the hub is asked."""

ANSWERED: Final = "answered"

_MAX_WAIT_MS: Final = 600_000
_MS_PER_S: Final = 1000.0
_NS_PER_S: Final = 1_000_000_000
_SHOWN_CHARS: Final = 80


class Letters(Protocol):
    """Where a caller who waits hears of a verdict; made by the app (`inference/revisions.py`)."""

    def give_up(self) -> None:
        """It has to be answered now."""
        ...


class Running(Protocol):
    """The pack that answers now."""

    @property
    def manifest(self) -> PackManifest:
        """What it says of itself."""
        ...

    @property
    def use(self) -> ModelUse:
        """How it is named."""
        ...


class Callee(Protocol):
    """One binding, as a caller asks it (`inference/local_calls.py`)."""

    @property
    def running(self) -> Running:
        """What answers now; the same object until another pack or policy does."""
        ...

    def call(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        inbox: Any = None,  # noqa: ANN401 - an inbox of `new_inbox`; what is in it is no adapter's business
        is_wanted: Callable[[], bool] | None = None,
    ) -> CallAnswer:
        """Answer a call, whatever it has to wait for; raises TensorError and CallError."""
        ...

    def call_now(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        inbox: Any = None,  # noqa: ANN401 - as above
    ) -> CallAnswer | None:
        """Answer a call at once; None where that might take long or has to wait; raises as `call`."""
        ...

    def call_in_turn(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        inbox: Any = None,  # noqa: ANN401 - as above
        is_wanted: Callable[[], bool] | None = None,
        came_s: float | None = None,
    ) -> CallAnswer:
        """Answer a call when it is its turn, and wait for no hub; raises as `call`."""
        ...

    async def revised(self, answer: CallAnswer, inbox: Any) -> CallAnswer:  # noqa: ANN401 - as above
        """Wait for what the hub says of an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request's parameters ask for.

    Attributes:
        wait_s: How long to wait for the hub; 0: not at all.
        timeout_s: How long the call may take; None: as long as it takes.
    """

    wait_s: float = 0.0
    timeout_s: float | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, Parameter]) -> "Wishes":
        """Read them.

        Raises:
            TensorError: One has another type or range.
        """
        priority_of(parameters)  # two calls at a time leave nothing to order, but a wrong one is a mistake
        wait_ms = parameters.get(WAIT_FOR_HUB, 0)
        if isinstance(wait_ms, bool) or not isinstance(wait_ms, int) or not 0 <= wait_ms <= _MAX_WAIT_MS:
            raise TensorError(
                f"parameter {WAIT_FOR_HUB!r} must be an integer from 0 to {_MAX_WAIT_MS}, not {wait_ms!r}"
            )
        return cls(wait_ms / _MS_PER_S, timeout_s(parameters))


NO_WISHES: Final = Wishes()


@dataclass(frozen=True, slots=True)
class Served:
    """A model at one moment, with what reads its requests."""

    callee: Callee
    running: Running
    model: OipModel
    grpc: GrpcCodec
    quick: QuickForms
    rest: RestCodec


Known = tuple[Served, Head, dict[str, NDArray[Any]]]
"""A request whose model and head are known, and its inputs."""


@dataclass(frozen=True, slots=True)
class Spent:
    """How often something was done, and how long it took in all."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """What one pack of a binding did, as `protos.oip.describing` shows it."""

    name: str
    version: str
    inference_count: int
    execution_count: int
    last_inference_ms: int
    success: Spent
    fail: Spent
    queue: Spent
    compute_infer: Spent
    compute_input: Spent = Spent()
    compute_output: Spent = Spent()
    cache_hit: Spent = Spent()
    cache_miss: Spent = Spent()
    batches: Sequence[tuple[int, Spent]] = ()


class Models:
    """All of one agent; any thread may ask.

    Args:
        callees: By name.
        figures: Asks what became of calls, by binding and pack.
        slots: Asks which packs are wanted and run.
        clock: For the time of the last call.
    """

    def __init__(
        self,
        callees: Mapping[BindingName, Callee],
        figures: Callable[[], Mapping[tuple[BindingName, ModelUse], CallFigures]],
        slots: Callable[[], Sequence[SlotReport]],
        clock: Clock,
    ) -> None:
        self._callees: dict[str, Callee] = {str(name): callee for name, callee in callees.items()}
        self._figures = figures
        self._slots = slots
        self._clock = clock
        self._served: dict[str, Served] = {}
        self._lock = threading.Lock()
        self._refused: Counter[tuple[str, str]] = Counter()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._callees)

    def quickly(self, data: bytes) -> Known | None:
        """Read a gRPC request whose model and head are known; None for others, raises TensorError for its values."""
        for served in self._served.values():
            if served.callee.running is served.running and (found := served.quick.read(data)) is not None:
                return served, *found
        return None

    def find(self, name: str, version: str = "") -> Served:
        """Look a model up.

        Args:
            name: The binding's.
            version: That must run; empty: whichever does.

        Raises:
            CallError: NOT_FOUND: there is no such model, or another version runs.
        """
        served = self._served.get(name)
        if served is None or served.callee.running is not served.running:
            served = self._look_up(name)
        if version and version != served.model.version:
            raise CallError(
                f"model {name!r} runs version {served.model.version}, not {version[:_SHOWN_CHARS]}",
                "ask for no version, or for that one",
                Status.NOT_FOUND,
            )
        return served

    def is_ready(self, name: str, version: str) -> bool:
        """Whether this version of a model answers calls now; an unknown one does not."""
        try:
            self.find(name, version)
        except CallError:
            return False
        return True

    def refused(self, name: str, status: Status) -> None:
        """Count a call without an answer; of an unknown model without its name, which anybody may invent."""
        with self._lock:
            self._refused[name if name in self._callees else "", status.name.lower()] += 1

    def refusals(self) -> dict[tuple[str, str], int]:
        """Calls without an answer, by binding and status."""
        with self._lock:
            return dict(self._refused)

    def statistics(self, name: str = "", version: str = "") -> list[ModelStatistics]:
        """What models did since the start; the former packs of a binding, too.

        Args:
            name: Of one model; empty: all.
            version: Of one of its versions; empty: all.

        Raises:
            CallError: NOT_FOUND: there is no such model.
        """
        if name:
            self.find(name)
        figures = {key: value for key, value in self._figures().items() if not name or key[0] == name}
        for one in (name,) if name else self.names:
            figures.setdefault((BindingName(one), self.find(one).running.use), CallFigures())
        return [
            self._statistics(binding, PackRef.parse(use.pack).version, one)
            for (binding, use), one in figures.items()
            if version in ("", PackRef.parse(use.pack).version)
        ]

    def index(self) -> list[tuple[str, str, str, str]]:
        """Name, version, state and reason of what runs, of what is on its way, and of what could not run."""
        rows: list[tuple[str, str, str, str]] = []
        slots = {one.binding: one for one in self._slots()}
        for name in self.names:
            version = self.find(name).model.version
            slot = slots.get(name)
            rows.append((name, version, "READY", "" if slot is None else slot.state.value))
            if slot is None:
                continue
            if slot.phase is not InstallPhase.IDLE:
                rows.append((name, "", "LOADING", slot.phase.value))
            if slot.failure is not None:
                failed = PackRef.parse(slot.failure.pack).version if "@" in slot.failure.pack else ""
                rows.append((name, failed, "UNAVAILABLE", slot.failure.detail))
        return rows

    def _look_up(self, name: str) -> Served:
        callee = self._callees.get(name)
        if callee is None:
            raise CallError(
                f"there is no model {name[:_SHOWN_CHARS]!r} here; there is {', '.join(self._callees)}",
                "ask for one of them: a model's name is a binding's",
                Status.NOT_FOUND,
            )
        running = callee.running
        model = OipModel.of_pack(running.manifest, digest=running.use.digest, name=name)
        signature = Signature(model)
        served = Served(callee, running, model, GrpcCodec(signature), QuickForms(signature), RestCodec(signature))
        self._served = {**self._served, name: served}  # others read it meanwhile
        return served

    def _statistics(self, name: str, version: str, figures: CallFigures) -> ModelStatistics:
        with self._lock:
            refused = sum(count for (one, _), count in self._refused.items() if one == name)
        ago_s = self._clock.monotonic_s() - figures.last_s
        last_ms = 0 if not figures.calls else (self._clock.wall_ns() - round(ago_s * _NS_PER_S)) // 1_000_000
        return ModelStatistics(
            name=name,
            version=version,
            inference_count=figures.rows,
            execution_count=figures.calls,
            last_inference_ms=last_ms,
            success=_spent(figures.calls, figures.total_s),
            fail=_spent(figures.failed + refused, figures.failed_s),
            queue=_spent(figures.calls, figures.queue_s),
            compute_infer=_spent(figures.calls, figures.run_s),
        )


def _spent(count: int, took_s: float) -> Spent:
    return Spent(count, round(took_s * _NS_PER_S))


def refusal_of(error: Exception) -> tuple[Status, str] | None:
    """What a caller is told of an error: its status, and the message with its mend; None: it is a fault of ours."""
    if isinstance(error, CallError):
        return error.status, f"{error.message}; {error.mend}"
    if isinstance(error, TensorError | CodecError):
        return Status.INVALID_ARGUMENT, str(error)
    return None
