"""Every page answers its question from what is stored, for each role, and as a piece when htmx asks."""

import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from cloud_hub.adapters.http.console.console import Console
from cloud_hub.core.delivery import ItemKey, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.watch import Measure, Promise
from cloud_hub.core.policies import PolicyDesire
from cloud_hub.ports import Delivered
from model_packs.outputs import Classification
from model_packs.signing import generate_site_key
from model_packs.store import PackStore
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import ItemClass, StoreId
from protos.messages.fleet import BudgetReport, DesiredPolicy, PolicyMode, PolicyReport, PolicyState
from tests.simulators.loops import in_loop
from tests.simulators.seeded_hub import HOSTILE, LAYOUTS, Seeded, Seeding, Sketch, large
from tests.unit.cloud_hub.adapters.http.hub_web import HubWeb, hub_web
from tests.unit.cloud_hub.escalations import escalation

V1, V2, DIGITS = "motion-band-edge@1.0.0", "motion-band-edge@2.0.0", "form-digits-edge@1.0.0"
_HOUR_NS = 3600 * 1_000_000_000
SKETCHES = (
    Sketch("left-1", V1, kept=0.6, disagreed=0.9, cases=22, history_ns=_HOUR_NS),
    Sketch("left-2", V1, failure="bad_digest", desired=V2, cases=2, history_ns=_HOUR_NS),
    Sketch("branch-1", DIGITS, binding="forms", cases=3, history_ns=_HOUR_NS),
    Sketch("spare-1", V1, silent_s=None, cases=0, history_ns=_HOUR_NS),
)
PAGES = ("/", "/escalations", "/review", "/packs", "/packs/motion-band-edge/1.0.0", "/devices/lyon/left-1")


@dataclass(frozen=True)
class Seen:
    """The app with a past."""

    hub: HubWeb
    seeded: Seeded


@contextlib.asynccontextmanager
async def seen(folder: Path, sketches: tuple[Sketch, ...] = SKETCHES) -> AsyncIterator[Seen]:
    """Open the console over a seeded store with both shipped families."""
    packs = PackStore(folder / "packs")
    packs.open()
    key = generate_site_key(folder / "site.key")
    for layout in LAYOUTS.values():
        packs.sign(packs.import_layout(layout), key)
    async with hub_web(folder, Console) as hub:
        yield Seen(hub, await Seeding(hub.store, packs, hub.clock.ns()).run(sketches))


async def text_of(client: httpx.AsyncClient, path: str, **headers: str) -> str:
    """A page that is there."""
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
    return answer.text


async def token_of(client: httpx.AsyncClient) -> str:
    """What forms must carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', await text_of(client, "/review"))
    assert found is not None
    return found[1]


@in_loop
async def test_every_page_is_drawn_whole_and_as_a_piece(tmp_path: Path) -> None:
    """Frame, stream and script the first time; only the inside when htmx asks again."""
    async with seen(tmp_path) as world, aclosing(await world.hub.signed_in("olaf")) as olaf:
        device, prediction = world.seeded.cases[0]
        case = f"/escalations/{device.site_id}/{device.device_id}/{prediction}"
        for path in (*PAGES, case, "/people", "/devices/lyon/left-1/install/wrist"):
            whole = await text_of(olaf, path)
            assert whole.startswith("<!doctype html>")
            assert '/hearing.js" data-topics="' in whole
            assert "as of" in whole
        for path in (*PAGES, case):
            piece = await text_of(olaf, path, **{"HX-Request": "true"})
            assert "<!doctype" not in piece
            assert 'id="review-n"' in piece


@in_loop
async def test_an_empty_hub_teaches_the_next_command(tmp_path: Path) -> None:
    """No page is blank before anything has happened."""
    async with hub_web(tmp_path, Console) as hub, aclosing(await hub.signed_in("vera")) as vera:
        fleet = await text_of(vera, "/")
        for command in ("edge-agent init device", "packs publish LAYOUT --config hub/hub.toml", "tokens create --site"):
            assert command in fleet
        assert "Nothing was escalated yet" in await text_of(vera, "/escalations")
        assert "cloud-hub packs publish" in await text_of(vera, "/packs")
        assert "Nothing was escalated yet" in await text_of(vera, "/review")


@in_loop
async def test_the_fleet_stands_worst_first_and_filters_by_link(tmp_path: Path) -> None:
    """A doubted device above a healthy one; a filter without a match offers the way back."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera:
        order = re.findall(r'data-device="lyon/([^"]+)"', await text_of(vera, "/"))
        assert order[-1] == "branch-1"
        assert set(order[:2]) == {"left-1", "left-2"}
        assert re.findall(r'data-device="lyon/([^"]+)"', await text_of(vera, "/?q=LEFT+pack")) == ["left-2"]
        assert "Show all 4" in await text_of(vera, "/?q=nowhere")
        assert 'aria-current="true">6h' in await text_of(vera, "/?range=6h")


