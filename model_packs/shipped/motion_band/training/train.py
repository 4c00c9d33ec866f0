"""Retrain and rebuild the packs of the motion-band family: `make packs`.

Owns the order of the steps; each step lives in a module beside this one.

1. Fetch the data, digest pinned.                                                   `dataset`
2. Train teacher and students on the training rows.                                 `recipes`, `learning`
3. Export each to ONNX; from here on only the exported graph counts.                `learning`
4. Fit a temperature on tuning rows, keep it if it helps on rows it has not seen.   `measuring`
5. Choose and certify a threshold on calibration rows (edge packs).                 `model_packs.certificate`
6. Record golden examples from calibration rows.
7. Measure on field rows, once, for the card.                                       `measuring`, `card`
8. Build the packs, with the digests of all these sources in their provenance.      `model_packs.build`
"""

import argparse
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from model_packs.build import build_spec
from model_packs.calibration.reliability import expected_calibration_error
from model_packs.calibration.temperature import AcceptedTemperature
from model_packs.certificate.certify import certify
from model_packs.certificate.document import ASSUMPTION, Certificate, Circumstances, certificate_of
from model_packs.digests import Digest, digest_of
from model_packs.golden import write_npy
from model_packs.pack_spec import GoldenEntry, OutputEntry, PackSpec, TensorEntry, VariantEntry, WindowEntry
from model_packs.shipped.motion_band import dataset, split
from model_packs.shipped.motion_band.dataset import Recording, Wrist
from model_packs.shipped.motion_band.training import card, cross_subject, learning, measuring, networks, recipes
from model_packs.shipped.motion_band.training.card import PackFacts
from model_packs.shipped.motion_band.training.sources import FAMILY, source_digests

PACKS = FAMILY / "packs"
HUB = "motion-band-hub@1.0.0"
TARGET = 0.05
DELTA = 0.05
# Part of the certificates: a fixed day, so that building again gives the same bytes.
ISSUED_AT = "2026-11-21T00:00:00Z"
GOLDEN_EXAMPLES = 64
GOLDEN_TOLERANCE = 1e-4
LARGEST_EXPORT_DIFFERENCE = 1e-4
LICENSE = "Apache-2.0 AND BSD-3-Clause"


@dataclass(frozen=True, slots=True)
class Plan:
    """One pack to build.

    Attributes:
        name: Pack name.
        version: Pack version.
        network: Name of the trained network, as in `recipes.Family`.
        wrists: What it is tuned, calibrated and certified on.
        about: What it is, in one sentence.
    """

    name: str
    version: str
    network: str
    wrists: frozenset[Wrist]
    about: str

    @property
    def is_edge(self) -> bool:
        """Whether it is a student with a certificate."""
        return self.network != "teacher"


PLANS = (
    Plan(
        "motion-band-edge", "1.0.0", "first", recipes.RIGHT, "The first student: right wrists only, taught by the hub."
    ),
    Plan(
        "motion-band-edge",
        "2.0.0",
        "second",
        recipes.BOTH,
        "The second student: wider, both wrists, taught by the hub.",
    ),
    Plan("motion-band-hub", "1.0.0", "teacher", recipes.BOTH, "The teacher: a residual network for both wrists."),
)


@dataclass(frozen=True, slots=True)
class Exported:
    """A network as a device gets it.

    Attributes:
        graph: The ONNX file.
        parameters: Trained numbers in it.
        temperature: Fit on tuning rows of the pack's wrists.
    """

    graph: bytes
    parameters: int
    temperature: AcceptedTemperature


def main() -> int:
    """Run the steps."""
    parser = argparse.ArgumentParser(prog="make packs", description="Retrain and rebuild the motion-band packs.")
    parser.add_argument("--cache", type=Path, default=dataset.DEFAULT_CACHE, help="where the data set is kept")
    parser.add_argument("--cross-subject", action="store_true", help="measure the cross-subject figures again first")
    options = parser.parse_args()
    learning.one_thread()
    recordings = dataset.load(options.cache, _say)
    if options.cross_subject:
        cross_subject.measure(recordings, _say)
    unseen_persons = cross_subject.read()
    _say("training the teacher and both students (some minutes in one thread)")
    family = recipes.train_family(recordings)
    exported = {plan.network: _export(getattr(family, plan.network), recordings, plan) for plan in PLANS}
    facts = []
    for plan in PLANS:
        certificate = _certificate(plan, exported[plan.network], recordings) if plan.is_edge else None
        facts.append(_facts(plan, exported, certificate, recordings))
        _build(plan, exported[plan.network], certificate, card.pack_card(facts[-1], unseen_persons), recordings)
    readme = card.family_readme(tuple(facts), unseen_persons)
    (FAMILY / "README.md").write_text(readme, encoding="utf-8")
    _say(readme)
    return 0


