"""Recovery: a threshold from the field's own windows, signed for one device, or an honest no."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.adapters.shelf import StoredPackShelf
from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.delivery import ItemKey, Question
from cloud_hub.core.monitoring.field_rows import Judged
from cloud_hub.core.monitoring.promises import promise_in
from cloud_hub.core.monitoring.response import Rules
from cloud_hub.errors import AssignmentError, DeviceAbsentError
from cloud_hub.ports import Delivered
from cloud_hub.recertifying import Recertified, Wish, recertify, shuffled
from model_packs.certificate.document import Certificate
from model_packs.signing import SiteKey, generate_site_key
from model_packs.store import PackStore
from protos.codec.escalation import escalation_to_bytes
from protos.link.signed_policy import PolicyPlace, check_signed
from protos.messages.escalation import ItemClass, StoreId
from protos.messages.fleet import BindingReport, Heartbeat, PolicyMode, PolicyReport, PolicyState
from protos.messages.inference import ModelUse
from tests.simulators.hubs import EDGE_PACK, HUB_PACK, layout
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.escalations import PRESS, SAW, escalation

NOW_NS = 1_700_000_000_000_000_000
WISH = Wish(PRESS, "band", None, None, None, "ada", NOW_NS)


class Field:
    """A hub whose device runs the shipped student, and windows of its field."""

    def __init__(self, folder: Path, store: SqlStore, packs: PackStore, key: SiteKey) -> None:
        self.store, self.packs, self.key = store, packs, key
        self._folder = folder
        (self.digest,) = [one.digest for one in packs.list() if str(one.ref) == EDGE_PACK]

    async def report(self, pack: str = EDGE_PACK) -> None:
        """Let the device say what it runs."""
        reports = (BindingReport("band", ModelUse(pack, self.digest), 0, 0, 0, "void"),)
        await self.store.save_heartbeat(PRESS, Heartbeat(1, 1, "ok", (), 0, 0, None, reports), 5)

    async def gather(self, count: int, *, wrong_below: float = 0.0) -> None:
        """Let windows come in, scores spread from 0 to 1; people label all, those of low scores otherwise."""
        model = ModelUse(EDGE_PACK, self.digest)
        items = []
        for n in range(count):
            one = replace(escalation(f"p{n}"), edge_model=model, confidence=(n * 37 % count) / count)
            place = ItemKey(StoreId("s"), ItemClass.ESCALATION, n + 1)
            question = Question(one.prediction_id, one.input_digest)
            items.append(Delivered(place, question, one.hub_pack, escalation_to_bytes(one), one))
        await self.store.apply(PRESS, items, 10)
        self.sql("UPDATE case_record SET human_label = edge_label")
        self.sql("UPDATE case_record SET human_label = 'x' WHERE edge_confidence < ?", wrong_below)

    def sql(self, statement: str, *values: float) -> None:
        """Change rows beside the store."""
        with contextlib.closing(sqlite3.connect(self._folder / "hub.db")) as connection:
            connection.execute(statement, values)
            connection.commit()

    async def recertify(self, wish: Wish = WISH) -> Recertified:
        """Do it."""
        return await recertify(self.store, self.store.policies, StoredPackShelf(self.packs), self.key, wish)


@contextlib.asynccontextmanager
async def a_field(folder: Path) -> AsyncIterator[Field]:
    """A hub with the shipped packs."""
    packs = PackStore(folder / "packs")
    packs.open()
    for pack in (EDGE_PACK, HUB_PACK):
        packs.import_layout(layout(pack))
    store = SqlStore(
        database.make_engine(f"sqlite+aiosqlite:///{folder / 'hub.db'}"), lambda: 1, rules=Rules(people_share=1.0)
    )
    await store.upgrade()
    await store.open()
    try:
        await store.register_local(PRESS, 1)
        yield Field(folder, store, packs, generate_site_key(folder / "site.key"))
    finally:
        await store.close()


@in_loop
async def test_a_field_that_holds_gives_a_signed_threshold(tmp_path: Path) -> None:
    """The policy is for this device, binding and pack, and its certificate supports its threshold."""
    async with a_field(tmp_path) as field:
        await field.report()
        await field.gather(400, wrong_below=0.3)
        found = await field.recertify()
        assert found.desire is not None
        policy = found.desire.policy
        assert (policy.version, policy.mode, policy.pack_digest) == (1, PolicyMode.SERVE, field.digest)
        check_signed(PolicyPlace("o", "s", "press-07", "band"), policy, (field.key.public,))
        certificate = Certificate.from_json(policy.certificate)
        assert certificate.recompute().holds
        assert certificate.threshold == policy.threshold
        assert certificate.threshold is not None
        assert 0.25 < certificate.threshold < 0.6
        assert "press-07" in certificate.population
        assert (certificate.score, certificate.reference) == ("max_probability", "labels")
        promise = promise_in(policy.certificate)
        assert promise is not None
        assert promise.certificate == certificate.digest
        twin = await field.store.desired(PRESS)
        assert twin == found.twin


@in_loop
async def test_that_no_threshold_qualifies_changes_nothing(tmp_path: Path) -> None:
    """An honest outcome: the twin stays as it is."""
    async with a_field(tmp_path) as field:
        await field.report()
        await field.gather(300, wrong_below=1.0)
        found = await field.recertify()
        assert (found.certificate, found.desire, found.twin) == (None, None, None)
        assert found.n_rows == 300
        assert await field.store.desired(PRESS) is None


@in_loop
async def test_escalations_alone_are_no_sample_where_windows_are_kept(tmp_path: Path) -> None:
    """Of 400 escalated windows one in twenty stands for the traffic, though no audit was drawn so far."""
    async with a_field(tmp_path) as field:
        model = ModelUse(EDGE_PACK, field.digest)
        policy = PolicyReport("band", 0, EDGE_PACK, field.digest, 4000, 3600, 400, 0, 0, 0.05, 0.9, PolicyState.ACTIVE)
        bindings = (BindingReport("band", model, 0, 0, 0, "void"),)
        beat = replace(Heartbeat(1, 1, "ok", (), 0, 0, None, bindings), policies=(policy,))
        await field.store.save_heartbeat(PRESS, beat, 5)
        await field.gather(400)
        with pytest.raises(AssignmentError, match="collect at least 155"):
            await field.recertify()


@in_loop
async def test_what_nobody_has_judged_counts_as_wrong(tmp_path: Path) -> None:
    """Leaving it out would let people choose what a certificate rests on."""
    async with a_field(tmp_path) as field:
        await field.report()
        await field.gather(300)
        field.sql("UPDATE case_record SET human_label = NULL WHERE case_id % 2 = 0")
        found = await field.recertify()
        assert (found.n_missing, found.certificate) == (150, None)


@in_loop
async def test_too_few_windows_say_how_many_would_do(tmp_path: Path) -> None:
    """And rows from before the time that was asked for do not count."""
    async with a_field(tmp_path) as field:
        await field.report()
        await field.gather(20)
        with pytest.raises(AssignmentError, match="collect at least 155"):
            await field.recertify()
        with pytest.raises(AssignmentError, match="there are no scores"):
            await field.recertify(replace(WISH, since_ns=11))


@in_loop
async def test_another_target_is_another_certificate(tmp_path: Path) -> None:
    """The person chooses; what is no share is refused."""
    async with a_field(tmp_path) as field:
        await field.report()
        await field.gather(400, wrong_below=0.3)
        found = await field.recertify(replace(WISH, target=0.2, delta=0.1))
        assert found.certificate is not None
        assert (found.certificate.target, found.certificate.delta) == (0.2, 0.1)
        with pytest.raises(AssignmentError, match="strictly between 0 and 1"):
            await field.recertify(replace(WISH, target=1.5))


@in_loop
async def test_what_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    """An unknown device, a binding that it does not report, a pack that is not here or promises nothing."""
    async with a_field(tmp_path) as field:
        with pytest.raises(DeviceAbsentError):
            await field.recertify(replace(WISH, device=SAW))
        with pytest.raises(AssignmentError, match="no binding 'band': choose one of: none"):
            await field.recertify()
        for pack, why in (
            ("elsewhere@1.0.0", "not published here"),
            ("no pack", "runs 'no pack'"),
            (HUB_PACK, "no certificate"),
        ):
            await field.report(pack)
            with pytest.raises(AssignmentError, match=why):
                await field.recertify()


def rows_of(count: int, days: int) -> Judged:
    """Windows in order of time, spread over days; the scores say nothing."""
    return Judged(
        confidence=np.linspace(0.0, 1.0, count),
        is_right=np.arange(count) % 50 > 0,
        inclusion=np.ones(count),
        day=np.arange(count, dtype=np.int64) * days // count,
        ids=tuple(f"p{n}" for n in range(count)),
        n_missing=0,
    )


def test_windows_are_drawn_from_the_whole_time() -> None:
    """The same rows come in the same order, which is not that of time, and none is lost; other rows in another."""
    rows = rows_of(400, 8)
    drawn, again = shuffled(rows, "row"), shuffled(rows, "row")
    assert drawn.ids == again.ids
    assert sorted(drawn.ids) == sorted(rows.ids)
    assert len(set(drawn.day[:120].tolist())) == 8
    assert [rows.ids[int(score * 399 + 0.5)] for score in drawn.confidence] == list(drawn.ids)
    assert shuffled(replace(rows, is_right=~rows.is_right), "row").ids != drawn.ids


def test_whole_days_are_drawn_each_in_its_own_order() -> None:
    """Of a day the first rows count, so its windows stay in the order of time."""
    drawn = shuffled(rows_of(400, 8), "cluster")
    days = drawn.day.tolist()
    assert list(dict.fromkeys(days)) != sorted(set(days))
    assert [days[place] for place in range(0, 400, 50)] == list(dict.fromkeys(days))
    assert all(np.diff(drawn.confidence[drawn.day == day]).min() > 0 for day in range(8))


@in_loop
async def test_a_field_may_be_certified_by_whole_days(tmp_path: Path) -> None:
    """One day is too few, and the refusal counts days; by windows the certificate states the seed of the draw."""
    async with a_field(tmp_path) as field:
        await field.report()
        await field.gather(400, wrong_below=0.3)
        with pytest.raises(AssignmentError, match="calibration clusters cannot show"):
            await field.recertify(replace(WISH, unit="cluster"))
        found = await field.recertify()
        assert found.certificate is not None
        seed = int(found.certificate.dataset_digest.removeprefix("sha256:")[:16], 16)
        assert f"drawn by seed {seed}" in found.certificate.assumption
