"""Charts as SVG: a few shapes, and the charts that `evaluate` and `replay` draw with them.

The class of a shape names its fill colour. With the class `line` the colour is that of a stroke.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

from gateway.evaluation.evaluate import RouterResult, ScoredLabels
from gateway.evaluation.replay.report import list_columns
from gateway.evaluation.replay.totals import ReplayGroup, ReplayTotals

LIGHT_COLOURS = {
    "ink": "#1c2530", "ground": "#ffffff", "soft": "#5d6976", "grid": "#e4e8ed",
    "blue": "#0b62c4", "green": "#16834a", "orange": "#b4532a", "grey": "#8a8f98",
}  # fmt: skip
DARK_COLOURS = {
    "ink": "#e6eaef", "ground": "#12171d", "soft": "#9aa6b2", "grid": "#27303a",
    "blue": "#6cb2ff", "green": "#5bd08f", "orange": "#f0955f", "grey": "#8d96a1",
}  # fmt: skip
_BASE_STYLE = """text{font:13px system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
text.title{font-size:15px}.title,.strong{font-weight:600}
.line{stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.line.grid{stroke-width:1}.dotted{stroke-dasharray:2 5}"""


def draw_document(width: float, height: float, label: str, shapes: Iterable[str]) -> str:
    """Return an SVG document. It has light and dark colours, and the viewer's setting chooses."""
    # The colours stand in the style twice, not as CSS variables: programs other than browsers
    # draw SVG too.
    light_style, dark_style = (
        f"text{{fill:{colours['ink']}}}\n"
        + "\n".join(
            f".{name}{{fill:{colour}}}.line.{name}{{fill:none;stroke:{colour}}}"
            for name, colour in colours.items()
        )
        for colours in (LIGHT_COLOURS, DARK_COLOURS)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(label)}">\n'
        f"<style>{_BASE_STYLE}\n{light_style}\n"
        f"@media (prefers-color-scheme:dark){{{dark_style}}}</style>\n"
        f"{draw_box(0, 0, width, height, 'ground')}{''.join(shapes)}</svg>\n"
    )


def draw_group(x: float, y: float, shapes: Iterable[str]) -> str:
    """Return shapes as a group, moved by `x` and `y`."""
    return f'<g transform="translate({x} {y})">\n{"".join(shapes)}</g>\n'


def draw_text(x: float, y: float, content: str, style: str = "", anchor: str = "start") -> str:
    """Return a text. `anchor` says if it begins, ends or has its middle at the point."""
    attributes = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{style}" {attributes}>{escape(content)}</text>\n'


def draw_box(x: float, y: float, width: float, height: float, style: str, tip: str = "") -> str:
    """Return a rectangle. A viewer shows `tip` while the pointer is on it."""
    attributes = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{style}" {attributes}>{_draw_tip(tip)}</rect>\n'


def draw_dot(x: float, y: float, radius: float, style: str, tip: str = "") -> str:
    """Return a circle. A viewer shows `tip` while the pointer is on it."""
    attributes = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}"'
    return f'<circle class="{style}" {attributes}>{_draw_tip(tip)}</circle>\n'


def draw_line(points: Iterable[tuple[float, float]], style: str) -> str:
    """Return a line through points."""
    coordinates = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="line {style}" points="{coordinates}"/>\n'


def _draw_tip(tip: str) -> str:
    return tip and f"<title>{escape(tip)}</title>"


# Quality against cost

_PANEL_WIDTH, _PANEL_HEIGHT = 760, 470
_LEFT_MARGIN, _RIGHT_MARGIN, _TOP_MARGIN, _BOTTOM_MARGIN = 64, 28, 78, 58
_CURVE_STYLES = {
    "oracle": ("oracle", "green", 0),
    "classifier": ("classifier, at any thresholds", "blue", 110),
    "chance": ("tiers mixed by chance", "grey dotted", 370),
}
"""The legend's text, the style, and the distance from the legend's left edge, by curve."""
_ROUTER_STYLES = {"this router": ("blue", 7, -8), "shuffled": ("grey", 5, 16)}
"""Routers drawn with an interval: style, radius, and how far below its point the name stands."""


