"""Charts as SVG text: axes, lines, levels, marks and bars, without a library and without a script.

Owns the drawing. What is drawn is `panels`' and the bench's business; colours are the style sheet's: every shape only
has a class (`STYLE` holds the defaults for both colour schemes). Coordinates are in the unit of the axes; sizes in
pixels of the view box, so that a chart scales to the width it is given.
"""

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

STYLE: Final = """
svg.chart { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; display: block;
  width: 100%; height: auto; font-variant-numeric: tabular-nums; overflow: visible; }
.chart text { fill: var(--ink3); } .chart .strong { fill: var(--ink); font-weight: 620; }
.chart .grid { stroke: var(--line); stroke-width: 1; } .chart .axis { stroke: var(--ink3); stroke-width: 1; }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.chart .level { stroke-width: 1.5; stroke-dasharray: 5 4; }
.chart .area { stroke: none; opacity: .13; } .chart .dot { stroke: var(--panel); stroke-width: 2; }
.chart .halo { paint-order: stroke; stroke: var(--panel); stroke-width: 4px; stroke-linejoin: round; }
.chart .bar { rx: 2px; } .chart .soft { opacity: .35; }
.chart .edge { --c: var(--edge); } .chart .hub { --c: var(--hub); } .chart .human { --c: var(--human); }
.chart .good { --c: var(--ok); } .chart .bad { --c: var(--bad); } .chart .faint { --c: var(--ink3); }
.chart .plain { --c: var(--ink2); } .chart .quiet { --c: var(--line); }
.chart .line, .chart .level { stroke: var(--c); } .chart .dot, .chart .area, .chart .bar { fill: var(--c); }
.chart text.name { fill: var(--c); font-weight: 550; }
.chart .thin { stroke-width: 1.25; } .chart .dotted { stroke-dasharray: 1.5 4; }
"""

TOKENS: Final = """
  --bg: light-dark(#f6f7f9, #0f141a); --panel: light-dark(#ffffff, #161d26); --raise: light-dark(#f1f3f6, #1d2631);
  --line: light-dark(#e2e6eb, #27323f); --ink: light-dark(#17202b, #e6ebf1); --ink2: light-dark(#4d5a69, #a5b2c1);
  --ink3: light-dark(#667382, #8593a3); --edge: light-dark(#0f766e, #2dd4bf); --hub: light-dark(#6d5bd0, #a594f9);
  --human: light-dark(#b45309, #f59e0b); --ok: light-dark(#15803d, #4ade80); --bad: light-dark(#b91c1c, #f87171);
"""

_LINE_HEIGHT_PX: Final = 15.0
_CHAR_PX: Final = 6.2

Point = tuple[float, float]


