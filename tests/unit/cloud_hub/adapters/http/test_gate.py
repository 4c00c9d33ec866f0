"""Who gets in, who may do what, and what a forged, foreign or stale request gets instead."""

from pathlib import Path

import pytest
from starlette.routing import Route

from cloud_hub.adapters.http.gate import COOKIE, csrf_token
from cloud_hub.adapters.http.web import HEADERS, MAX_BODY_BYTES
from cloud_hub.core.events import EventId, EventKind
from cloud_hub.core.sign_in_throttle import FREE_BY_NAME
from tests.simulators.hub_people import PASSWORD
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.http.hub_web import LIFE_S, ORIGIN, hub_web

PAGE = {"Accept": "text/html"}


@in_loop
async def test_a_stranger_gets_the_form_and_only_what_is_open(tmp_path: Path) -> None:
    """Pages lead to the form and back, the API asks for a login, health and static files are open."""
    async with hub_web(tmp_path) as hub, hub.browser() as browser:
        for path in ("/livez", "/readyz", "/metrics", "/login", "/static/x"):
            assert (await browser.get(path)).status_code == 200, path
        page = await browser.get("/?x=1&y=ü")
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=%2F%3Fx%3D1%26y%3D%25C3%25BC")
        assert (await browser.post("/form")).headers["location"] == "/login?next=%2F"
        partial = await browser.get("/", headers={"HX-Request": "true"})
        assert (partial.status_code, partial.headers["hx-redirect"]) == (401, "/login?next=%2F")
        api = await browser.get("/api/v1/devices")
        assert (api.status_code, api.headers["content-type"]) == (401, "application/problem+json")
        assert "log in first" in api.json()["detail"]


@in_loop
async def test_every_address_that_is_not_listed_here_is_behind_the_gate(tmp_path: Path) -> None:
    """A new route that forgets the gate turns this red: a stranger gets nothing from it."""
    opened = {"/livez", "/readyz", "/metrics", "/login", "/static"}
    async with hub_web(tmp_path) as hub, hub.browser() as browser:
        for route in hub.web.routes():
            if getattr(route, "path", "") in opened:
                continue
            assert isinstance(route, Route)
            path = route.path.replace("{", "").replace("}", "")
            for method in route.methods or ():
                answer = await browser.request(method, path)
                assert answer.status_code in (303, 401), (method, path)


@in_loop
async def test_a_login_opens_pages_and_its_cookie_is_kept_from_scripts_and_other_sites(tmp_path: Path) -> None:
    """The form leads on to the page that was asked for, and only to one of this hub."""
    async with hub_web(tmp_path) as hub:
        for wanted, leads in (
            ("/packs?x=1", "/packs?x=1"),
            ("//evil.test", "/"),
            ("/\\evil.test", "/"),
            ("https://evil.test", "/"),
            ("/\t/evil.test", "/"),
            ("", "/"),
        ):
            async with hub.browser() as browser:
                answer = await browser.post("/login", data={"name": "vera", "password": PASSWORD, "next": wanted})
                assert (answer.status_code, answer.headers["location"]) == (303, leads), wanted
                cookie = answer.headers["set-cookie"]
                assert cookie.startswith(f"{COOKIE}=")
                for word in ("HttpOnly", "SameSite=strict", f"Max-Age={int(LIFE_S)}"):
                    assert word in cookie
                assert "Secure" not in cookie
                secret = browser.cookies[COOKIE]
                assert (await browser.get("/")).text == f"vera {csrf_token(secret)}"
                assert (await browser.get("/login?next=/a")).headers["location"] == "/a"


@in_loop
async def test_over_tls_the_cookie_stays_on_tls(tmp_path: Path) -> None:
    """A login over https sets the cookie Secure."""
    async with hub_web(tmp_path) as hub, hub.browser() as browser:
        form = {"name": "vera", "password": PASSWORD}
        answer = await browser.post(ORIGIN.replace("http:", "https:") + "/login", data=form)
        assert "Secure" in answer.headers["set-cookie"]


