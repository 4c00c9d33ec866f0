"""Retrain and rebuild the packs of the form-digits family: `make packs`.

Owns the order of the steps; each step lives in a module beside this one.

1. Fetch the data, digest pinned; from here on only crops as a device sees them count.   `dataset`, `crops`
2. Train the teachers and the student on the training rows.                              `recipes`, `learning`
3. Export both to ONNX; from here on only the exported graphs count.                     `learning`
4. Quantise the student; the form that the recorded comparison favours ships.            `quantising`
5. Fit a temperature on tuning rows, keep it if it helps on rows it has not seen.        `measuring`
6. Choose and certify a threshold on calibration rows (edge pack).                       `model_packs.certificate`
7. Record golden examples from calibration rows.
8. Measure on field rows, once, for the card.                                            `measuring`, `card`
9. Build the packs, with the digests of all these sources in their provenance.           `model_packs.build`
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
import PIL
import torch
from torch import nn

from model_packs.build import build_spec
from model_packs.calibration.reliability import expected_calibration_error
from model_packs.calibration.temperature import AcceptedTemperature
from model_packs.certificate.certify import certify
from model_packs.certificate.document import Certificate, Circumstances, certificate_of
from model_packs.digests import Digest, digest_of
from model_packs.golden import write_npy
from model_packs.pack_spec import GoldenEntry, ImageEntry, OutputEntry, PackSpec, TensorEntry, VariantEntry
from model_packs.shipped.form_digits import crops, dataset, split
from model_packs.shipped.form_digits.split import Part
from model_packs.shipped.form_digits.training import card, learning, measuring, networks, quantising, recipes
from model_packs.shipped.form_digits.training.card import Field, PackFacts
from model_packs.shipped.form_digits.training.recipes import Rows
from model_packs.shipped.form_digits.training.sources import FAMILY, source_digests

PACKS = FAMILY / "packs"
VERSION = "1.0.0"
EDGE = f"form-digits-edge@{VERSION}"
HUB = f"form-digits-hub@{VERSION}"
# About the hub's own share of errors on tuning rows: what is kept shall be as good as what the hub would have said.
TARGET = 0.01
DELTA = 0.05
# Part of the certificate: a fixed day, so that building again gives the same bytes.
ISSUED_AT = "2026-11-22T00:00:00Z"
GOLDEN_EXAMPLES = 64
GOLDEN_TOLERANCE = 1e-4
LARGEST_EXPORT_DIFFERENCE = 1e-4
LICENSE = "Apache-2.0 AND BSD-3-Clause AND CC-BY-SA-3.0"


@dataclass(frozen=True, slots=True)
class Exported:
    """A network that left torch.

    Attributes:
        ref: The pack that it goes into.
        graph: The ONNX file.
        precision: Number format of its weights.
        parameters: Trained numbers in it.
        temperature: Fitted on tuning rows, for this graph.
    """

    ref: str
    graph: bytes
    precision: str
    parameters: int
    temperature: AcceptedTemperature

    def scores(self, rows: Rows) -> measuring.Scores:
        """Answers at its temperature."""
        return measuring.scores(self.graph, rows, self.temperature.temperature)


def main() -> int:
    """Run the steps."""
    parser = argparse.ArgumentParser(prog="make packs", description="Retrain and rebuild the form-digits packs.")
    parser.add_argument("--cache", type=Path, default=dataset.DEFAULT_CACHE, help="where the data set is kept")
    parser.add_argument("--quantised", action="store_true", help="measure the student in INT8 again first")
    options = parser.parse_args()
    learning.one_thread()
    digits = dataset.load(options.cache, _say)
    rows = {part: recipes.rows_of(digits, part) for part in Part}
    _say("training the teachers and the student (some minutes in one thread)")
    family = recipes.train_family(rows[Part.TRAINING])
    teacher = _graph(HUB, family.teacher, rows[Part.TUNING])
    fp32 = _graph(EDGE, family.student, rows[Part.TUNING])
    int8 = quantising.to_int8(fp32, rows[Part.TRAINING])
    if options.quantised:
        quantising.measure(fp32, int8, teacher, rows[Part.TUNING], _say)
    compared = quantising.read()
    graph, precision = (int8, "int8") if compared.is_int8_better else (fp32, "fp32")
    edge = _exported(EDGE, graph, precision, family.student, rows)
    hub = _exported(HUB, teacher, "fp32", family.teacher, rows)
    certificate = _certificate(edge, rows)
    field = _field(edge, hub, certificate, rows[Part.FIELD])
    facts = (_facts(edge, certificate, field, rows), _facts(hub, None, field, rows))
    for exported, fact in zip((edge, hub), facts, strict=True):
        _build(exported, fact.certificate, card.pack_card(fact, compared), rows[Part.CALIBRATION], digits)
    readme = card.family_readme(facts, compared)
    (FAMILY / "README.md").write_text(readme, encoding="utf-8")
    _say(readme)
    return 0


def _say(line: str) -> None:
    """Show a step."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _graph(ref: str, network: nn.Module, tuning: Rows) -> bytes:
    """Step 3."""
    graph = learning.to_onnx(network)
    with torch.no_grad():
        expected = network(torch.as_tensor(tuning.crops)).numpy()
    difference = float(np.abs(measuring.logits(graph, tuning.crops) - expected).max())
    if difference > LARGEST_EXPORT_DIFFERENCE:
        raise SystemExit(f"{ref}: the exported graph differs from the network by {difference:.2g}")
    _say(f"{ref}: {len(graph)} bytes, export difference {difference:.1g}")
    return graph


