"""The review queue with hands on the keyboard: ten cases, ten labels, each stored for its own case."""

import re
import sys
import time

import httpx
from playwright.sync_api import Browser

from tests.simulators.chromium import window
from tests.simulators.console_hub import ConsoleHub
from tests.simulators.waiting import wait_until

DEADLINE_S = 30.0
NOW = ".case-now.is-now"
CASES = 10


def test_ten_cases_are_labelled_by_keyboard(browser: Browser, own_hub: ConsoleHub) -> None:
    """One key a case: the next one is there without a wait, and the hub has each label for the case that was shown."""
    given: dict[str, str] = {}
    waits_ms: list[float] = []
    with window(browser, own_hub.origin) as seen:
        seen.sign_in("lena", own_hub.password)
        seen.go("/review")
        seen.wait_until_live()
        for number in range(CASES):
            case = seen.page.locator(NOW)
            prediction = case.get_attribute("data-case") or ""
            button = case.locator(f'[data-key="{number % 3 + 1}"]')
            given[prediction] = button.get_attribute("data-label") or ""
            begun_s = time.monotonic()
            seen.page.keyboard.press(str(number % 3 + 1))
            seen.page.wait_for_selector(f'{NOW}:not([data-case="{prediction}"])')
            waits_ms.append((time.monotonic() - begun_s) * 1000)
        wait_until(lambda: labelled(own_hub).items() >= given.items(), DEADLINE_S, f"the hub has {given}")
        seen.assert_clean()
    assert len(given) == CASES
    sys.stdout.write(f"next case in the page after (ms, driver included): {sorted(round(wait) for wait in waits_ms)}\n")


def test_a_case_that_one_cannot_tell_is_left_to_others(browser: Browser, own_hub: ConsoleHub) -> None:
    """The key u moves on without a label; the case is not shown to this person again."""
    with window(browser, own_hub.origin) as seen:
        seen.sign_in("lena", own_hub.password)
        seen.go("/review")
        prediction = seen.page.locator(NOW).get_attribute("data-case") or ""
        with seen.page.expect_response(re.compile("/review$")) as answered:
            seen.page.keyboard.press("u")
        assert answered.value.ok
        seen.page.wait_for_selector(f'{NOW}:not([data-case="{prediction}"])')
        seen.go("/review")
        assert seen.page.locator(f'[data-case="{prediction}"]').count() == 0
        seen.assert_clean()
    assert prediction not in labelled(own_hub)


def test_a_key_says_what_it_did(browser: Browser, own_hub: ConsoleHub) -> None:
    """Which class went where, what z brings back, and that a digit is no class; the line names this case's keys."""
    with window(browser, own_hub.origin) as seen:
        seen.sign_in("lena", own_hub.password)
        seen.go("/review")
        case = seen.page.locator(NOW)
        prediction = case.get_attribute("data-case") or ""
        device = (case.get_attribute("data-device") or "").rpartition("/")[2]
        assert seen.page.inner_text("[data-label-keys]") == "1…7 label"
        echo = seen.page.locator("#echo")
        seen.page.keyboard.press("9")
        assert echo.inner_text() == "9 is no class of this case"
        said = case.locator('[data-key="1"]').get_attribute("data-label")
        seen.page.keyboard.press("1")
        seen.page.wait_for_selector(f'{NOW}:not([data-case="{prediction}"])')
        assert echo.inner_text() == f"{said} sent to {device} · z goes back to it"
        seen.page.keyboard.press("z")
        seen.page.wait_for_selector(f'{NOW}[data-case="{prediction}"]')
        assert echo.inner_text() == f"you said {said} · another key changes it"
        assert seen.page.locator(f'{NOW} [data-key="1"]').get_attribute("aria-pressed") == "true"
        seen.assert_clean()


def labelled(hub: ConsoleHub) -> dict[str, str]:
    """Labels by prediction id, as the hub's API lists what this person said."""
    reader = {"Authorization": f"Bearer {hub.tokens['vera']}"}
    with httpx.Client(base_url=hub.origin, headers=reader) as program:
        said = program.get("/api/v1/feedback?limit=200").json()["feedback"]
    return {one["prediction_id"]: one["label"] for one in said if one["by"] == "lena" and one["said"] == "label"}
