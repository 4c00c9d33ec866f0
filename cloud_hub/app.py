"""Owns the hub as a whole: the one place that builds its parts, and the order in which they start and stop.

The data's way: a device's item comes in over `adapters.grpc` (gate → stream), is stored once (`adapters.sql`, by the
rules of `core.delivery`), acknowledged, answered by a full model (`adapters.engine`), logged as a verdict, and pumped
back to the device. People read the registry over `adapters.http` or `cloud-hub devices`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from cloud_hub.adapters.engine.answerer import Answerer
from cloud_hub.adapters.engine.early import EarlyAnswers
from cloud_hub.adapters.engine.escalated import EscalatedModels
from cloud_hub.adapters.engine.pack_source import OpenSession, StoredPackSource
from cloud_hub.adapters.grpc.device_stream import StreamParts
from cloud_hub.adapters.grpc.enrolment import EnrolmentService
from cloud_hub.adapters.grpc.escalation import EscalationService
from cloud_hub.adapters.grpc.feedback import FeedbackService
from cloud_hub.adapters.grpc.fleet import FleetService
from cloud_hub.adapters.grpc.gate import CertificateGate, Gate, MetadataGate
from cloud_hub.adapters.grpc.packs import PackService
from cloud_hub.adapters.grpc.server import DeviceServices, GrpcServers, ServerCertificate
from cloud_hub.adapters.grpc.streams import Streams
from cloud_hub.adapters.http.actions import Actions
from cloud_hub.adapters.http.api.routes import Api
from cloud_hub.adapters.http.console.console import Console
from cloud_hub.adapters.http.events import Live
from cloud_hub.adapters.http.gate import LoginGate
from cloud_hub.adapters.http.health import Health
from cloud_hub.adapters.http.server import HttpServer, TlsFiles
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.adapters.http.web import Web
from cloud_hub.adapters.oip.bodies import Bodies
from cloud_hub.adapters.oip.callers import Callers
from cloud_hub.adapters.oip.grpc_service import GrpcService
from cloud_hub.adapters.oip.inference import Inference
from cloud_hub.adapters.oip.rest_app import RestApp
from cloud_hub.adapters.oip.server import OipServer
from cloud_hub.adapters.passwords.argon2id import Argon2Hasher
from cloud_hub.adapters.redis_answers import RedisAnswers
from cloud_hub.adapters.remote.opening import remote_openers
from cloud_hub.adapters.shelf import StoredPackShelf
from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.cost_book import CostBounds
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.adapters.x509.authority import load_authority
from cloud_hub.adapters.x509.server_certificate import load_server_files
from cloud_hub.admission import Admission
from cloud_hub.config import HubConfig, is_loopback
from cloud_hub.core.sign_in_throttle import SignInThrottle
from cloud_hub.core.waiting_room import WaitingRoom
from cloud_hub.engine_options import engine_options
from cloud_hub.errors import NoDatabaseError, StorageError
from cloud_hub.fleet_watch import FleetWatch
from cloud_hub.inviting import Inviting
from cloud_hub.labelling import Labelling
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Clock, PackShelf
from cloud_hub.promising import note_promises
from cloud_hub.serving.interface import InferenceServing
from cloud_hub.serving.serving import Serving
from cloud_hub.serving.terms import serving_terms
from model_packs.engines.machine import this_machine
from model_packs.engines.opening import open_session
from model_packs.process.metrics import Registry
from model_packs.signing import SiteKey
from model_packs.store import PackStore
from protos.messages.escalation import Credit, GoAway

DISTRIBUTION = "tandem-edge"
STOP_RETRY_MS = 1000
DRAIN_S = 5.0
GRACE_S = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the hub listens."""

    grpc_port: int
    enrolment_port: int
    http_port: int
    hub_incarnation: str
    oip_grpc_port: int | None = None
    oip_http_port: int | None = None


