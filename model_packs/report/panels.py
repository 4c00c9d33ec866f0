"""The pictures of a report: what asking buys, what keeping risks, how honest the probabilities are.

Owns which lines stand in which chart, and their axes. Numbers come from `figures`, drawing is `chart`'s, and the words
around are `page`'s.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate.document import Certificate
from model_packs.report.chart import Axis, Chart, Point, nice_axis, percent
from model_packs.report.evaluation import Evaluation
from model_packs.report.figures import Figures, OperatingPoint, counted

_SHARES: Final = 121
_LEAST_SHOWN: Final = 0.3
_HISTOGRAM_BINS: Final = 40
_NARROW_PX: Final = 560


def cost_chart(found: Figures) -> Chart | None:
    """Right in the end against the share escalated, between the bounds.

    Args:
        found: The numbers.

    Returns:
        The chart; None without the hub's answers.
    """
    limits = found.limits
    if limits is None:
        return None
    asked = 0.0 if found.point is None else found.point.escalated.value
    furthest = min(1.0, max(_LEAST_SHOWN, 1.3 * asked, 1.2 * (found.least[0] or 0.0)))
    x = nice_axis("share escalated to the hub", 0.0, furthest)
    best = limits.oracle_accuracy(min(limits.n_gains / limits.n_rows, furthest))
    lowest = min(limits.edge, limits.hub, float(found.curve.accuracy[found.curve.escalated <= furthest].min()))
    chart = Chart(
        "Right in the end, against the share escalated to the hub",
        x,
        nice_axis("right in the end", lowest - 0.002, best + 0.002),
    )
    shares = np.linspace(0.0, x.high, _SHARES).tolist()
    chart.line([(share, limits.oracle_accuracy(share)) for share in shares], "good dotted", "oracle")
    chart.line([(share, limits.random_accuracy(share)) for share in shares], "faint dotted", "by lot")
    chart.level(limits.hub, "hub", "hub alone")
    chart.line(_pairs(found.curve.escalated, found.curve.accuracy), "edge", "this pack")
    point = found.point
    if point is not None and point.accuracy is not None:
        words = f"{percent(point.escalated.value)} asked: {percent(point.accuracy.value)} right"
        chart.mark(point.escalated.value, point.accuracy.value, "edge", words, hint=f"At the pack's threshold: {words}")
    return chart


def risk_chart(found: Figures, certificate: Certificate | None) -> Chart:
    """Wrong among what is kept, against the share kept, with the certified point.

    Args:
        found: The numbers.
        certificate: The pack's.

    Returns:
        The chart.
    """
    coverage, risk = 1.0 - found.curve.escalated[::-1], found.curve.kept_risk[::-1]
    wrong = 1.0 - found.edge.value
    target = 0.0 if certificate is None else certificate.target
    point = found.point
    high = max(wrong * 1.5, target * 1.25, 0.0 if point is None else _high(point) * 1.05, 0.01)
    chart = Chart(
        "Share wrong among what is kept, against the share kept",
        Axis("share kept at the edge", 0.0, 1.0, 0.2),
        nice_axis("wrong among the kept", 0.0, high),
    )
    shares = np.linspace(0.005, 1.0, _SHARES).tolist()
    chart.line([(share, max(0.0, (share - found.edge.value) / share)) for share in shares], "good dotted", "oracle")
    chart.level(wrong, "faint dotted", "by lot")
    if certificate is not None:
        chart.level(certificate.target, "bad", "promised at most")
    is_known = np.isfinite(risk)
    chart.line(_pairs(coverage[is_known], risk[is_known]), "edge", "this pack")
    if point is not None and point.kept_wrong is not None:
        kept, seen = 1.0 - point.escalated.value, point.kept_wrong
        chart.line([(kept, seen.low), (kept, seen.high)], "edge thin")
        words = f"{percent(kept)} kept: {percent(seen.value)} wrong"
        hint = f"{words}; {seen.count} of {seen.of}, exact 95 % interval {percent(seen.low)} to {percent(seen.high)}"
        chart.mark(kept, seen.value, "edge", words, hint=hint, is_left=True)
    return chart


def reliability_chart(found: Figures) -> Chart | None:
    """Share right against stated probability, by bins.

    Args:
        found: The numbers.

    Returns:
        The chart; None when the probabilities are not known.
    """
    if not found.bins:
        return None
    chart = Chart(
        "Share right, against the probability that the pack states",
        Axis("stated probability", 0.0, 1.0, 0.2),
        Axis("right", 0.0, 1.0, 0.2),
        width_px=_NARROW_PX,
        names_px=70,
    )
    for inside in found.bins:
        hint = (
            f"{inside.count} rows state {percent(inside.mean_score)} on average, {percent(inside.accuracy)} are right"
        )
        gap = 0.004
        chart.bar((inside.low + gap, 0.0), (inside.high - gap, inside.accuracy), "edge soft", hint)
    chart.line([(0.0, 0.0), (1.0, 1.0)], "plain thin dotted", "honest")
    for inside in found.bins:
        seen = counted(round(inside.accuracy * inside.count), inside.count)
        chart.line([(inside.mean_score, seen.low), (inside.mean_score, seen.high)], "edge thin")
        hint = f"{percent(inside.mean_score)} stated, {percent(inside.accuracy)} right, {inside.count} rows"
        chart.mark(inside.mean_score, inside.accuracy, "edge", hint=hint)
    return chart


def score_chart(rows: Evaluation, point: OperatingPoint | None) -> Chart:
    """Where the scores lie, right and wrong ones, on both sides of the threshold.

    Args:
        rows: The rows.
        point: Where the pack works.

    Returns:
        The chart; heights are roots of counts, so that a single row stays visible.
    """
    low, high = min(0.0, float(rows.score.min())), max(1.0, float(rows.score.max()))
    edges = np.linspace(low, high, _HISTOGRAM_BINS + 1)
    right, wrong = (np.histogram(rows.score[mask], edges)[0] for mask in (rows.correct, ~rows.correct))
    tallest = float(np.sqrt((right + wrong).max()))
    ticks = Axis("rows", 0.0, tallest, tallest / 4.0, lambda height: f"{round(height * height):,}")
    chart = Chart(
        "Where the scores lie",
        nice_axis("score", low, high, write=lambda value: f"{value:.2f}"),
        ticks,
        width_px=_NARROW_PX,
        names_px=70,
    )
    for place in range(_HISTOGRAM_BINS):
        left, up = float(edges[place]), float(edges[place + 1])
        hint = f"{left:.3f} to {up:.3f}: {right[place]} right, {wrong[place]} wrong"
        top, middle = float(np.sqrt(right[place] + wrong[place])), float(np.sqrt(wrong[place]))
        gap = 0.08 * (up - left)
        if top > 0.0:
            chart.bar((left + gap, middle), (up - gap, top), "edge soft", hint)
        if middle > 0.0:
            chart.bar((left + gap, 0.0), (up - gap, middle), "bad", hint)
    if point is not None and point.threshold is not None:
        chart.upright(point.threshold, "plain")
        chart.note(point.threshold - 0.27 * (high - low), 0.93 * tallest, "escalated  ◂")
        chart.note(point.threshold + 0.012 * (high - low), 0.93 * tallest, "▸")
    return chart


def _high(point: OperatingPoint) -> float:
    return 0.0 if point.kept_wrong is None else point.kept_wrong.high


def _pairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Point]:
    return list(zip(x.tolist(), y.tolist(), strict=True))
