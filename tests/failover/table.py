"""All that was seen as a table: a line for each fault, and for each outcome of it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from tests.docs import pages
from tests.failover.faults import FAULTS, ProviderFault
from tests.failover.play import Experience
from tests.failover.policies import SHIPPED, WRITTEN

PAGE = pages.ROOT / "docs" / "failover.md"
HEAD = ("fault", "policy", "call", "what the program sees", "waited", "requests", "billed")
_WAITED = HEAD.index("waited")
_LONG_WAIT = 10.0
"""Seconds from which the table tells whole answers from streams."""
_BEGIN, _END = "<!-- the table of make failover -->\n", "<!-- its end -->\n"


class OutcomeRow(NamedTuple):
    """One line of the table, in the order of its columns."""

    fault: str
    policy: str
    call: str
    seen: str
    waited: str
    requests: str
    billed: str

    def without_time(self) -> tuple[str, ...]:
        """Return all that must be the same in each run."""
        return self[:_WAITED] + self[_WAITED + 1 :]


class KeptCount(NamedTuple):
    """The answers that programs got under one policy."""

    policy: str
    faults: int
    """Faults with a second target that can answer."""
    kept_faults: int
    """Faults that cost no program its answer."""
    calls: int
    """Calls of all programs with these faults."""
    answers: int


def name_fault(fault: ProviderFault) -> str:
    """Return the words for a fault in the table."""
    return f"{fault.name}; no other target" if fault.second == "none" else fault.name


def build_rows(experiences: Sequence[Experience]) -> list[OutcomeRow]:
    """Return the lines of the table. Calls with the same outcome share one."""
    rows = []
    for fault in FAULTS:
        cases: dict[tuple[str, str], list[Experience]] = {}
        for seen in experiences:
            if seen.cell.fault is fault:
                cases.setdefault((seen.cell.policy, seen.cell.mode), []).append(seen)
        outcomes: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for case, seen_by_all in cases.items():
            outcome = (
                _describe(seen_by_all),
                _join(
                    f"{first} + {second}" for first, second in (it.requests for it in seen_by_all)
                ),
                _join(it.billed for it in seen_by_all),
            )
            outcomes.setdefault(outcome, []).append(case)
        for (said, requests, billed), some in outcomes.items():
            for policy, call in _name_cases(some):
                waited = _describe_waits([it for case in some for it in cases[case]])
                rows.append(
                    OutcomeRow(name_fault(fault), policy, call, said, waited, requests, billed)
                )
    return rows


def _name_cases(cases: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return cases in words, as few as possible."""
    modes_by_policy = {
        policy: tuple(mode for _, mode in some)
        for policy, some in groupby(cases, key=lambda case: case[0])
    }

    def name(modes: tuple[str, ...]) -> str:
        return "both" if modes == ("whole", "stream") else "/".join(modes)

    if len(modes_by_policy) == 2 and len(set(modes_by_policy.values())) == 1:
        return [("both", name(modes_by_policy[SHIPPED]))]
    return [(policy, name(modes)) for policy, modes in modes_by_policy.items()]


def _describe(experiences: Sequence[Experience]) -> str:
    """Return what the programs saw; where they differ, which saw what."""
    programs: dict[str, list[Experience]] = {}
    for seen in experiences:
        programs.setdefault(seen.said, []).append(seen)
    parts = []
    for said, some in programs.items():
        words = said
        if errors := list(dict.fromkeys(f"`{it.error}`" for it in some if it.error)):
            words = f"{said} ({', '.join(errors)})"
        if len(programs) > 1:
            words = f"{', '.join(it.cell.program for it in some)}: {words}"
        parts.append(words)
    return "; ".join(parts)


def _join(words: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(words))


def _describe_waits(experiences: Sequence[Experience]) -> str:
    """Return how long programs waited; whole answers and streams apart where they differ much."""
    waits = {
        mode: [it.seconds for it in experiences if it.cell.mode == mode]
        for mode in dict.fromkeys(it.cell.mode for it in experiences)
    }
    longest = [max(seconds) for seconds in waits.values()]
    if max(longest) > _LONG_WAIT and max(longest) > 2 * min(longest):
        return ", ".join(f"{mode} {_span(seconds)}" for mode, seconds in waits.items())
    return _span([it.seconds for it in experiences])


def _span(seconds: Sequence[float]) -> str:
    low, high = (f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in (min(seconds), max(seconds)))  # fmt: skip
    return f"{low} s" if low == high else f"{low} to {high} s"


def count_kept(experiences: Sequence[Experience]) -> list[KeptCount]:
    """Count the answers that programs got although a fault was there, by policy."""
    counts = []
    for policy in (SHIPPED, WRITTEN):
        by_fault: dict[str, list[bool]] = {}
        for seen in experiences:
            fault = seen.cell.fault
            if seen.cell.policy == policy and fault.answerable and fault.second != "none":
                by_fault.setdefault(fault.name, []).append(seen.answered_by is not None)
        answers = [kept for some in by_fault.values() for kept in some]
        kept_faults = sum(all(some) for some in by_fault.values())
        counts.append(KeptCount(policy, len(by_fault), kept_faults, len(answers), sum(answers)))
    return counts


def format_sums(counts: Iterable[KeptCount]) -> str:
    """Return the sentence of the page that sums the table up."""
    words = [
        f"{count.policy.capitalize()}, {count.kept_faults} of {count.faults} faults cost no program"
        f" its answer ({count.answers} of {count.calls} calls)."
        for count in counts
    ]
    return "\n".join(words)


def format_table(rows: Iterable[OutcomeRow]) -> str:
    """Return the table in Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    lines += ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def read_page() -> list[OutcomeRow]:
    """Return the lines of the table on the page."""
    return [OutcomeRow(*row) for row in pages.table(HEAD[0], PAGE.name).rows]


def write_page(experiences: Sequence[Experience]) -> None:
    """Replace the table and the sums on the page."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    table = format_table(build_rows(experiences))
    sums = format_sums(count_kept(experiences))
    PAGE.write_text(f"{before}{_BEGIN}{sums}\n\n{table}{_END}{after}", "utf-8")


def list_differences(experiences: Sequence[Experience]) -> list[str]:
    """Return how the page differs from what was seen, times and faults that nobody met apart."""
    met = {name_fault(seen.cell.fault) for seen in experiences}
    documented = [row.without_time() for row in read_page() if row.fault in met]
    seen = [row.without_time() for row in build_rows(experiences)]
    differences = [f"not on the page: {' | '.join(row)}" for row in seen if row not in documented]
    differences += [f"only on the page: {' | '.join(row)}" for row in documented if row not in seen]
    if format_sums(count_kept(experiences)) not in PAGE.read_text("utf-8"):
        differences.append(f"other sums: {format_sums(count_kept(experiences))}")
    return differences


def list_wrong(experiences: Iterable[Experience]) -> Mapping[str, Sequence[str]]:
    """Return the faults that no policy allows, by cell."""
    return {str(seen.cell): seen.wrong for seen in experiences if seen.wrong}
