"""Owns what the demo does at the hub as a person: the hub's HTTP API, with a token.

What is asked for, and when, is `story`'s business; reading the documents is pure.
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from deploy.demo.fleet import SITE, AgentName, Member

_TIMEOUT_S: Final = 10.0
_ROOT: Final = "/api/v1"


class HubApiError(Exception):
    """The hub does not do what it was asked; the message names the call and the answer."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What the hub knows about the one binding of an agent.

    Attributes:
        desired: name@version; None when nothing was ever desired.
        reported: What the agent says that it runs; None before its first word.
        state: How both compare, as the hub names it.
        reason: The failure's name, empty without one.
        detail: The same in words.
    """

    desired: str | None
    reported: str | None
    state: str
    reason: str
    detail: str

    def runs(self, pack: str) -> bool:
        """Whether the agent runs this pack for good."""
        return self.reported == pack and self.state == "in_sync"

    def refuses(self, pack: str) -> bool:
        """Whether the agent was asked to run this pack and does not."""
        return self.desired == pack and self.state == "failed"


@dataclass(frozen=True, slots=True)
class Review:
    """A case that a person may look at."""

    device: AgentName
    prediction_id: str


class HubApi:
    """The HTTP API as one person sees it.

    Args:
        address: Host and port of the hub's HTTP app.
        token: Of the person.
    """

    def __init__(self, address: tuple[str, int], token: str) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def slots(self) -> dict[AgentName, Slot] | None:
        """What the hub knows of each agent's binding; None while the hub is away."""
        try:
            return read_slots(self._call("GET", "/devices"))
        except OSError:
            return None

    def desire(self, member: Member, pack: str) -> None:
        """Say what an agent should run.

        Raises:
            HubApiError: The hub refuses.
            OSError: The hub does not answer.
        """
        self._call("PUT", f"/devices/{SITE}/{member.name}/desired/{member.binding}", {"pack": pack})

    def reviews(self, limit: int) -> list[Review]:
        """What a person should look at next, in the hub's order.

        Raises:
            HubApiError: The hub refuses.
            OSError: The hub does not answer.
        """
        return _cases(self._call("GET", f"/reviews?limit={limit}"))

    def disputed(self, agent: AgentName) -> list[Review]:
        """The latest cases of an agent in which the hub disagrees with it.

        Raises:
            HubApiError: The hub refuses.
            OSError: The hub does not answer.
        """
        return _cases(self._call("GET", f"/cases?device={agent}&agrees=false"))

    def label(self, review: Review, label: str) -> None:
        """Say what a case is.

        Raises:
            HubApiError: The hub refuses.
            OSError: The hub does not answer.
        """
        body = {"site": SITE, "device": review.device, "prediction_id": review.prediction_id, "label": label}
        self._call("POST", "/labels", body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(*self._address, timeout=_TIMEOUT_S)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, _ROOT + path, payload, self._headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except http.client.HTTPException as exc:
            raise ConnectionError(f"{method} {path}: {exc!r}") from exc
        finally:
            connection.close()
        if response.status != HTTPStatus.OK:
            raise HubApiError(f"{method} {path} was answered {response.status}: {text[:300]}")
        document: dict[str, Any] = json.loads(text)
        return document


def _cases(document: Mapping[str, Any]) -> list[Review]:
    return [Review(AgentName(case["device"]), case["prediction_id"]) for case in document["cases"]]


def read_slots(document: Mapping[str, Any]) -> dict[AgentName, Slot]:
    """What the registry says of each agent's one binding.

    Args:
        document: `GET /api/v1/devices`.

    Returns:
        By agent; one that has reported no binding yet is not in it.
    """
    return {
        AgentName(device["device"]): Slot(
            slot["desired"], slot["reported"], slot["state"], slot["reason"] or "", slot["detail"] or ""
        )
        for device in document["devices"]
        for slot in device["slots"]
    }
