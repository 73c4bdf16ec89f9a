"""Draw results as a chart: a panel for each figure, a row for each peer.

A row has a dot at the median on a logarithmic scale, and a line over the range.
"""

from collections.abc import Iterator
from math import ceil, floor, log10

from bench.figures import BY_KEY, OWN, Row, Values, middle
from bench.measure import Results
from gateway.evaluation.chart import draw_document, draw_dot, draw_group, draw_line, draw_text

PANELS = ("plain", "paced", "single", "used")
_WIDE, _GAP, _MARGIN = 470, 30, 20
_NAME, _VALUE = 112, 66
"""Space for names on the left of a panel, and for values on its right."""
_TOP, _LINE, _FOOT = 64, 26, 44


def draw(results: Results) -> str:
    """Draw the chart as SVG."""
    high = _TOP + _LINE * len(results.peers) + _FOOT
    panels = [
        draw_group(_MARGIN + at % 2 * (_WIDE + _GAP), at // 2 * high, _panel(BY_KEY[key], results))
        for at, key in enumerate(PANELS)
    ]
    height = high * ceil(len(PANELS) / 2) + _MARGIN
    label = "What gateways cost, beside each other"
    return draw_document(2 * _WIDE + _GAP + 2 * _MARGIN, height, label, panels)


def _panel(row: Row, results: Results) -> Iterator[str]:
    """Yield the rows of a panel, the best first, without the peers that have no known value."""
    seen = {peer: _positive(row.values(results, peer)) for peer in results.peers}
    measured = [(middle([*values]) or 0.0, peer) for peer, values in seen.items() if values]
    measured.sort(reverse=not row.less)
    yield draw_text(0, 30, row.label, "title")
    yield draw_text(0, 48, f"{'less' if row.less else 'more'} is better", "soft")
    if not measured:
        return
    low = floor(log10(min(map(min, filter(None, seen.values())))))
    high = max(ceil(log10(max(map(max, filter(None, seen.values()))))), low + 1)
    room = _WIDE - _NAME - _VALUE

    def x(value: float) -> float:
        return _NAME + (log10(value) - low) / (high - low) * room

    bottom = _TOP + _LINE * len(measured)
    for power in range(low, high + 1):
        at = x(10.0**power)
        yield draw_line([(at, _TOP), (at, bottom)], "grid")
        yield draw_text(at, bottom + 18, f"{10.0**power:,.10g}", "soft", "middle")
    for number, (half, peer) in enumerate(measured):
        y = _TOP + _LINE * number + _LINE // 2
        own = peer.startswith(OWN)
        style, words = ("blue", "blue strong") if own else ("grey", "")
        values = seen[peer]
        yield draw_text(0, y + 4, peer, words)
        yield draw_line([(x(min(values)), y), (x(max(values)), y)], style)
        yield draw_dot(x(half), y, 5, style)
        yield draw_text(_WIDE, y + 4, format(half, row.form), words, "end")


def _positive(values: Values) -> list[float]:
    """Return the values that a logarithmic scale can show: noise can make a time negative."""
    return [value for value in values if value is not None and value > 0]
