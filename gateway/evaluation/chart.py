"""Charts as SVG: a few shapes, and what `evaluate` and `replay` draw with them.

A shape is filled with the colour that its class names; with the class `line` it is a stroke.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

from gateway.evaluation.evaluate import RouterResult, ScoredLabels
from gateway.evaluation.replay.report import shown
from gateway.evaluation.replay.totals import ReplayGroup, ReplayTotals

LIGHT = {
    "ink": "#1c2530", "ground": "#ffffff", "soft": "#5d6976", "grid": "#e4e8ed",
    "blue": "#0b62c4", "green": "#16834a", "orange": "#b4532a", "grey": "#8a8f98",
}  # fmt: skip
DARK = {
    "ink": "#e6eaef", "ground": "#12171d", "soft": "#9aa6b2", "grid": "#27303a",
    "blue": "#6cb2ff", "green": "#5bd08f", "orange": "#f0955f", "grey": "#8d96a1",
}  # fmt: skip
_SHAPES = """text{font:13px system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
text.title{font-size:15px}.title,.strong{font-weight:600}
.line{stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.line.grid{stroke-width:1}.dotted{stroke-dasharray:2 5}"""


def svg(wide: float, high: float, label: str, parts: Iterable[str]) -> str:
    """Return a document, in the light or dark colours of whoever looks at it."""
    # Colours are written out twice, and not as variables: not only browsers draw SVG.
    light, dark = (
        f"text{{fill:{colours['ink']}}}\n"
        + "\n".join(
            f".{name}{{fill:{colour}}}.line.{name}{{fill:none;stroke:{colour}}}"
            for name, colour in colours.items()
        )
        for colours in (LIGHT, DARK)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" '
        f'height="{high}" role="img" aria-label="{escape(label)}">\n<style>{_SHAPES}\n{light}\n'
        f"@media (prefers-color-scheme:dark){{{dark}}}</style>\n"
        f"{box(0, 0, wide, high, 'ground')}{''.join(parts)}</svg>\n"
    )


def group(x: float, y: float, parts: Iterable[str]) -> str:
    """Return shapes, moved."""
    return f'<g transform="translate({x} {y})">\n{"".join(parts)}</g>\n'


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Return words that begin, end or have their middle at a point."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{style}" {place}>{escape(words)}</text>\n'


def box(x: float, y: float, wide: float, high: float, style: str, tip: str = "") -> str:
    """Return a rectangle; `tip` is shown while a pointer is on it."""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}"'
    return f'<rect class="{style}" {place}>{_tip(tip)}</rect>\n'


def dot(x: float, y: float, size: float, style: str, tip: str = "") -> str:
    """Return a circle."""
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="{size}"'
    return f'<circle class="{style}" {place}>{_tip(tip)}</circle>\n'


def line(points: Iterable[tuple[float, float]], style: str) -> str:
    """Return a line through points."""
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="line {style}" points="{places}"/>\n'


def _tip(words: str) -> str:
    return words and f"<title>{escape(words)}</title>"


# Quality against cost

_WIDE, _HIGH = 760, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 28, 78, 58
_CURVES = {
    "oracle": ("oracle", "green", 0),
    "classifier": ("classifier, at any thresholds", "blue", 110),
    "chance": ("tiers mixed by chance", "grey dotted", 370),
}
"""Each with its words, style and place in the legend."""
_ROUTERS = {"this router": ("blue", 7, -8), "shuffled": ("grey", 5, 16)}
"""Those that have an interval: style, size, and how far below the point its name is."""


def curves(views: Sequence[ScoredLabels]) -> str | None:
    """Draw one panel a view, below each other; None where no view knows what its tiers cost."""
    known = [view for view in views if view.curves]
    panels = [group(0, _HIGH * at, _panel(view)) for at, view in enumerate(known)]
    return svg(_WIDE, _HIGH * len(known), "Quality against cost", panels) if known else None


class _Frame(NamedTuple):
    """Where values stand in a panel."""

    right: float
    low: float
    high: float

    def at(self, usd: float, quality: float) -> tuple[float, float]:
        part = (quality - self.low) / (self.high - self.low)
        return (
            _LEFT + usd / self.right * (_WIDE - _LEFT - _RIGHT),
            _HIGH - _BOTTOM - part * (_HIGH - _TOP - _BOTTOM),
        )


def _panel(view: ScoredLabels) -> Iterator[str]:
    frame = _frame(view)
    yield text(_LEFT, 28, f"{', '.join(view.tiers)}: {view.rows:,} prompts", "title")
    for value in _ticks(frame.low, frame.high):
        _, y = frame.at(0, value)
        yield line([(_LEFT, y), (_WIDE - _RIGHT, y)], "grid")
        yield text(_LEFT - 8, y + 4, f"{value:.4g}", "soft", "end")
    for value in _ticks(0, frame.right):
        x, _ = frame.at(value, 0)
        yield text(x, _HIGH - _BOTTOM + 20, f"{value:.4g}", "soft", "middle")
    yield text(_WIDE - _RIGHT, _HIGH - 18, "mean score, by USD a thousand prompts", "soft", "end")
    for name, (words, style, place) in _CURVES.items():
        if name in view.curves:
            yield line([(_LEFT + place, 48), (_LEFT + place + 26, 48)], style)
            yield text(_LEFT + place + 33, 52, words, "soft")
            yield line([frame.at(one.cost, one.quality) for one in view.curves[name]], style)
    for one in view.lines:
        yield from _router(frame, one)


def _frame(view: ScoredLabels) -> _Frame:
    points = [point for curve in view.curves.values() for point in curve]
    bars = [line.quality for line in view.lines if line.quality is not None]
    seen = [*(point.quality for point in points), *(bar.low for bar in bars)]
    most = [*(point.quality for point in points), *(bar.high for bar in bars)]
    costs = [*(point.cost for point in points), *(float(one.usd or 0) for one in view.lines)]
    room = max(max(most) - min(seen), 0.01) * 0.08
    return _Frame(max(costs) * 1.04 or 1.0, min(seen) - room, max(most) + room)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round values in a range."""
    rough = (high - low) / 5
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
    return [round(at * step, 10) for at in range(ceil(low / step), floor(high / step) + 1)]


def _router(frame: _Frame, one: RouterResult) -> Iterator[str]:
    """Yield a router's point with its name beside it; the oracle is a curve already."""
    if one.quality is None or one.usd is None or one.name == "oracle":
        return
    usd = float(one.usd)
    x, y = frame.at(usd, one.quality.value)
    left = x > _WIDE * 0.62
    style, size, below = _ROUTERS.get(one.name, ("ink", 4, 24 if left else 5))
    if one.name in _ROUTERS:
        yield line([frame.at(usd, one.quality.low), frame.at(usd, one.quality.high)], style)
    tip = f"{one.name}: {one.quality}, {one.usd:,.2f} USD a thousand prompts"
    yield dot(x, y, size, style, tip)
    strong = "blue strong" if one.name == "this router" else ""
    yield text(x - 12 if left else x + 12, y + below, one.name, strong, "end" if left else "start")


# Tiers and money, before and after

_BARS = 132
"""Where bars begin."""
_TIERS = {"fast": "green", "smart": "blue", "reasoning": "orange"}
_NARROW = 46
"""A part that is no wider has no number in it."""


def replayed(sums: ReplayTotals) -> str:
    """Draw two bars of tiers and two of money."""
    parts = [*_head(sums.total), *_mix(sums.total), *_money(sums)]
    return svg(_WIDE, 372, "Tiers and money before and after", parts)


def _head(total: ReplayGroup) -> Iterator[str]:
    decided = total.calls - total.undecided
    yield text(28, 34, f"{total.changed:,} of {decided:,} calls would go elsewhere", "title")
    if total.undecided:
        yield text(28, 56, f"{total.undecided:,} more cannot be decided again", "soft")


def _mix(total: ReplayGroup) -> Iterator[str]:
    names, x = shown(total), 28.0
    for name in names:
        yield box(x, 76, 12, 12, _TIERS.get(name, "grey"))
        yield text(x + 18, 87, name, "soft")
        x += 42 + 7.4 * len(name)
    bars = {"tiers before": total.tiers_before, "after": total.tiers_after}
    for y, (word, tiers) in zip((106, 150), bars.items(), strict=True):
        yield text(_BARS - 12, y + 20, word, "strong", "end")
        whole, x = sum(tiers.values()) or 1, float(_BARS)
        for name in names:
            width = tiers[name] / whole * (_WIDE - _BARS - _RIGHT)
            if width:
                tip = f"{name}: {tiers[name]:,} calls"
                yield box(x, y, width, 30, _TIERS.get(name, "grey"), tip)
            if width > _NARROW:
                share = f"{tiers[name] / whole:.0%}"
                yield text(x + width / 2, y + 20, share, "ground strong", "middle")
            x += width


def _money(sums: ReplayTotals) -> Iterator[str]:
    total, room = sums.total, _WIDE - _BARS - _RIGHT - 90
    most = max(total.before, total.after) or Decimal(1)
    bars = {"USD before": total.before, "after": total.after}
    for y, (word, usd) in zip((222, 266), bars.items(), strict=True):
        yield text(_BARS - 12, y + 20, word, "strong", "end")
        yield box(_BARS, y, room, 30, "grid")
        yield box(_BARS, y, float(usd / most) * room, 30, "soft", f"{usd:f} USD")
        yield text(_BARS + room + 10, y + 20, _usd(usd), "strong")
    change = f"{(total.after - total.before) / total.before:+.1%}; " if total.before else ""
    caches = f"prompt caches: {_usd(sums.lost)} lost, {_usd(sums.gained)} gained"
    yield text(_BARS, 330, change + caches, "soft")
    if total.unknown:
        word = "call has" if total.unknown == 1 else "calls have"
        yield text(_BARS, 352, f"{total.unknown:,} {word} a cost that is not known", "soft")


def _usd(usd: Decimal) -> str:
    return f"{usd:,.2f}" if usd >= 1 or not usd else f"{usd:.4f}"
