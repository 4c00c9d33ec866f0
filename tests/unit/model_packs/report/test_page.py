"""The report's page: one file that loads nothing, says what was promised and seen, and cannot be broken out of."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from model_packs.certificate.document import Certificate
from model_packs.manifest import PackManifest
from model_packs.report.evaluation import Evaluation
from model_packs.report.figures import figures
from model_packs.report.page import report_page
from tests.unit.model_packs.report.examples import CERTIFICATE, ROWS, tally
from tests.unit.model_packs.test_manifest import MANIFEST

MANY = replace(
    ROWS,
    score=np.tile(ROWS.score, 40),
    correct=np.tile(ROWS.score, 40) >= 0.5,
    hub_correct=np.ones(400, dtype=bool),
    predicted=np.tile(np.array(["idle", "walk"]), 200),
    probability=np.tile(ROWS.score, 40),
)


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag; it is closed already."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect the text."""
        self.text += data


def read(rows: Evaluation, certificate: Certificate | None, manifest: PackManifest = MANIFEST) -> Reader:
    """The page, parsed to its end."""
    reader = Reader()
    reader.feed(report_page(manifest, certificate, rows, figures(rows, certificate), "model-pack 1.2.3"))
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize("certificate", [None, CERTIFICATE, replace(CERTIFICATE, threshold=None, coverage=None)])
@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        MANY,
        replace(MANY, hub_correct=None),
        replace(MANY, probability=None),
        replace(MANY, predicted=None),
        Evaluation("one", "row", np.array([0.7]), np.array([True]), np.array([True]), None, None),
        Evaluation("one wrong", "row", np.array([-3.0]), np.array([False]), None, None, None),
    ],
)
def test_every_kind_of_row_gives_a_whole_page(rows: Evaluation, certificate: Certificate | None) -> None:
    """With and without hub, classes, probabilities and certificate: all tags close, no number is NaN or None."""
    page = read(rows, certificate)
    assert not re.search(r"\b(nan|None|inf)\b", page.text)


def test_the_page_loads_and_runs_nothing() -> None:
    """No script, no address, no import: it can be sent by mail and opened without a network."""
    page = read(MANY, CERTIFICATE)
    assert "script" not in page.tags
    assert {"link", "img", "iframe", "object", "form"}.isdisjoint(page.tags)
    assert not [name for name, _ in page.attributes if name in {"src", "href"} or name.startswith("on")]
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_what_is_promised_and_seen_is_said_in_plain_words() -> None:
    """The promise first, then what these rows say of it, and the certificate's own sentences."""
    text = read(MANY, CERTIFICATE).text
    assert "Of what stays at the edge, at most 5 % is wrong, with confidence 95 %." in text
    assert "Here 70 % stayed, and 0 of 280 of them were wrong (0 %, exact 95 % interval 0 % to 1.3 %)." in text
    assert "The promise held here." in text
    assert CERTIFICATE.statement() in text
    assert "at 20 % escalated" in text


def test_a_promise_that_does_not_hold_here_is_called_so() -> None:
    """Beyond chance, and within chance."""
    broken = replace(MANY, correct=np.tile(ROWS.score, 40) >= 0.65)
    assert "above the promise beyond chance" in read(broken, CERTIFICATE).text
    assert "above the promise, and within chance of it" in read(ROWS, CERTIFICATE).text


def test_another_risk_is_not_compared_with_errors() -> None:
    """A certificate on disagreement says so, and gets no verdict."""
    text = read(MANY, replace(CERTIFICATE, risk="disagreement_with_hub")).text
    assert "at most 5 % differs from the hub's answer" in text
    assert "The promise is about another risk (disagreement_with_hub)" in text
    assert "held here" not in text


def test_no_threshold_is_told_as_what_it_is() -> None:
    """Everything is escalated, and the page says why."""
    text = read(MANY, replace(CERTIFICATE, threshold=None, coverage=None)).text
    assert "No threshold qualifies for 5 %: everything is escalated." in text
    assert "promises nothing" in read(MANY, None).text


def test_a_promise_for_each_class_is_said_so() -> None:
    """With a threshold for each class; and where the rows do not tell the groups, that is said, too."""
    grouped = replace(
        CERTIFICATE, threshold=None, coverage=None, group_by="predicted_class", groups=(tally("idle", 0.5),)
    )
    assert "Of what stays at the edge of each predicted class, at most 5 % is wrong" in read(MANY, grouped).text
    by_site = replace(grouped, group_by="site")
    assert "These rows do not say their groups" in read(MANY, by_site).text


def test_names_from_a_pack_cannot_break_out() -> None:
    """Labels, sources and populations are text, whatever they hold."""
    evil = "</dd><script>alert(1)</script>"
    rows = replace(MANY, source=evil, predicted=np.tile(np.array([evil, "<b>"]), 200))
    page = read(rows, replace(CERTIFICATE, population=evil), replace(MANIFEST, labels=(evil, "<b>")))
    assert "script" not in page.tags
    assert page.text.count(evil) >= 3