@in_loop
async def test_a_device_tells_why_it_does_not_run_what_it_should(tmp_path: Path) -> None:
    """The refusal by name, what answers meanwhile, and its story."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera:
        page = await text_of(vera, "/devices/lyon/left-2")
        assert "bad_digest" in page
        assert "motion-band-edge 1.0.0 goes on answering" in page
        assert "refused motion-band-edge@2.0.0" in page
        assert "never heard" in await text_of(vera, "/devices/lyon/spare-1")


@in_loop
async def test_a_policy_that_is_not_there_yet_stands_on_both_pages(tmp_path: Path) -> None:
    """Pending since when, on the device's page and on the fleet's; a device without policies says nothing of them."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera:
        assert "data-policies" not in await text_of(vera, "/")
        assert "Policy pending" not in await text_of(vera, "/devices/lyon/left-1")
        at_ns = world.hub.clock.ns()
        await world.hub.store.policies.desire(
            DeviceKey("default", "lyon", "left-1"),
            "wrist",
            lambda version: PolicyDesire("wrist", DesiredPolicy(version, PolicyMode.HUB_ONLY), "void", "m", at_ns),
        )
        for path in ("/", "/devices/lyon/left-1"):
            page = await text_of(vera, path)
            assert "Policy pending since" in page
            assert "it should ask the hub always (" in page
        assert "left-1" in await text_of(vera, "/")
        assert "data-policies" not in await text_of(vera, "/devices/lyon/spare-1")


