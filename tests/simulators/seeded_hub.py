"""Owns a hub with a past: devices, reports, escalations, verdicts, labels and refused packs, put in through its ports.

Everything is stored by the same calls that the hub's own services make, with times that lie behind, so that pages have
something true to draw. Run it to get a folder to look at: `python -m tests.simulators.seeded_hub FOLDER`.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.core.delivery import ItemKey, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import LabelGiven
from cloud_hub.core.tokens import Token, secret_digest
from cloud_hub.ports import Answer, Delivered, Enrolment, IssuedCertificate, WaitingItem
from model_packs.manifest import PackRef
from model_packs.outputs import Classification
from model_packs.pack import Pack
from model_packs.store import PackStore
from model_packs.tensors import Tensor
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import Escalation, ItemClass, PredictionId, Reason, StoreId
from protos.messages.fleet import (
    BindingReport,
    DesiredSlot,
    DeviceHello,
    FailureAction,
    Heartbeat,
    InstallPhase,
    PackFailure,
    SlotReport,
    SlotState,
)
from protos.messages.inference import ModelUse, Tier
from tests.simulators.hubs import HubSite

ORG, SITE = "default", "lyon"
MOTION_V1, MOTION_V2, MOTION_HUB = "motion-band-edge@1.0.0", "motion-band-edge@2.0.0", "motion-band-hub@1.0.0"
DIGITS, DIGITS_HUB = "form-digits-edge@1.0.0", "form-digits-hub@1.0.0"
LAYOUTS = {
    pack: Path(__file__).parents[2] / "model_packs" / "shipped" / family / "packs" / pack.replace("@", "-")
    for family, packs in (("motion_band", (MOTION_V1, MOTION_V2, MOTION_HUB)), ("form_digits", (DIGITS, DIGITS_HUB)))
    for pack in packs
}
HOSTILE = '<script>alert("x")</script> \u202eabc " \' & 😀 ' + "long " * 12

_S = 1_000_000_000
_MINUTE = 60 * _S
_HOUR = 3600 * _S
_STEP = 120 * _S
_HISTORY = 6 * _HOUR
_SEED = 20261121


@dataclass(frozen=True, slots=True)
class Sketch:
    """How one device is to look.

    Attributes:
        kept: Share of its windows that stay at the edge; `kept_lately` since an hour.
        disagreed: Share of its escalations where the hub says something else.
        silent_s: Age of its last report; None: it never reported.
        failure: Reason of a refused pack.
        history_ns: How far its reports go back.
    """

    name: str
    pack: str
    binding: str = "wrist"
    kept: float = 0.94
    kept_lately: float | None = None
    disagreed: float = 0.1
    silent_s: float | None = 4.0
    p95_ms: float = 3.1
    outbox: int = 0
    problems: tuple[str, ...] = ()
    state: SlotState = SlotState.COMMITTED
    phase: InstallPhase = InstallPhase.IDLE
    failure: str = ""
    desired: str = ""
    cases: int = 6
    certificate_days: float = 300.0
    history_ns: int = 6 * 3600 * 1_000_000_000


SKETCHES = (
    Sketch("wrist-left-1", MOTION_V1, kept=0.9, kept_lately=0.63, disagreed=0.7, cases=60, p95_ms=3.4),
    Sketch("wrist-left-2", MOTION_V1, kept=0.9, failure="bad_digest", desired=MOTION_V2, disagreed=0.3, cases=10),
    Sketch("wrist-right-1", MOTION_V2, kept=0.965, desired=MOTION_V2, cases=8, p95_ms=2.9),
    Sketch("wrist-right-2", MOTION_V2, kept=0.958, desired=MOTION_V2, state=SlotState.TRIAL, p95_ms=3.0),
    Sketch("wrist-right-3", MOTION_V1, kept=0.93, desired=MOTION_V2, phase=InstallPhase.DOWNLOADING, p95_ms=3.3),
    Sketch("branch-1", DIGITS, binding="forms", kept=0.955, disagreed=0.25, cases=24, p95_ms=2.2),
    Sketch(
        "press-07",
        MOTION_V1,
        kept=0.918,
        outbox=1802,
        problems=("the hub has not been reached for 14 min: check the network and [hub] address",),
    ),
    Sketch("dock-2", MOTION_V1, kept=0.95, silent_s=290.0),
    Sketch("cell-4", MOTION_V1, kept=0.94, silent_s=3.2 * 3600, cases=2),
    Sketch("spare-1", MOTION_V1, silent_s=None, cases=0),
)


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was put in."""

    devices: tuple[DeviceKey, ...]
    cases: tuple[tuple[DeviceKey, PredictionId], ...]


