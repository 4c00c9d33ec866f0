"""Owns the Jinja2 environment: what templates may say, strictly and escaped. Frames around pages are `frame.py`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cloud_hub.adapters.http.console import addresses
from cloud_hub.core.console import wording
from cloud_hub.core.console.charts import Chart

TEMPLATES = Path(__file__).parent / "templates"

_FILTERS: dict[str, Callable[..., Any]] = {
    "age": wording.age,
    "case_path": addresses.case_path,
    "confidence": wording.confidence,
    "count": wording.count,
    "day": wording.day,
    "device_path": addresses.device_path,
    "duration": wording.duration,
    "instant": wording.instant,
    "milliseconds": wording.milliseconds,
    "moment": wording.moment,
    "pack_path": addresses.pack_path,
    "percent": wording.percent,
    "plural": wording.plural,
    "share": wording.share,
    "short_digest": wording.short_digest,
    "short_pack": wording.short_pack,
    "size": wording.size,
    "time_of_day": wording.time_of_day,
}


def environment() -> Environment:
    """Make the environment.

    Returns:
        One that escapes everything and knows no undefined name; its global `ui` holds the macros.
    """
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters.update(_FILTERS)
    env.filters["chart_json"] = chart_json
    env.filters["version_of"] = _version_of
    env.globals["few_n"] = wording.FEW_N
    env.globals["ui"] = env.get_template("macros.html").module
    return env


def chart_json(chart: Chart) -> str:
    """Write a chart for the page's script.

    Args:
        chart: The series.

    Returns:
        JSON text; the template escapes it as an attribute.
    """
    return json.dumps(
        {
            "times": chart.times_s,
            "stack": [{"name": line.name, "values": line.values} for line in chart.stack],
            "lines": [{"name": line.name, "values": line.values} for line in chart.lines],
        },
        separators=(",", ":"),
    )


def _version_of(pack: str) -> str:
    return pack.partition("@")[2]
