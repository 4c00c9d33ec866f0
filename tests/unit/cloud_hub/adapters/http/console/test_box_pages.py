"""Boxes in the console: listed, drawn over the picture, and confirmed or denied, but never written."""

import re
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np

from cloud_hub.adapters.http.console.console import Console
from cloud_hub.core.delivery import ItemKey, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.ports import Answer, Delivered
from model_packs.boxes import Box
from model_packs.outputs import NOTHING_FOUND, Detection
from model_packs.pack_spec import ImageEntry, TensorEntry
from model_packs.signing import generate_site_key
from model_packs.store import PackStore
from model_packs.tensors import Tensor
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import ItemClass, StoreId
from protos.messages.inference import ModelUse, Tier
from tests.simulators.detector_packs import CHOSEN, build_detector
from tests.simulators.loops import in_loop
from tests.unit.cloud_hub.adapters.http.hub_web import HubWeb, hub_web
from tests.unit.cloud_hub.escalations import escalation

DEVICE = DeviceKey("default", "lyon", "press-07")
CASE = "/escalations/lyon/press-07/p1"
HOSTILE = "<script>x</script>"
EDGE = Detection((Box("bolt", 0.75, 0.0, 1.0, 3.0, 3.0), Box(HOSTILE, 0.5, 4.0, 0.0, 90.0, 2.0)), "pixels", 0.5)
HUB = Detection((Box("nut", 0.875, 1.0, 1.0, 3.0, 3.0),), "pixels", 0.5)


def publish(folder: Path) -> None:
    """A pack that tells boxes in pictures of 8 x 4, signed as the hub does; nothing runs it here."""
    packs = PackStore(folder / "packs")
    packs.open()
    image = TensorEntry(name="image", datatype="UINT8", shape=(-1, 4, 8))
    build_detector(folder, replace(CHOSEN, inputs=(image,), window=None, image=ImageEntry(height=4, width=8)))
    packs.sign(packs.import_layout(folder / "layout"), generate_site_key(folder / "site.key"))


async def ask(hub: HubWeb) -> None:
    """A picture that the edge found two boxes in, and the hub one."""
    picture = Tensor.from_array("image", np.zeros((1, 4, 8), np.uint8))
    asked = replace(escalation("p1", edge=EDGE, hub_pack="bolts-hub@1.0.0"), inputs=(picture,))
    question = Question(asked.prediction_id, asked.input_digest)
    place = ItemKey(StoreId("store"), ItemClass.ESCALATION, 1)
    item = Delivered(place, question, asked.hub_pack, escalation_to_bytes(asked), asked)
    await hub.store.apply(DEVICE, (item,), hub.clock.ns())
    (waiting,) = await hub.store.waiting(1)
    use = ModelUse("bolts-hub@1.0.0", "sha256:" + "2" * 64)
    await hub.store.answer([Answer(waiting, Tier.HUB, HUB, None, 0.875, (use,), hub.clock.ns(), 1.0)])


async def text_of(client: httpx.AsyncClient, path: str) -> str:
    """A page that is there."""
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text[:300]
    return answer.text


@in_loop
async def test_boxes_are_listed_and_drawn_over_the_picture(tmp_path: Path) -> None:
    """Each tier's in its colour, cut off at the edge of the picture; a hostile label stays text."""
    publish(tmp_path)
    async with hub_web(tmp_path, Console) as hub, aclosing(await hub.signed_in("lena")) as lena:
        await ask(hub)
        page = await text_of(lena, CASE)
        assert re.findall(r'<tr data-box="(\w+)">', page) == ["edge", "edge", "hub"]
        assert '<svg viewBox="0 0 8 4"' in page
        assert '<rect class="edge" x="0.00" y="1.00" width="3.00" height="2.00"><title>bolt 0.75</title></rect>' in page
        assert '<rect class="edge" x="4.00" y="0.00" width="4.00" height="2.00">' in page
        assert '<rect class="hub" x="1.00" y="1.00" width="2.00" height="2.00">' in page
        assert "<script>x" not in page
        assert "hub disagrees" in page
        assert '<rect class="hub"' in await text_of(lena, "/review")


@in_loop
async def test_boxes_are_confirmed_or_denied_with_a_key(tmp_path: Path) -> None:
    """What edge and hub told and that there is nothing; the names of single boxes are no answers to a picture."""
    publish(tmp_path)
    async with hub_web(tmp_path, Console) as hub, aclosing(await hub.signed_in("lena")) as lena:
        await ask(hub)
        page = await text_of(lena, CASE)
        offered = re.findall(r'name="label" value="([^"]+)"', page)
        assert offered[1:] == [HUB.told, NOTHING_FOUND]
        assert offered[0].startswith("1 bolt, 1 &lt;script&gt;")
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        assert csrf is not None
        fields = {"csrf": csrf[1], "device": "lyon/press-07", "prediction_id": "p1", "back": "case"}
        refused = await lena.post("/review", data={**fields, "label": "bolt"})
        assert refused.status_code == 400
        given = await lena.post("/review", data={**fields, "label": HUB.told})
        assert given.status_code == 303
        after = await text_of(lena, CASE)
        assert re.findall(r'<tr data-box="(\w+)">', after) == ["edge", "edge", "hub", "human"]
        assert "hub was right" in after
        denied = await lena.post("/review", data={**fields, "label": NOTHING_FOUND})
        assert denied.status_code == 303
        assert '<tr data-box="human"><td><span class="human">Human</span></td><td colspan="6"' in await text_of(
            lena, CASE
        )
