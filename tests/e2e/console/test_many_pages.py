"""As many pages as a person likes stand open side by side, and all of them hear what happens."""

import httpx
from playwright.sync_api import Browser, Page

from tests.simulators.chromium import window
from tests.simulators.console_hub import ConsoleHub
from tests.simulators.seeded_hub import MOTION_V2

PAGE = "/devices/lyon/wrist-left-1"
LIVE = "#live[data-state=on]"
SHOULD_RUN = '[data-binding=wrist] a[href="/packs/motion-band-edge/2.0.0"]'
PAGES = 8


def test_more_pages_than_a_browser_has_connections_are_open_and_live(browser: Browser, own_hub: ConsoleHub) -> None:
    """Each opens, says that it is live, and shows what another person does, without loading anything again."""
    operator = {"Authorization": f"Bearer {own_hub.tokens['olaf']}"}
    with window(browser, own_hub.origin) as seen, httpx.Client(base_url=own_hub.origin, headers=operator) as other:
        seen.sign_in("vera", own_hub.password)
        pages: list[Page] = []
        for _ in range(PAGES):
            page = seen.context.new_page()
            page.goto(own_hub.origin + PAGE, wait_until="load")
            page.wait_for_selector(LIVE, state="attached")
            pages.append(page)
        answer = other.put(f"/api/v1{PAGE}/desired/wrist", json={"pack": MOTION_V2})
        assert answer.status_code == 200, answer.text
        for page in pages:
            page.wait_for_selector(SHOULD_RUN)
