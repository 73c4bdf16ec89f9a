"""Results as a picture: SVG, which a browser shows in its light or dark colours.

A panel a figure, a line a peer: a dot at the median on a logarithmic scale, a bar over the range.
"""

from collections.abc import Iterator
from math import ceil, floor, log10
from xml.sax.saxutils import escape

from bench.figures import BY_KEY, OWN, Row, Values, middle
from bench.measure import Results

PANELS = ("plain", "paced", "single", "used")
_WIDE, _GAP, _MARGIN = 470, 30, 20
_NAME, _VALUE = 112, 66
"""Room for names on the left and values on the right of a panel."""
_TOP, _LINE, _FOOT = 64, 26, 44
_LIGHT = {
    "ground": "#ffffff", "ink": "#1c2530", "soft": "#5d6976", "grid": "#e4e8ed",
    "own": "#0b62c4", "other": "#8a8f98",
}  # fmt: skip
_DARK = {
    "ground": "#12171d", "ink": "#e6eaef", "soft": "#9aa6b2", "grid": "#27303a",
    "own": "#6cb2ff", "other": "#8d96a1",
}  # fmt: skip
_COLORS = """.ground{{fill:{ground}}}text{{fill:{ink}}}.soft{{fill:{soft}}}.grid{{stroke:{grid}}}
text.own,circle.own{{fill:{own}}}path.own{{stroke:{own}}}circle.other{{fill:{other}}}
path.other{{stroke:{other}}}"""
"""Written out twice and not by variables: not only browsers draw SVG."""
_STYLE = """
text{{font:13px system-ui,"Segoe UI",Helvetica,Arial,sans-serif}}
text.title{{font-weight:600;font-size:14px}}text.own{{font-weight:600}}text.soft{{font-size:12px}}
.bar{{stroke-width:3;stroke-linecap:round;opacity:.5}}
{colors}
"""


def draw(results: Results, *, dark: bool | None = None) -> str:
    """The picture; `dark` is whether it is dark, where None whoever looks at it decides."""
    rows = [BY_KEY[key] for key in PANELS]
    high = _TOP + _LINE * len(results.peers) + _FOOT
    width = 2 * _WIDE + _GAP + 2 * _MARGIN
    height = high * ceil(len(rows) / 2) + _MARGIN
    panels = "".join(
        f'<g transform="translate({_MARGIN + at % 2 * (_WIDE + _GAP)} {at // 2 * high})">\n'
        f"{''.join(_panel(row, results))}</g>\n"
        for at, row in enumerate(rows)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="What gateways cost, beside each other">\n'
        f"<style>{_style(dark=dark)}</style>\n"
        f'<rect class="ground" width="{width}" height="{height}"/>\n{panels}</svg>\n'
    )


def _style(*, dark: bool | None) -> str:
    light, night = _COLORS.format(**_LIGHT), _COLORS.format(**_DARK)
    both = f"{light}\n@media (prefers-color-scheme:dark){{{night}}}"
    return _STYLE.format(colors={None: both, True: night, False: light}[dark])


def _panel(row: Row, results: Results) -> Iterator[str]:
    """Best first; those of which nothing is known are not in it."""
    seen = {peer: _positive(row.values(results, peer)) for peer in results.peers}
    known = [(middle([*values]) or 0.0, peer) for peer, values in seen.items() if values]
    known.sort(reverse=not row.less)
    yield _text(0, 30, row.label, "title")
    yield _text(0, 48, f"{'less' if row.less else 'more'} is better", "soft")
    if not known:
        return
    low = floor(log10(min(map(min, filter(None, seen.values())))))
    high = max(ceil(log10(max(map(max, filter(None, seen.values()))))), low + 1)
    room = _WIDE - _NAME - _VALUE

    def x(value: float) -> float:
        return round(_NAME + (log10(value) - low) / (high - low) * room, 1)

    bottom = _TOP + _LINE * len(known)
    for power in range(low, high + 1):
        at = x(10.0**power)
        yield f'<path class="grid" d="M{at} {_TOP}V{bottom}"/>\n'
        yield _text(at, bottom + 18, f"{10.0**power:,.10g}", "soft", "middle")
    for line, (half, peer) in enumerate(known):
        y = _TOP + _LINE * line + _LINE // 2
        kind = "own" if peer.startswith(OWN) else "other"
        values = seen[peer]
        yield _text(0, y + 4, peer, kind)
        yield f'<path class="bar {kind}" d="M{x(min(values))} {y}H{x(max(values))}"/>\n'
        yield f'<circle class="{kind}" cx="{x(half)}" cy="{y}" r="5"/>\n'
        yield _text(_WIDE, y + 4, format(half, row.form), kind, "end")


def _positive(values: Values) -> list[float]:
    """What a logarithmic scale has a place for: time that noise has made negative has none."""
    return [value for value in values if value is not None and value > 0]


def _text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>\n'
