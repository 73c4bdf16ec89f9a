"""The report of a run: counts of exchanges, and each kind of difference once with its number and examples."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from tests.twin.agreed import AgreedDifference
from tests.twin.compare import TwinDifference
from tests.twin.run import StageResult

_EXAMPLES = 3
_MOST_KINDS = 200
"""Kinds of differences that the report shows."""


def counts(result: StageResult) -> list[str]:
    """Write how many exchanges each section had, and how many rows and keys one gateway left behind."""
    lines = [f"{count:6}  {section}" for section, count in result.counts.items()]
    left = ", ".join(f"{count:,} {what}" for what, count in result.left.items())
    total = f"{result.exchanges:6}  exchanges in all, at each gateway; left behind: {left}"
    return [*lines, total]


def differences(unexplained: Iterable[TwinDifference]) -> list[str]:
    """Write differences, those of one kind together."""
    kinds: dict[tuple[str, str], list[TwinDifference]] = defaultdict(list)
    for difference in unexplained:
        kinds[difference.kind].append(difference)
    lines = []
    for (where, what), group in list(kinds.items())[:_MOST_KINDS]:
        sections = Counter(difference.section for difference in group)
        summary = ", ".join(f"{section} {count}" for section, count in sections.items())
        lines += ["", f"{where}: {what}  ({len(group)} times: {summary})"]
        examples: dict[tuple[str, str], TwinDifference] = {}
        for difference in group:
            examples.setdefault((difference.base, difference.tree), difference)
        for example in list(examples.values())[:_EXAMPLES]:
            lines.append(f"    in: {example.exchange}")
            lines.append(f"    - {_line(example.base)}")
            lines.append(f"    + {_line(example.tree)}")
    if len(kinds) > _MOST_KINDS:
        lines += ["", f"... and {len(kinds) - _MOST_KINDS} more kinds of differences"]
    return lines


def agreed(covered: Mapping[AgreedDifference, int]) -> list[str]:
    """Write how many differences each entry covers."""
    return [
        f"agreed, {count} times: {entry.where}: {entry.what}, in {entry.exchange} ({entry.reason})"
        for entry, count in covered.items()
    ]


def _line(text: str) -> str:
    printable = text.encode("utf-8", "backslashreplace").decode()
    return printable.replace("\n", "\\n").replace("\r", "\\r")
