"""Owns the agent's story: builds every object, opens them in order, and closes them in reverse.

    open     store → packs and sessions → windows as the last commit left them → threads → brokers → hub
    running  broker ─Delivery→ pipeline ─Unit→ store ─ack→ broker
                                  ├─answer→ broker
                                  └─Unit→ announcer ─dead letters, and the status now and then→ broker
             store ─its commit wakes→ book ─escalation→ hub link ─verdict, ack, reject→ book → store
             store ─`revised` after a verdict, `unrevised` after a reject or an expiry (upkeep)→ publisher → broker
             caller ─call→ local serving ─answer→ caller; ─Unit→ store
    packs    hub ─desire→ slots; installer ─fetches, verifies, probes, `trial`→ slots
             keeper ─another model, between two passes→ pipeline; ─`committed`, or back→ slots ─report→ hub
    close    hub → pipeline → store (commits, acknowledges) → brokers (`stopped`) → HTTP → sessions

Nothing here decides, and nothing waits for a broker or a hub: the only waits at start are for the disk, and for the hub
when a pack is missing.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from typing import Protocol

from edge_agent.adapters.http import AgentHttp
from edge_agent.adapters.mqtt.routing import Source
from edge_agent.adapters.mqtt.subscriptions import RememberedFilters
from edge_agent.adapters.pillow import pillow_decoder
from edge_agent.adapters.slot_file import SlotFile
from edge_agent.adapters.sqlite.desk import FOLDER_NAME as DESK_FOLDER_NAME
from edge_agent.adapters.sqlite.desk import RequestDesk
from edge_agent.adapters.sqlite.store import Store
from edge_agent.adapters.watch_api import WatchApi
from edge_agent.binding_config import BindingConfig, Retained
from edge_agent.config import Address, Config, HubConfig
from edge_agent.core.windows import HoppingWindows
from edge_agent.delivery.announcer import Announcer, OwnTopics
from edge_agent.delivery.publisher import Publisher
from edge_agent.identity import identity_facts, require_same_device
from edge_agent.inference.allotting import Allotment
from edge_agent.inference.answering import Answerer, Model
from edge_agent.inference.call_tally import CallTally
from edge_agent.inference.feedback_lane import FeedbackLane
from edge_agent.inference.image_intake import ImageIntake
from edge_agent.inference.input_watch import InputWatch
from edge_agent.inference.lane import Lane, LaneSpec
from edge_agent.inference.pipeline import Pipeline, Taker
from edge_agent.inference.rationing import Ration
from edge_agent.inference.revisions import Revisions
from edge_agent.inference.window_intake import WindowIntake
from edge_agent.packs.device_slots import DeviceSlots
from edge_agent.packs.keeper import Keeper
from edge_agent.packs.models import Models, OpenedModel
from edge_agent.packs.trusted_packs import TrustedPacks
from edge_agent.part_settings import intake_capacity, peers, store_settings, unscorable_limit
from edge_agent.ports import AckHandle, BindingName, Broker, Clock, DeadLetter, Delivery, RowId
from edge_agent.reporting.health import Health
from edge_agent.reporting.latencies import Latencies
from edge_agent.reporting.metrics import Metrics
from edge_agent.reporting.policy_reports import policy_reports
from edge_agent.reporting.status import Reporter, StoreFacts
from edge_agent.supervision import Loop, ThreadWatch
from model_packs.manifest import PackRef
from model_packs.process.crash_points import CrashPoint, crash_point
from model_packs.process.metrics import Page, Registry
from model_packs.signing import PublicKey
from protos.link.backoff import Backoff
from protos.messages.fleet import Desired, PolicyReport
from protos.topics import TopicTemplate

_DISTRIBUTION = "tandem-edge"
_RECONNECT_CAP_S = 15.0
_SWEEP_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Part(Protocol):
    """Anything with a beginning and an end."""

    def open(self) -> None:
        """Begin."""

    def close(self) -> None:
        """End; may be called twice."""


class CallServers(Part, Protocol):
    """What answers local calls (`local_serving.py`)."""

    @property
    def bound(self) -> Address:
        """Where gRPC listens."""

    @property
    def pages(self) -> Mapping[str, Page]:
        """What answers on the HTTP port, by the beginning of its paths."""

    def swap(self, binding: BindingName, model: Model) -> Model:
        """Let a binding answer with another model from its next call on; returns the one before."""

    def refusals(self) -> Mapping[tuple[str, str], int]:
        """Calls without an answer, by binding and status."""


class Agent:
    """The running agent.

    Args:
        config: Both files.
        clock: The machine's.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._device = config.agent.device.id
        self._version = version(_DISTRIBUTION)
        self._closing = ExitStack()
        self._is_closing = threading.Event()
        self._registry = Registry()
        self._metrics = Metrics(self._registry)
        self._health = Health(peers(config), self._metrics.peer)
        self._revisions = Revisions()
        self._store = Store(
            config.agent.device.state_dir,
            clock,
            store_settings(config),
            agent_version=self._version,
            acknowledge=self._acknowledge,
            on_publishable=self._publishable,
            on_commit=self._metrics.committed,
            on_dead_letters=self._died,
            on_failure=self._metrics.loop_failed,
            on_revised=self._revisions.told,
        )
        self._desk = RequestDesk(config.agent.device.state_dir / DESK_FOLDER_NAME, self._store.handling.handle)
        self._slots = DeviceSlots(SlotFile(config.agent.device.packs_dir))
        self._trust = TrustedPacks(config)
        fetch = None if config.agent.hub is None else partial(self._fetch_pack, config.agent.hub)
        self._models = Models(config, self._slots, self._trust, fetch, clock)
        self._answerers: dict[BindingName, Answerer] = {}
        self._serving: CallServers | None = None
        self._keeper = Keeper(
            config.bindings.binding,
            self._slots,
            self._models,
            clock,
            bake_s=config.agent.packs.bake_s,
            swap=self._swap,
        )
        self._latencies = Latencies(clock)
        self._inputs = InputWatch(self._store.note, self._store.set_note, self._metrics.drifted)
        budget = config.agent.budget
        self._ration = Ration(self._store.budget if budget.is_bounded else None, budget.settings().horizon_s)
        capacity = intake_capacity(config)
        self._brokers: dict[str, Broker] = {name: self._broker(name, capacity) for name in config.bindings.mqtt}
        self._publisher = Publisher(
            self._store, self._brokers, is_held=lambda: self._store.is_blocked, monotonic_s=clock.monotonic_s
        )

    @property
    def http(self) -> Address:
        """Where metrics, health and status are served, once it is open."""
        return self._http.bound

    @property
    def oip(self) -> Address | None:
        """Where local calls are answered over gRPC, once it is open; None where there are none."""
        return None if self._serving is None else self._serving.bound

    def open(self) -> None:
        """Open everything and return; from then on it answers.

        Raises:
            AgentError: Something on this device prevents it; names the thing and the mend.
        """
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop cleanly: what is in hand is committed and acknowledged, brokers say `stopped`. May be called twice."""
        self._is_closing.set()
        self._closing.close()

    def _open(self) -> None:
        require_same_device(self._config.agent)
        self._store.open()
        self._closing.callback(self._store.close)
        self._desk.open()
        self._closing.callback(self._models.close)
        self._slots.open()
        self._models.open()
        reporter = self._new_reporter()
        announcer = self._announcer = self._new_announcer(reporter)
        models = self._models.opened
        lanes = [self._lane(one, models[one.id]) for one in self._config.bindings.binding if one.is_fed]
        self._pipeline = Pipeline(
            [*lanes, FeedbackLane(self._metrics.loop_failed)],
            self._store,
            self._publisher,
            self._clock,
            observers=(self._metrics.passed, announcer.passed),
            capacity=intake_capacity(self._config),
        )
        self._pipeline.restore()

        # From here on in the order of the story; closing goes the other way.
        watch = ThreadWatch(lambda: self._clock.monotonic_s() - self._pipeline.last_pass_s)
        tally = self._new_tally()
        serving = self._serving = self._new_serving(tally, watch)
        self._http = AgentHttp(
            self._config.agent.http.address,
            self._registry,
            watch.reasons,
            reporter.document,
            WatchApi(self._store.news),
            calls=None if serving is None else serving.pages,
        )
        self._start(self._http)
        for broker in self._brokers.values():
            self._closing.callback(broker.close)
        # Again, and before the brokers: the last commit acknowledges its records while they are still connected.
        self._closing.callback(self._store.close)
        watch.watch("store-writer", lambda: self._store.is_alive)
        self._metrics.watch_store(self._store)
        self._metrics.watch_policies(self._store.policy_totals)
        self._closing.callback(self._pipeline.rest)
        for name, body in (
            ("publisher", self._publisher.run_once),
            ("announcer", announcer.run_once),
            ("upkeep", self._sweep),
            ("pipeline", self._pipeline.run_once),
            ("pack-keeper", self._keeper.run_once),
            ("budget", self._ration.run_once),
        ):
            self._supervise(name, body, watch)
        if serving is not None:
            self._supervise("local-calls", tally.run_once, watch)
            self._start(serving)
            self._metrics.watch_calls(tally.figures, serving.refusals)
        for broker in self._brokers.values():
            broker.open()
        self._slots.on_change(self._keeper.wake)
        if self._config.agent.hub is not None:
            self._open_hub(self._config.agent.hub, reporter, watch)
        oip = None if serving is None else str(serving.bound)
        logger.info("agent_running", extra={"device": self._device, "http": str(self.http), "oip": oip})

    def _open_hub(self, hub: HubConfig, reporter: Reporter, watch: ThreadWatch) -> None:
        from edge_agent.hub_side import HubSide, Parts  # noqa: PLC0415 - loaded where there is a hub

        parts = Parts(
            self._config,
            self._clock,
            self._version,
            self._store,
            self._slots,
            self._models,
            self._trust,
            self._health,
            self._metrics,
            self._revisions,
        )
        side = HubSide(hub, parts)
        installer = side.installer()
        self._slots.on_change(installer.wake)
        self._supervise("pack-installer", installer.run_once, watch)
        self._closing.callback(installer.stop)
        for link in side.links(reporter, self._desired):
            self._start(link)

    def _supervise(self, name: str, body: Callable[[], None], watch: ThreadWatch) -> None:
        loop = Loop(name, body, self._metrics.loop_failed)
        self._start(loop)
        watch.watch(name, lambda: loop.is_alive)

    def _start(self, part: Part) -> None:
        self._closing.callback(part.close)
        part.open()

    def _lane(self, binding: BindingConfig, opened: OpenedModel) -> Taker:
        manifest = opened.model.manifest
        spec = LaneSpec(
            binding=binding.id,
            broker=binding.broker,
            topic=binding.template,
            result_topic=binding.answers.template,
            result_qos=binding.answers.qos,
            result_expiry_s=binding.answers.expiry_s,
            fixed_captures={"device": self._device, "binding": binding.name},
            seen_limit=binding.dedupe_keys,
            seen_max_age_s=binding.dedupe_max_age_s,
            terms=binding.terms,
            alarm=binding.alarm_settings,
        )
        answerer = Answerer(
            self._device,
            binding.id,
            opened.model,
            self._clock,
            new_row=self._store.new_row,
            on_run=self._metrics.inferred,
            on_answered=self._latencies.answered,
            on_scored=self._keeper.answered,
            on_engine_failure=self._keeper.engine_failed,
            allotment=self._allotment(binding),
            look=self._inputs.look,
        )
        self._answerers[binding.id] = answerer
        new_lane = partial(
            Lane,
            spec,
            answerer=answerer,
            store=self._store,
            on_failure=self._metrics.loop_failed,
        )
        if manifest.image is not None:
            payload = binding.image_payload(manifest.image)
            return new_lane(ImageIntake(binding.id, binding.partition, payload, pillow_decoder(binding.name)))
        if manifest.window is None:
            raise AssertionError("binding_check refuses packs without a window or an image")
        windows = partial(HoppingWindows, binding.window_spec(), manifest.window.channels)
        payload_spec = binding.payload_spec(manifest.window.channels)
        return new_lane(WindowIntake(binding.id, binding.partition, payload_spec, windows, self._store))

    def _new_tally(self) -> CallTally:
        return CallTally(
            self._store,
            on_unit=self._metrics.called,
            on_answered=self._latencies.answered,
            on_scored=self._keeper.answered,
            look=self._inputs.look,
        )

    def _new_serving(self, tally: CallTally, watch: ThreadWatch) -> CallServers | None:
        if self._config.agent.oip is None:
            return None
        # A device without local calls carries nothing of them in its memory.
        from edge_agent.local_serving import LocalServing, Neighbours  # noqa: PLC0415 - as said above

        models = self._models.opened
        neighbours = Neighbours(
            device=self._device,
            version=self._version,
            clock=self._clock,
            store=self._store,
            tally=tally,
            revisions=self._revisions,
            look=self._inputs.look,
            on_engine_failure=self._keeper.engine_failed,
            allotment=self._allotment,
            slots=lambda: self._slots.twin(self._models.factories).reports,
            is_ready=lambda: not watch.reasons(),
        )
        bindings = [(one, models[one.id].model) for one in self._config.bindings.binding]
        return LocalServing(self._config.agent.oip, bindings, neighbours)

    def _allotment(self, binding: BindingConfig) -> Allotment:
        return Allotment(self._ration, unscorable_limit(binding), self._store.audit_key, self._clock)

    def _broker(self, name: str, capacity: int) -> Broker:
        from edge_agent.adapters.mqtt.broker import MqttBroker  # noqa: PLC0415 - loaded where there is a broker

        settings = self._config.bindings.mqtt[name].settings(name, self._device)
        sources = [
            Source(one.id, one.template, one.qos, takes_retained=one.retained is Retained.USE)
            for one in self._config.bindings.binding
            if one.broker == name
        ]
        if sources:  # where answers go, people may say what they think of them
            sources.append(Source(FeedbackLane.binding, TopicTemplate(settings.feedback_topic)))
        return MqttBroker(
            settings,
            sources,
            intake_capacity=capacity,
            remembered=RememberedFilters(self._config.agent.device.state_dir / "mqtt" / f"{name}.json"),
            clock=self._clock,
            on_delivery=self._received,
            on_read=self._read,
            on_published=self._published,
            on_refused=self._refused,
            on_connection=self._connection_changed,
            on_failure=self._metrics.loop_failed,
            backoff=Backoff(cap_s=_RECONNECT_CAP_S),
        )

    def _new_reporter(self) -> Reporter:
        agent = self._config.agent
        return Reporter(
            self._device,
            self._version,
            self._clock,
            health=self._health,
            models=lambda: self._models.opened,
            twin=lambda: self._slots.twin(self._models.factories),
            p95_ms=self._latencies.p95_ms,
            store=self._store_facts,
            identity=partial(identity_facts, agent),
            max_bytes=agent.outbox.max_bytes,
            policies=self._policy_reports,
            drift=self._inputs.reports,
            budget=self._store.budget_use,
        )

    def _policy_reports(self) -> tuple[PolicyReport, ...]:
        models = {name: one.model for name, one in self._models.opened.items()}
        return policy_reports(models, self._store.policy_totals(), self._models.policies.of)

    def _new_announcer(self, reporter: Reporter) -> Announcer:
        bindings = self._config.bindings
        return Announcer(
            self._device,
            self._clock,
            reporter.document,
            brokers=self._brokers,
            topics={
                name: OwnTopics.beside(one.settings(name, self._device).status_topic)
                for name, one in bindings.mqtt.items()
            },
            broker_of={one.id: one.broker for one in bindings.binding if one.is_fed},
        )

    def _fetch_pack(self, hub: HubConfig, ref: PackRef, trusted: tuple[PublicKey, ...]) -> None:
        from edge_agent.hub_side import fetch_pack  # noqa: PLC0415 - loaded where there is a hub

        fetch_pack(self._config, hub, self._clock, ref, trusted)

    def _store_facts(self) -> StoreFacts:
        store = self._store
        terms = {one.id: one.terms for one in self._config.bindings.binding}
        return StoreFacts(
            store.figures(),
            store.outbox(),
            store.last_predictions(),
            store.problem,
            terms=terms,
            totals=store.policy_totals(),
        )

    def _sweep(self) -> None:
        self._is_closing.wait(_SWEEP_EVERY_S)
        self._store.sweep()
        self._inputs.keep()
        self._desk.answer_all()

    def _swap(self, binding: BindingName, model: Model) -> Model:
        """Put a model in place for messages and for calls; whatever used the one before has let go of it."""
        before = self._models.opened[binding].model
        if binding in self._answerers:
            before = self._answerers[binding].swap(model)
        if self._serving is not None:
            self._serving.swap(binding, model)
        return before

    # What the adapters call, from their threads.

    def _desired(self, desired: Desired) -> None:
        self._models.take_policies(desired)  # first: to tighten waits for nothing
        self._slots.desire(desired)

    def _received(self, delivery: Delivery) -> bool:
        crash_point(CrashPoint.RECEIVED)
        return self._pipeline.offer(delivery)

    def _read(self) -> None:
        self._pipeline.run_waiting()

    def _published(self, rows: Sequence[RowId]) -> None:
        crash_point(CrashPoint.PUBACK)
        self._publisher.acknowledged(rows)

    def _refused(self, broker: str, rows: Sequence[RowId]) -> None:
        self._publisher.refused(broker, rows)

    def _died(self, letters: Sequence[DeadLetter]) -> None:
        self._announcer.died(letters)

    def _publishable(self) -> None:
        self._publisher.wake()

    def _connection_changed(self, broker: str, connected: bool, reason: str) -> None:  # noqa: FBT001 - `OnConnection`
        self._publisher.connection_changed(broker, is_up=connected)
        self._health.broker_changed(broker, connected, reason)

    def _acknowledge(self, handles: Sequence[AckHandle]) -> None:
        for name, broker in self._brokers.items():
            own = [handle for handle in handles if handle.broker == name]
            if own:
                broker.acknowledge(own)
