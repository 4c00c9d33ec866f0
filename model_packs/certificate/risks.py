"""What counts as wrong, and what each reading of it cannot see.

Owns the three risks and how outcomes follow from answers. A certificate bounds one of them, and names it.

| risk | wrong is | blind to |
|---|---|---|
| error | the answer is not the label | nothing but wrong labels |
| disagreement_with_hub | the answer is not the hub's | where both give the same wrong answer |
| excess | the answer is not the label, and the hub's is | where both are wrong |
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model_packs.certificate.errors import CertificateError

Risk = Literal["error", "disagreement_with_hub", "excess"]
RISKS: Final[tuple[Risk, ...]] = ("error", "disagreement_with_hub", "excess")

BLIND_TO: Final[dict[Risk, str]] = {
    "error": "",
    "disagreement_with_hub": "cases where edge and hub give the same wrong answer: they count as right",
    "excess": "cases where edge and hub are both wrong: the hub could not have helped, so they count as right",
}
"""What the risk does not see, in words; empty when it sees all errors against its labels."""


def outcomes(
    risk: Risk, answers: ArrayLike, *, labels: ArrayLike | None = None, hub_answers: ArrayLike | None = None
) -> NDArray[np.bool_]:
    """Which answers count as right.

    Args:
        risk: What counts as wrong.
        answers: [rows], the edge's answers, of any type that compares.
        labels: [rows], the truth; `error` and `excess` need it.
        hub_answers: [rows], the hub's answers; `disagreement_with_hub` and `excess` need them.

    Returns:
        bool [rows], for `certify`.

    Raises:
        CertificateError: What the risk needs is missing, lists of different lengths, missing values, words compared
            with numbers, or truths of one class only: they say nothing about the others.
    """
    given = _whole("answers", answers)
    needed = {"error": ("labels",), "disagreement_with_hub": ("hub answers",), "excess": ("labels", "hub answers")}
    compared = {"labels": labels, "hub answers": hub_answers}
    found = {name: _like(given, name, compared[name], risk) for name in needed[risk]}
    for name, values in found.items():
        if len(values) and len(np.unique(values)) == 1:
            raise CertificateError(
                f"the {name} are all {values[0]!s}: rows of one class say nothing about others; collect some of each"
            )
    is_right: NDArray[np.bool_] = given == found[needed[risk][0]]
    if risk == "excess":
        is_right |= found["hub answers"] != found["labels"]
    return is_right


def _like(answers: NDArray[np.generic], name: str, values: ArrayLike | None, risk: Risk) -> NDArray[np.generic]:
    """The list that the answers are compared with."""
    if values is None:
        raise CertificateError(f"the risk {risk} needs {name}")
    array = _whole(name, values)
    if answers.ndim != 1 or array.shape != answers.shape:
        raise CertificateError(f"answers of shape {answers.shape} but {name} of shape {array.shape}")
    if len(array) and _is_words(answers) != _is_words(array):
        raise CertificateError(
            f"answers such as {answers[0]!s} but {name} such as {array[0]!s}: words never equal numbers; write both as "
            "class names, or both as their indices"
        )
    return array


def _whole(name: str, values: ArrayLike) -> NDArray[np.generic]:
    """Words or numbers, none of them missing: what is unknown is neither right nor wrong."""
    array: NDArray[np.generic] = np.asarray(values)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.ravel().tolist()):
        array = array.astype(np.str_)  # Parquet's words are objects
    if array.dtype.kind not in "biufU" or (array.dtype.kind == "f" and np.isnan(array.astype(np.float64)).any()):
        raise CertificateError(f"{name} are words or numbers, one for each row; leave rows out where they are missing")
    return array


def _is_words(array: NDArray[np.generic]) -> bool:
    return array.dtype.kind == "U"
