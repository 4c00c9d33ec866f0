"""The HTTP API of a hub with a past: it describes itself completely, answers as described, and does what it says."""

import asyncio
import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import numpy as np
import pytest
from PIL import Image
from starlette.routing import Route

from cloud_hub.core.people import Role
from protos.link.tokens import JoinToken
from tests.simulators.hub_people import PASSWORD, add_person
from tests.simulators.hubs import HubSite
from tests.simulators.loops import in_loop
from tests.simulators.seeded_hub import MOTION_HUB, MOTION_V1, MOTION_V2, SKETCHES, Seeded, found, seed
from tests.unit.cloud_hub.adapters.http.hub_web import hub_web

ROOT = "/api/v1"
FEW = tuple(sketch for sketch in SKETCHES if sketch.name in {"wrist-left-2", "branch-1", "press-07", "spare-1"})
METHODS = {"get", "put", "post", "delete"}


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[HubSite, Seeded, dict[str, str]]:
    """A hub with a few devices and three people; tests change only what no other reads."""
    site = found(tmp_path_factory.mktemp("api") / "hub")
    past = asyncio.run(seed(site, FEW))
    people = {"vera": Role.VIEWER, "lena": Role.LABELER, "olaf": Role.OPERATOR}
    return site, past, {name: add_person(site.config, name, role) for name, role in people.items()}


class Described:
    """The API's description, and what it says of one answer."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.operations = {
            (method, path): operation
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if method in METHODS
        }

    def check(self, method: str, path: str, answer: httpx.Response) -> None:
        """Compare status, media type and document with what is described."""
        operation = self.operations[method, path]
        said = operation["responses"][str(answer.status_code)]
        if "content" not in said:
            assert answer.content == b""
            return
        media_type = answer.headers["content-type"].partition(";")[0]
        schema = said["content"][media_type]["schema"]
        if media_type.endswith("json"):
            whole = {**schema, "components": self.document["components"]}
            jsonschema.Draft202012Validator(whole).validate(answer.json())


def client(port: int, token: str = "") -> httpx.AsyncClient:
    """A program with or without a token."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30.0)


def filled(path: str, names: dict[str, str]) -> str:
    """An address with its parameters."""
    return re.sub(r"\{(\w+)\}", lambda found: quote(names[found[1]], safe=""), path)


@in_loop
async def test_every_route_is_described_and_every_description_is_a_route(tmp_path: Path) -> None:
    """Table and document name the same addresses and methods, each once, with its role, and every id is unique."""
    async with hub_web(tmp_path) as hub, hub.program("vera") as program:
        described = Described((await program.get(f"{ROOT}/openapi.json")).json())
        routes = {
            (method.lower(), route.path)
            for route in hub.web.routes()
            if isinstance(route, Route) and route.path.startswith("/api")
            for method in (route.methods or set()) - {"HEAD"}
        }
        assert described.document["openapi"] == "3.1.0"
        assert routes - described.operations.keys() == {("get", f"{ROOT}/openapi.json")}
        assert described.operations.keys() <= routes
        ids = [operation["operationId"] for operation in described.operations.values()]
        assert len(set(ids)) == len(ids)
        for schema in described.document["components"]["schemas"].values():
            jsonschema.Draft202012Validator.check_schema(schema)


@in_loop
async def test_every_answer_is_as_described(seeded: tuple[HubSite, Seeded, dict[str, str]]) -> None:
    """Each address that reads, for what is there and what is not, for who may and who may not."""
    site, past, tokens = seeded
    device, prediction = next(case for case in past.cases if case[0].device_id == "branch-1")
    here = {
        "site": device.site_id,
        "device": device.device_id,
        "prediction_id": prediction,
        "input": "image",
        "name": "motion-band-edge",
        "version": "1.0.0",
        "binding": "forms",
    }
    nowhere = dict.fromkeys(here, "no-where")
    async with site.running() as listening:
        async with client(listening.http_port, tokens["olaf"]) as program:
            described = Described((await program.get(f"{ROOT}/openapi.json")).json())
            reads = [path for method, path in described.operations if method == "get"]
            assert len(reads) > 15
            for path in reads:
                answer = await program.get(filled(path, here))
                assert answer.status_code == 200, (path, answer.text)
                described.check("get", path, answer)
                absent = await program.get(filled(path, nowhere))
                assert absent.status_code == (404 if "{" in path else 200), path
                described.check("get", path, absent)
        for token in ("", tokens["vera"]):
            async with client(listening.http_port, token) as program:
                for method, path in described.operations:
                    answer = await program.request(method, filled(path, here))
                    described.check(method, path, answer)
                    needs_login = not token and answer.status_code != 401
                    assert not needs_login, path
                    changes = method != "get" and answer.status_code != 403
                    assert not (token and changes), path