@in_loop
async def test_wrong_passwords_are_told_counted_and_slowed_down(tmp_path: Path) -> None:
    """The form says so, whoever it is; after some the wait is told in seconds, also with the right password."""
    async with hub_web(tmp_path) as hub, hub.browser() as browser:
        wrong = {"name": "vera", "password": "not the password"}
        said = [await browser.post("/login", data=wrong) for _ in range(FREE_BY_NAME)]
        assert {one.status_code for one in said} == {401}
        nobody = await browser.post("/login", data={"name": "nobody", "password": "x"})
        assert nobody.text == said[0].text
        right = {"name": "vera", "password": PASSWORD}
        throttled = await browser.post("/login", data=right)
        assert (throttled.status_code, throttled.headers["retry-after"]) == (429, "1")
        assert "try again in 1 s" in throttled.text
        hub.clock.now_s += 1
        assert (await browser.post("/login", data=right)).status_code == 303
        events = await hub.store.events(EventId(0), 100)
        kinds = [event.kind for event in events]
        assert kinds.count(EventKind.SIGN_IN_REFUSED) == FREE_BY_NAME + 1
        assert kinds[-1] is EventKind.SIGNED_IN


@in_loop
async def test_a_session_ends_with_its_time_and_with_the_way_out(tmp_path: Path) -> None:
    """Neither an old cookie nor a copy of one that was logged out opens anything; a new login makes a new secret."""
    async with hub_web(tmp_path) as hub:
        browser = await hub.signed_in("vera")
        secret = browser.cookies[COOKIE]
        again = await browser.post("/login", data={"name": "vera", "password": PASSWORD})
        assert again.status_code == 303
        assert browser.cookies[COOKIE] != secret
        async with hub.browser(Cookie=f"{COOKIE}={secret}") as copy:
            assert (await copy.get("/")).status_code == 303
        csrf = csrf_token(browser.cookies[COOKIE])
        kept = browser.cookies[COOKIE]
        assert (await browser.post("/logout", data={"csrf": csrf})).headers["location"] == "/login"
        async with hub.browser(Cookie=f"{COOKIE}={kept}") as copy:
            assert (await copy.get("/")).status_code == 303
        late = await hub.signed_in("vera")
        hub.clock.now_s += LIFE_S + 1
        assert (await late.get("/")).status_code == 303


@pytest.mark.parametrize(("name", "form", "change"), [("vera", 403, 403), ("lena", 200, 403), ("olaf", 200, 200)])
@in_loop
async def test_a_role_may_do_what_it_may(tmp_path: Path, name: str, form: int, change: int) -> None:
    """Each role passes where its rank suffices; the refusal names what it has and what it takes."""
    async with hub_web(tmp_path) as hub:
        browser = await hub.signed_in(name)
        csrf = {"csrf": csrf_token(browser.cookies[COOKIE])}
        for path, status in (("/form", form), ("/change", change)):
            answer = await browser.post(path, data=csrf, headers=PAGE)
            assert answer.status_code == status
            if status == 403:
                assert f"page for {name}: {name} has the role" in answer.text
        async with hub.program(name) as program:
            assert [(await program.post(path)).status_code for path in ("/form", "/change")] == [form, change]


