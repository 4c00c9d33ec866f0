"""Who may do what: the form, the way out, and that a role too low neither sees an action nor gets through with it."""

import httpx
import pytest
from playwright.sync_api import Browser

from tests.simulators.chromium import Window, window
from tests.simulators.console_hub import ConsoleHub
from tests.simulators.waiting import wait_until

ACTIONS = "[data-action=assign], [data-action=undo], [data-action=label]"
DEADLINE_S = 30.0


def test_a_page_leads_to_the_form_and_the_form_back_to_the_page(browser: Browser, hub: ConsoleHub) -> None:
    """A link that a colleague sent opens after the login; the cookie is out of reach of scripts and other sites."""
    with window(browser, hub.origin) as seen:
        seen.go("/packs?x=1")
        assert "/login?next=" in seen.page.url
        seen.page.fill("input[name=name]", "vera")
        seen.page.fill("input[name=password]", hub.password)
        with seen.page.expect_navigation(wait_until="load"):
            seen.page.keyboard.press("Enter")
        assert seen.page.url == f"{hub.origin}/packs?x=1"
        (cookie,) = [one for one in seen.context.cookies() if one.get("name") == "tandem_session"]
        assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")
        assert seen.page.evaluate("document.cookie").find("tandem_session") < 0
        seen.assert_clean()


def test_a_link_on_another_site_opens_for_who_is_logged_in(browser: Browser, hub: ConsoleHub) -> None:
    """The browser keeps the cookie back for the first request; the second, our own, has it; strangers get the form."""
    with window(browser, hub.origin) as seen:
        for place in ("/login?next=%2Fpacks", "/packs"):
            seen.page.goto("about:blank")
            seen.page.set_content(f'<a href="{hub.origin}/packs">look at this</a>')
            seen.page.click("a")
            seen.page.wait_for_url(hub.origin + place)
            if place != "/packs":
                seen.sign_in("vera", hub.password)
        assert seen.page.get_attribute("body", "data-page") == "packs"
        seen.assert_clean()


def test_a_wrong_password_is_told_and_lets_nobody_in(browser: Browser, hub: ConsoleHub) -> None:
    """The form comes back with the reason, and the name's owner is not told from nobody."""
    with window(browser, hub.origin) as seen:
        said = set()
        for name in ("vera", "nobody-here"):
            seen.sign_in(name, "not the password")
            assert seen.page.get_attribute("body", "data-page") == "login"
            said.add(seen.page.inner_text("main"))
        assert len(said) == 1
        seen.go("/")
        assert "/login" in seen.page.url


def test_signing_out_ends_the_session_and_its_stream(browser: Browser, hub: ConsoleHub) -> None:
    """After the way out the cookie opens nothing, also where somebody kept a copy of it."""
    with window(browser, hub.origin) as seen:
        seen.sign_in("vera", hub.password)
        kept = {one["name"]: one["value"] for one in seen.context.cookies() if "name" in one and "value" in one}
        with httpx.Client(base_url=hub.origin, cookies=kept, timeout=DEADLINE_S) as copy:
            assert copy.get("/api/v1/me").json()["name"] == "vera"
            with copy.stream("GET", "/live?topics=fleet") as stream:
                lines = stream.iter_lines()
                assert next(lines).startswith("retry:")
                with seen.page.expect_navigation(wait_until="load"):
                    seen.page.evaluate("document.querySelector('#logout').requestSubmit()")
                assert list(lines)[-1] == ""
            assert copy.get("/api/v1/me").status_code == 401
        assert "/login" in seen.page.url
        assert seen.elsewhere == []


def test_a_viewer_sees_no_action_and_is_refused_each(browser: Browser, hub: ConsoleHub) -> None:
    """No button to label, install or manage people is drawn; what is posted anyway is refused and changes nothing."""
    device, prediction = hub.seeded.cases[0]
    with window(browser, hub.origin) as seen:
        seen.sign_in("vera", hub.password)
        for path in (
            f"/devices/{device.site_id}/{device.device_id}",
            f"/escalations/{device.site_id}/{device.device_id}/{prediction}",
            "/review",
            "/packs",
        ):
            seen.go(path)
            assert seen.page.locator(ACTIONS).count() == 0, path
            assert seen.page.get_by_role("link", name="People").count() == 0
        csrf = csrf_of(seen)
        seen.assert_clean()
        cookies = {one["name"]: one["value"] for one in seen.context.cookies() if "name" in one and "value" in one}
    posts = {
        "/review": {"device": f"{device.site_id}/{device.device_id}", "prediction_id": prediction, "label": "idle"},
        f"/devices/{device.site_id}/{device.device_id}/install/wrist": {"pack": "motion-band-edge@2.0.0"},
        "/people": {"what": "add", "name": "mallory", "role": "operator", "password": "long enough to be one"},
    }
    with httpx.Client(base_url=hub.origin, cookies=cookies) as program:
        for path, form in posts.items():
            refused = program.post(path, data={**form, "csrf": csrf}, headers={"Accept": "text/html"})
            assert refused.status_code == 403, path
            assert "vera has the role viewer" in refused.text
            assert 'data-page="problem"' in refused.text
        assert program.get("/people", headers={"Accept": "text/html"}).status_code == 403
    operator = {"Authorization": f"Bearer {hub.tokens['olaf']}"}
    with httpx.Client(base_url=hub.origin, headers=operator) as program:
        names = {one["name"] for one in program.get("/api/v1/people").json()["people"]}
    assert names == {"vera", "lena", "olaf"}


@pytest.mark.parametrize("csrf", ["", "forged"])
def test_a_form_without_the_sessions_token_changes_nothing(browser: Browser, hub: ConsoleHub, csrf: str) -> None:
    """Whoever gets a browser to post with its cookie, but does not know the page's token, is refused."""
    with window(browser, hub.origin) as seen:
        seen.sign_in("olaf", hub.password)
        status = seen.page.evaluate(
            """async (csrf) => (await fetch("/people", {method: "POST", headers: {"X-CSRF-Token": csrf},
               body: new URLSearchParams({what: "add", name: "eve", role: "operator"})})).status""",
            csrf,
        )
        assert status == 403


def test_who_is_removed_is_out_at_once(browser: Browser, own_hub: ConsoleHub) -> None:
    """A person whom an operator removes gets the form with the next click, whatever the cookie says."""
    with window(browser, own_hub.origin) as seen:
        seen.sign_in("lena", own_hub.password)
        operator = {"Authorization": f"Bearer {own_hub.tokens['olaf']}"}
        with httpx.Client(base_url=own_hub.origin, headers=operator) as program:
            assert program.delete("/api/v1/people/lena").status_code == 204
        wait_until(lambda: leads_to_login(seen), DEADLINE_S, "the removed person stands before the form")


def leads_to_login(seen: Window) -> bool:
    """Click once more."""
    seen.go("/packs")
    return "/login" in seen.page.url


def csrf_of(seen: Window) -> str:
    """What the page's forms carry."""
    return seen.page.get_attribute("#logout input[name=csrf]", "value") or ""
