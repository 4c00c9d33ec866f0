"""Texts that devices and people bring stay text: names, labels, notes and problems with markup do nothing."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.delivery import ItemKey, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import LabelGiven
from cloud_hub.ports import Delivered
from model_packs.outputs import Classification
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import ItemClass, PredictionId, StoreId
from protos.messages.fleet import BindingReport, Heartbeat, InstallPhase, SlotReport, SlotState
from protos.messages.inference import ModelUse
from tests.simulators.chromium import NARROW, WIDE, window
from tests.simulators.console_hub import ConsoleHub, console_hub
from tests.simulators.seeded_hub import HOSTILE

DEVICE = DeviceKey("default", "lyon", "<img src=x onerror=alert(1)>")
PREDICTION = PredictionId("hostile")
ATTACK = '"><img src=x onerror=alert(2)><script>alert(3)</script>{{7007*7}}${7007*7}'
TRACES = "main img[src=x], main script, [onerror], [onload], iframe, object, embed"


@pytest.fixture
def hostile_hub(browser: Browser, tmp_path: Path) -> Iterator[ConsoleHub]:
    """A hub whose device, as no certificate could name it, says nothing but attacks."""
    assert browser.is_connected()
    with ThreadPoolExecutor(1) as threads:
        hub = threads.submit(console_hub, tmp_path).result()
        threads.submit(lambda: asyncio.run(attacked(hub))).result()
    hub.start()
    yield hub
    hub.process.kill()


async def attacked(hub: ConsoleHub) -> None:
    """Store what a hostile device and a hostile person would send, past the checks at the hub's rim."""
    store = SqlStore(database.make_engine(hub.config.database), time.time_ns)
    await store.open()
    try:
        await store.register_local(DEVICE, time.time_ns())
        use = ModelUse(ATTACK, "sha256:" + "0" * 64)
        slot = SlotReport(
            ATTACK, ATTACK, use.digest, SlotState.TRIAL, HOSTILE, is_pinned=False, phase=InstallPhase.BAKING
        )
        reported = BindingReport(ATTACK, use, 10, 5, 5, HOSTILE)
        beat = Heartbeat(1, 1, "degraded", (ATTACK, HOSTILE), 1, 1, None, (reported,), slots=(slot,))
        await store.save_heartbeat(DEVICE, beat, time.time_ns())
        known, prediction = hub.seeded.cases[0]
        seeded = await store.case(known, prediction)
        assert seeded is not None
        assert seeded.escalation is not None
        labels = {ATTACK: 0.6, HOSTILE: 0.4}
        asked = replace(
            seeded.escalation,
            prediction_id=PREDICTION,
            binding=ATTACK,
            partition=HOSTILE,
            edge_model=use,
            hub_pack=HOSTILE,
            edge_output=Classification(ATTACK, labels),
        )
        key = ItemKey(StoreId("store-hostile"), ItemClass.ESCALATION, 1)
        question = Question(PREDICTION, asked.input_digest)
        item = Delivered(key, question, asked.hub_pack, escalation_to_bytes(asked), asked)
        await store.apply(DEVICE, (item,), time.time_ns())
        await store.label(LabelGiven(DEVICE, PREDICTION, None, "lena", ATTACK, time.time_ns()))
        await store.label(LabelGiven(DEVICE, PREDICTION, ATTACK, HOSTILE, HOSTILE, time.time_ns()))
    finally:
        await store.close()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_hostile_texts_stay_text(browser: Browser, hostile_hub: ConsoleHub, size: tuple[int, int]) -> None:
    """No script of theirs runs, no element of theirs is made, no template is filled in, no page is torn open."""
    with window(browser, hostile_hub.origin, size) as seen:
        seen.sign_in("olaf", hostile_hub.password)
        device = "/devices/lyon/%3Cimg%20src=x%20onerror=alert(1)%3E"
        for path in ("/", device, "/escalations", device.replace("devices", "escalations") + "/hostile", "/review"):
            seen.go(path)
            seen.wait_until_live()
            assert seen.page.get_attribute("body", "data-page") != "problem", path
            assert seen.page.locator(TRACES).count() == 0, path
            assert seen.overflow_px() <= 0, path
            text = seen.page.inner_text("main")
            assert "49049" not in text, path
            if path != "/review":
                assert "<img src=x onerror=alert(" in text, path
        seen.assert_clean()