@in_loop
async def test_a_change_must_carry_the_sessions_own_token(tmp_path: Path) -> None:
    """As field or header; another session's, an empty or no token changes nothing, and neither does a JSON body."""
    async with hub_web(tmp_path) as hub:
        browser, other = await hub.signed_in("olaf"), await hub.signed_in("olaf")
        csrf = csrf_token(browser.cookies[COOKIE])
        assert (await browser.post("/change", data={"csrf": csrf})).status_code == 200
        assert (await browser.post("/change", headers={"X-CSRF-Token": csrf})).status_code == 200
        foreign = csrf_token(other.cookies[COOKIE])
        for given in (foreign, "", "ü"):
            assert (await browser.post("/change", data={"csrf": given})).status_code == 403, given
        assert (await browser.post("/change", headers={"X-CSRF-Token": foreign})).status_code == 403
        assert (await browser.post("/change")).status_code == 403
        assert (await browser.post("/change", json={"csrf": csrf})).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": ORIGIN}, 200),
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 200),
    ],
)
@in_loop
async def test_a_change_must_come_from_a_page_of_this_hub(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    """What the browser says of the asking page decides, for forms and for the login itself."""
    async with hub_web(tmp_path) as hub:
        browser = await hub.signed_in("olaf")
        csrf = {"csrf": csrf_token(browser.cookies[COOKIE])}
        assert (await browser.post("/change", data=csrf, headers=headers)).status_code == status
        form = {"name": "olaf", "password": PASSWORD}
        login = (await browser.post("/login", data=form, headers=headers)).status_code
        assert login == (303 if status == 200 else 403)


@in_loop
async def test_a_link_on_another_site_is_asked_again_from_here(tmp_path: Path) -> None:
    """The browser keeps a strict cookie back for such a request; the page that we answer asks again with it."""
    async with hub_web(tmp_path) as hub, hub.browser(**{"Sec-Fetch-Site": "cross-site"}) as browser:
        answer = await browser.get("/")
        assert answer.status_code == 200
        assert '<meta http-equiv="refresh" content="0">' in answer.text


@in_loop
async def test_a_token_that_was_revoked_or_never_was_opens_nothing(tmp_path: Path) -> None:
    """A program's header is compared as a whole; a cookie beside a bad token does not help."""
    async with hub_web(tmp_path) as hub:
        browser = await hub.signed_in("olaf")
        bad = {"Authorization": "Bearer nothing"}
        assert (await browser.get("/api/v1/me", headers=bad)).status_code == 401
        async with hub.program("olaf") as program:
            assert (await program.get("/api/v1/me")).json()["name"] == "olaf"
            await hub.store.revoke_api_tokens("olaf")
            assert (await program.get("/api/v1/me")).status_code == 401


@in_loop
async def test_every_answer_carries_the_strict_headers(tmp_path: Path) -> None:
    """Pages, redirects, refusals, what is not there and what failed: none without them."""
    async with hub_web(tmp_path) as hub:
        browser = await hub.signed_in("vera")
        for method, path, status in (
            ("GET", "/", 200),
            ("GET", "/login", 303),
            ("GET", "/nowhere", 404),
            ("DELETE", "/", 405),
            ("POST", "/change", 403),
            ("GET", "/broken", 500),
            ("GET", "/away", 503),
            ("GET", "/livez", 200),
        ):
            answer = await browser.request(method, path)
            assert answer.status_code == status, path
            for name, value in HEADERS.items():
                assert answer.headers[name] == value
            assert answer.headers["cache-control"] == "no-store"


@in_loop
async def test_failures_are_told_kindly_and_without_secrets(tmp_path: Path) -> None:
    """People get a page, programs problem details, others a line; what nobody foresaw shows none of its contents."""
    async with hub_web(tmp_path) as hub:
        browser = await hub.signed_in("vera")
        lost = await browser.get("/away", headers=PAGE)
        assert lost.text.startswith("page for vera: the disk is gone; nothing was changed: try again")
        assert (await browser.get("/away")).text.startswith("the disk is gone")
        broken = await browser.get("/broken", headers=PAGE)
        assert "nobody foresaw" in broken.text
        assert "secret" not in broken.text
        missing = (await browser.get("/api/v1/nowhere")).json()
        assert (missing["status"], missing["title"], missing["type"]) == (404, "Not Found", "about:blank")
        async with hub.browser(**PAGE) as stranger:
            assert (await stranger.get("/nowhere")).text.startswith("page for nobody: nothing is at this address")


@in_loop
async def test_a_body_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """The limit holds for forms and for the API, whatever length was announced."""
    async with hub_web(tmp_path) as hub, hub.program("olaf") as program:
        large = b"x" * (MAX_BODY_BYTES + 1)
        json = {"Content-Type": "application/json"}
        assert (await program.post("/api/v1/labels", content=large, headers=json)).status_code == 413
        assert (await program.post("/login", data={"name": "a", "password": large.decode()})).status_code == 413


@in_loop
async def test_without_a_database_nobody_is_let_in_and_everybody_is_told(tmp_path: Path) -> None:
    """A damaged database is 503 with the mend, as page and as problem details; the error page itself needs none."""
    async with hub_web(tmp_path) as hub, hub.program("vera") as program:
        await hub.store.close()
        damage(tmp_path)
        assert (await program.get("/api/v1/devices")).status_code == 503
        page = await program.get("/", headers=PAGE)
        assert page.status_code == 503
        assert page.text.startswith("page for nobody")


def damage(folder: Path) -> None:
    """Write over the database."""
    for file in folder.glob("hub.db*"):
        file.write_bytes(b"no database" * 512)
