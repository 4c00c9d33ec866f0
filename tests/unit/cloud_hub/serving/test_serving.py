"""What the serving core promises: found by name, loaded when asked for, swapped without a gap, never cut."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_hub.core.serving.admission import Bounds
from cloud_hub.core.serving.costs import CostKey
from cloud_hub.core.serving.fusing import Rule
from cloud_hub.core.serving.routes import Route
from cloud_hub.errors import PackUnavailableError, StorageError
from cloud_hub.metrics import HubMetrics
from cloud_hub.serving.ensembles import Ensemble
from cloud_hub.serving.errors import ModelUnknownError, ModelUnloadedError, ServingFullError
from cloud_hub.serving.interface import Caller, InferenceServing, Inferred, ModelState
from cloud_hub.serving.loading import OpenedPack
from cloud_hub.serving.serving import Serving
from cloud_hub.serving.terms import ServingTerms
from model_packs.manifest import PackManifest, PackRef
from model_packs.outputs import Classification
from model_packs.process.metrics import Registry
from protos.messages.inference import Role
from tests.simulators.loops import in_loop
from tests.simulators.packs import build_tiny
from tests.simulators.serving_parts import turn_loop
from tests.simulators.serving_source import ToldCosts, ToldSource, told_terms

PRESS = Caller("plant", "press")
LABELS = ("idle", "moving", "broken")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PackManifest:
    """Windows of [5, 2], three labels, at most 4 at once."""
    folder: Path = tmp_path_factory.mktemp("pack")
    return build_tiny(folder, name="tiny-hub", role="hub", escalates_to=None).manifest


class Hub:
    """A serving core with told surroundings."""

    def __init__(self, source: ToldSource, terms: ServingTerms) -> None:
        self.source = source
        self.costs = ToldCosts()
        self.registry = Registry()
        self.serving = Serving(terms, source, self.costs, HubMetrics(self.registry), wall_ns=lambda: 3 * 86_400 * 10**9)

    async def ask(self, name: str, version: str = "", *, height: float = 4.0, **more: Any) -> Inferred:  # noqa: ANN401 - handed on
        """Ask about one window."""
        serving: InferenceServing = self.serving
        model = serving.resolve(name, version) or await serving.find(name, version)
        return await serving.infer(model, {"window": window(height)}, caller=PRESS, **more)

    def ready(self) -> list[str]:
        """What is loaded."""
        return sorted(pack for pack, session in self.source.sessions.items() if not session.is_closed)


def window(height: float) -> NDArray[Any]:
    """One window of one height."""
    return np.full((1, 5, 2), height, np.float32)


@contextlib.asynccontextmanager
async def hub(manifest: PackManifest, *packs: str, **changes: Any) -> AsyncIterator[Hub]:  # noqa: ANN401 - handed on
    """A hub with packs published, closed in the end."""
    source = ToldSource(manifest)
    source.publish(*packs)
    inline = {"inline_below_ms": changes.pop("inline_below_ms")} if "inline_below_ms" in changes else {}
    made = Hub(source, replace(told_terms(**inline), **changes))
    try:
        await made.serving.open()
        yield made
    finally:
        await made.serving.close()


@in_loop
async def test_a_name_is_answered_by_its_newest_release(manifest: PackManifest) -> None:
    """Older versions and previews by their number; what is not there is told with what is."""
    async with hub(manifest, "a@1.2.0", "a@1.10.0", "a@2.0.0-rc.1", "b@1.0.0") as made:
        assert (await made.ask("a")).pack == "a@1.10.0"
        assert (await made.ask("a", "1.2.0")).pack == "a@1.2.0"
        with pytest.raises(ModelUnknownError, match=r"there is 1\.2\.0, 1\.10\.0, 2\.0\.0-rc\.1"):
            await made.ask("a", "3.0.0")
        with pytest.raises(ModelUnknownError, match="there is a, b"):
            await made.ask("nobody")
        described = await made.serving.describe("a")
        assert (described.version, described.versions) == ("1.10.0", ("1.2.0", "1.10.0", "2.0.0-rc.1"))
        assert described is made.serving.resolve("a")
        assert [entry.state for entry in await made.serving.index()] == [ModelState.READY] * 4


@in_loop
async def test_a_newer_version_answers_once_it_is_warm_and_not_before(manifest: PackManifest) -> None:
    """While it loads the older one answers; one that does not load changes nothing; nothing fails meanwhile."""
    async with hub(manifest, "a@1.0.0") as made:
        made.source.publish("a@2.0.0", label=2)
        assert (await made.ask("a")).pack == "a@1.0.0"
        made.source.broken.add("a@2.0.0")
        await made.serving.keep_up()
        assert (await made.ask("a")).pack == "a@1.0.0"
        made.source.publish("a@3.0.0", label=2)
        swapping = asyncio.create_task(made.serving.keep_up())
        said = set()
        while not swapping.done():
            said.add((await made.ask("a")).pack)
            await asyncio.sleep(0)
        assert said <= {"a@1.0.0", "a@3.0.0"}
        assert (await made.ask("a")).pack == "a@3.0.0"
        assert (await made.ask("a", "1.0.0")).pack == "a@1.0.0"


@in_loop
async def test_what_was_not_published_at_the_start_is_found_when_it_is_asked_for(manifest: PackManifest) -> None:
    """No restart, and no wait for the next look."""
    async with hub(manifest) as made:
        with pytest.raises(ModelUnknownError, match="there is nothing yet"):
            await made.ask("a")
        made.source.publish("a@1.0.0")
        assert (await made.ask("a")).pack == "a@1.0.0"


@in_loop
async def test_a_pack_that_does_not_load_is_tried_seldom(manifest: PackManifest) -> None:
    """Its failure is told again without opening it again; by hand it is tried at once."""
    async with hub(manifest, "a@1.0.0") as made:
        made.source.publish("b@1.0.0")
        made.source.broken.add("b@1.0.0")
        for _ in range(3):
            with pytest.raises(PackUnavailableError, match="graph is damaged"):
                await made.ask("b")
        assert made.source.opened.count("b@1.0.0") == 1
        (broken,) = [entry for entry in await made.serving.index() if entry.name == "b"]
        assert (broken.state, "graph is damaged" in broken.reason) == (ModelState.UNAVAILABLE, True)
        made.source.broken.clear()
        await made.serving.load("b")
        assert (await made.ask("b")).pack == "b@1.0.0"


@in_loop
async def test_a_member_that_is_full_leaves_nothing_with_the_others(manifest: PackManifest) -> None:
    """The ensemble is refused as a whole: what its other members were asked is taken back before it runs."""
    ensembles = {"both": Ensemble(Rule.MEAN, Route.of({"a@1.0.0": 1.0, "b@1.0.0": 1.0}).targets)}
    loading = replace(told_terms(inline_below_ms=0.0).loading, bounds=Bounds(1000, 1))
    async with hub(manifest, "a@1.0.0", "b@1.0.0", ensembles=ensembles, loading=loading) as made:
        sessions = [made.source.sessions[pack] for pack in ("a@1.0.0", "b@1.0.0")]
        for session in sessions:
            session.is_held = True
        running = [asyncio.create_task(made.ask(name)) for name in ("a", "b")]
        for session in sessions:
            await asyncio.to_thread(session.held.wait, 30.0)
        waiting = asyncio.create_task(made.ask("b"))
        await turn_loop()
        with pytest.raises(ServingFullError, match=r"b@1\.0\.0"):
            await made.ask("both")
        free = asyncio.create_task(made.ask("a"))
        await turn_loop()
        for session in sessions:
            session.is_held = False
            session.released.set()
        assert len(await asyncio.gather(*running, waiting, free)) == 4


@in_loop
async def test_the_least_recently_asked_leaves_for_want_of_memory_and_comes_back(manifest: PackManifest) -> None:
    """Room for two: asking for a third unloads the idlest, never the pinned one; the name keeps its version."""
    async with hub(manifest, "a@1.0.0", "b@1.0.0", "c@1.0.0", memory_bytes=250, pinned=("b",)) as made:
        assert made.ready() == ["a@1.0.0", "b@1.0.0"]
        held = made.serving.resolve("a")
        assert held is not None
        assert (await made.ask("c")).pack == "c@1.0.0"
        assert made.ready() == ["b@1.0.0", "c@1.0.0"]
        assert not made.serving.is_ready("a")
        said = await made.serving.infer(held, {"window": window(4.0)}, caller=PRESS)
        assert (said.pack, made.ready()) == ("a@1.0.0", ["a@1.0.0", "b@1.0.0"])


@in_loop
async def test_without_room_beside_what_is_pinned_a_model_is_refused_for_now(manifest: PackManifest) -> None:
    """The caller is told to come again; what is loaded stays."""
    async with hub(manifest, "a@1.0.0", "b@1.0.0", memory_bytes=150, pinned=("a@1.0.0",)) as made:
        with pytest.raises(ServingFullError, match="no memory"):
            await made.ask("b")
        assert made.ready() == ["a@1.0.0"]


@in_loop
async def test_an_older_version_that_is_loaded_later_does_not_take_the_name(manifest: PackManifest) -> None:
    """Room for one: the name stands for the newest also while that one is not loaded."""
    async with hub(manifest, "a@1.0.0", "a@2.0.0", memory_bytes=150) as made:
        assert made.ready() == ["a@2.0.0"]
        assert (await made.ask("a", "1.0.0")).pack == "a@1.0.0"
        assert (await made.ask("a")).pack == "a@2.0.0"


@in_loop
async def test_a_newest_version_that_is_broken_at_the_start_leaves_the_name_to_the_one_before(
    manifest: PackManifest, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, however often it is looked at; mended, it takes the name."""
    source = ToldSource(manifest)
    source.publish("a@1.0.0", "a@2.0.0")
    source.broken.add("a@2.0.0")
    made = Hub(source, told_terms())
    await made.serving.open()
    assert (await made.ask("a")).pack == "a@1.0.0"
    for _ in range(3):
        await made.serving.keep_up()
    assert [one.message for one in caplog.records if one.levelname == "WARNING"] == [
        "pack_unavailable",
        "newer_version_not_taken",
    ]
    source.broken.clear()
    await made.serving.load("a", "2.0.0")
    await made.serving.keep_up()
    assert (await made.ask("a")).pack == "a@2.0.0"
    await made.serving.close()