def draw_curves(views: Sequence[ScoredLabels]) -> str | None:
    """Draw one panel for each view, one below another. Return None if no view knows its costs."""
    priced_views = [view for view in views if view.curves]
    panels = [
        draw_group(0, _PANEL_HEIGHT * index, _draw_panel(view))
        for index, view in enumerate(priced_views)
    ]
    return (
        draw_document(
            _PANEL_WIDTH, _PANEL_HEIGHT * len(priced_views), "Quality against cost", panels
        )
        if priced_views
        else None
    )


class _Frame(NamedTuple):
    """The ranges of the axes of a panel: cost from 0 to `right`, quality from `low` to `high`."""

    right: float
    low: float
    high: float

    def locate(self, usd: float, quality: float) -> tuple[float, float]:
        fraction = (quality - self.low) / (self.high - self.low)
        return (
            _LEFT_MARGIN + usd / self.right * (_PANEL_WIDTH - _LEFT_MARGIN - _RIGHT_MARGIN),
            _PANEL_HEIGHT
            - _BOTTOM_MARGIN
            - fraction * (_PANEL_HEIGHT - _TOP_MARGIN - _BOTTOM_MARGIN),
        )


def _draw_panel(view: ScoredLabels) -> Iterator[str]:
    frame = _fit_frame(view)
    yield draw_text(_LEFT_MARGIN, 28, f"{', '.join(view.tiers)}: {view.rows:,} prompts", "title")
    for value in _list_ticks(frame.low, frame.high):
        _, y = frame.locate(0, value)
        yield draw_line([(_LEFT_MARGIN, y), (_PANEL_WIDTH - _RIGHT_MARGIN, y)], "grid")
        yield draw_text(_LEFT_MARGIN - 8, y + 4, f"{value:.4g}", "soft", "end")
    for value in _list_ticks(0, frame.right):
        x, _ = frame.locate(value, 0)
        yield draw_text(x, _PANEL_HEIGHT - _BOTTOM_MARGIN + 20, f"{value:.4g}", "soft", "middle")
    yield draw_text(
        _PANEL_WIDTH - _RIGHT_MARGIN,
        _PANEL_HEIGHT - 18,
        "mean score, by USD a thousand prompts",
        "soft",
        "end",
    )
    for name, (label, style, offset) in _CURVE_STYLES.items():
        if name in view.curves:
            yield draw_line([(_LEFT_MARGIN + offset, 48), (_LEFT_MARGIN + offset + 26, 48)], style)
            yield draw_text(_LEFT_MARGIN + offset + 33, 52, label, "soft")
            yield draw_line(
                [frame.locate(item.cost, item.quality) for item in view.curves[name]], style
            )
    for item in view.lines:
        yield from _draw_router(frame, item)


def _fit_frame(view: ScoredLabels) -> _Frame:
    points = [point for curve in view.curves.values() for point in curve]
    intervals = [result.quality for result in view.lines if result.quality is not None]
    low_values = [*(point.quality for point in points), *(interval.low for interval in intervals)]
    high_values = [*(point.quality for point in points), *(interval.high for interval in intervals)]
    costs = [
        *(point.cost for point in points),
        *(float(router_result.usd or 0) for router_result in view.lines),
    ]
    margin = max(max(high_values) - min(low_values), 0.01) * 0.08
    return _Frame(max(costs) * 1.04 or 1.0, min(low_values) - margin, max(high_values) + margin)


def _list_ticks(low: float, high: float) -> list[float]:
    """Return about five round values in a range."""
    min_step = (high - low) / 5
    unit = 10.0 ** floor(log10(min_step))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= min_step)
    return [round(index * step, 10) for index in range(ceil(low / step), floor(high / step) + 1)]


def _draw_router(frame: _Frame, result: RouterResult) -> Iterator[str]:
    """Yield a router's point with its name beside it; nothing for the oracle, which is a curve."""
    if result.quality is None or result.usd is None or result.name == "oracle":
        return
    usd = float(result.usd)
    x, y = frame.locate(usd, result.quality.value)
    is_left = x > _PANEL_WIDTH * 0.62
    style, radius, label_offset = _ROUTER_STYLES.get(result.name, ("ink", 4, 24 if is_left else 5))
    if result.name in _ROUTER_STYLES:
        yield draw_line(
            [frame.locate(usd, result.quality.low), frame.locate(usd, result.quality.high)], style
        )
    tip = f"{result.name}: {result.quality}, {result.usd:,.2f} USD a thousand prompts"
    yield draw_dot(x, y, radius, style, tip)
    label_style = "blue strong" if result.name == "this router" else ""
    yield draw_text(
        x - 12 if is_left else x + 12,
        y + label_offset,
        result.name,
        label_style,
        "end" if is_left else "start",
    )


