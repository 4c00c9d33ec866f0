"""Templates keep to what the Content-Security-Policy allows, and to text."""

import re
from pathlib import Path

import pytest
from jinja2 import TemplateError, UndefinedError

from cloud_hub.adapters.http.console.templating import TEMPLATES, chart_json, environment
from cloud_hub.core.console.charts import Chart, Line

FORBIDDEN = re.compile(
    r"""\sstyle=|<style|\son[a-z]+=|hx-on|js:|javascript:|<script(?![^>]*\ssrc=)|\|\s*safe\b|Markup|https?://""",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_no_template_needs_what_the_policy_forbids(path: Path) -> None:
    """No inline style or script, no handler, no unescaped text, no other origin."""
    found = FORBIDDEN.search(path.read_text())
    assert found is None, f"{path.name}: {found}"


def test_every_template_compiles() -> None:
    """With the filters that they name."""
    env = environment()
    for path in TEMPLATES.iterdir():
        env.get_template(path.name)


def test_an_undefined_name_is_an_error_and_text_is_escaped() -> None:
    """A page never shows an empty place for a value that somebody forgot."""
    env = environment()
    with pytest.raises(UndefinedError):
        env.from_string("{{ nobody }}").render()
    assert env.from_string("{{ text }}").render(text="<b>&\"'") == "&lt;b&gt;&amp;&#34;&#39;"
    assert issubclass(UndefinedError, TemplateError)


def test_a_chart_travels_as_data() -> None:
    """Times, areas, lines, and null for what is not known."""
    chart = Chart((1, 2), (Line("a", (1.0, 2.0)),), (Line('"<', (None, 3.5)),))
    assert chart_json(chart) == (
        '{"times":[1,2],"stack":[{"name":"a","values":[1.0,2.0]}],"lines":[{"name":"\\"<","values":[null,3.5]}]}'
    )