@in_loop
async def test_a_policy_for_a_pack_that_is_wanted_names_the_pack(tmp_path: Path) -> None:
    """It begins with that pack; the version numbers beside it do not break off from their word."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera:
        device, store, at_ns = DeviceKey("default", "lyon", "left-2"), world.hub.store, world.hub.clock.ns()
        facts = await store.facts(device)
        assert facts is not None
        assert facts.desired is not None
        assert facts.heartbeat is not None
        (slot,) = facts.desired.slots
        runs = PolicyReport(slot.binding, 0, V1, "sha256:" + "1" * 64, 9, 9, 0, 0, 0, 0.1, 0.9, PolicyState.ACTIVE)
        await store.save_heartbeat(device, replace(facts.heartbeat, policies=(runs,)), at_ns)

        def for_the_wanted(version: int) -> PolicyDesire:
            policy = DesiredPolicy(version, PolicyMode.HUB_ONLY, pack_digest=slot.digest)
            return PolicyDesire(slot.binding, policy, "void", "m", at_ns)

        await store.policies.desire(device, slot.binding, for_the_wanted)
        page = await text_of(vera, "/devices/lyon/left-2")
        assert f"(for another pack than {V1}), as soon as motion-band-edge 2.0.0 runs here." in page
        assert '<span class="nowrap">version 2</span>' in page


@in_loop
async def test_a_device_tells_what_audits_say_of_its_certificate(tmp_path: Path) -> None:
    """The promise, estimates with their intervals, and the alarms that stand, by name."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera:
        device, pack = DeviceKey("default", "lyon", "left-1"), "sha256:" + "1" * 64
        promise = Promise(Measure.DISAGREEMENT, 0.05, 0.05, 0.9, "sha256:c")
        await world.hub.store.policies.keep_promises({pack: promise})
        beat = (await world.hub.store.facts(device)).heartbeat  # type: ignore[union-attr]  # it is seeded
        assert beat is not None
        mine = PolicyReport("wrist", 0, V1, pack, 2000, 100, 1900, 9, 1, 0.1, 0.9, PolicyState.ACTIVE, unanswered=7)
        spent = (BudgetReport("calls", "main", 1900.0, 12.5),)
        told = replace(beat, policies=(mine,), budget=spent)
        await world.hub.store.save_heartbeat(device, told, world.hub.clock.ns())
        page = await text_of(vera, "/devices/lyon/left-1")
        assert "Promised: at most 5.0 % of what is kept otherwise than the hub." in page
        assert "(nobody has looked)" in page
        assert "This looks like: escalation storm." in page
        assert "1 audit lost" in page
        assert "Cost: 1909 calls, 9 of them audits; of 0 answers 0 corrected the edge&#39;s." in page
        assert "Nobody answered 7 windows (0.4 %): 0 short of budget, 7 asked in vain. No certificate speaks" in page
        assert "data-budget" in page
        assert "12.5" in page
        assert "escalates more" in await text_of(vera, "/")


@in_loop
async def test_installing_says_what_it_will_do_and_lands_in_the_timeline(tmp_path: Path) -> None:
    """An operator chooses, is told how many devices, and sees the desire with their name on the device's page."""
    async with seen(tmp_path) as world, aclosing(await world.hub.signed_in("olaf")) as olaf:
        path = "/devices/lyon/left-1/install/wrist"
        page = await text_of(olaf, f"{path}?pack={quote(V2)}")
        assert "Install on 1 device" in page
        assert re.search(r'value="motion-band-edge@2\.0\.0" required checked', page)
        assert "form-digits" not in page
        answer = await olaf.post(path, data={"csrf": await token_of(olaf), "pack": V2})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/devices/lyon/left-1")
        after = await text_of(olaf, "/devices/lyon/left-1")
        assert "pack waits" in after
        assert "binding wrist, by olaf" in after
        assert 'data-action="unassign"' in after
        answer = await olaf.post("/devices/lyon/left-1/unassign/wrist", data={"csrf": await token_of(olaf)})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/devices/lyon/left-1")
        ended = await text_of(olaf, "/devices/lyon/left-1")
        assert "need not run motion-band-edge@2.0.0 any more" in ended
        assert 'data-action="unassign"' not in ended


