"""Small charts as SVG text, without a plotting library. Colours are CSS classes, so that a page can be light or dark.

A chart stands in a page as it is; `document` makes a file of it. Labels are escaped.
"""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

# Class -> colours in a file of its own, which has no page around it.
_COLOURS = {
    'c0': {'light': '#1f6feb', 'dark': '#6ea8fe'},
    'c1': {'light': '#c2410c', 'dark': '#fb923c'},
    'c2': {'light': '#15803d', 'dark': '#4ade80'},
    'c3': {'light': '#7c3aed', 'dark': '#c4b5fd'},
}
_PLAIN = {'light': ('#fff', '#333', '#ddd', '#555'), 'dark': ('#14171a', '#e8eaed', '#343b42', '#a3adb8')}
_WIDTH, _HEIGHT = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 44


class Line(NamedTuple):
    """A curve or the top of filled steps."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = 'c0'


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers in low ... high, about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    unit = min((m for m in (1, 2, 5, 10) if m * power >= raw), default=10) * power
    first = math.ceil(low / unit - 1e-9)
    return [round(k * unit, 12) for k in range(first, math.floor(high / unit + 1e-9) + 1)]


class _Axes:
    """From values to places in the drawing."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], *, log_x: bool = False):
        self.log_x = log_x
        self.x_range = tuple(math.log10(v) for v in x) if log_x else x
        self.y_range = y

    def x(self, value: float) -> float:
        low, high = self.x_range
        value = math.log10(value) if self.log_x else value
        return _LEFT + (value - low) / ((high - low) or 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return _HEIGHT - _BOTTOM - (value - low) / ((high - low) or 1) * (_HEIGHT - _TOP - _BOTTOM)

    def frame(self, x_label: str, y_label: str) -> list[str]:
        low, high = self.x_range
        places = (
            [10.0**k for k in range(math.ceil(low), math.floor(high) + 1)] if self.log_x else ticks(low, high, count=6)
        )
        parts = []
        for value in ticks(*self.y_range):
            parts.append(f'<path class="grid" d="M{_LEFT} {self.y(value):.1f}H{_WIDTH - _RIGHT}"/>')
            parts.append(f'<text class="y" x="{_LEFT - 7}" y="{self.y(value) + 4:.1f}">{value:g}</text>')
        for value in places:
            parts.append(f'<text class="x" x="{self.x(value):.1f}" y="{_HEIGHT - _BOTTOM + 17}">{value:g}</text>')
        parts.append(f'<path class="axis" d="M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(f'<text class="x" x="{middle}" y="{_HEIGHT - 8}">{html.escape(x_label)}</text>')
        up = (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(
            f'<text class="x" transform="translate(13 {up}) rotate(-90)" x="0" y="0">{html.escape(y_label)}</text>'
        )
        return parts


def lines(
    curves: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    x_marks: Sequence[tuple[float, str]] = (),
    log_x: bool = False,
    fill: bool = False,
    points: bool = False,
    legend_right: bool = False,
) -> str:
    """Curves over one pair of axes; `title` is what a screen reader says.

    Args:
      curves: those drawn; a legend where there are several.
      title, x_label, y_label: text.
      y_range: by default from 0 to the highest value.
      x_marks: upright lines with a label.
      log_x: the x axis is logarithmic.
      fill: colour the area under the curves.
      points: mark the points instead of joining them, each with the curve's label beside it.
      legend_right: for curves that fall, which have no room at the left.
    """
    xs = [x for c in curves for x in c.x]
    ys = [y for c in curves for y in c.y]
    margin = 0.04 * (max(xs) - min(xs)) if points else 0
    axes = _Axes((min(xs) - margin, max(xs) + margin), y_range or (0, max(ys) or 1), log_x=log_x)
    parts = axes.frame(x_label, y_label)
    marked: list[tuple[float, float, Line]] = []
    for curve in curves:
        places = [(axes.x(x), axes.y(y)) for x, y in zip(curve.x, curve.y)]
        joined = 'L'.join(f'{x:.1f} {y:.1f}' for x, y in places)
        if fill:
            base = axes.y(axes.y_range[0])
            area = f'M{places[0][0]:.1f} {base:.1f}L{joined}L{places[-1][0]:.1f} {base:.1f}Z'
            parts.append(f'<path class="area {curve.colour}" d="{area}"/>')
        if points:
            marked += [(x, y, curve) for x, y in places]
        elif len(places) == 1:  # nothing to join
            parts.append(
                f'<circle class="point {curve.colour}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="4"/>'
            )
        else:
            parts.append(f'<path class="line {curve.colour}" d="M{joined}"/>')
    parts += _labelled(marked)
    for value, label in x_marks:
        x = axes.x(value)
        parts.append(f'<path class="mark" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
        side, shift = ('y', -5) if x > _WIDTH * 0.7 else ('label', 5)
        parts.append(f'<text class="{side}" x="{x + shift:.1f}" y="{_TOP + 10}">{html.escape(label)}</text>')
    if len(curves) > 1 and not points:
        for i, curve in enumerate(curves):
            y = _TOP + 8 + 17 * (i + (1 if x_marks else 0))
            x = _WIDTH - _RIGHT - 170 if legend_right else _LEFT + 12
            parts.append(f'<path class="line {curve.colour}" d="M{x} {y}h18"/>')
            parts.append(f'<text class="label" x="{x + 24}" y="{y + 4}">{html.escape(curve.label)}</text>')
    return _chart(parts, title)


def _labelled(marked: Sequence[tuple[float, float, Line]]) -> list[str]:
    """Points with their labels beside them, none over another: a label that moved is joined to its point."""
    parts: list[str] = []
    placed: list[tuple[float, float, float]] = []  # left, right and height of labels
    column = 26 + max((x for x, _, _ in marked if x <= _WIDTH * 0.7), default=0)
    for x, y, curve in sorted(marked, key=lambda m: m[1]):
        end = x > _WIDTH * 0.7  # where there is no room to the right
        length = 7 * len(curve.label)
        left, at = (x - 26 - length, y) if end else (column, y)
        while any(at < height + 14 and at > height - 14 and left < r and left + length > l for l, r, height in placed):
            at += 2
        placed.append((left, left + length, at))
        near = left + length + 4 if end else left - 4
        parts.append(f'<path class="grid" d="M{x:.1f} {y:.1f}L{near:.1f} {at:.1f}"/>')
        parts.append(f'<circle class="point {curve.colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(
            f'<text class="{"y" if end else "label"}" x="{left + (length if end else 0):.1f}" y="{at + 4:.1f}">'
            f'{html.escape(curve.label)}</text>'
        )
    return parts


def bars(
    heights: Sequence[float],
    *,
    edges: Sequence[float],
    title: str,
    x_label: str,
    y_label: str,
    tips: Sequence[str] = (),
) -> str:
    """A histogram: `heights` [n] between `edges` [n + 1], each with a tip."""
    axes = _Axes((edges[0], edges[-1]), (0, max(heights, default=0) or 1))
    parts = axes.frame(x_label, y_label)
    base = axes.y(0)
    for i, value in enumerate(heights):
        x, end = axes.x(edges[i]), axes.x(edges[i + 1])
        tip = f'<title>{html.escape(tips[i])}</title>' if tips else ''
        parts.append(
            f'<rect class="bar c0" x="{x + 1:.1f}" y="{axes.y(value):.1f}" width="{max(end - x - 2, 1):.1f}" '
            f'height="{base - axes.y(value):.1f}">{tip}</rect>'
        )
    return _chart(parts, title)


def _chart(parts: Sequence[str], title: str) -> str:
    name = html.escape(title)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">'
        f'<title>{name}</title>{"".join(parts)}</svg>'
    )


def document(*charts: str) -> str:
    """Charts, one below the other, as a file of its own: light or dark as the system is, as large as fits."""
    height = _HEIGHT * len(charts)
    placed = ''.join(
        chart.replace('<svg class="chart"', f'<svg y="{i * _HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"', 1)
        for i, chart in enumerate(charts)
    )
    # Phones show a file as if they were 980 pixels wide, and shrink it: the text is larger there.
    style = (
        'text{font:12px system-ui,sans-serif}.x{text-anchor:middle}.y{text-anchor:end}.mark{stroke-dasharray:3 3}'
        f'{_coloured("light")}@media(prefers-color-scheme:dark){{{_coloured("dark")}}}'
        '@media(max-width:440px),(max-aspect-ratio:2/3){text{font-size:16px}}'
        '.line{fill:none!important;stroke-width:2}.area{stroke:none!important;opacity:.15}.bar{stroke:none!important}'
    )
    fitted = f'width:min(100%,{100 * _WIDTH / height:.2f}vh,{2 * _WIDTH}px);height:auto'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'style="{fitted}"><style>{style}</style><rect id="paper" width="100%" height="100%"/>{placed}</svg>'
    )


def _coloured(scheme: str) -> str:
    paper, text, grid, axis = _PLAIN[scheme]
    curves = (f'.{name}{{stroke:{of[scheme]};fill:{of[scheme]}}}' for name, of in _COLOURS.items())
    return (
        f'#paper{{fill:{paper}}}text{{fill:{text}}}.grid{{stroke:{grid}}}.axis,.mark{{stroke:{axis}}}{"".join(curves)}'
    )