def _say(line: str) -> None:
    """Show a step."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _export(network: nn.Module, recordings: tuple[Recording, ...], plan: Plan) -> Exported:
    """Steps 3 and 4."""
    graph = learning.to_onnx(network)
    tuning = recipes.rows_of(recordings, split.Part.TUNING, plan.wrists)
    with torch.no_grad():
        expected = network(torch.as_tensor(tuning.windows)).numpy()
    difference = float(np.abs(measuring.logits(graph, tuning.windows) - expected).max())
    if difference > LARGEST_EXPORT_DIFFERENCE:
        raise SystemExit(f"{plan.name}: the exported graph differs from the network by {difference:.2g}")
    temperature = measuring.fitted_temperature(graph, tuning)
    _say(f"{plan.name}-{plan.version}: {len(graph)} bytes, export difference {difference:.1g}, {temperature}")
    return Exported(graph, networks.parameter_count(network), temperature)


def _certificate(plan: Plan, exported: Exported, recordings: tuple[Recording, ...]) -> Certificate:
    """Step 5."""
    tuning = recipes.rows_of(recordings, split.Part.TUNING, plan.wrists)
    calibration = recipes.rows_of(recordings, split.Part.CALIBRATION, plan.wrists)
    temperature = exported.temperature.temperature
    scored = measuring.scores(exported.graph, calibration, temperature)
    certified = certify(
        scored.confidence,
        scored.right,
        target=TARGET,
        delta=DELTA,
        tune_scores=measuring.scores(exported.graph, tuning, temperature).confidence,
        clusters=calibration.recordings,
    )
    is_one_wrist = len(plan.wrists) == 1
    wrists = "right wrist" if is_one_wrist else "both wrists"
    return certificate_of(
        certified,
        Circumstances(
            risk="error",
            reference="labels",
            population=f"{wrists}; the ten persons and seven exercises of the training data",
            assumption=ASSUMPTION if is_one_wrist else f"{ASSUMPTION}s",
            cluster_unit="recording",
            graph_digest=digest_of(exported.graph),
            variant="fp32",
            provider=measuring.PROVIDER,
            precision="fp32",
            dataset_digest=Digest(f"sha256:{dataset.SHA256}"),
            temperature=temperature,
            issued_at=ISSUED_AT,
            valid_until=None,
        ),
    )


def _facts(
    plan: Plan, exported: dict[str, Exported], certificate: Certificate | None, recordings: tuple[Recording, ...]
) -> PackFacts:
    """Step 7."""
    own, hub = exported[plan.network], exported["teacher"]
    temperature = own.temperature.temperature
    calibration = recipes.rows_of(recordings, split.Part.CALIBRATION, plan.wrists)
    plain, tempered = (measuring.scores(own.graph, calibration, value) for value in (1.0, temperature))
    field = {}
    for wrist in (Wrist.RIGHT, Wrist.LEFT):
        rows = recipes.rows_of(recordings, split.Part.FIELD, frozenset({wrist}))
        field[wrist] = measuring.field_figures(
            measuring.scores(own.graph, rows, temperature),
            measuring.scores(hub.graph, rows, hub.temperature.temperature),
            rows,
            None if certificate is None else certificate.threshold,
        )
    return PackFacts(
        ref=f"{plan.name}@{plan.version}",
        network=plan.network,
        wrists=plan.wrists,
        about=plan.about,
        parameters=own.parameters,
        graph_bytes=len(own.graph),
        temperature=own.temperature,
        calibration_error=(
            expected_calibration_error(plain.confidence, plain.right),
            expected_calibration_error(tempered.confidence, tempered.right),
        ),
        certificate=certificate,
        field=field,
    )


def _build(
    plan: Plan, exported: Exported, certificate: Certificate | None, words: str, recordings: tuple[Recording, ...]
) -> None:
    """Steps 6 and 8."""
    calibration = recipes.rows_of(recordings, split.Part.CALIBRATION, plan.wrists)
    chosen = np.linspace(0, len(calibration.labels) - 1, GOLDEN_EXAMPLES).astype(np.intp)
    windows = calibration.windows[chosen]
    files = {
        "model.onnx": exported.graph,
        "CARD.md": words.encode(),
        "golden/window.npy": write_npy(windows),
        "golden/logits.npy": write_npy(measuring.logits(exported.graph, windows)),
    }
    if certificate is not None:
        files["certificate.json"] = certificate.to_json()
    out = PACKS / f"{plan.name}-{plan.version}"
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        pack = build_spec(_spec(plan, exported), Path(folder), out)
    _say(
        f"built {pack.ref} ({pack.digest}) in {out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out}"
    )


def _spec(plan: Plan, exported: Exported) -> PackSpec:
    """The pack's declaration."""
    return PackSpec(
        name=plan.name,
        version=plan.version,
        family="motion-band",
        role="edge" if plan.is_edge else "hub",
        labels=dataset.EXERCISES,
        license=LICENSE,
        escalates_to=HUB if plan.is_edge else None,
        temperature=exported.temperature.temperature,
        certificate="certificate.json" if plan.is_edge else None,
        card="CARD.md",
        provenance=_provenance(plan),
        inputs=(TensorEntry(name="window", shape=(-1, split.WINDOW_ROWS, len(dataset.CHANNELS))),),
        outputs=(OutputEntry(name="logits", shape=(-1, len(dataset.EXERCISES))),),
        window=WindowEntry(samples=split.WINDOW_ROWS, rate_hz=float(dataset.RATE_HZ), channel_names=dataset.CHANNELS),
        variants=(VariantEntry(id="fp32", file="model.onnx"),),
        golden=GoldenEntry(
            inputs={"window": "golden/window.npy"}, outputs={"logits": "golden/logits.npy"}, tolerance=GOLDEN_TOLERANCE
        ),
    )


def _provenance(plan: Plan) -> dict[str, str]:
    """Where the pack comes from: data, seed, teacher, tools and the digests of the sources."""
    sources = {f"source:{name}": digest for name, digest in source_digests().items()}
    return {
        "data": f"{dataset.PACKAGE} {dataset.MEMBER}",
        "data_digest": f"sha256:{dataset.SHA256}",
        "evaluation": "within-subject",
        "seed": str(recipes.SEED),
        "wrists": ", ".join(sorted(plan.wrists)),
        "tools": f"python {platform.python_version()}, torch {torch.__version__}, onnx {onnx.__version__}, "
        f"onnxruntime {onnxruntime.__version__}, numpy {np.__version__}",
        **({"teacher": HUB} if plan.is_edge else {}),
        **sources,
    }


if __name__ == "__main__":
    sys.exit(main())
