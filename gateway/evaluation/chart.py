"""The cost-quality curve as a picture: SVG, which a browser shows in its light or dark colours."""

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10
from typing import NamedTuple
from xml.sax.saxutils import escape

from gateway.evaluation.evaluate import RouterResult, ScoredLabels
from gateway.evaluation.metrics.cost_quality import CostQualityPoint

_WIDE, _HIGH = 760, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 28, 78, 58
_LIGHT = {
    "ground": "#ffffff", "ink": "#1c2530", "soft": "#5d6976", "grid": "#e4e8ed",
    "mine": "#0b62c4", "chance": "#8a8f98", "best": "#16834a",
}  # fmt: skip
_DARK = {
    "ground": "#12171d", "ink": "#e6eaef", "soft": "#9aa6b2", "grid": "#27303a",
    "mine": "#6cb2ff", "chance": "#8d96a1", "best": "#5bd08f",
}  # fmt: skip
_COLORS = """.ground,.hollow{{fill:{ground}}}text,.dot{{fill:{ink}}}.soft{{fill:{soft}}}
.name,.mine{{stroke:{ground}}}.grid{{stroke:{grid}}}.strong,.mine{{fill:{mine}}}
.classifier,.bar.mine{{stroke:{mine}}}.oracle{{stroke:{best}}}.chance,.hollow{{stroke:{chance}}}"""
"""Written out twice and not by variables: not only browsers draw SVG."""
_STYLE = f"""
text{{font:13px system-ui,"Segoe UI",Helvetica,Arial,sans-serif}}
.title,.strong{{font-weight:600}}text.title{{font-size:16px}}
.name{{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}}
.line{{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}}
.mine,.hollow,.bar{{stroke-width:2;stroke-linecap:round}}.line.chance{{stroke-dasharray:2 5}}
{_COLORS.format(**_LIGHT)}
@media (prefers-color-scheme:dark){{{_COLORS.format(**_DARK)}}}
"""
_CURVES = {
    "oracle": ("oracle", 0),
    "classifier": ("classifier, at any thresholds", 110),
    "chance": ("tiers mixed by chance", 370),
}
"""Each with its words and their place in the legend."""


def draw(views: Sequence[ScoredLabels]) -> str | None:
    """One panel a view, below each other; None where no view knows what its tiers cost."""
    known = [view for view in views if view.curves]
    if not known:
        return None
    high = _HIGH * len(known)
    panels = "".join(
        f'<g transform="translate(0 {_HIGH * at})">\n{"".join(_panel(view))}</g>\n'
        for at, view in enumerate(known)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {high}" width="{_WIDE}" '
        f'height="{high}" role="img" aria-label="Quality against cost">\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="ground" width="{_WIDE}" height="{high}"/>\n{panels}</svg>\n'
    )


class _Frame(NamedTuple):
    """Where values stand in a panel."""

    right: float
    low: float
    high: float

    def x(self, usd: float) -> float:
        return round(_LEFT + usd / self.right * (_WIDE - _LEFT - _RIGHT), 1)

    def y(self, quality: float) -> float:
        part = (quality - self.low) / (self.high - self.low)
        return round(_HIGH - _BOTTOM - part * (_HIGH - _TOP - _BOTTOM), 1)


def _panel(view: ScoredLabels) -> Iterator[str]:
    frame = _frame(view)
    title = f"{', '.join(view.tiers)}: {view.rows:,} prompts"
    yield _text(_LEFT, 28, title, "title")
    yield from _legend(view)
    yield from _grid(frame)
    for name in _CURVES:
        if name in view.curves:
            yield _path(frame, name, view.curves[name])
    for line in view.lines:
        yield from _mark(frame, line)


def _frame(view: ScoredLabels) -> _Frame:
    points = [point for curve in view.curves.values() for point in curve]
    bars = [line.quality for line in view.lines if line.quality is not None]
    seen = [*(point.quality for point in points), *(bar.low for bar in bars)]
    most = [*(point.quality for point in points), *(bar.high for bar in bars)]
    costs = [*(point.cost for point in points), *(float(one.usd or 0) for one in view.lines)]
    room = max(max(most) - min(seen), 0.01) * 0.08
    return _Frame(max(costs) * 1.04 or 1.0, min(seen) - room, max(most) + room)


def _legend(view: ScoredLabels) -> Iterator[str]:
    for name, (words, place) in _CURVES.items():
        if name in view.curves:
            x = _LEFT + place
            yield f'<path class="line {name}" d="M{x} 48h26"/>\n'
            yield _text(x + 33, 52, words, "soft")


def _grid(frame: _Frame) -> Iterator[str]:
    for value in _ticks(frame.low, frame.high):
        y = frame.y(value)
        yield f'<path class="grid" d="M{_LEFT} {y}H{_WIDE - _RIGHT}"/>\n'
        yield _text(_LEFT - 8, y + 4, f"{value:.4g}", "soft", "end")
    for value in _ticks(0, frame.right):
        yield _text(frame.x(value), _HIGH - _BOTTOM + 20, f"{value:.4g}", "soft", "middle")
    yield _text(_WIDE - _RIGHT, _HIGH - 18, "mean score, by USD a thousand prompts", "soft", "end")


def _ticks(low: float, high: float) -> list[float]:
    """About five round values in a range."""
    rough = (high - low) / 5
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
    return [round(at * step, 10) for at in range(ceil(low / step), floor(high / step) + 1)]


def _path(frame: _Frame, name: str, points: Sequence[CostQualityPoint]) -> str:
    places = " ".join(f"{frame.x(point.cost)},{frame.y(point.quality)}" for point in points)
    return f'<polyline class="line {name}" points="{places}"/>\n'


def _mark(frame: _Frame, line: RouterResult) -> Iterator[str]:
    """A router's point with its interval, and its name beside it; the oracle is a line already."""
    if line.quality is None or line.usd is None or line.name == "oracle":
        return
    x, y = frame.x(float(line.usd)), frame.y(line.quality.value)
    kind = {"this router": "mine", "shuffled": "hollow"}.get(line.name, "dot")
    if kind != "dot":
        low, high = frame.y(line.quality.low), frame.y(line.quality.high)
        yield f'<path class="bar {kind}" d="M{x} {low}V{high}"/>\n'
    told = f"{line.name}: {line.quality}, {line.usd:,.2f} USD a thousand prompts"
    size = {"mine": 7, "hollow": 5}.get(kind, 4)
    yield (
        f'<circle class="{kind}" cx="{x}" cy="{y}" r="{size}"><title>{escape(told)}</title>'
        f"</circle>\n"
    )
    left = x > _WIDE * 0.62
    place = (x - 12, "end") if left else (x + 12, "start")
    below = {"this router": -8, "shuffled": 16}.get(line.name, 24 if left else 5)
    style = "name strong" if kind == "mine" else "name"
    yield _text(place[0], y + below, line.name, style, place[1])


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}</text>\n"
    )
