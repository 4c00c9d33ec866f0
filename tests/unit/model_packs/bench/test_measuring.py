"""What is read off the figures: threads that pay, variants that are worth having. The figures here are written down."""

from pathlib import Path

import pytest

from model_packs.bench.measuring import QUICK, ThreadPoint, measure, paying_threads, steps
from model_packs.certificate.document import Certificate
from model_packs.digests import digest_of
from model_packs.engines.opening import open_session
from model_packs.engines.options import EngineOptions, PassedOver
from model_packs.engines.tuning import BatchPoint, Tuning, Tunings
from model_packs.pack_spec import VariantEntry
from model_packs.quantising import LARGEST_LOSS, LARGEST_TIME_SHARE, Form, is_worth
from tests.simulators.packs import build_tiny


@pytest.mark.parametrize(
    ("run_us", "threads"),
    [((10.0, 9.0, 8.0), 1), ((10.0, 5.5, 5.2), 2), ((10.0, 5.5, 3.0), 4), ((10.0, 9.0, 2.0), 1), ((10.0,), 1)],
)
def test_threads_pay_while_each_doubling_saves_a_quarter(run_us: tuple[float, ...], threads: int) -> None:
    """The cores are other programs', too."""
    points = [ThreadPoint(1 << step, each, each) for step, each in enumerate(run_us)]
    assert paying_threads(points) == threads


@pytest.mark.parametrize(
    ("time_us", "right", "is_kept"), [(5.0, 0.97, True), (9.5, 0.97, False), (5.0, 0.96, False), (9.0, 0.965, True)]
)
def test_a_quantised_form_is_kept_if_it_is_faster_and_as_good(time_us: float, right: float, *, is_kept: bool) -> None:
    """A tenth faster at least, half a percent worse at most."""
    assert is_worth(Form(1000, 10.0, 0.97), Form(250, time_us, right)) is is_kept


def test_the_shipped_digits_were_judged_by_the_same_rule() -> None:
    """Their training code is pinned by the digests in the published packs, so its copy of the limits stays."""
    source = (ROOT / "model_packs/shipped/form_digits/training/quantising.py").read_text(encoding="utf-8")
    stated = {line for line in source.splitlines() if line.startswith("LARGEST_")}
    assert stated == {f"LARGEST_TIME_SHARE = {LARGEST_TIME_SHARE}", f"LARGEST_LOSS = {LARGEST_LOSS}"}


def test_a_quantised_variant_that_is_no_faster_names_the_better_one(tmp_path: Path) -> None:
    """Both run the same graph here, so the one that calls itself INT8 cannot win a tenth of the time by merit."""
    variants = (
        VariantEntry(id="int8", file="model.onnx", precision="int8"),
        VariantEntry(id="fp32", file="model.onnx"),
    )
    pack = build_tiny(tmp_path, variants=variants)
    done: list[int] = []
    found = measure(pack, EngineOptions(), QUICK, lambda: done.append(1))
    assert [one.facts.variant for one in found.variants] == ["int8", "fp32"]
    int8, fp32 = found.variants
    expected = "" if is_worth(fp32.form, int8.form) else "fp32"
    assert (int8.tuning.better_variant, fp32.tuning.better_variant) == (expected, "")
    assert len(done) == steps(pack, QUICK)


ROOT = Path(__file__).parents[4]
CERTIFICATE_OF_INT8 = Certificate(
    risk="disagreement_with_hub",
    reference="tiny-hub@1.0.0",
    target=0.05,
    delta=0.05,
    method="binomial_fixed_sequence",
    threshold=0.9,
    coverage=0.8,
    sampling_unit="window",
    n_units=100,
    n_kept=80,
    k_errors=1,
    p_value=0.01,
    n_tune=10,
    cluster_unit=None,
    n_clusters=None,
    design_effect=None,
    population="tests",
    assumption="windows independent",
    graph_digest=digest_of(b"graph"),
    variant="int8",
    provider="CPUExecutionProvider",
    precision="int8",
    dataset_digest=digest_of(b"data"),
    score="max_probability",
    temperature=1.0,
    issued_at="2026-01-01T00:00:00Z",
    valid_until=None,
)
VARIANTS = (
    VariantEntry(id="int8", file="quantised.onnx", precision="int8"),
    VariantEntry(id="fp32", file="model.onnx"),
)


@pytest.mark.parametrize(
    ("better", "certified", "opened"),
    [("fp32", None, "fp32"), ("", None, "int8"), ("other", None, "int8"), ("fp32", "int8", "int8")],
)
def test_a_variant_that_was_measured_to_be_worse_stands_back(
    tmp_path: Path, better: str, certified: str | None, opened: str
) -> None:
    """Unless the certificate was issued for it: no speed is worth a guarantee."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (tmp_path / "first").mkdir()
    graph = build_tiny(tmp_path / "first", seed=9).read("model.onnx")
    (sources / "quantised.onnx").write_bytes(graph)
    certificate: Certificate | None = None if certified is None else CERTIFICATE_OF_INT8
    pack = build_tiny(tmp_path, variants=VARIANTS, certificate=certificate)
    digest = pack.manifest.variants[0].graph_digest
    tuning = Tuning(digest, "any", "CPUExecutionProvider", 1, 4, (BatchPoint(1, 5.0, 5.0),), better)
    session = open_session(pack, EngineOptions(providers=("cpu",), tunings=Tunings.of([tuning])))
    facts = session.facts
    session.close()
    assert facts.variant == opened
    reason = PassedOver("int8", "fp32 was measured to be better here")
    assert facts.passed_over == ((reason,) if opened == "fp32" else ())
