"""A flame graph of samples: each box a function, as wide as its share of CPU, above who called it."""

from collections import Counter
from collections.abc import Iterable
from html import escape

type Stack = tuple[str, ...]

WIDTH, ROW, MARGIN = 1200, 16, 8
LEAST = 0.002
"""Of all samples: narrower boxes are left out, since nobody can read them."""
_LETTER = 6.2
"""Width of a character."""
_COLOURS = {
    "server/": "#d9b26a", "upstream/": "#c98b5b", "dialects/": "#9db36b", "routing/": "#7fae94",
    "ledger/": "#8fa6c4", "core/": "#b79cc2", "pipeline/": "#d58f8f",
}  # fmt: skip
_OTHER = "#c9c5bd"


def draw(samples: Iterable[Stack], title: str) -> str:
    """SVG without a script; functions are `file:name`, the outermost first."""
    counted = Counter(samples)
    whole = counted.total()
    boxes, depth = _boxes(counted, whole)
    height = (depth + 2) * ROW + 2 * MARGIN
    scale = (WIDTH - 2 * MARGIN) / max(whole, 1)
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            ' font-family="ui-monospace,monospace" font-size="10">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="#fbfaf7"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 10}" font-size="12">{escape(title)}</text>',
    ]
    for name, level, start, count in boxes:
        x, y = MARGIN + start * scale, height - MARGIN - (level + 1) * ROW
        width = count * scale
        told = f"{escape(name)} {count / whole:.1%}"
        fits = int((width - 4) / _LETTER)
        text = escape(name.rpartition(":")[2][:fits]) if fits > 2 else ""
        lines.append(
            f'<g><title>{told}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}"'
            f' height="{ROW - 1}" fill="{_colour(name)}"/>'
            + (f'<text x="{x + 2:.1f}" y="{y + 11}">{text}</text>' if text else "")
            + "</g>"
        )
    return "\n".join([*lines, "</svg>", ""])


def _boxes(counted: Counter[Stack], whole: int) -> tuple[list[tuple[str, int, int, int]], int]:
    """Name, level, first sample and number of samples of each box; and how many levels there are."""
    found: list[tuple[str, int, int, int]] = []
    depth = 0

    def walk(under: dict[Stack, int], level: int, start: int) -> None:
        nonlocal depth
        kids: dict[str, dict[Stack, int]] = {}
        for stack, count in under.items():
            if len(stack) > level:
                kids.setdefault(stack[level], {})[stack] = count
        for name in sorted(kids):
            count = sum(kids[name].values())
            if count >= LEAST * whole:
                found.append((name, level, start, count))
                depth = max(depth, level + 1)
                walk(kids[name], level + 1, start)
            start += count

    walk(dict(counted), 0, 0)
    return found, depth


def _colour(name: str) -> str:
    return next((one for begins, one in _COLOURS.items() if name.startswith(begins)), _OTHER)
