"""Owns the part of the agent that answers local calls: builds it from the open models, opens it, closes it.

    caller ─gRPC, REST→ `adapters/oip` ─→ `inference/local_calls` ─answer→ caller
                                              ├─books, each second→ store
                                              └─Unit→ store ─escalation→ hub ─verdict→ store ─revision→ who waits

What the whole agent is built of is `app.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.adapters.oip.calling import Calling
from edge_agent.adapters.oip.grpc_server import GrpcServer
from edge_agent.adapters.oip.models import Models
from edge_agent.adapters.oip.rest_server import PATH as REST_PATH
from edge_agent.adapters.oip.rest_server import RestServer
from edge_agent.adapters.oip.shared_memory import SharedMemory
from edge_agent.binding_config import BindingConfig
from edge_agent.config import Address as ListenAddress
from edge_agent.config import OipConfig
from edge_agent.core.durability import JournalTerms
from edge_agent.inference.allotting import Allotment
from edge_agent.inference.answering import LookAtInput, Model
from edge_agent.inference.call_names import CallNames
from edge_agent.inference.call_tally import CallTally
from edge_agent.inference.local_calls import Address, CallParts, CallStore, LocalCalls
from edge_agent.inference.revisions import Inbox, LoopInbox, Revisions
from edge_agent.inference.turns import Turns
from edge_agent.ports import BindingName, Clock
from model_packs.process.metrics import Page
from protos.messages.fleet import SlotReport
from protos.messages.inference import ModelUse

_OWN_CAPTURES = frozenset({"device", "binding"})


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What local calls need of the rest of the agent.

    Attributes:
        version: Of the agent.
        tally: Keeps the books.
        revisions: Told by the store of changed predictions.
        look: As `InputWatch.look`.
        on_engine_failure: As `Keeper.engine_failed`.
        allotment: Makes a binding's.
        slots: Asks which packs are wanted and run.
        is_ready: Whether the agent is.
    """

    device: str
    version: str
    clock: Clock
    store: CallStore
    tally: CallTally
    revisions: Revisions
    look: LookAtInput
    on_engine_failure: Callable[[str, ModelUse], None]
    allotment: Callable[[BindingConfig], Allotment]
    slots: Callable[[], Sequence[SlotReport]]
    is_ready: Callable[[], bool]


class LocalServing:
    """The servers of local calls, and the bindings behind them.

    Args:
        config: The table.
        bindings: All of them, each with its model.
        neighbours: The rest of the agent.
    """

    def __init__(
        self, config: OipConfig, bindings: Sequence[tuple[BindingConfig, Model]], neighbours: Neighbours
    ) -> None:
        self._tally, self._revisions = neighbours.tally, neighbours.revisions
        clock = neighbours.clock
        parts = CallParts(
            device=neighbours.device,
            clock=clock,
            store=neighbours.store,
            turns=Turns(),
            names=CallNames(),
            tally=neighbours.tally,
            revisions=neighbours.revisions,
            look=neighbours.look,
            on_engine_failure=neighbours.on_engine_failure,
        )
        self._calls = {
            binding.id: LocalCalls(
                binding.id,
                model,
                parts,
                neighbours.allotment(binding),
                terms=JournalTerms(binding.durability),  # nothing is acknowledged, so nothing can be held
                address=_address(binding, neighbours.device),
            )
            for binding, model in bindings
        }
        self._regions = SharedMemory()
        self._models = Models(self._calls, neighbours.tally.figures, neighbours.slots, clock)
        calling = Calling(
            self._models,
            self._regions,
            config.max_waiters,
            lambda timeout_s, is_there: Inbox(timeout_s, clock.monotonic_s, is_there),
            clock.monotonic_s,
        )
        self._grpc = GrpcServer(
            config.address,
            calling,
            LoopInbox,
            neighbours.version,
            neighbours.is_ready,
            max_message_bytes=config.max_message_bytes,
        )
        self._rest = RestServer(
            calling,
            neighbours.version,
            neighbours.is_ready,
            max_message_bytes=config.max_message_bytes,
            is_local_only=config.address.is_loopback,
        )

    @property
    def bound(self) -> ListenAddress:
        """Where gRPC listens, once it is open."""
        return self._grpc.bound

    @property
    def pages(self) -> Mapping[str, Page]:
        """What answers on the HTTP port, by the beginning of its paths."""
        return {REST_PATH: self._rest.answer}

    def refusals(self) -> Mapping[tuple[str, str], int]:
        """Calls without an answer, by binding and status."""
        return self._models.refusals()

    def swap(self, binding: BindingName, model: Model) -> Model:
        """Let a binding answer with another model from its next call on; returns the one before."""
        return self._calls[binding].swap(model)

    def open(self) -> None:
        """Serve.

        Raises:
            ConfigurationError: The address cannot be bound.
        """
        self._grpc.open()

    def close(self) -> None:
        """Answer what is in hand as it stands, then stop and close the books; may be called twice."""
        self._rest.close()
        self._revisions.close()
        self._grpc.close()
        self._regions.close()
        self._tally.stop()
        self._tally.flush()


def _address(binding: BindingConfig, device: str) -> Address:
    """Where answers that the hub is asked about are published, too: a caller has no captures of a topic."""
    if not binding.is_fed or not _OWN_CAPTURES.issuperset(binding.answers.template.captures):
        return Address()
    result = binding.answers
    topic = result.template.render({"device": device, "binding": binding.name})
    return Address(binding.broker, topic, result.qos, result.expiry_s)
