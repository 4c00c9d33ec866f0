"""Owns who is calling over HTTP, and whether they may: logins, sessions, API tokens, roles, forged requests.

The flow of a login; the numbers are those of this folder's README:

1. The form comes from a page of this hub (`Origin`, `Sec-Fetch-Site`), so nobody logs another person in elsewhere.
2. The throttle lets the attempt through, and counts it as failed until it succeeds.
3. The password is compared with the person's hash, or with a hash of nothing: an unknown name takes as long.
4. A new session is opened, never one that the browser brought; its secret goes into a cookie that scripts cannot read
   (`HttpOnly`), that other sites cannot send (`SameSite=Strict`), and that stays on TLS where there is TLS (`Secure`).

A change by somebody with a cookie must come from a page of this hub, too, and repeat the session's CSRF token, which
is an HMAC of the session's secret: it needs no place in the database. A program brings a token in `Authorization` and
no cookie, so nothing can be forged in its name.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cloud_hub.adapters.http.views import Console, View
from cloud_hub.core.events import EventKind, Happening
from cloud_hub.core.people import Person, Role
from cloud_hub.core.sign_in_throttle import SignInThrottle
from cloud_hub.errors import ForeignRequestError, RoleTooLowError, SignInNeededError, TooManySignInsError
from cloud_hub.ports import Clock, FleetRecords, PasswordHasher, People

COOKIE = "tandem_session"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf"
LOGIN_PATH = "/login"
LOGOUT_PATH = "/logout"
API_PATH = "/api/"

_ASK_AGAIN = (
    '<!doctype html><meta http-equiv="refresh" content="0"><link rel="icon" href="data:,"><title>Tandem</title>'
)
"""For a link on another site: the browser keeps the cookie back, but sends it when our own page asks again."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
_FORM = "application/x-www-form-urlencoded"
_MAX_NAME_CHARS = 64
_CSRF_PURPOSE = b"tandem csrf"
_BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        secret: Of the session or the token.
        csrf: What a change must repeat; empty for a program, which has no cookie that could be misused.
    """

    person: Person
    secret: str
    csrf: str


class LoginGate:
    """Stands before every page that is not open.

    Args:
        people: Who there is, and who is logged in.
        fleet: Where logins are told, those that were refused, too.
        hasher: Compares passwords.
        console: Draws the form.
        throttle: Slows down who guesses.
        clock: Wall clock.
        monotonic_s: Monotonic clock.
        session_life_s: How long a login lasts.
        on_sign_out: Told the secret of a session that has ended.
    """

    def __init__(
        self,
        people: People,
        fleet: FleetRecords,
        hasher: PasswordHasher,
        console: Console,
        throttle: SignInThrottle,
        *,
        clock: Clock,
        monotonic_s: Callable[[], float],
        session_life_s: float,
        on_sign_out: Callable[[str], None],
    ) -> None:
        self._people = people
        self._fleet = fleet
        self._hasher = hasher
        self._console = console
        self._throttle = throttle
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._session_life_s = session_life_s
        self._on_sign_out = on_sign_out

    def guarded(self, view: View, role: Role) -> View:
        """Put the gate before a view.

        Args:
            view: The view.
            role: The least role that may see or do it.

        Returns:
            A view that refuses everybody else.
        """

        async def behind_the_gate(request: Request) -> Response:
            caller = await self.recognise(request)
            if caller is None:
                return _asks_to_sign_in(request)
            await _refuse_forged(request, caller)
            if not caller.person.role.allows(role):
                raise RoleTooLowError(caller.person.name, caller.person.role, role)
            return await view(request)

        return behind_the_gate

    async def recognise(self, request: Request) -> Caller | None:
        """Say who asks, and leave it in the request's state for views and templates.

        Args:
            request: Any request.

        Returns:
            The caller; None for a stranger.

        Raises:
            StorageError: The database does not answer.
        """
        caller = await self._caller(request)
        request.state.person = None if caller is None else caller.person
        request.state.csrf = "" if caller is None else caller.csrf
        request.state.caller = caller
        request.state.is_current = partial(self.is_current, caller)
        return caller

    async def is_current(self, caller: Caller | None) -> bool:
        """Say whether somebody who stays connected is still let in.

        Args:
            caller: As they came.

        Returns:
            False once they have logged out, their time is over, or they were removed or given another role.

        Raises:
            StorageError: The database does not answer.
        """
        if caller is None:
            return False
        return await self._person(caller.secret, is_session=bool(caller.csrf)) == caller.person

    async def login_form(self, request: Request) -> Response:
        """Show the form; who is logged in already goes on."""
        next_path = _own_path(request.query_params.get("next", "/"))
        if await self.recognise(request) is not None:
            return RedirectResponse(next_path, HTTPStatus.SEE_OTHER)
        return self._console.login_page(request, next_path=next_path)

    async def sign_in(self, request: Request) -> Response:
        """Take the form.

        Raises:
            ForeignRequestError: The form is not of this hub.
            StorageError: The database does not answer.
        """
        _refuse_other_origins(request)  # 1
        form = await request.form()
        name, password = str(form.get("name", ""))[:_MAX_NAME_CHARS], str(form.get("password", ""))
        next_path = _own_path(str(form.get("next", "/")))
        address = "" if request.client is None else request.client.host
        request.state.person, request.state.csrf = None, ""
        wait_s = self._throttle.begin(name, address, self._monotonic_s())  # 2
        if wait_s:
            throttled = self._console.login_page(
                request,
                problem=str(TooManySignInsError(wait_s)),
                next_path=next_path,
                status_code=HTTPStatus.TOO_MANY_REQUESTS,
            )
            throttled.headers["Retry-After"] = str(wait_s)
            return throttled
        stored = await self._people.password_hash(name)
        if not await self._hasher.verify(stored, password):  # 3
            await self._tell(EventKind.SIGN_IN_REFUSED, name, address)
            return self._console.login_page(
                request,
                problem="that name and password do not belong together: check both, and the Caps Lock key",
                next_path=next_path,
                status_code=HTTPStatus.UNAUTHORIZED,
            )
        self._throttle.succeeded(name, address)
        await self._end(request.cookies.get(COOKIE))
        secret = await self._people.open_web_session(name, self._clock(), self._session_life_s)  # 4
        await self._tell(EventKind.SIGNED_IN, name, address)
        response = RedirectResponse(next_path, HTTPStatus.SEE_OTHER)
        response.set_cookie(
            COOKIE,
            secret,
            max_age=int(self._session_life_s),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session, and every stream that it had open."""
        await self._end(request.cookies.get(COOKIE))
        response = RedirectResponse(LOGIN_PATH, HTTPStatus.SEE_OTHER)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def _tell(self, kind: EventKind, name: str, address: str) -> None:
        subject = "".join(letter if letter.isprintable() else "?" for letter in name)
        await self._fleet.record(
            Happening(at_ns=self._clock(), kind=kind, actor=subject, subject=subject, detail={"address": address})
        )

    async def _end(self, secret: str | None) -> None:
        if secret:
            await self._people.close_web_session(secret)
            self._on_sign_out(secret)

    async def _caller(self, request: Request) -> Caller | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        is_session = scheme.lower() != _BEARER
        secret = request.cookies.get(COOKIE, "") if is_session else token.strip()
        person = await self._person(secret, is_session=is_session) if secret else None
        return None if person is None else Caller(person, secret, csrf_token(secret) if is_session else "")

    async def _person(self, secret: str, *, is_session: bool) -> Person | None:
        if is_session:
            return await self._people.web_session(secret, self._clock())
        return await self._people.api_token(secret)