@in_loop
async def test_lists_are_read_page_by_page(seeded: tuple[HubSite, Seeded, dict[str, str]]) -> None:
    """Cursors lead through all cases and events, each once; filters leave out what they say."""
    site, past, tokens = seeded
    async with site.running() as listening, client(listening.http_port, tokens["vera"]) as program:
        cases: list[dict[str, Any]] = []
        query = "?limit=7"
        while query:
            page = (await program.get(f"{ROOT}/cases{query}")).json()
            cases += page["cases"]
            query = "" if page["next_before"] is None else f"?limit=7&before={page['next_before']}"
        assert sorted(case["prediction_id"] for case in cases) == sorted(prediction for _, prediction in past.cases)
        split = (await program.get(f"{ROOT}/cases?agrees=false&device=branch-1&limit=200")).json()["cases"]
        assert {(case["agrees"], case["device"]) for case in split} == {(False, "branch-1")}
        first = (await program.get(f"{ROOT}/events?limit=3")).json()
        rest = (await program.get(f"{ROOT}/events?limit=500&after={first['next_after']}")).json()
        ids = [event["id"] for event in first["events"] + rest["events"]]
        assert ids == sorted(set(ids))


@in_loop
async def test_what_concerns_people_is_told_to_operators_only(
    seeded: tuple[HubSite, Seeded, dict[str, str]],
) -> None:
    """The outbox's events on people are left out for everybody else; the cursor still moves on."""
    site, _, tokens = seeded
    async with site.running() as listening:
        kinds: dict[str, set[str]] = {}
        cursors = set()
        for name in ("vera", "olaf"):
            async with client(listening.http_port, tokens[name]) as program:
                page = (await program.get(f"{ROOT}/events?limit=500")).json()
                kinds[name] = {event["kind"] for event in page["events"]}
                cursors.add(page["next_after"])
        assert kinds["olaf"] - kinds["vera"] >= {"person_added", "token_made"}
        assert len(cursors) == 1


@in_loop
async def test_a_picture_is_the_tensor_that_was_judged(seeded: tuple[HubSite, Seeded, dict[str, str]]) -> None:
    """The PNG has the tensor's size and its least and largest value; a window of samples is no picture."""
    site, past, tokens = seeded
    device, prediction = next(case for case in past.cases if case[0].device_id == "branch-1")
    case = f"{ROOT}/cases/{device.site_id}/{device.device_id}/{prediction}"
    other, window = next(case for case in past.cases if case[0].device_id == "press-07")
    async with site.running() as listening, client(listening.http_port, tokens["vera"]) as program:
        summary = (await program.get(f"{case}/inputs/image")).json()
        assert (summary["shape"], summary["is_picture"]) == ([1, 28, 28], True)
        picture = await program.get(f"{case}/inputs/image.png")
        with Image.open(io.BytesIO(picture.content)) as image:
            pixels = np.asarray(image)
        assert (pixels.shape, picture.headers["content-type"]) == ((28, 28), "image/png")
        (channel,) = summary["channels"]
        assert (channel["least"], channel["most"]) == (pixels.min(), pixels.max())
        path = f"{ROOT}/cases/{other.site_id}/{other.device_id}/{window}"
        (name,) = [one["name"] for one in (await program.get(path)).json()["inputs"]]
        samples = (await program.get(f"{path}/inputs/{name}")).json()
        assert len(samples["channels"]) == samples["shape"][-1] > 1
        assert (await program.get(f"{path}/inputs/{name}.png")).status_code == 404