def _exported(ref: str, graph: bytes, precision: str, network: nn.Module, rows: dict[Part, Rows]) -> Exported:
    """Step 5."""
    temperature = measuring.fitted_temperature(graph, rows[Part.TUNING])
    return Exported(ref, graph, precision, networks.parameter_count(network), temperature)


def _certificate(edge: Exported, rows: dict[Part, Rows]) -> Certificate:
    """Step 6."""
    scored = edge.scores(rows[Part.CALIBRATION])
    certified = certify(
        scored.confidence,
        scored.right,
        target=TARGET,
        delta=DELTA,
        tune_scores=edge.scores(rows[Part.TUNING]).confidence,
    )
    return certificate_of(
        certified,
        Circumstances(
            risk="error",
            reference="labels",
            population="digits of the MNIST subset, equally many of each, as JPEG crops like those trained on",
            assumption="images independent, same writers and scanner",
            cluster_unit=None,
            graph_digest=digest_of(edge.graph),
            variant=edge.precision,
            provider=measuring.PROVIDER,
            precision=edge.precision,
            dataset_digest=Digest(f"sha256:{dataset.SHA256}"),
            temperature=edge.temperature.temperature,
            issued_at=ISSUED_AT,
            valid_until=None,
            sampling_unit="image",
        ),
    )


def _field(edge: Exported, hub: Exported, certificate: Certificate, rows: Rows) -> Field:
    """Step 8."""
    threshold = certificate.threshold
    seen = edge.scores(rows), hub.scores(rows)
    inverted = Rows(255 - rows.crops, rows.labels)
    return Field(
        all=measuring.field_figures(*seen, threshold),
        by_digit=tuple(
            measuring.field_figures(*seen, threshold, rows.labels == digit) for digit in range(len(dataset.LABELS))
        ),
        inverted=measuring.field_figures(edge.scores(inverted), hub.scores(inverted), threshold),
    )


def _facts(exported: Exported, certificate: Certificate | None, field: Field, rows: dict[Part, Rows]) -> PackFacts:
    """What the card tells of one pack."""
    calibration = rows[Part.CALIBRATION]
    plain, tempered = measuring.scores(exported.graph, calibration, 1.0), exported.scores(calibration)
    return PackFacts(
        ref=exported.ref,
        precision=exported.precision,
        parameters=exported.parameters,
        graph_bytes=len(exported.graph),
        temperature=exported.temperature,
        calibration_error=(
            expected_calibration_error(plain.confidence, plain.right),
            expected_calibration_error(tempered.confidence, tempered.right),
        ),
        certificate=certificate,
        field=field,
    )


def _build(
    exported: Exported, certificate: Certificate | None, words: str, calibration: Rows, digits: dataset.Digits
) -> None:
    """Steps 7 and 9."""
    examples = calibration.crops[:GOLDEN_EXAMPLES]
    files = {
        "model.onnx": exported.graph,
        "CARD.md": words.encode(),
        "golden/image.npy": write_npy(examples),
        "golden/logits.npy": write_npy(measuring.logits(exported.graph, examples)),
    }
    if certificate is not None:
        files["certificate.json"] = certificate.to_json()
    out = PACKS / exported.ref.replace("@", "-")
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        pack = build_spec(_spec(exported, certificate, digits), Path(folder), out)
    _say(f"built {pack.ref} ({pack.digest})")


def _spec(exported: Exported, certificate: Certificate | None, digits: dataset.Digits) -> PackSpec:
    """The pack's declaration."""
    is_edge = certificate is not None
    side = dataset.SIDE_PIXELS
    name, version = exported.ref.split("@")
    return PackSpec(
        name=name,
        version=version,
        family="form-digits",
        role="edge" if is_edge else "hub",
        labels=dataset.LABELS,
        license=LICENSE,
        escalates_to=HUB if is_edge else None,
        temperature=exported.temperature.temperature,
        certificate="certificate.json" if is_edge else None,
        card="CARD.md",
        provenance={**_provenance(digits), **({"teacher": HUB} if is_edge else {})},
        inputs=(TensorEntry(name="image", datatype="UINT8", shape=(-1, side, side)),),
        outputs=(OutputEntry(name="logits", shape=(-1, len(dataset.LABELS))),),
        image=ImageEntry(height=side, width=side),
        variants=(VariantEntry(id=exported.precision, precision=exported.precision, file="model.onnx"),),
        golden=GoldenEntry(
            inputs={"image": "golden/image.npy"}, outputs={"logits": "golden/logits.npy"}, tolerance=GOLDEN_TOLERANCE
        ),
    )


def _provenance(digits: dataset.Digits) -> dict[str, str]:
    """Where the packs come from: data, split, crops, seed, tools and the digests of the sources."""
    parts = {f"split:{part.name.lower()}": split.digest(split.indices(part, digits.labels)) for part in Part}
    sources = {f"source:{name}": digest for name, digest in source_digests().items()}
    return {
        "data": f"{dataset.PACKAGE} {dataset.MEMBER}",
        "data_digest": f"sha256:{dataset.SHA256}",
        "crops": f"JPEG, grey, quality {crops.QUALITY}",
        "crops_digest": digest_of(crops.as_seen(digits.images).tobytes()),
        "evaluation": "same writers, stratified by class",
        "seed": str(recipes.SEED),
        "tools": f"python {platform.python_version()}, torch {torch.__version__}, onnx {onnx.__version__}, "
        f"onnxruntime {onnxruntime.__version__}, numpy {np.__version__}, pillow {PIL.__version__}",
        **parts,
        **sources,
    }


if __name__ == "__main__":
    sys.exit(main())
