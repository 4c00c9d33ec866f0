"""Owns the HTTP app under test without a port: a real database in a folder, a console of plain words, set clocks."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount

from cloud_hub.adapters.http.actions import Actions
from cloud_hub.adapters.http.api.routes import Api
from cloud_hub.adapters.http.events import Live
from cloud_hub.adapters.http.gate import LoginGate
from cloud_hub.adapters.http.health import Health
from cloud_hub.adapters.http.problems import Problem
from cloud_hub.adapters.http.views import Console, Page, WebParts
from cloud_hub.adapters.http.web import Web
from cloud_hub.adapters.shelf import StoredPackShelf
from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.people import Person, Role
from cloud_hub.core.sign_in_throttle import SignInThrottle
from cloud_hub.errors import StorageError
from cloud_hub.inviting import Inviting
from cloud_hub.labelling import Labelling
from cloud_hub.metrics import HubMetrics
from model_packs.process.metrics import Registry
from model_packs.store import PackStore
from tests.simulators.hub_people import PASSWORD, quick_hasher

ORIGIN = "http://hub.test"
LIFE_S = 3600.0
_NS_PER_S = 1_000_000_000


class PlainConsole:
    """Says in one line what it would draw."""

    def pages(self) -> Sequence[Page]:
        """One page for each role, and what fails."""
        return (
            Page("/", self._look),
            Page("/form", self._look, Role.LABELER, ("POST",)),
            Page("/change", self._look, Role.OPERATOR, ("POST",)),
            Page("/broken", self._break),
            Page("/away", self._lose),
        )

    def static(self) -> Mount:
        """One open file."""
        return Mount("/static", app=PlainTextResponse("open"))

    def login_page(
        self, _request: Request, *, problem: str = "", next_path: str = "/", status_code: int = 200
    ) -> Response:
        """The form in words."""
        return PlainTextResponse(f"login next={next_path} problem={problem}", status_code)

    def problem_page(self, request: Request, problem: Problem) -> Response:
        """The problem in words, and who reads it."""
        person = request.state.person
        name = "nobody" if person is None else person.name
        return PlainTextResponse(f"page for {name}: {problem.detail}", problem.status)

    async def _look(self, request: Request) -> Response:
        return PlainTextResponse(f"{request.state.person.name} {request.state.csrf}")

    async def _break(self, _request: Request) -> Response:
        raise RuntimeError("a secret of the hub")

    async def _lose(self, _request: Request) -> Response:
        raise StorageError("the disk is gone")


@dataclass
class Clock:
    """Both clocks, moved by hand."""

    now_s: float = 1_800_000_000.0

    def ns(self) -> int:
        """Wall clock."""
        return int(self.now_s * _NS_PER_S)

    def s(self) -> float:
        """Monotonic clock."""
        return self.now_s


@dataclass(frozen=True)
class HubWeb:
    """The app and what is behind it; everybody's password is ``PASSWORD``."""

    web: Web
    api: Api
    store: SqlStore
    clock: Clock
    tokens: dict[str, str]

    def browser(self, **headers: str) -> httpx.AsyncClient:
        """A client with a cookie jar of its own; failures become answers, as a server makes them."""
        transport = httpx.ASGITransport(self.web.app(), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)

    def program(self, name: str) -> httpx.AsyncClient:
        """A client with a person's token."""
        return self.browser(Authorization=f"Bearer {self.tokens[name]}")

    async def signed_in(self, name: str) -> httpx.AsyncClient:
        """A browser after the form."""
        browser = self.browser()
        answer = await browser.post("/login", data={"name": name, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return browser


@contextlib.asynccontextmanager
async def hub_web(
    folder: Path, make_console: Callable[[WebParts], Console] = lambda _parts: PlainConsole()
) -> AsyncIterator[HubWeb]:
    """Open the app with vera (viewer), lena (labeler) and olaf (operator)."""
    clock = Clock()
    metrics = HubMetrics(registry := Registry())
    store = SqlStore(database.make_engine(f"sqlite+aiosqlite:///{folder / 'hub.db'}"), clock.ns)
    packs = PackStore(folder / "packs")
    packs.open()
    await store.upgrade()
    await store.open()
    hasher = quick_hasher()
    tokens = {}
    for name, role in (("vera", Role.VIEWER), ("lena", Role.LABELER), ("olaf", Role.OPERATOR)):
        await store.add_person(Person(name, role, clock.ns()), await hasher.hash(PASSWORD), actor="test")
        tokens[name] = await store.open_api_token(name, actor="test", now_ns=clock.ns())
    shelf = StoredPackShelf(packs)
    live = Live(store, _NoBell(), metrics)
    labelling = Labelling(store, shelf, live, metrics, clock.ns)
    parts = WebParts(
        fleet=store,
        cases=store,
        people=store,
        policies=store.policies,
        shelf=shelf,
        labelling=labelling,
        actions=Actions(
            fleet=store,
            shelf=shelf,
            labelling=labelling,
            inviting=Inviting(store, b"", "default", clock.ns),
            people=store,
            hasher=hasher,
            clock=clock.ns,
        ),
        clock=clock.ns,
        org_id="default",
        hub_incarnation=lambda: store.incarnation,
        heartbeat_interval_s=10.0,
        install_timeout_s=900.0,
        overdue_s=3600.0,
        version="1.2.3",
    )
    console = make_console(parts)
    gate = LoginGate(
        store,
        store,
        hasher,
        console,
        SignInThrottle(),
        clock=clock.ns,
        monotonic_s=clock.s,
        session_life_s=LIFE_S,
        on_sign_out=live.sign_out,
    )
    health = Health(store, store, registry, metrics, _ready, clock=clock.ns, heartbeat_interval_s=10.0)
    api = Api(parts, gate)
    try:
        yield HubWeb(Web(gate, console, health, live, api), api, store, clock, tokens)
    finally:
        await store.close()


class _NoBell:
    """Nobody's stream is open."""

    def ring(self, logged: object) -> None:
        """Nobody hears it."""


async def _ready() -> Sequence[str]:
    return ()
