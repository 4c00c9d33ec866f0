"""Reading files of scored rows, and the outcomes of each risk from what they hold."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from model_packs import score_file
from model_packs.certificate.errors import CertificateError
from model_packs.certificate.risks import Risk

PATH = Path("scores.npz")


@pytest.mark.parametrize(
    ("risk", "right"),
    [
        ("error", [True, False, False]),
        ("disagreement_with_hub", [False, False, True]),
        ("excess", [True, False, True]),
    ],
)
def test_outcomes_come_from_flags_or_from_the_answers_themselves(risk: Risk, right: list[bool]) -> None:
    """The flags of a risk and the answers behind them give the same outcomes."""
    flags = {"correct": np.array([1, 0, 0]), "hub_correct": np.array([0, 1, 0]), "agrees": np.array([0, 0, 1])}
    answers = {
        "predicted": np.array(["a", "a", "b"]),
        "label": np.array(["a", "b", "a"]),
        "hub_predicted": np.array(["c", "b", "b"]),
    }

    assert score_file.right(PATH, flags, risk).tolist() == right
    assert score_file.right(PATH, answers, risk).tolist() == right


def test_flags_that_are_neither_yes_nor_no_are_refused() -> None:
    """A probability is no outcome."""
    with pytest.raises(CertificateError, match="hub_correct is yes"):
        score_file.right(PATH, {"correct": np.array([1]), "hub_correct": np.array([0.5])}, "excess")


def test_tuning_rows_are_taken_out_by_their_mark(tmp_path: Path) -> None:
    """Rows marked as tuning give scores, clusters, groups and outcomes, under names of their own."""
    np.savez(
        tmp_path / "scores.npz",
        score=[0.1, 0.2, 0.3],
        correct=[1, 0, 1],
        clusters=["a", "b", "a"],
        is_tuning=[False, True, False],
    )

    arrays = score_file.read(tmp_path / "scores.npz")

    assert {name: values.tolist() for name, values in arrays.items()} == {
        "score": [0.1, 0.3],
        "correct": [1, 1],
        "clusters": ["a", "a"],
        "tune_scores": [0.2],
        "tune_clusters": ["b"],
        "tune_correct": [0],
    }
    assert score_file.tune_right(PATH, arrays, "error") is not None
    assert score_file.tune_right(PATH, arrays, "disagreement_with_hub") is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"score": [0.1], "luck": [1]}, "holds luck, score; score is needed, known are correct"),
        ({"correct": [1]}, "holds correct; score is needed"),
        ({}, "holds nothing"),
        ({"score": [0.1], "is_tuning": [True, False]}, "equally long"),
        ({"score": [0.1], "is_tuning": [2]}, "is_tuning is yes"),
        ({"score": [0.1], "is_tuning": [0], "tune_scores": [0.5]}, "tune_scores bring other ones: leave out either"),
    ],
)
def test_files_that_hold_something_else_are_refused(
    tmp_path: Path, arrays: dict[str, list[float]], message: str
) -> None:
    """Unknown and missing arrays are named with those that are known."""
    np.savez(tmp_path / "scores.npz", **{name: np.array(values) for name, values in arrays.items()})  # type: ignore[arg-type] # numpy's stub takes a name for allow_pickle

    with pytest.raises(CertificateError, match=message):
        score_file.read(tmp_path / "scores.npz")


def test_without_pyarrow_parquet_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal says what to install, and what else would do."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")

    with pytest.raises(CertificateError, match=r"pip install 'tandem-edge\[parquet\]', or write an .npz"):
        score_file.read(tmp_path / "scores.parquet")


def test_a_parquet_table_reads_like_the_arrays(tmp_path: Path) -> None:
    """Columns are arrays by name; what is no table is refused."""
    columns = {"score": [0.1, 0.2], "correct": [True, False], "groups": ["a", "b"]}
    parquet.write_table(pa.table(columns), tmp_path / "scores.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")

    arrays = score_file.read(tmp_path / "scores.parquet")

    assert {name: values.tolist() for name, values in arrays.items()} == columns
    with pytest.raises(CertificateError, match="not a Parquet table"):
        score_file.read(tmp_path / "broken.parquet")


@pytest.mark.parametrize(("risk", "right"), [("disagreement_with_hub", [True, False, True]), ("excess", [1, 0, 1])])
def test_answers_and_flags_may_be_mixed(risk: Risk, right: list[bool]) -> None:
    """Where one answer is missing, the flag that says the same is taken."""
    arrays = {
        "predicted": np.array(["a", "a", "b"]),
        "label": np.array(["a", "b", "a"]),
        "hub_correct": np.array([0, 1, 0]),
        "agrees": np.array([1, 0, 1]),
    }
    assert score_file.right(PATH, arrays, risk).tolist() == right


def test_a_single_array_without_a_name_is_refused(tmp_path: Path) -> None:
    """An .npy file ends with what to do instead."""
    np.save(tmp_path / "scores.npy", np.zeros(3))
    with pytest.raises(CertificateError, match=r"numpy\.savez"):
        score_file.read(tmp_path / "scores.npy")