@in_loop
async def test_an_unload_never_cuts_a_run(manifest: PackManifest) -> None:
    """What was let in is answered; after that the session is closed, and only a load by hand brings it back."""
    async with hub(manifest, "a@1.0.0", inline_below_ms=0.0) as made:
        session = made.source.sessions["a@1.0.0"]
        session.is_held = True
        asked = [asyncio.create_task(made.ask("a")) for _ in range(3)]
        await asyncio.to_thread(session.held.wait, 30.0)
        unloading = asyncio.create_task(made.serving.unload("a"))
        await turn_loop()
        assert not made.serving.is_ready("a")
        assert not session.is_closed
        with pytest.raises(ModelUnloadedError):
            await made.ask("a")
        session.released.set()
        assert [one.pack for one in await asyncio.gather(*asked)] == ["a@1.0.0"] * 3
        await unloading
        assert made.ready() == []
        await made.serving.keep_up()
        with pytest.raises(ModelUnloadedError):
            await made.ask("a")
        await made.serving.load("a")
        assert (await made.ask("a")).pack == "a@1.0.0"


@in_loop
async def test_a_cancelled_request_leaves_the_queue(manifest: PackManifest) -> None:
    """Its caller has gone before its run: the engine never sees it, its neighbour is answered."""
    async with hub(manifest, "a@1.0.0", inline_below_ms=0.0) as made:
        session = made.source.sessions["a@1.0.0"]
        session.batches.clear()
        session.is_held = True
        first = asyncio.create_task(made.ask("a"))
        await asyncio.to_thread(session.held.wait, 30.0)
        gone, other = asyncio.create_task(made.ask("a")), asyncio.create_task(made.ask("a"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        session.released.set()
        await asyncio.gather(first, other)
        assert session.batches == [1, 1]


@in_loop
async def test_a_route_shares_a_name_by_the_requests_key(manifest: PackManifest) -> None:
    """One key, one pack; a version given beside the route's name is a pack's own."""
    route = Route.of({"a@1.0.0": 1.0, "a@2.0.0": 1.0})
    async with hub(manifest, "a@1.0.0", "a@2.0.0", routes={"canary": route}) as made:
        for key in ("one", "two", "three", "four"):
            found = await made.serving.find("canary", "", key)
            assert found is made.serving.resolve("canary", "", key)
            assert found.manifest.ref == route.choose(key)
        with pytest.raises(ModelUnknownError):
            await made.serving.find("canary", "1.0.0")


BOTH = Ensemble(Rule.MEAN, Route.of({"a@1.0.0": 1.0, "b@1.0.0": 1.0}).targets)


@in_loop
async def test_an_ensemble_answers_with_what_its_members_say_together(manifest: PackManifest) -> None:
    """Both run once; the answer names both as members, is their mean, and is counted."""
    async with hub(manifest, "a@1.0.0", ensembles={"both": BOTH}) as made:
        made.source.publish("b@1.0.0", label=2)
        assert not made.serving.is_ready("both")
        said = await made.ask("both", height=4.0, is_scored=True)
        assert said.outputs["logits"].tolist() == [[0.0, 2.0, 2.0]]
        assert [(use.pack, use.role) for use in said.models] == [("a@1.0.0", Role.MEMBER), ("b@1.0.0", Role.MEMBER)]
        assert said.scored is not None
        output = said.scored[0].output
        assert isinstance(output, Classification)
        assert output.scores["moving"] == pytest.approx(output.scores["broken"])
        assert sum(output.scores.values()) == pytest.approx(1.0)
        assert made.serving.is_ready("both")
        (counted,) = made.serving.statistics("both")
        assert (counted.success.count, counted.queue.count, counted.execution_count) == (1, 1, 1)
        (entry,) = [entry for entry in await made.serving.index() if entry.name == "both"]
        assert (entry.version, entry.state) == ("1.0.0", ModelState.READY)


@in_loop
async def test_an_ensemble_fails_with_a_member(manifest: PackManifest) -> None:
    """A member that is unloaded, or was never published, is named; a version that it has not is unknown."""
    async with hub(manifest, "a@1.0.0", ensembles={"both": BOTH}) as made:
        with pytest.raises(ModelUnknownError, match="'b'"):
            await made.ask("both")
        made.source.publish("b@1.0.0")
        with pytest.raises(ModelUnknownError, match="version 1"):
            await made.ask("both", "7.0.0")
        await made.ask("both")
        await made.serving.unload("b")
        with pytest.raises(ModelUnloadedError, match="b@1"):
            await made.ask("both")
        with pytest.raises(ModelUnknownError, match="unload its members"):
            await made.serving.unload("both")


@in_loop
async def test_members_that_find_no_room_together_are_refused_with_the_budget(manifest: PackManifest) -> None:
    """Each would leave for the next at every request; what is pinned beside them counts, too."""
    async with hub(manifest, "a@1.0.0", "b@1.0.0", memory_bytes=150, ensembles={"both": BOTH}) as made:
        loads = made.source.opened.copy()
        with pytest.raises(PackUnavailableError, match=r"200 bytes together, and .*memory_bytes is 150; raise it"):
            await made.ask("both")
        assert made.source.opened == loads
        assert (await made.ask("a")).pack == "a@1.0.0"
        assert (await made.ask("b")).pack == "b@1.0.0"
    async with hub(
        manifest, "a@1.0.0", "b@1.0.0", "c@1.0.0", memory_bytes=250, pinned=("c",), ensembles={"both": BOTH}
    ) as made:
        with pytest.raises(PackUnavailableError, match="beside 100 bytes of pinned packs"):
            await made.ask("both")


@in_loop
async def test_a_pinned_version_that_is_not_loaded_takes_no_room_from_an_ensemble(manifest: PackManifest) -> None:
    """An operator who unloads the old version of a pinned name by hand does so for the room."""
    packs = ("a@1.0.0", "b@1.0.0", "c@1.0.0", "c@2.0.0")
    async with hub(manifest, *packs, memory_bytes=300, pinned=("c",), ensembles={"both": BOTH}) as made:
        with pytest.raises(PackUnavailableError, match="beside 200 bytes of pinned packs"):
            await made.ask("both")
        await made.serving.unload("c", "1.0.0")
        assert (await made.ask("both")).pack == "both"
        assert made.serving.is_ready("c", "2.0.0")


@in_loop
async def test_a_member_never_leaves_for_another(manifest: PackManifest) -> None:
    """Also not where everything else is busy: a busy model leaves when it has answered."""
    async with hub(manifest, "c@1.0.0", memory_bytes=250, ensembles={"both": BOTH}, inline_below_ms=0.0) as made:
        made.source.publish("a@1.0.0", "b@1.0.0")
        await made.ask("a")
        busy = made.source.sessions["c@1.0.0"]
        busy.is_held = True
        running = asyncio.create_task(made.ask("c"))
        await asyncio.to_thread(busy.held.wait, 30.0)
        asked = asyncio.create_task(made.ask("both"))
        async with asyncio.timeout(30.0):
            while made.serving.is_ready("a") and made.serving.is_ready("c"):
                await turn_loop()
        assert made.serving.is_ready("a")
        busy.is_held = False
        busy.released.set()
        assert (await running).pack == "c@1.0.0"
        assert (await asked).pack == "both"
        assert made.ready() == ["a@1.0.0", "b@1.0.0"]


@in_loop
async def test_ensembles_that_share_a_member_make_room_for_each_other(manifest: PackManifest) -> None:
    """Each finds room, all members at once do not: nobody is refused for the other's sake."""
    ensembles = {
        f"{one}c": Ensemble(Rule.MEAN, Route.of({f"{one}@1.0.0": 1.0, "c@1.0.0": 1.0}).targets) for one in ("a", "b")
    }
    packs = ("a@1.0.0", "b@1.0.0", "c@1.0.0")
    async with hub(manifest, *packs, memory_bytes=250, ensembles=ensembles) as made:
        assert made.ready() == ["a@1.0.0", "b@1.0.0"]
        for name in ("ac", "bc", "bc", "ac"):
            assert (await made.ask(name)).pack == name


@in_loop
async def test_equal_inputs_are_answered_from_what_was_said_where_that_is_switched_on(manifest: PackManifest) -> None:
    """No second run, the same outputs and confidence; another input and another version do run."""
    async with hub(manifest, "a@1.0.0", "b@1.0.0", cached=("a",)) as made:
        first, second = await made.ask("a", is_scored=True), await made.ask("a", is_scored=True)
        assert (first.is_cached, second.is_cached) == (False, True)
        assert second.outputs["logits"].tolist() == first.outputs["logits"].tolist()
        assert second.scored == first.scored
        assert (second.compute_ns, second.pack) == (0, "a@1.0.0")
        assert not (await made.ask("a", height=5.0)).is_cached
        made.source.publish("a@2.0.0", label=2)
        await made.serving.keep_up()
        assert not (await made.ask("a")).is_cached
        assert [(await made.ask("b")).is_cached for _ in range(2)] == [False, False]
        counted = made.serving.statistics("a", "1.0.0")[0]
        assert (counted.cache_hit.count, counted.cache_miss.count) == (1, 2)


@in_loop
async def test_costs_are_written_down_by_caller_and_pack(manifest: PackManifest) -> None:
    """What was done since the last time, once; what could not be written comes with the next; metrics agree."""
    async with hub(manifest, "a@1.0.0") as made:
        await made.ask("a")
        made.costs.is_broken = True
        with pytest.raises(StorageError):
            await made.serving.keep_up()
        made.costs.is_broken = False
        await made.ask("a")
        await made.serving.keep_up()
        await made.serving.keep_up()
        ((day, costs),) = made.costs.written
        assert (day, list(costs)) == (3, [CostKey("plant", "press", "a@1.0.0")])
        (cost,) = costs.values()
        assert (cost.requests, cost.windows, cost.input_bytes) == (2, 2, 80)
        shown = made.registry.expose().decode()
        assert 'hub_pack_requests_total{pack="a@1.0.0"} 2.0' in shown
        assert "hub_models_loaded 1.0" in shown


@in_loop
async def test_a_caller_who_goes_ends_no_load(manifest: PackManifest) -> None:
    """Loading takes longer than a caller waits: what it began is there for the next."""
    async with hub(manifest) as made:
        made.source.publish("a@1.0.0")
        begun, may_end, opened = threading.Event(), threading.Event(), made.source.open

        def slowly(ref: PackRef) -> OpenedPack:
            begun.set()
            may_end.wait(30.0)
            return opened(ref)

        made.source.open = slowly  # type: ignore[method-assign]  # a source that takes long
        goes = asyncio.create_task(made.ask("a"))
        await asyncio.to_thread(begun.wait, 30.0)
        goes.cancel()
        await asyncio.gather(goes, return_exceptions=True)
        may_end.set()
        assert (await made.ask("a")).pack == "a@1.0.0"
        assert made.source.opened == ["a@1.0.0"]


@in_loop
async def test_a_caller_who_goes_refuses_nobody_of_the_model_that_leaves_for_it(manifest: PackManifest) -> None:
    """What waits for the model that makes room is answered, and its session is closed after its last run."""
    async with hub(manifest, "a@1.0.0", inline_below_ms=0.0, memory_bytes=150) as made:
        made.source.publish("b@1.0.0")
        session = made.source.sessions["a@1.0.0"]
        session.is_held = True
        runs = asyncio.create_task(made.ask("a"))
        await asyncio.to_thread(session.held.wait, 30.0)
        waits = asyncio.create_task(made.ask("a"))
        goes = asyncio.create_task(made.ask("b"))
        for _ in range(20):
            await asyncio.sleep(0)
        goes.cancel()
        await asyncio.gather(goes, return_exceptions=True)
        session.is_held = False
        assert not session.is_closed
        session.released.set()
        assert [(await one).pack for one in (runs, waits)] == ["a@1.0.0"] * 2
