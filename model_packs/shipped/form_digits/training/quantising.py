"""Whether the student is better off in INT8.

Owns quantising it (static, QDQ, unsigned activations, signed weights by channel), measuring both forms on tuning rows,
and the rule that picks the one that ships. Times differ from run to run and would change the packs' bytes with them, so
they are measured on request, kept in `quantised.json`, and refused by the card when the code that trains or quantises
has changed since.
"""

import json
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from model_packs.shipped.form_digits.training import measuring
from model_packs.shipped.form_digits.training.recipes import Rows
from model_packs.shipped.form_digits.training.sources import QUANTISING_SOURCES, source_digests

FIGURES = Path(__file__).with_name("quantised.json")
OBSERVED_CROPS = 500
# INT8 ships when one crop takes at most this share of the time, and this much accuracy at most is lost.
LARGEST_TIME_SHARE = 0.9
LARGEST_LOSS = 0.005


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the student's graph.

    Attributes:
        graph_bytes: Size of the ONNX file.
        time_us: Median time of one crop in one thread, microseconds.
        right: Share right on tuning rows.
    """

    graph_bytes: int
    time_us: float
    right: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured.

    Attributes:
        fp32: The student as trained.
        int8: The student quantised.
        agreement: Share of tuning rows to which both give the same answer.
        teacher_time_us: The hub's graph on the same machine, for scale.
        machine: What it was measured on.
    """

    fp32: Form
    int8: Form
    agreement: float
    teacher_time_us: float
    machine: str

    @property
    def is_int8_better(self) -> bool:
        """Whether INT8 ships: clearly faster at one crop, and as good as right."""
        is_faster = self.int8.time_us <= LARGEST_TIME_SHARE * self.fp32.time_us
        return is_faster and self.int8.right >= self.fp32.right - LARGEST_LOSS


class _Observed(CalibrationDataReader):
    """Feeds the quantiser one crop at a time."""

    def __init__(self, crops: NDArray[np.uint8]) -> None:
        self._crops: Iterator[NDArray[np.uint8]] = iter(crops[:, None])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next crop, or None after the last."""
        crop = next(self._crops, None)
        return None if crop is None else {"image": crop}


def to_int8(graph: bytes, training: Rows) -> bytes:
    """Quantise a graph; the ranges of its activations come from training rows."""
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, quantised = (Path(folder, name) for name in ("plain", "prepared", "quantised"))
        plain.write_bytes(graph)
        quant_pre_process(plain, prepared)
        quantize_static(
            prepared,
            quantised,
            _Observed(training.crops[:OBSERVED_CROPS]),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return quantised.read_bytes()


def measure(fp32: bytes, int8: bytes, teacher: bytes, tuning: Rows, say: Callable[[str], None]) -> None:
    """Measure and write the figures."""
    times_us = measuring.run_times_us({"fp32": fp32, "int8": int8, "teacher": teacher}, tuning.crops[:1])
    answers = {
        name: measuring.logits(graph, tuning.crops).argmax(axis=1) for name, graph in (("fp32", fp32), ("int8", int8))
    }
    forms = {
        name: Form(len(graph), round(times_us[name], 1), round(float((answers[name] == tuning.labels).mean()), 4))
        for name, graph in (("fp32", fp32), ("int8", int8))
    }
    found = Comparison(
        fp32=forms["fp32"],
        int8=forms["int8"],
        agreement=round(float((answers["fp32"] == answers["int8"]).mean()), 4),
        teacher_time_us=round(times_us["teacher"], 1),
        machine=_machine(),
    )
    document = {**asdict(found), "sources": source_digests(QUANTISING_SOURCES)}
    FIGURES.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    say(f"student: {found}")


def read() -> Comparison:
    """The figures, if they were measured with the code that trains and quantises now."""
    document = json.loads(FIGURES.read_text(encoding="utf-8"))
    if document.pop("sources") != source_digests(QUANTISING_SOURCES):
        raise SystemExit(f"{FIGURES.name} was measured with other training code; run again with --quantised")
    forms = {name: Form(**document.pop(name)) for name in ("fp32", "int8")}
    return Comparison(**forms, **document)


def _machine() -> str:
    """The processor, as far as the system tells."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if platform.system() == "Linux" else []
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    has_vnni = "avx512_vnni" in facts.get("flags", "")
    return f"{platform.machine()}{' with AVX512-VNNI' if has_vnni else ''}"
