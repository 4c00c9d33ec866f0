"""Owns the pictures of pages: a headless Chromium opens each in both themes, of the console or a file, and shrinks it.

Which pages there are to show is `Shot`'s list; what happened before is the demo's story.
"""

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Error, Page, sync_playwright

from deploy.demo.fleet import LEFT, NEXT_EDGE_PACK, SITE
from deploy.demo.report import Login

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
WIDTH_PX: Final = 1440
HEIGHT_PX: Final = 900
_COLOURS: Final = 256
_COMMON_COLOURS: Final = 192
_CHANNELS: Final = 3
_LEVELS: Final = 256
_CODE: Final = np.array([_LEVELS**2, _LEVELS, 1], dtype=np.int64)  # a colour as one number
_RANGE: Final = "range=15m"  # the demo is short
_DEADLINE_MS: Final = 60_000
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class BrowserError(Exception):
    """There is no browser, or it cannot show the console; the message says which."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One page to show.

    Attributes:
        name: Of the picture, without theme.
        path: Of the page.
    """

    name: str
    path: str


def shots(disputed_id: str) -> tuple[Shot, ...]:
    """The pages that the README and the docs show.

    Args:
        disputed_id: An answer of the left wrists' agent that the hub disagreed with.
    """
    return (
        Shot("fleet", f"/?{_RANGE}"),
        Shot("device", f"/devices/{SITE}/{LEFT.name}?{_RANGE}"),
        Shot("case", f"/escalations/{SITE}/{LEFT.name}/{disputed_id}"),
        Shot("review", "/review"),
        Shot("packs", f"/packs/{NEXT_EDGE_PACK.name}/{NEXT_EDGE_PACK.version}"),
    )


def photograph(login: Login, wanted: Sequence[Shot]) -> Iterator[tuple[str, bytes]]:
    """Show every page in every theme.

    Args:
        login: Where the console is, and who logs in.
        wanted: The pages.

    Yields:
        File name and PNG.

    Raises:
        BrowserError: Chromium is not installed, or a page does not open.
    """
    try:
        with _chromium() as browser:
            for theme in THEMES:
                page = _signed_in(browser, login, theme)
                for shot in wanted:
                    page.goto(login.url.rstrip("/") + shot.path, wait_until="load", timeout=_DEADLINE_MS)
                    page.wait_for_selector("#live[data-state=on]", state="attached", timeout=_DEADLINE_MS)
                    yield f"console-{shot.name}-{theme}.png", shrunk(page.screenshot(animations="disabled"))
                page.context.close()
    except Error as exc:
        raise BrowserError(f"the console cannot be shown: {exc.message.splitlines()[0]}") from exc


def photograph_file(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """Show a page that is a file, whole, in every theme.

    Args:
        path: An HTML file that loads nothing.
        name: Of the picture, without theme.

    Yields:
        File name and PNG.

    Raises:
        BrowserError: Chromium is not installed, or the page does not open.
    """
    try:
        with _chromium() as browser:
            for theme in THEMES:
                context = browser.new_context(viewport={"width": WIDTH_PX, "height": HEIGHT_PX}, color_scheme=theme)
                page = context.new_page()
                page.goto(path.absolute().as_uri(), wait_until="load", timeout=_DEADLINE_MS)
                yield f"{name}-{theme}.png", shrunk(page.screenshot(full_page=True, animations="disabled"))
                context.close()
    except Error as exc:
        raise BrowserError(f"{path} cannot be shown: {exc.message.splitlines()[0]}") from exc


def shrunk(png: bytes) -> bytes:
    """A picture with a palette, a third of the bytes: the common colours stay exact, the others become the nearest.

    A page of text and lines has few colours that matter; the rest are the edges of letters.

    Args:
        png: Any PNG.

    Returns:
        A PNG of the same size in pixels.
    """
    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    pixels = np.asarray(image).reshape(-1, _CHANNELS).astype(np.int64)
    codes, place, counts = np.unique(pixels @ _CODE, return_inverse=True, return_counts=True)
    colours = codes[:, None] // _CODE % _LEVELS
    common = colours[np.argsort(-counts, kind="stable")[:_COMMON_COLOURS]]
    # Not the median cut: it mixes the few pixels that carry a state's colour into the many grey ones.
    rest = image.quantize(_COLOURS - _COMMON_COLOURS, method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = np.concatenate([common, np.array(rest, dtype=np.int64).reshape(-1, _CHANNELS)])[:_COLOURS]
    nearest = ((colours[:, None, :] - palette[None]) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    few = Image.frombytes("P", image.size, nearest[place].tobytes())
    few.putpalette(palette.astype(np.uint8).tobytes())
    file = io.BytesIO()
    few.save(file, "PNG", optimize=True)
    return file.getvalue()


@contextmanager
def _chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        raise BrowserError("no chromium on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def _signed_in(browser: Browser, login: Login, theme: Theme) -> Page:
    """A window of its own, so that one theme's choice is not the other's."""
    context = browser.new_context(viewport={"width": WIDTH_PX, "height": HEIGHT_PX}, color_scheme=theme)
    page = context.new_page()
    page.goto(f"{login.url}login", wait_until="load", timeout=_DEADLINE_MS)
    page.fill("input[name=name]", login.name)
    page.fill("input[name=password]", login.password)
    with page.expect_navigation(wait_until="load", timeout=_DEADLINE_MS):
        page.keyboard.press("Enter")
    return page