@in_loop
async def test_roles_see_only_what_they_may_do(tmp_path: Path) -> None:
    """A viewer has no buttons and no people; a labeler labels; addresses are refused as well."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera, world.hub.program("lena") as lena:
        assert 'data-action="assign"' not in await text_of(vera, "/devices/lyon/left-1")
        assert 'href="/people"' not in await text_of(vera, "/")
        assert "needs the role labeler" in await text_of(vera, "/review")
        for path in ("/people", "/devices/lyon/left-1/install/wrist"):
            assert (await lena.get(path)).status_code == 403
        assert 'data-action="label"' in await text_of(lena, "/review")


@in_loop
async def test_a_label_brings_the_next_cases_and_counts_down(tmp_path: Path) -> None:
    """The answer to htmx holds what the page does not have yet; without htmx it leads back."""
    async with seen(tmp_path) as world, aclosing(await world.hub.signed_in("lena")) as lena:
        page = await text_of(lena, "/review")
        ids = re.findall(r'id="case-(\d+)"', page)
        first = re.search(r'data-case="([^"]+)" data-device="([^"]+)"', page)
        assert first is not None
        form = {"csrf": await token_of(lena), "device": first[2], "prediction_id": first[1], "label": "PEN"}
        more = await lena.post("/review", data=form, headers={"HX-Request": "true", "X-Have": " ".join(ids)})
        fresh = re.findall(r'id="case-(\d+)"', more.text)
        assert fresh
        assert not set(fresh) & set(ids)
        assert "Human" in await text_of(lena, f"/escalations/{first[2]}/{first[1]}")
        back = await lena.post("/review", data={**form, "label": "", "unsure": "1", "back": "case"})
        assert (back.status_code, back.headers["Location"]) == (303, f"/escalations/{first[2]}/{first[1]}")
        assert (await lena.post("/review", data={**form, "device": "nonsense"})).status_code == 400
        assert (await lena.post("/review", data={**form, "label": "no such class"})).status_code == 400


@in_loop
async def test_signals_are_drawn_and_images_are_linked(tmp_path: Path) -> None:
    """Curves with the pack's channel names; a picture from the case's own address."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera:
        signal = await text_of(vera, "/escalations?device=lyon/left-1")
        path = re.search(r'href="(/escalations/lyon/left-1/[^"]+)"', signal)
        assert path is not None
        case = await text_of(vera, path[1])
        assert '<path class="ch0" d="M' in case
        assert "<bdi>wx</bdi>" in case
        assert "50 samples, 1 s" in case
        listed = await text_of(vera, "/escalations?device=lyon/branch-1")
        image = re.search(r'href="(/escalations/lyon/branch-1/[^"]+)"', listed)
        assert image is not None
        source = re.search(r'<img src="([^"]+)"', await text_of(vera, image[1]))
        assert source is not None
        picture = await vera.get(source[1])
        assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/png")


@in_loop
async def test_filters_are_links_that_keep_one_another(tmp_path: Path) -> None:
    """Each narrows the list; nonsense in one is no filter; a cursor leads on."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera:
        page = await text_of(vera, "/escalations?agrees=no&device=lyon%2Fleft-1")
        assert "hub agrees" not in page
        assert "labelled=no" in page
        assert "device=lyon%2Fleft-1" in page
        assert "Nothing matches" in await text_of(vera, "/escalations?reason=audit")
        everything = await text_of(vera, "/escalations")
        assert everything.count("<tr data-case") == (await text_of(vera, "/escalations?agrees=perhaps&before=x")).count(
            "<tr data-case"
        )


@in_loop
async def test_packs_say_promise_signature_and_use(tmp_path: Path) -> None:
    """In the list and on the page, with the card's words as text."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera:
        listed = await text_of(vera, "/packs")
        assert "at most 5 % is wrong, with 95 % confidence" in listed
        page = await text_of(vera, "/packs/motion-band-edge/2.0.0")
        assert "Measured design effect" in page
        assert "left-2" in page
        assert (await vera.get("/packs/nothing/1.0.0")).status_code == 404
        assert (await vera.get("/packs/Bad%20Name/x")).status_code == 404


@in_loop
async def test_a_damaged_pack_is_named_with_its_mend(tmp_path: Path) -> None:
    """The list goes on without it."""
    async with seen(tmp_path) as world, world.hub.program("vera") as vera:
        shutil.rmtree(tmp_path / "packs" / "blobs")
        page = await text_of(vera, "/packs")
        assert "cannot be read" in page
        assert "cloud-hub packs publish" in page