# Tiers and money, before and after

_BARS_LEFT = 132
"""The x coordinate at which the bars begin."""
_TIER_STYLES = {"fast": "green", "smart": "blue", "reasoning": "orange"}
_MIN_LABELLED_WIDTH = 46
"""A part of a bar gets a number only if it is wider than this."""


def draw_replay(totals: ReplayTotals) -> str:
    """Draw four bars: the tiers before and after, and the USD before and after."""
    shapes = [*_draw_heading(totals.total), *_draw_tier_bars(totals.total), *_draw_usd_bars(totals)]
    return draw_document(_PANEL_WIDTH, 372, "Tiers and money before and after", shapes)


def _draw_heading(total: ReplayGroup) -> Iterator[str]:
    decided = total.calls - total.undecided
    yield draw_text(28, 34, f"{total.changed:,} of {decided:,} calls would go elsewhere", "title")
    if total.undecided:
        yield draw_text(28, 56, f"{total.undecided:,} more cannot be decided again", "soft")


def _draw_tier_bars(total: ReplayGroup) -> Iterator[str]:
    names, x = list_columns(total), 28.0
    for name in names:
        yield draw_box(x, 76, 12, 12, _TIER_STYLES.get(name, "grey"))
        yield draw_text(x + 18, 87, name, "soft")
        x += 42 + 7.4 * len(name)
    bars = {"tiers before": total.tiers_before, "after": total.tiers_after}
    for y, (label, tiers) in zip((106, 150), bars.items(), strict=True):
        yield draw_text(_BARS_LEFT - 12, y + 20, label, "strong", "end")
        total_calls, x = sum(tiers.values()) or 1, float(_BARS_LEFT)
        for name in names:
            width = tiers[name] / total_calls * (_PANEL_WIDTH - _BARS_LEFT - _RIGHT_MARGIN)
            if width:
                tip = f"{name}: {tiers[name]:,} calls"
                yield draw_box(x, y, width, 30, _TIER_STYLES.get(name, "grey"), tip)
            if width > _MIN_LABELLED_WIDTH:
                share = f"{tiers[name] / total_calls:.0%}"
                yield draw_text(x + width / 2, y + 20, share, "ground strong", "middle")
            x += width


def _draw_usd_bars(totals: ReplayTotals) -> Iterator[str]:
    total, max_width = totals.total, _PANEL_WIDTH - _BARS_LEFT - _RIGHT_MARGIN - 90
    max_usd = max(total.usd_before, total.usd_after) or Decimal(1)
    bars = {"USD before": total.usd_before, "after": total.usd_after}
    for y, (caption, usd) in zip((222, 266), bars.items(), strict=True):
        yield draw_text(_BARS_LEFT - 12, y + 20, caption, "strong", "end")
        yield draw_box(_BARS_LEFT, y, max_width, 30, "grid")
        yield draw_box(_BARS_LEFT, y, float(usd / max_usd) * max_width, 30, "soft", f"{usd:f} USD")
        yield draw_text(_BARS_LEFT + max_width + 10, y + 20, _format_usd(usd), "strong")
    change = (
        f"{(total.usd_after - total.usd_before) / total.usd_before:+.1%}; "
        if total.usd_before
        else ""
    )
    caches = (
        f"prompt caches: {_format_usd(totals.cache_lost_usd)} lost, "
        f"{_format_usd(totals.cache_gained_usd)} gained"
    )
    yield draw_text(_BARS_LEFT, 330, change + caches, "soft")
    if total.unknown_cost_calls:
        caption = "call has" if total.unknown_cost_calls == 1 else "calls have"
        yield draw_text(
            _BARS_LEFT,
            352,
            f"{total.unknown_cost_calls:,} {caption} a cost that is not known",
            "soft",
        )


def _format_usd(usd: Decimal) -> str:
    return f"{usd:,.2f}" if usd >= 1 or not usd else f"{usd:.4f}"
