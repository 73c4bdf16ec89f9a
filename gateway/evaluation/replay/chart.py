"""Tiers and money before and after as a picture: SVG, in a browser's light or dark colours."""

from collections.abc import Iterator
from decimal import Decimal
from html import escape

from gateway.evaluation.replay.report import shown
from gateway.evaluation.replay.totals import ReplayGroup, ReplayTotals

_WIDE, _LEFT, _RIGHT = 760, 132, 28
_BAR, _GAP = 30, 14
_LIGHT = {
    "ground": "#ffffff", "ink": "#1c2530", "soft": "#5d6976", "grid": "#e4e8ed",
    "fast": "#2f9e6e", "smart": "#0b62c4", "reasoning": "#b4532a", "rest": "#8a8f98",
}  # fmt: skip
_DARK = {
    "ground": "#12171d", "ink": "#e6eaef", "soft": "#9aa6b2", "grid": "#27303a",
    "fast": "#55c795", "smart": "#6cb2ff", "reasoning": "#f0955f", "rest": "#8d96a1",
}  # fmt: skip
_COLORS = """.ground{{fill:{ground}}}text{{fill:{ink}}}text.soft{{fill:{soft}}}
.grid{{fill:{grid}}}.fast{{fill:{fast}}}.smart{{fill:{smart}}}.reasoning{{fill:{reasoning}}}
.rest{{fill:{rest}}}.money{{fill:{soft}}}.in{{fill:{ground}}}"""
"""Written out twice and not by variables: not only browsers draw SVG."""
_STYLE = f"""
text{{font:13px system-ui,"Segoe UI",Helvetica,Arial,sans-serif}}
text.title{{font-size:16px;font-weight:600}}text.in{{font-weight:600}}text.strong{{font-weight:600}}
{_COLORS.format(**_LIGHT)}
@media (prefers-color-scheme:dark){{{_COLORS.format(**_DARK)}}}
"""
_NARROW = 46
"""A part that is no wider has no number in it."""


def draw(sums: ReplayTotals) -> str:
    """Two bars of tiers and two of money."""
    total = sums.total
    body = "".join([*_head(total), *_mix(total), *_money(sums)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} 372" width="{_WIDE}" '
        f'height="372" role="img" aria-label="Tiers and money before and after">\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="ground" width="{_WIDE}" height="372"/>\n{body}</svg>\n'
    )


def _head(total: ReplayGroup) -> Iterator[str]:
    decided = total.calls - total.undecided
    yield _text(28, 34, f"{total.changed:,} of {decided:,} calls would go elsewhere", "title")
    if total.undecided:
        yield _text(28, 56, f"{total.undecided:,} more cannot be decided again", "soft")


def _mix(total: ReplayGroup) -> Iterator[str]:
    names, x = shown(total), 28.0
    for name in names:
        yield _box(x, 76, 12, 12, _style(name))
        yield _text(x + 18, 87, name, "soft")
        x += 42 + 7.4 * len(name)
    for at, (word, tiers) in enumerate(
        (("tiers before", total.tiers_before), ("after", total.tiers_after))
    ):
        y = 106 + at * (_BAR + _GAP)
        yield _text(_LEFT - 12, y + 20, word, "strong", "end")
        whole, x = sum(tiers.values()) or 1, float(_LEFT)
        for name in names:
            width = tiers[name] / whole * (_WIDE - _LEFT - _RIGHT)
            if width:
                yield _box(x, y, width, _BAR, _style(name), f"{name}: {tiers[name]:,} calls")
            if width > _NARROW:
                yield _text(x + width / 2, y + 20, f"{tiers[name] / whole:.0%}", "in", "middle")
            x += width


def _money(sums: ReplayTotals) -> Iterator[str]:
    total, room = sums.total, _WIDE - _LEFT - _RIGHT - 90
    most = max(total.before, total.after) or Decimal(1)
    for at, (word, usd) in enumerate((("USD before", total.before), ("after", total.after))):
        y = 222 + at * (_BAR + _GAP)
        width = float(usd / most) * room
        yield _text(_LEFT - 12, y + 20, word, "strong", "end")
        yield _box(_LEFT, y, room, _BAR, "grid")
        yield _box(_LEFT, y, width, _BAR, "money", f"{usd:f} USD")
        yield _text(_LEFT + room + 10, y + 20, _usd(usd), "strong")
    yield _text(_LEFT, 330, _change(sums), "soft")
    if total.unknown:
        word = "call has" if total.unknown == 1 else "calls have"
        yield _text(_LEFT, 352, f"{total.unknown:,} {word} a cost that is not known", "soft")


def _change(sums: ReplayTotals) -> str:
    total = sums.total
    words = []
    if total.before:
        words.append(f"{(total.after - total.before) / total.before:+.1%}")
    words.append(f"prompt caches: {_usd(sums.lost)} lost, {_usd(sums.gained)} gained")
    return "; ".join(words)


def _usd(usd: Decimal) -> str:
    return f"{usd:,.2f}" if usd >= 1 or not usd else f"{usd:.4f}"


def _style(name: str) -> str:
    return name if name in ("fast", "smart", "reasoning") else "rest"


def _box(x: float, y: float, wide: float, high: float, style: str, told: str = "") -> str:
    title = f"<title>{escape(told)}</title>" if told else ""
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high}" '
        f'rx="3">{title}</rect>\n'
    )


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}</text>\n"
    )