def csrf_token(secret: str) -> str:
    """Derive what a session's forms carry.

    Args:
        secret: The session's secret.

    Returns:
        HMAC-SHA256, base64url.
    """
    digest = hmac.digest(secret.encode(), _CSRF_PURPOSE, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _asks_to_sign_in(request: Request) -> Response:
    if request.url.path.startswith(API_PATH):
        raise SignInNeededError
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    login = f"{LOGIN_PATH}?next={quote(target if request.method in _SAFE_METHODS else '/', safe='')}"
    if "HX-Request" in request.headers:
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": login})
    if request.method in _SAFE_METHODS and request.headers.get("Sec-Fetch-Site") == "cross-site":
        return HTMLResponse(_ASK_AGAIN)
    return RedirectResponse(login, HTTPStatus.SEE_OTHER)


async def _refuse_forged(request: Request, caller: Caller) -> None:
    if request.method in _SAFE_METHODS or not caller.csrf:
        return
    _refuse_other_origins(request)
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == _FORM:
        given = str((await request.form()).get(CSRF_FIELD, ""))
    if given is None or not hmac.compare_digest(given.encode(), caller.csrf.encode()):
        raise ForeignRequestError("the request does not carry this login's token")


def _refuse_other_origins(request: Request) -> None:
    """Read what the browser says of the page that asks: Fetch Metadata, or the origin where it has none.

    Browsers send Fetch Metadata to this machine and over TLS only; a proxy may rewrite the host that an origin is
    compared with, so it is asked last.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in _OWN_SITES:
            raise ForeignRequestError("the request comes from a page of another site")
        return
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
        raise ForeignRequestError("the request comes from a page of another address")


def _own_path(path: str) -> str:
    r"""Keep a redirect on this hub: `//host` and `/\host` lead elsewhere, and so does what browsers strip to them."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_own else "/"
