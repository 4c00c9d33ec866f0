"""Every page of the console in a real browser: nothing leaves the hub, nothing is complained of, everything fits."""

import pytest
from playwright.sync_api import Browser

from tests.simulators.chromium import NARROW, WIDE, Window, window
from tests.simulators.console_hub import ConsoleHub

MOST_SCRIPT_BYTES = 150_000


def addresses(hub: ConsoleHub) -> dict[str, str]:
    """One address of each page, by the page's name."""
    device, prediction = hub.seeded.cases[0]
    picture_device, picture = next(case for case in hub.seeded.cases if case[0].device_id == "branch-1")
    return {
        "/": "fleet",
        f"/devices/{device.site_id}/{device.device_id}": "device",
        f"/devices/{device.site_id}/{device.device_id}/install/wrist": "install",
        "/devices/lyon/spare-1": "device",
        "/escalations": "escalations",
        f"/escalations/{device.site_id}/{device.device_id}/{prediction}": "case",
        f"/escalations/{picture_device.site_id}/{picture_device.device_id}/{picture}": "case",
        "/review": "review",
        "/packs": "packs",
        "/packs/motion-band-edge/2.0.0": "pack",
        "/people": "people",
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page_is_closed_quiet_and_fits(
    browser: Browser, hub: ConsoleHub, size: tuple[int, int], theme: str
) -> None:
    """No request leaves the hub, no error or violated policy, no page is wider than its window, few scripts."""
    with window(browser, hub.origin, size, theme) as seen:
        seen.go("/login")
        assert seen.overflow_px() == 0
        seen.sign_in("olaf", hub.password)
        for path, name in addresses(hub).items():
            seen.go(path)
            assert seen.page.get_attribute("body", "data-page") == name, path
            seen.wait_until_live()
            assert seen.overflow_px() <= 0, path
            assert is_dark(seen) is (theme == "dark"), path
        seen.assert_clean()
        assert 0 < sum(seen.script_bytes.values()) < MOST_SCRIPT_BYTES, seen.script_bytes


def test_a_page_that_is_not_there_says_so_kindly(browser: Browser, hub: ConsoleHub) -> None:
    """An unknown address and an unknown device are pages of the console with the way back; nothing else happens."""
    with window(browser, hub.origin) as seen:
        seen.sign_in("vera", hub.password)
        for path in ("/nowhere", "/devices/lyon/nobody", "/packs/nothing/1.0.0", "/escalations/lyon/cell-4/none"):
            seen.go(path)
            assert seen.page.get_attribute("body", "data-page") == "problem", path
            assert seen.page.get_by_role("link").first.is_visible()
        assert seen.elsewhere == []


def test_a_person_switches_the_theme_and_it_stays(browser: Browser, hub: ConsoleHub) -> None:
    """The switch turns the page dark at once, and the next page is drawn dark by the hub."""
    with window(browser, hub.origin) as seen:
        seen.sign_in("vera", hub.password)
        assert not is_dark(seen)
        seen.page.click("[data-action=theme]")
        assert is_dark(seen)
        seen.go("/packs")
        assert is_dark(seen)
        seen.assert_clean()


def is_dark(seen: Window) -> bool:
    """Whether the page's ground is dark as it is painted."""
    red: int = seen.page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    return red < 128
