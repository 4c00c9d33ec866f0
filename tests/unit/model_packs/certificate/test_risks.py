"""The three risks on the same answers, and what each does not see."""

import pytest

from model_packs.certificate.errors import CertificateError
from model_packs.certificate.risks import BLIND_TO, RISKS, Risk, outcomes

EDGE = ["ok", "ok", "bad", "bad", "ok", "bad"]
HUB = ["ok", "bad", "bad", "ok", "ok", "bad"]
TRUTH = ["ok", "bad", "bad", "bad", "bad", "ok"]


@pytest.mark.parametrize(
    ("risk", "right"),
    [
        ("error", [True, False, True, True, False, False]),
        ("disagreement_with_hub", [True, False, True, False, True, True]),
        ("excess", [True, False, True, True, True, True]),
    ],
)
def test_each_risk_reads_the_same_answers_its_own_way(risk: Risk, right: list[bool]) -> None:
    """Both wrong counts against `error` only; edge wrong and hub right against all three."""
    assert outcomes(risk, EDGE, labels=TRUTH, hub_answers=HUB).tolist() == right


def test_the_blind_part_of_each_weaker_risk_is_named() -> None:
    """Where edge and hub give the same wrong answer, the weaker risks say so in words."""
    assert set(BLIND_TO) == set(RISKS)
    assert not BLIND_TO["error"]
    assert "same wrong answer" in BLIND_TO["disagreement_with_hub"]
    assert "both wrong" in BLIND_TO["excess"]


@pytest.mark.parametrize(
    ("risk", "labels", "hub", "message"),
    [
        ("error", None, HUB, "the risk error needs labels"),
        ("disagreement_with_hub", TRUTH, None, "needs hub answers"),
        ("excess", TRUTH, None, "needs hub answers"),
        ("error", ["ok"], None, "labels of shape"),
        ("error", ["ok"] * 6, None, "the labels are all ok: rows of one class"),
        ("error", [0, 0, 1, 1, 1, 0], None, "answers such as ok but labels such as 0: words never equal numbers"),
        ("excess", TRUTH, [0, 1, 1, 0, 0, 1], "hub answers such as 0"),
        ("excess", [None, *TRUTH[1:]], HUB, "labels are words or numbers.* leave rows out"),
        ("error", [float("nan")] * 6, None, "labels are words or numbers"),
    ],
)
def test_answers_that_the_risk_cannot_be_read_from_are_refused(
    risk: Risk, labels: list[str] | None, hub: list[str] | None, message: str
) -> None:
    """What is missing is named; truths of a single class are refused, for they say nothing about the others."""
    with pytest.raises(CertificateError, match=message):
        outcomes(risk, EDGE, labels=labels, hub_answers=hub)