@in_loop
async def test_what_people_change_is_done_and_told(seeded: tuple[HubSite, Seeded, dict[str, str]]) -> None:
    """Labels, desires, join tokens and people: each is there afterwards; what cannot be is refused by name."""
    site, past, tokens = seeded
    device, prediction = past.cases[-1]
    async with site.running() as listening, client(listening.http_port, tokens["olaf"]) as program:
        detail = (await program.get(f"{ROOT}/cases/{device.site_id}/{device.device_id}/{prediction}")).json()
        label = {"site": device.site_id, "device": device.device_id, "prediction_id": prediction}
        label["label"] = next(one for one in detail["choices"] if one != detail["case"]["human"]["label"])
        given = (await program.post(f"{ROOT}/labels", json={**label, "note": "clear"})).json()
        assert (given["repeat"], given["verdict"]["tier"], given["verdict"]["output"]["label"]) == (
            False,
            "human",
            label["label"],
        )
        assert (await program.post(f"{ROOT}/labels", json=label)).json()["repeat"] is True
        newest = (await program.get(f"{ROOT}/feedback?limit=1")).json()["feedback"][0]
        assert (newest["by"], newest["label"], newest["note"]) == ("olaf", label["label"], "clear")
        unknown = await program.post(f"{ROOT}/labels", json={**label, "label": "<b>"})
        assert (unknown.status_code, "'<b>' cannot be an answer" in unknown.text) == (400, True)

        slot = f"{ROOT}/devices/lyon/press-07/desired/wrist"
        twin = (await program.put(slot, json={"pack": MOTION_V2})).json()
        assert (twin["slots"][0]["pack"], twin["set_by"]) == (MOTION_V2, "olaf")
        assert (await program.get(f"{ROOT}/devices/lyon/press-07/desired")).json() == twin
        for pack in (MOTION_HUB, "nothing@1.0.0", "no pack"):
            refused = await program.put(slot, json={"pack": pack})
            assert (refused.status_code, pack in refused.json()["detail"]) == (400, True)
        wrong_binding = f"{ROOT}/devices/lyon/press-07/desired/nothing"
        assert (await program.put(wrong_binding, json={"pack": MOTION_V1})).status_code == 400

        ended = (await program.delete(slot)).json()
        assert (ended["version"], ended["slots"]) == (twin["version"] + 1, [])
        again = await program.delete(slot)
        assert (again.status_code, "nothing is desired for 'wrist'" in again.text) == (400, True)

        made = await program.post(f"{ROOT}/join-tokens", json={"site": "hall-2", "uses": 3, "ttl_h": 0.5})
        assert (made.status_code, made.json()["uses"]) == (201, 3)
        assert JoinToken.parse(made.json()["token"]).token_id == made.json()["token_id"]
        bad = (await program.post(f"{ROOT}/join-tokens", json={"site": "", "uses": 0, "ttl": 1})).json()
        assert [one["at"] for one in bad["problems"]] == ["site", "ttl", "uses"]

        person = {"name": "ivo", "role": "labeler", "password": PASSWORD}
        assert (await program.post(f"{ROOT}/people", json=person)).json()["role"] == "labeler"
        assert (await program.post(f"{ROOT}/people", json=person)).status_code == 409
        login = {"name": "ivo", "password": "another long one"}
        changed = await program.put(f"{ROOT}/people/ivo/password", json={"password": login["password"]})
        assert changed.status_code == 204
        async with client(listening.http_port) as browser:
            assert (await browser.post("/login", data=login)).status_code == 303
            assert (await browser.get(f"{ROOT}/me")).json()["name"] == "ivo"
            assert (await program.delete(f"{ROOT}/people/ivo")).status_code == 204
            assert (await browser.get(f"{ROOT}/me")).status_code == 401
        assert (await program.delete(f"{ROOT}/people/ivo")).status_code == 404


@in_loop
async def test_a_body_must_say_that_it_is_json(seeded: tuple[HubSite, Seeded, dict[str, str]]) -> None:
    """A form posted to the API is refused: no page elsewhere can make one that passes."""
    site, _, tokens = seeded
    async with site.running() as listening, client(listening.http_port, tokens["olaf"]) as program:
        answer = await program.post(f"{ROOT}/join-tokens", data={"site": "hall"})
        assert (answer.status_code, answer.json()["problems"][0]["at"]) == (400, "Content-Type")