def percent(value: float) -> str:
    """A share as text: `12.5 %`, without digits that say nothing."""
    return f"{100.0 * value:.1f}".rstrip("0").rstrip(".") + " %"


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a chart.

    Attributes:
        label: What it counts.
        low: Its first value.
        high: Its last value.
        step: Between two ticks.
        write: How a tick is written.
    """

    label: str
    low: float
    high: float
    step: float
    write: Callable[[float], str] = percent

    @property
    def ticks(self) -> tuple[float, ...]:
        """Values with a grid line."""
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return tuple(number * self.step for number in range(first, last + 1))


def nice_axis(label: str, low: float, high: float, *, ticks: int = 5, write: Callable[[float], str] = percent) -> Axis:
    """An axis with round ticks that holds both ends.

    Args:
        label: What it counts.
        low: Smallest value.
        high: Largest value.
        ticks: About how many grid lines.
        write: How a tick is written.

    Returns:
        The axis; from and to a tick.
    """
    span = max(high - low, 1e-6)
    rough = span / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * (1.0 - 1e-9))
    first, last = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Axis(label, first, max(last, first + step), step, write)


class Chart:
    """A chart in the making; shapes are painted in the order in which they are added.

    Args:
        title: What it shows, for those who cannot see it.
        x: Horizontal axis.
        y: Vertical axis.
        width_px: Of the view box.
        height_px: Of the view box.
        names_px: Room at the right for the lines' names.
    """

    def __init__(
        self, title: str, x: Axis, y: Axis, *, width_px: float = 640, height_px: float = 320, names_px: float = 130
    ) -> None:
        self._title = title
        self._x, self._y = x, y
        self._size = (width_px, height_px)
        self._left, self._right = 70.0, width_px - names_px
        self._top, self._bottom = 14.0, height_px - 44.0
        self._shapes: list[str] = []
        self._names: list[tuple[float, str, str]] = []

    def line(self, points: Iterable[Point], look: str, name: str = "") -> None:
        """Draw a line; what lies outside the axes is cut off.

        Args:
            points: In order.
            look: Classes of the style sheet.
            name: Written beside its right end.
        """
        kept = list(self._inside(list(points)))
        if not kept:
            return
        path = " ".join(f"{self._px(x):.1f},{self._py(y):.1f}" for x, y in kept)
        self._shapes.append(f'<polyline class="line {look}" points="{path}"/>')
        if name:
            self._names.append((self._py(kept[-1][1]), name, look))

    def level(self, y: float, look: str, name: str = "") -> None:
        """Draw a horizontal line over the whole width.

        Args:
            y: Where.
            look: Classes of the style sheet.
            name: Written at its right end.
        """
        at = self._py(y)
        ends = f'x1="{self._left:.1f}" x2="{self._right:.1f}" y1="{at:.1f}" y2="{at:.1f}"'
        self._shapes.append(f'<line class="level {look}" {ends}/>')
        if name:
            self._names.append((at, name, look))

    def upright(self, x: float, look: str) -> None:
        """Draw a vertical line over the whole height.

        Args:
            x: Where.
            look: Classes of the style sheet.
        """
        at = self._px(x)
        ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="{self._top:.1f}" y2="{self._bottom:.1f}"'
        self._shapes.append(f'<line class="level {look}" {ends}/>')

    def mark(self, x: float, y: float, look: str, note: str = "", *, hint: str = "", is_left: bool = False) -> None:
        """Draw a dot with a note beside it.

        Args:
            x: Where.
            y: Where.
            look: Classes of the style sheet.
            note: Written beside it.
            hint: Shown when a pointer rests on it; the note when not given.
            is_left: Write the note left of the dot.
        """
        at_x, at_y = self._px(x), self._py(y)
        title = html.escape(hint or note)
        self._shapes.append(
            f'<circle class="dot {look}" cx="{at_x:.1f}" cy="{at_y:.1f}" r="5.5"><title>{title}</title></circle>'
        )
        if note:
            place = f'x="{at_x - 10:.1f}" text-anchor="end"' if is_left else f'x="{at_x + 10:.1f}"'
            self._shapes.append(f'<text class="strong halo" {place} y="{at_y + 16:.1f}">{html.escape(note)}</text>')

    def bar(self, low: Point, high: Point, look: str, hint: str = "") -> None:
        """Draw a filled box.

        Args:
            low: Its lower left corner.
            high: Its upper right corner.
            look: Classes of the style sheet.
            hint: Shown when a pointer rests on it.
        """
        (left, bottom), (right, top) = (self._held(low), self._held(high))
        size = f'width="{max(self._px(right) - self._px(left), 0):.1f}" height="{self._py(bottom) - self._py(top):.1f}"'
        self._shapes.append(
            f'<rect class="bar {look}" x="{self._px(left):.1f}" y="{self._py(top):.1f}" {size}>'
            f"<title>{html.escape(hint)}</title></rect>"
        )

    def note(self, x: float, y: float, text: str) -> None:
        """Write a word inside the chart.

        Args:
            x: Where it begins.
            y: Its base line.
            text: The word.
        """
        self._shapes.append(f'<text x="{self._px(x):.1f}" y="{self._py(y):.1f}">{html.escape(text)}</text>')

    def svg(self, style: str = "") -> str:
        """Write the chart.

        Args:
            style: A style sheet to put inside, for a chart that stands alone.

        Returns:
            An `<svg>` element.
        """
        width, height = self._size
        sheet = f"<style>{style}</style>" if style else ""
        return (
            f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'aria-label="{html.escape(self._title)}"><title>{html.escape(self._title)}</title>{sheet}'
            f"{''.join(self._grid())}{''.join(self._shapes)}{''.join(self._written_names())}</svg>"
        )

    def _grid(self) -> Iterable[str]:
        for tick in self._y.ticks:
            at = self._py(tick)
            yield f'<line class="grid" x1="{self._left}" x2="{self._right}" y1="{at:.1f}" y2="{at:.1f}"/>'
            text = html.escape(self._y.write(tick))
            yield f'<text x="{self._left - 8}" y="{at + 4:.1f}" text-anchor="end">{text}</text>'
        for tick in self._x.ticks:
            text = html.escape(self._x.write(tick))
            yield f'<text x="{self._px(tick):.1f}" y="{self._bottom + 17:.1f}" text-anchor="middle">{text}</text>'
        yield (
            f'<line class="axis" x1="{self._left}" x2="{self._right}" y1="{self._bottom}" y2="{self._bottom}"/>'
            f'<text x="{(self._left + self._right) / 2:.1f}" y="{self._bottom + 36:.1f}" text-anchor="middle">'
            f"{html.escape(self._x.label)}</text>"
            f'<text transform="translate(13 {(self._top + self._bottom) / 2:.1f}) rotate(-90)" text-anchor="middle">'
            f"{html.escape(self._y.label)}</text>"
        )

    def _written_names(self) -> Iterable[str]:
        """The lines' names, pushed apart so that none covers another."""
        places: list[float] = []
        for wanted, _name, _look in sorted(self._names):
            places.append(max(wanted, places[-1] + _LINE_HEIGHT_PX) if places else max(wanted, self._top))
        surplus = (places[-1] - self._bottom) if places else 0.0
        for number in range(len(places) - 1, -1, -1):  # push back up what fell below the chart
            limit = self._bottom if number == len(places) - 1 else places[number + 1] - _LINE_HEIGHT_PX
            places[number] = min(places[number], limit) if surplus > 0 else places[number]
        for at, (_wanted, name, look) in zip(places, sorted(self._names), strict=True):
            yield f'<text class="name {look}" x="{self._right + 8:.1f}" y="{at + 4:.1f}">{html.escape(name)}</text>'

    def _inside(self, points: Sequence[Point]) -> Iterable[Point]:
        """The part of a line within the axes: cut at the left and right end, held at the lower and upper one."""
        low, high = self._x.low, self._x.high
        for before, here in zip([None, *points], points, strict=False):
            if before is not None and before[0] < low < here[0]:
                yield self._held((low, _between(before, here, low)))
            if low <= here[0] <= high:
                yield self._held(here)
            if before is not None and before[0] < high < here[0]:
                yield self._held((high, _between(before, here, high)))

    def _held(self, point: Point) -> Point:
        x, y = point
        return min(max(x, self._x.low), self._x.high), min(max(y, self._y.low), self._y.high)

    def _px(self, x: float) -> float:
        return self._left + (x - self._x.low) / (self._x.high - self._x.low) * (self._right - self._left)

    def _py(self, y: float) -> float:
        held = min(max(y, self._y.low), self._y.high)
        return self._bottom - (held - self._y.low) / (self._y.high - self._y.low) * (self._bottom - self._top)


def _between(before: Point, here: Point, x: float) -> float:
    """The height of a straight line at x."""
    share = (x - before[0]) / (here[0] - before[0])
    return before[1] + share * (here[1] - before[1])
