"""Charts as SVG text: well-formed, inside their frame, readable."""

import itertools
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.report.chart import STYLE, Axis, Chart, nice_axis, percent

SVG = "{http://www.w3.org/2000/svg}"
POINTS = st.lists(st.tuples(st.floats(-2.0, 3.0), st.floats(-2.0, 3.0)), max_size=12).map(sorted)


def chart() -> Chart:
    """An empty chart from 0 to 1 on both axes."""
    return Chart("a <title>", Axis("across", 0.0, 1.0, 0.25), Axis("up", 0.0, 1.0, 0.5))


def drawn(made: Chart) -> ET.Element:
    """The chart, parsed."""
    return ET.fromstring(made.svg())  # noqa: S314 - our own text


@given(POINTS)
def test_a_line_stays_inside_the_axes(points: list[tuple[float, float]]) -> None:
    """Whatever the points: every corner of the line lies in the plotted area."""
    made = chart()
    made.line(points, "edge", "a line")
    for line in drawn(made).iter(f"{SVG}polyline"):
        for corner in line.attrib["points"].split():
            x, y = (float(number) for number in corner.split(","))
            assert 70.0 <= x <= 510.0
            assert 14.0 <= y <= 276.0


def test_a_line_that_leaves_the_axes_ends_where_it_leaves() -> None:
    """It is cut between its points, not at the last one inside."""
    made = chart()
    made.line([(-1.0, 0.0), (1.0, 1.0), (3.0, 1.0)], "edge")
    (line,) = drawn(made).iter(f"{SVG}polyline")
    assert line.attrib["points"] == "70.0,145.0 510.0,14.0"


def test_names_never_cover_one_another() -> None:
    """Lines that end at one height are named one below the other, inside the chart."""
    made = chart()
    for number in range(8):
        made.level(0.02 * number, "hub", f"line {number}")
    places = sorted(float(text.attrib["y"]) for text in drawn(made).iter(f"{SVG}text") if text.get("class"))
    assert len(places) == 8
    assert all(below - above >= 14.9 for above, below in itertools.pairwise(places))
    assert places[-1] <= 281.0


def test_text_is_escaped() -> None:
    """A label of the data cannot break out of the picture."""
    made = chart()
    made.mark(0.5, 0.5, "edge", "</svg><script>", hint="& more")
    made.note(0.1, 0.1, "<b>")
    made.bar((0.0, 0.0), (0.5, 0.5), "edge", '"quoted" <i>')
    made.line([(0.0, 0.0), (1.0, 1.0)], "edge", "<name>")
    parsed = drawn(made)
    assert not list(parsed.iter(f"{SVG}script"))
    assert "a <title>" in parsed.attrib["aria-label"]
    assert {"</svg><script>", "<b>", "<name>"} <= {text.text for text in parsed.iter(f"{SVG}text")}


def test_every_class_that_is_drawn_is_styled() -> None:
    """A shape without a style is invisible or black."""
    made = chart()
    made.line([(0.0, 0.0), (1.0, 1.0)], "edge thin dotted", "a")
    made.level(0.5, "plain", "b")
    made.upright(0.5, "bad")
    made.mark(0.5, 0.5, "hub", "c", is_left=True)
    made.bar((0.0, 0.0), (0.5, 0.5), "quiet")
    used = {name for element in drawn(made).iter() for name in element.get("class", "").split()}
    assert used - set(re.findall(r"\.([a-z]+)", STYLE)) == set()


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.947, 0.983, [0.94, 0.95, 0.96, 0.97, 0.98, 0.99]),
        (0.0, 0.0, None),
        (0.0, 0.03, [0.0, 0.01, 0.02, 0.03]),
    ],
)
def test_axes_have_round_ticks_that_hold_both_ends(low: float, high: float, ticks: list[float] | None) -> None:
    """From a tick to a tick, also when there is nothing between the ends."""
    axis = nice_axis("share", low, high)
    assert axis.low <= low
    assert axis.high >= high
    assert axis.high > axis.low
    if ticks is not None:
        assert list(axis.ticks) == pytest.approx(ticks)


def test_shares_are_written_without_digits_that_say_nothing() -> None:
    """For people."""
    assert [percent(share) for share in (0.0, 0.125, 0.05, 1.0)] == ["0 %", "12.5 %", "5 %", "100 %"]
