"""Owns a real browser for tests: headless Chromium, and one window of it that writes down whatever goes wrong."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Page,
    Request,
    Response,
    sync_playwright,
)

from tests.simulators.requirements import require

WIDE, NARROW = (1440, 900), (820, 1100)
DEADLINE_MS = 30_000
_QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium with a new profile; skips the test where it is missing, and fails it in CI."""
    path = require("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_QUIET))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """One person's window on one hub, and all that it asked for and complained of.

    Attributes:
        complaints: Errors and warnings of the browser's console, errors of scripts, and what scripts ask.
        elsewhere: Requests that left the hub.
        script_bytes: Size of each script that was loaded, by address.
    """

    page: Page
    context: BrowserContext
    origin: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    script_bytes: dict[str, int] = field(default_factory=dict)

    def go(self, path: str) -> None:
        """Open an address of the hub."""
        self.page.goto(self.origin + path, wait_until="load")

    def sign_in(self, name: str, password: str) -> None:
        """Open the form, fill it as a person does, and arrive, wherever that is."""
        self.go("/login")
        self.page.fill("input[name=name]", name)
        self.page.fill("input[name=password]", password)
        with self.page.expect_navigation(wait_until="load"):
            self.page.keyboard.press("Enter")

    def wait_until_live(self) -> None:
        """Wait until the page hears what happens."""
        self.page.wait_for_selector("#live[data-state=on]", state="attached")

    def overflow_px(self) -> int:
        """How far the page is wider than its window."""
        root = "document.documentElement"
        wide: int = self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
        return wide

    def assert_clean(self) -> None:
        """Nothing left the hub, and nothing was complained of: no script error, no violated policy, no failed load."""
        assert self.elsewhere == []
        assert self.complaints == []


@contextlib.contextmanager
def window(browser: Browser, origin: str, size: tuple[int, int] = WIDE, theme: str = "light") -> Iterator[Window]:
    """Open a window with no cookies."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if theme == "dark" else "light"
    )
    context.set_default_timeout(DEADLINE_MS)
    opened = Window(context.new_page(), context, origin)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            opened.complaints.append(f"{opened.page.url}: {message.text}")

    def on_page_error(error: Error) -> None:
        opened.complaints.append(f"{opened.page.url}: {error}")

    def on_dialog(dialog: Dialog) -> None:
        opened.complaints.append(f"{opened.page.url}: a script asks {dialog.message!r}")
        dialog.dismiss()

    def on_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" != origin:
            opened.elsewhere.append(request.url)

    def on_response(response: Response) -> None:
        if response.request.resource_type == "script" and response.ok:
            opened.script_bytes[response.url] = len(response.body())

    opened.page.on("console", on_console)
    opened.page.on("pageerror", on_page_error)
    opened.page.on("dialog", on_dialog)
    opened.page.on("request", on_request)
    opened.page.on("response", on_response)
    try:
        yield opened
    finally:
        context.close()
