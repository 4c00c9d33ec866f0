"""Owns what every page has around it: menu, who is logged in, theme, the stream that it hears, and how it is refreshed.

A page that htmx asks for again is drawn without its frame. What stands inside a page is the pages' modules' part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from cloud_hub.adapters.http.problems import Problem
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.people import Person, Role

THEME_COOKIE = "tandem_theme"
_THEMES = frozenset({"light", "dark"})
_ALWAYS_HEARD = ("review",)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the menu."""

    name: str
    path: str
    icon: str
    role: Role = Role.VIEWER


MENU = (
    Item("Fleet", "/", "fleet"),
    Item("Escalations", "/escalations", "escalations"),
    Item("Review", "/review", "review"),
    Item("Packs", "/packs", "packs"),
    Item("People", "/people", "people", Role.OPERATOR),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a template stands.

    Attributes:
        page: Name of the page, for scripts and tests.
        section: Line of the menu that is marked.
        hears: Topics on which it is drawn again.
        device: `site/device` when it only hears of that device.
        charts: It needs the chart library.
        pace_s: It is drawn again at most this often.
    """

    page: str
    section: str
    hears: Sequence[str] = ()
    device: str = ""
    charts: bool = False
    pace_s: int = 2

    @property
    def topics(self) -> str:
        """What the page asks the stream for."""
        named = [f"device:{self.device}" if topic == "device" else topic for topic in self.hears]
        return ",".join(dict.fromkeys((*named, *_ALWAYS_HEARD)))


class Frame:
    """Draws pages.

    Args:
        parts: What pages are made of.
        templates: The environment.
        static: Address of the static files.
    """

    def __init__(self, parts: WebParts, templates: Environment, static: str) -> None:
        self._parts = parts
        self._templates = templates
        self._static = static

    async def page(self, request: Request, template: str, place: Place, **content: Any) -> Response:  # noqa: ANN401 - what a template takes
        """Draw a page, or only its inside when htmx asks.

        Args:
            request: Who asks.
            template: File name.
            place: Where it stands.
            **content: What it shows; `now_ns` among it.

        Returns:
            The page.

        Raises:
            StorageError: The database does not answer.
        """
        person: Person = request.state.person
        return self._answer(
            template,
            {
                "charts": place.charts,
                "csrf": request.state.csrf,
                "event_id": (await self._parts.fleet.event_span())[1],
                "hears": place.hears,
                "here": _here(request),
                "menu": [item for item in MENU if person.role.allows(item.role)],
                "org": self._parts.org_id,
                "pace_s": place.pace_s,
                "page": place.page,
                "partial": is_partial(request),
                "person": person,
                "review_n": await self._parts.cases.review_count(),
                "section": place.section,
                "static": self._static,
                "theme": _theme(request),
                "topics": place.topics,
                **content,
            },
        )

    async def part(self, request: Request, template: str, **content: Any) -> Response:  # noqa: ANN401 - what a template takes
        """Draw a piece of a page that htmx puts into its place.

        Args:
            request: Who asks.
            template: File name.
            **content: What it shows.

        Returns:
            The piece.

        Raises:
            StorageError: The database does not answer.
        """
        review_n = await self._parts.cases.review_count()
        return self._answer(template, {"csrf": request.state.csrf, "review_n": review_n, **content})

    def login(self, request: Request, problem: str, next_path: str, status_code: int) -> Response:
        """Draw the login."""
        content = {"page": "login", "problem": problem, "next_path": next_path}
        return self._door(request, "login.html", content, status_code)

    def problem(self, request: Request, problem: Problem) -> Response:
        """Draw why a page is not there."""
        response = self._door(request, "problem.html", {"page": "problem", "problem": problem}, problem.status)
        response.headers.update(problem.headers)
        return response

    def _door(self, request: Request, template: str, content: dict[str, Any], status_code: int) -> Response:
        return self._answer(template, {"static": self._static, "theme": _theme(request), **content}, status_code)

    def _answer(self, template: str, content: dict[str, Any], status_code: int = 200) -> Response:
        drawn = self._templates.get_template(template).render(content)
        return HTMLResponse(drawn, status_code, {"Vary": "HX-Request"})


def is_partial(request: Request) -> bool:
    """Tell whether htmx asks for the inside of a page."""
    return request.headers.get("HX-Request") == "true"


def _theme(request: Request) -> str:
    theme = request.cookies.get(THEME_COOKIE, "")
    return theme if theme in _THEMES else ""


def _here(request: Request) -> str:
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path