class Seeding:
    """Puts a past into an open store.

    Args:
        store: The hub's database.
        packs: Its packs; windows are their golden inputs.
        now_ns: Where the past ends.
    """

    def __init__(self, store: SqlStore, packs: PackStore, now_ns: int) -> None:
        self._store = store
        self._packs = packs
        self._now_ns = now_ns
        self._random = np.random.default_rng(_SEED)
        self._digests = {str(one.ref): one.digest for one in packs.list()}
        self._models: dict[str, tuple[Pack, NDArray[Any]]] = {}
        self._next_prediction = 0

    async def run(self, sketches: Sequence[Sketch]) -> Seeded:
        """Put everything in, each kind in the order of its times."""
        devices = {sketch.name: await self._enrolled(sketch) for sketch in sketches}
        await self._desire(sketches, devices)
        await self._report(sketches, devices)
        cases = await self._escalate(sketches, devices)
        return Seeded(tuple(devices.values()), tuple(cases))

    async def _enrolled(self, sketch: Sketch) -> DeviceKey:
        enrolled_ns = self._now_ns - 30 * 24 * _HOUR
        token_id = f"seed-{sketch.name}"
        life_ns = 40 * 24 * _HOUR
        await self._store.add_token(
            Token(token_id, secret_digest("s"), ORG, SITE, None, enrolled_ns + life_ns, 1, {}), enrolled_ns
        )
        ends_ns = self._now_ns + int(sketch.certificate_days * 24) * _HOUR
        certificate = IssuedCertificate(f"serial-{sketch.name}", f"{sketch.name:0<64}"[:64], enrolled_ns, ends_ns, b"")
        enrolment = Enrolment(token_id, "s", sketch.name, certificate.public_key_digest, "0.1.0")
        key, _ = await self._store.enrol(enrolment, lambda _key: certificate, enrolled_ns)
        await self._store.save_hello(key, DeviceHello("0.1.0", StoreId(f"store-{sketch.name}"), ("desired",)))
        return key

    async def _desire(self, sketches: Sequence[Sketch], devices: dict[str, DeviceKey]) -> None:
        at_ns = self._now_ns - 40 * _MINUTE
        for sketch in sketches:
            if sketch.desired:
                slot = DesiredSlot(sketch.binding, sketch.desired, self._digests[sketch.desired])
                await self._store.desire(devices[sketch.name], (slot,), actor="demo", now_ns=at_ns)

    async def _report(self, sketches: Sequence[Sketch], devices: dict[str, DeviceKey]) -> None:
        counted = {sketch.name: [0, 0] for sketch in sketches}
        jobs = []
        for step, at_ns in enumerate(range(self._now_ns - _HISTORY, self._now_ns + 1, _STEP)):
            for sketch in sketches:
                if sketch.silent_s is None:
                    continue
                last_ns = self._now_ns - int(sketch.silent_s * _S)
                if at_ns > last_ns + _STEP or at_ns < self._now_ns - sketch.history_ns:
                    continue
                is_late = at_ns > self._now_ns - _HOUR and sketch.kept_lately is not None
                kept = sketch.kept_lately if is_late and sketch.kept_lately is not None else sketch.kept
                decided = 120 + int(self._random.integers(-6, 7))
                totals = counted[sketch.name]
                totals[0] += decided
                totals[1] += int(self._random.binomial(decided, 1 - kept))
                heartbeat = self._heartbeat(sketch, step + 1, min(at_ns, last_ns), totals)
                jobs.append(self._store.save_heartbeat(devices[sketch.name], heartbeat, min(at_ns, last_ns)))
        await asyncio.gather(*jobs)

    def _heartbeat(self, sketch: Sketch, number: int, at_ns: int, totals: Sequence[int]) -> Heartbeat:
        is_settled = at_ns > self._now_ns - 20 * _MINUTE
        pack = sketch.pack if is_settled or not sketch.pack.endswith("@2.0.0") else MOTION_V1
        failure = None
        if sketch.failure and is_settled:
            why = "blob sha256:84a1… holds other bytes than its name says"
            failed_ns = self._now_ns - 18 * _MINUTE
            digest = self._digests[sketch.desired]
            failure = PackFailure(sketch.desired, digest, FailureAction.REFUSED, sketch.failure, why, failed_ns)
        is_loading = is_settled and sketch.phase is InstallPhase.DOWNLOADING
        slot = SlotReport(
            sketch.binding,
            pack,
            self._digests[pack],
            sketch.state if is_settled else SlotState.COMMITTED,
            MOTION_V1 if pack == MOTION_V2 else None,
            is_pinned=False,
            phase=sketch.phase if is_settled else InstallPhase.IDLE,
            done_bytes=23_000 if is_loading else 0,
            total_bytes=54_000 if is_loading else 0,
            failure=failure,
        )
        p95_ms = sketch.p95_ms + float(self._random.normal(0, 0.12))
        use = ModelUse(pack, self._digests[pack])
        binding = BindingReport(sketch.binding, use, totals[0], totals[1], totals[1], "certified", round(p95_ms, 2))
        return Heartbeat(
            number=number,
            device_time_ns=at_ns,
            state="degraded" if sketch.problems else "ok",
            problems=sketch.problems,
            outbox_bytes=sketch.outbox * 1300,
            outbox_items=sketch.outbox,
            outbox_oldest_age_ms=840_000 if sketch.outbox else None,
            bindings=(binding,),
            desired_version=1 if sketch.desired else 0,
            slots=(slot,),
        )

    async def _escalate(
        self, sketches: Sequence[Sketch], devices: dict[str, DeviceKey]
    ) -> list[tuple[DeviceKey, PredictionId]]:
        rows = [
            (*self._escalation(sketch, devices[sketch.name], number), sketch)
            for sketch in sketches
            for number in range(sketch.cases)
        ]
        rows.sort(key=lambda row: row[0])
        for at_ns, escalation, seq, sketch in rows:
            item = Delivered(
                ItemKey(StoreId(f"store-{sketch.name}"), ItemClass.ESCALATION, seq),
                Question(escalation.prediction_id, escalation.input_digest),
                escalation.hub_pack,
                escalation_to_bytes(escalation),
                escalation,
            )
            await self._store.apply(devices[sketch.name], (item,), at_ns)
        waiting = {one.question.prediction_id: one for one in await self._store.waiting(len(rows) + 1)}
        answers = [
            self._answer(sketch, waiting[escalation.prediction_id], escalation, at_ns)
            for at_ns, escalation, _, sketch in rows
        ]
        await self._store.answer(answers)
        for answer, (at_ns, _, _, sketch) in list(zip(answers, rows, strict=True))[3::9]:
            said = None if answer.output is None else answer.output.told
            prediction, given_ns = answer.item.question.prediction_id, min(at_ns + 5 * _MINUTE, self._now_ns)
            await self._store.label(LabelGiven(devices[sketch.name], prediction, said, "demo", "", given_ns))
        return [(devices[sketch.name], escalation.prediction_id) for _, escalation, _, sketch in rows]

    def _escalation(self, sketch: Sketch, device: DeviceKey, number: int) -> tuple[int, Escalation, int]:
        self._next_prediction += 1
        age_ns = int(_HISTORY * float(self._random.beta(1, 3 if sketch.kept_lately is None else 8)))
        at_ns = self._now_ns - age_ns - 3 * _S
        is_picture = sketch.pack == DIGITS
        pack, examples = self._model(sketch.pack)
        tensor = Tensor.from_array(pack.manifest.inputs[0].name, examples[number % len(examples)][np.newaxis])
        labels = pack.manifest.labels
        threshold = None if pack.certificate is None else pack.certificate.threshold
        is_hard = number % 11 == 5
        confidence = 0.0 if is_hard else round(float(self._random.uniform(0.35, (threshold or 0.9) - 0.01)), 3)
        edge = None if is_hard else _classified(labels, int(self._random.integers(len(labels))), confidence)
        prediction = PredictionId(f"seed{self._next_prediction:06}{device.device_id.replace('-', '')}")
        escalation = Escalation(
            prediction_id=prediction,
            input_digest=str(tensor.digest()),
            binding=sketch.binding,
            partition="" if is_picture else "left" if "left" in sketch.name else "right",
            window_start_ns=at_ns - 2 * _S,
            window_end_ns=at_ns - _S,
            window_samples=1 if is_picture else examples.shape[1],
            window_fill=1.0,
            clock="synced",
            edge_model=ModelUse(sketch.pack, self._digests[sketch.pack]),
            hub_pack=DIGITS_HUB if is_picture else MOTION_HUB,
            reason=Reason.UNSCORABLE if is_hard else Reason.LOW_CONFIDENCE,
            propensity=1.0,
            confidence=confidence,
            edge_output=edge,
            inputs=(tensor,),
            trace="",
            threshold=threshold,
        )
        return at_ns, escalation, number + 1

    def _answer(self, sketch: Sketch, item: WaitingItem, escalation: Escalation, at_ns: int) -> Answer:
        labels = self._model(sketch.pack)[0].manifest.labels
        edge = escalation.edge_output
        is_other = edge is None or float(self._random.uniform()) < sketch.disagreed
        at = (
            int(self._random.integers(len(labels)))
            if edge is None
            else labels.index(edge.told) + (1 if is_other else 0)
        )
        confidence = round(float(self._random.uniform(0.62, 0.995)), 3)
        output = _classified(labels, at % len(labels), confidence)
        use = ModelUse(escalation.hub_pack, self._digests[escalation.hub_pack])
        return Answer(item, Tier.HUB, output, None, confidence, (use,), at_ns + _S // 5, 1.8)

    def _model(self, name: str) -> tuple[Pack, NDArray[Any]]:
        """A pack and its golden examples of its first input."""
        if name not in self._models:
            pack = self._packs.load(PackRef.parse(name), None)
            self._models[name] = (pack, next(iter(pack.golden()[0].values())))
        return self._models[name]


def large(number: int) -> tuple[Sketch, ...]:
    """Sketch many healthy devices, for measuring."""
    return tuple(Sketch(f"band-{place:04}", MOTION_V2, cases=0, history_ns=_HOUR // 4) for place in range(number))


def found(folder: Path, *, heartbeat_interval_s: float = 60.0) -> HubSite:
    """Make a hub on free ports with both families published."""
    site = HubSite.found(folder, heartbeat_interval_s=heartbeat_interval_s)
    site.command("packs", "publish", *(str(path) for path in LAYOUTS.values()))
    return site


async def seed(site: HubSite, sketches: Sequence[Sketch] = SKETCHES, now_ns: int | None = None) -> Seeded:
    """Put a past into a founded hub that is not running."""
    store = SqlStore(database.make_engine(site.config.database), time.time_ns)
    await store.upgrade()
    await store.open()
    packs = PackStore(site.config.folder.packs)
    packs.open()
    try:
        return await Seeding(store, packs, time.time_ns() if now_ns is None else now_ns).run(sketches)
    finally:
        await store.close()


def _classified(labels: Sequence[str], at: int, confidence: float) -> Classification:
    rest = (1 - confidence) / (len(labels) - 1)
    scores = {label: round(confidence if place == at else rest, 4) for place, label in enumerate(labels)}
    return Classification(labels[at], scores)


def main() -> None:
    """Make a folder with a hub to look at."""
    parser = argparse.ArgumentParser(description="make a hub with a past, to look at its console")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--many", type=int, default=0, help="add so many healthy devices")
    args = parser.parse_args()
    site = found(args.folder)
    seeded = asyncio.run(seed(site, (*SKETCHES, *large(args.many))))
    sys.stdout.write(f"{len(seeded.devices)} devices, {len(seeded.cases)} cases; {site.config_path}\n")


if __name__ == "__main__":
    main()