class Hub:
    """The whole hub on one machine.

    Args:
        config: The settings.
        is_insecure: No TLS for devices; the caller has checked that the address is loopback.
        open_session: Opens a pack's session; by default the engine that the pack names, with the configured threads.
        clock: Wall clock.
    """

    def __init__(
        self,
        config: HubConfig,
        *,
        is_insecure: bool = False,
        open_session: OpenSession | None = None,
        clock: Clock = time.time_ns,
    ) -> None:
        self._config = config
        self._is_insecure = is_insecure
        self._open_session = open_session or _engine_session(config)
        self._clock = clock
        self._stack = contextlib.AsyncExitStack()
        self._is_stopping = False
        registry = Registry()
        self._registry = registry
        self._metrics = HubMetrics(registry)
        self._streams = Streams(self._metrics)
        self._engine = database.make_engine(config.database)
        self._store = SqlStore(
            self._engine,
            clock,
            self._metrics.commit_s.observe,
            trend_bucket_s=config.fleet.trend_bucket_s,
            rules=config.monitoring.rules,
            cost_bounds=CostBounds(config.serving.cost_days, config.serving.max_cost_rows),
        )

    async def open(self) -> Listening:
        """Start everything; what was stored and not answered before is answered now.

        Returns:
            Where it listens.

        Raises:
            KeyFileError: A key or certificate cannot be used.
            NoDatabaseError: The database is missing or empty; `cloud-hub init` makes one.
            SigningError: The site key cannot be used.
            StorageError: The database cannot be used.
            PackError: The pack store is damaged.
            ListenError: A port cannot be bound.
            OSError: The pack store's folder cannot be written.
        """
        try:
            return await self._open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Send streams away, store what has arrived, stop everything in reverse order; a second call does nothing."""
        self._is_stopping = True
        await self._stack.aclose()

    async def _open(self) -> Listening:
        config, folder = self._config, self._config.folder

        # Who we are: what the listeners present, what signs devices and packs.
        authority = load_authority(
            folder.ca_key,
            folder.ca_certificate,
            trust_domain=config.identity.trust_domain,
            certificate_days=config.identity.certificate_days,
        )
        key_pem, chain_pem = load_server_files(folder.server_key, folder.server_certificate)
        site_key = SiteKey.load(folder.site_key).public

        # What we know: the database, and the packs.
        self._stack.push_async_callback(self._store.close)
        if await database.revision(self._engine) is None:
            raise NoDatabaseError(config.database)
        await self._store.upgrade()
        await self._store.open()
        packs = PackStore(folder.packs)
        packs.open()

        # What answers: full models behind their batchers, and the loop that asks them what is stored.
        shelf = StoredPackShelf(packs)
        source = StoredPackSource(packs, shelf, (site_key,), open_session=self._open_session)
        terms = serving_terms(config, this_machine().cores)
        serving = Serving(
            terms, source, self._store.costs, self._metrics, remote=self._shared_answers(), wall_ns=self._clock
        )
        self._stack.push_async_callback(serving.close)
        await serving.open()
        live = Live(self._store, self._streams, self._metrics)
        early = EarlyAnswers(serving, self._clock)
        page = config.inference.max_batch
        answerer = Answerer(self._store, serving, live, self._metrics, self._clock, page=page, early=early)
        for loop in (serving.run(), answerer.run()):
            self._stack.push_async_callback(_cancelled, asyncio.create_task(loop))

        # What people say: one way in for devices and for the console.
        await note_promises(shelf, self._store.policies)
        labelling = Labelling(self._store, shelf, live, self._metrics, self._clock)

        # Who may ask: devices over mutual TLS, newcomers with a join token.
        gate = self._gate()
        credit = Credit(config.escalation.credit_items, config.escalation.credit_bytes)
        room = WaitingRoom(config.escalation.max_waiting_per_device, config.escalation.max_waiting)
        admission = Admission(self._store, room, time.monotonic)
        parts = StreamParts(
            self._store,
            EscalatedModels(serving),
            admission,
            answerer.wake,
            self._metrics,
            self._clock,
            credit,
            early=early,
        )
        services = DeviceServices(
            EscalationService(gate, parts, self._streams),
            FleetService(
                gate,
                self._store,
                clock=self._clock,
                heartbeat_interval_s=config.fleet.heartbeat_interval_s,
            ),
            PackService(gate, packs),
            FeedbackService(gate, labelling),
        )
        enrolment = EnrolmentService(
            self._store, authority, site_key_pem=site_key.pem.encode(), metrics=self._metrics, clock=self._clock
        )
        servers = GrpcServers(config.grpc.host, ServerCertificate(key_pem, chain_pem, authority.certificate_pem))
        self._stack.push_async_callback(servers.close, GRACE_S)
        grpc_port = await servers.serve_devices(services, config.grpc.port, is_insecure=self._is_insecure)
        enrolment_port = await servers.serve_enrolment(enrolment, config.grpc.enrolment_port)
        self._stack.push_async_callback(self._streams.close, GoAway("the hub is stopping", STOP_RETRY_MS), DRAIN_S)

        # Who is heard: the watch over the fleet, from the moment that devices can connect.
        watch = FleetWatch(self._store, self._metrics, self._clock, config.fleet)
        watching = asyncio.create_task(watch.run(), name="fleet-watch")
        self._stack.push_async_callback(_cancelled, watching)

        # Who may look, and act: people at the console, programs, and Prometheus.
        inviting = Inviting(self._store, authority.certificate_pem, config.identity.org_id, self._clock)
        web = self._web(shelf, labelling, inviting, live)
        http = HttpServer(web.app(), config.http.host, config.http.port, self._web_certificate())
        self._stack.push_async_callback(http.close)
        http_port = await http.open()
        live.open()
        self._stack.push_async_callback(live.close)
        listening = Listening(grpc_port, enrolment_port, http_port, self._store.incarnation)
        return await self._open_oip(listening, serving) if config.oip.enabled else listening

    async def _open_oip(self, listening: Listening, serving: InferenceServing) -> Listening:
        """Let other programs infer: both forms of the Open Inference Protocol, each on a port of its own."""
        oip, folder = self._config.oip, self._config.folder
        is_local = is_loopback(oip.host)
        callers = Callers(self._store, needs_token=not is_local, monotonic_s=time.monotonic)
        parts = (serving, Inference(serving), callers, self._reasons_not_ready, version(DISTRIBUTION))
        keys = None if is_local else load_server_files(folder.server_key, folder.server_certificate)
        server = OipServer(oip.host, oip.grpc_port, keys)
        self._stack.push_async_callback(server.close, GRACE_S)
        grpc_port = await server.open(GrpcService(*parts, max_calls=oip.max_calls).methods())
        tls = None if is_local else TlsFiles(folder.server_certificate, folder.server_key)
        rest = HttpServer(RestApp(*parts, bodies=Bodies()), oip.host, oip.http_port, tls)
        self._stack.push_async_callback(rest.close)
        return replace(listening, oip_grpc_port=grpc_port, oip_http_port=await rest.open())

    def _shared_answers(self) -> RedisAnswers | None:
        if not self._config.serving.redis_url:
            return None
        answers = RedisAnswers(self._config.serving.redis_url)
        answers.open()
        return answers

    def _gate(self) -> Gate:
        identity = self._config.identity
        if self._is_insecure:
            return MetadataGate(self._store, org_id=identity.org_id, clock=self._clock)
        return CertificateGate(self._store, org_id=identity.org_id, trust_domain=identity.trust_domain)

    def _web(self, shelf: PackShelf, labelling: Labelling, inviting: Inviting, live: Live) -> Web:
        """What is behind the HTTP port: pages, API and event streams, all behind one gate."""
        config, store, hasher = self._config, self._store, Argon2Hasher()
        actions = Actions(
            fleet=store,
            shelf=shelf,
            labelling=labelling,
            inviting=inviting,
            people=store,
            hasher=hasher,
            clock=self._clock,
        )
        parts = WebParts(
            fleet=store,
            cases=store,
            people=store,
            policies=store.policies,
            shelf=shelf,
            labelling=labelling,
            actions=actions,
            clock=self._clock,
            org_id=config.identity.org_id,
            hub_incarnation=lambda: store.incarnation,
            heartbeat_interval_s=config.fleet.heartbeat_interval_s,
            install_timeout_s=config.fleet.install_timeout_s,
            overdue_s=config.monitoring.overdue_s,
            version=version(DISTRIBUTION),
        )
        console = Console(parts)
        gate = LoginGate(
            store,
            store,
            hasher,
            console,
            SignInThrottle(),
            clock=self._clock,
            monotonic_s=time.monotonic,
            session_life_s=config.http.session_life_s,
            on_sign_out=live.sign_out,
        )
        health = Health(
            store,
            store,
            self._registry,
            self._metrics,
            self._reasons_not_ready,
            clock=self._clock,
            heartbeat_interval_s=config.fleet.heartbeat_interval_s,
        )
        return Web(gate, console, health, live, Api(parts, gate))

    def _web_certificate(self) -> TlsFiles | None:
        http, root = self._config.http, self._config.folder.root
        if not http.certificate:
            return None
        return TlsFiles(root / http.certificate, root / http.key)

    async def _reasons_not_ready(self) -> Sequence[str]:
        if self._is_stopping:
            return ("the hub is stopping",)
        try:
            await self._store.ping()
        except StorageError as error:
            return (str(error),)
        return ()


def _engine_session(config: HubConfig) -> OpenSession:
    remote = remote_openers(config.model_server, config.folder.root)
    return lambda pack: open_session(pack, engine_options(config), openers=remote)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
