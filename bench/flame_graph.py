"""Draw samples as a flame graph: each function a box, as wide as its share of CPU, above its caller."""

from collections import Counter
from collections.abc import Iterable

from gateway.evaluation.chart import draw_box, draw_document, draw_text

type Stack = tuple[str, ...]

WIDTH, ROW, MARGIN = 1200, 16, 8
LEAST = 0.002
"""Smallest share of all samples that gets a box; narrower boxes could not be read."""
_LETTER = 7.2
"""Width of a character."""
_COLOURS = {
    "server/": "orange", "upstream/": "blue", "dialects/": "green", "pipeline/": "soft",
}  # fmt: skip


def draw(samples: Iterable[Stack], title: str) -> str:
    """Draw a chart of stacks; functions are `file:name`, the outermost first."""
    counted = Counter(samples)
    whole = counted.total()
    boxes, depth = _boxes(counted, whole)
    height = (depth + 2) * ROW + 2 * MARGIN
    scale = (WIDTH - 2 * MARGIN) / max(whole, 1)
    parts = [draw_text(MARGIN, MARGIN + 12, title, "title")]
    for name, level, start, count in boxes:
        x, y = MARGIN + start * scale, height - MARGIN - (level + 1) * ROW
        style = next(
            (colour for begins, colour in _COLOURS.items() if name.startswith(begins)), "grey"
        )
        parts.append(draw_box(x, y, count * scale, ROW - 1, style, f"{name} {count / whole:.1%}"))
        if (fits := int((count * scale - 4) / _LETTER)) > 2:
            parts.append(draw_text(x + 2, y + 12, name.rpartition(":")[2][:fits], "ground"))
    return draw_document(WIDTH, height, title, parts)


def _boxes(counted: Counter[Stack], whole: int) -> tuple[list[tuple[str, int, int, int]], int]:
    """Return each box's name, level, first sample and number of samples; and the number of levels."""
    boxes: list[tuple[str, int, int, int]] = []
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
                boxes.append((name, level, start, count))
                depth = max(depth, level + 1)
                walk(kids[name], level + 1, start)
            start += count

    walk(dict(counted), 0, 0)
    return boxes, depth