@in_loop
async def test_people_are_added_shown_a_secret_once_and_removed(tmp_path: Path) -> None:
    """What is refused is told on the page, and nothing else has changed."""
    async with seen(tmp_path) as world, aclosing(await world.hub.signed_in("olaf")) as olaf:
        csrf = await token_of(olaf)

        async def act(**fields: str) -> httpx.Response:
            return await olaf.post("/people", data={"csrf": csrf, **fields})

        added = await act(do="add", name="ana", role="labeler")
        assert "Password of ana" in added.text
        assert (await act(do="add", name="ana", role="labeler")).status_code == 409
        assert "New password of ana" in (await act(do="password", name="ana")).text
        assert "API token of ana" in (await act(do="token", name="ana")).text
        assert (await act(do="join", site="Not A Site")).status_code == 400
        assert (await act(do="remove", name="ana")).status_code == 303
        assert 'data-person="ana"' not in await text_of(olaf, "/people")
        assert (await act(do="dance")).status_code == 400
        assert (await act(do="add", name="eve", role="queen")).status_code == 400


@in_loop
async def test_what_is_not_there_is_said_in_the_consoles_own_page(tmp_path: Path) -> None:
    """Unknown devices, bindings and cases; the theme of the cookie is kept."""
    async with seen(tmp_path) as world, aclosing(await world.hub.signed_in("olaf")) as olaf:
        olaf.cookies.set("tandem_theme", "dark", domain="hub.test")
        device = "/devices/lyon/left-1"
        for path in ("/devices/lyon/nobody", f"{device}/install/none", "/escalations/lyon/left-1/none", "/nowhere"):
            answer = await olaf.get(path, headers={"Accept": "text/html"})
            assert answer.status_code == 404, path
            assert 'data-page="problem"' in answer.text
            assert 'data-theme="dark"' in answer.text
        olaf.cookies.set("tandem_theme", '"><script>', domain="hub.test")
        assert "data-theme" not in await text_of(olaf, "/")


@in_loop
async def test_labels_of_a_hostile_device_stay_text(tmp_path: Path) -> None:
    """In the list, on the case and in the review, escaped and whole."""
    async with seen(tmp_path, SKETCHES[:1]) as world, world.hub.program("lena") as lena:
        device = DeviceKey("default", "lyon", "left-1")
        evil = escalation("evil", edge=Classification(HOSTILE, {HOSTILE: 1.0}), binding=HOSTILE[:100])
        question = Question(evil.prediction_id, evil.input_digest)
        item = Delivered(
            ItemKey(StoreId("evil"), ItemClass.ESCALATION, 1), question, evil.hub_pack, escalation_to_bytes(evil), evil
        )
        await world.hub.store.apply(device, (item,), world.hub.clock.ns())
        for path in ("/escalations", "/escalations/lyon/left-1/evil", "/devices/lyon/left-1", "/review"):
            page = await text_of(lena, path)
            assert '<script>alert("x")' not in page
        assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in await text_of(lena, "/escalations/lyon/left-1/evil")


@in_loop
async def test_many_devices_are_light_rows(tmp_path: Path) -> None:
    """A row of a large fleet is some hundred bytes, and the page asks less often."""
    async with seen(tmp_path, large(60)) as world, world.hub.program("vera") as vera:
        page = await text_of(vera, "/", **{"HX-Request": "true"})
        assert page.count("<tr data-device") == 60
        assert len(page) < 60 * 700 + 20_000


@pytest.mark.parametrize("path", ["/login"])
@in_loop
async def test_the_login_needs_nothing_but_its_own_files(tmp_path: Path, path: str) -> None:
    """Open to strangers, and so are the files that it names, which may be kept for ever."""
    async with hub_web(tmp_path, Console) as hub, hub.browser() as stranger:
        page = await text_of(stranger, path)
        assert "cloud-hub people add" in page
        sheet = re.search(r'href="(/static/[^"]+\.css)"', page)
        assert sheet is not None
        answer = await stranger.get(sheet[1])
        assert (answer.status_code, "immutable" in answer.headers["Cache-Control"]) == (200, True)
        refused = await stranger.post("/login", data={"name": "vera", "password": "wrong"})
        assert 'role="alert"' in refused.text
