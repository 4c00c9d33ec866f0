"""What happens is seen without loading anything again, also when the hub was away while it happened."""

import httpx
import pytest
from playwright.sync_api import Browser

from tests.simulators.chromium import window
from tests.simulators.console_hub import ConsoleHub
from tests.simulators.processes import installed_program, run_to_end
from tests.simulators.seeded_hub import MOTION_V2

DEVICE, BINDING = "wrist-left-1", "wrist"
PAGE = f"/devices/lyon/{DEVICE}"
SHOULD_RUN = f'[data-binding={BINDING}] a[href="/packs/motion-band-edge/2.0.0"]'


@pytest.mark.parametrize("path", [PAGE, "/"], ids=["device", "fleet"])
def test_a_desire_is_seen_without_loading_the_page_again(browser: Browser, own_hub: ConsoleHub, path: str) -> None:
    """What another person does appears by itself, in the page that stands open."""
    operator = {"Authorization": f"Bearer {own_hub.tokens['olaf']}"}
    with window(browser, own_hub.origin) as seen, httpx.Client(base_url=own_hub.origin, headers=operator) as other:
        seen.sign_in("vera", own_hub.password)
        seen.go(path)
        seen.wait_until_live()
        seen.page.evaluate("window.untouched = true")
        before = seen.page.inner_text("main")
        answer = other.put(f"/api/v1{PAGE}/desired/{BINDING}", json={"pack": MOTION_V2})
        assert answer.status_code == 200, answer.text
        if path == PAGE:
            seen.page.wait_for_selector(SHOULD_RUN)
        else:
            seen.page.wait_for_function("before => document.querySelector('main').innerText !== before", arg=before)
        assert seen.page.evaluate("window.untouched") is True
        seen.assert_clean()


def test_what_happened_while_the_hub_was_away_is_replayed(browser: Browser, own_hub: ConsoleHub) -> None:
    """The hub is killed, a desire is stated on its command line, it starts again: page and stream have it."""
    headers = {"Authorization": f"Bearer {own_hub.tokens['vera']}"}
    with window(browser, own_hub.origin) as seen, httpx.Client(base_url=own_hub.origin, headers=headers) as program:
        seen.sign_in("vera", own_hub.password)
        seen.go(PAGE)
        seen.wait_until_live()
        seen.page.evaluate("window.untouched = true")
        last_id = heard_first(program, {})["id"]
        own_hub.process.kill()
        seen.page.wait_for_selector("#live[data-state=off]", state="attached")
        assign(own_hub)
        own_hub.start()
        missed = heard_first(program, {"Last-Event-ID": last_id}, "packs")
        assert int(missed["id"]) > int(last_id)
        assert '"kind": "pack_desired", "device": "lyon/wrist-left-1"' in missed["data"]
        seen.page.wait_for_selector(SHOULD_RUN)
        assert seen.page.evaluate("window.untouched") is True
        assert seen.elsewhere == []


def assign(hub: ConsoleHub) -> None:
    """State a desire by the hub's command, as somebody at its shell does."""
    command = ["packs", "assign", MOTION_V2, "--device", f"lyon/{DEVICE}", "--binding", BINDING]
    argv = [installed_program("cloud-hub"), *command, "--config", str(hub.site.config_path)]
    finished = run_to_end(argv, cwd=hub.site.config_path.parent)
    assert finished.returncode == 0, finished.stderr


def heard_first(program: httpx.Client, headers: dict[str, str], event: str = "") -> dict[str, str]:
    """The first frame of the stream with this event; without a name, the one that opens it."""
    frame: dict[str, str] = {}
    with program.stream("GET", "/live?topics=packs", headers=headers, timeout=30.0) as stream:
        for line in stream.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                frame[name] = value
            elif frame.get("event", "") == event:
                return frame
            else:
                frame = {}
    raise AssertionError(f"the stream ended without {event!r}")
