"""Format results: medians with their range, a table for each topic, and ratios to other peers."""

from bench import target
from bench.figures import BY_KEY, COMPARED, OWN, TOPICS, Values, middle, ratios, waiting
from bench.measure import Results
from bench.peers import SET_UPS

# Above this share of waiting for a CPU, other programs used the machine.
BUSY = 0.1


def render(results: Results) -> str:
    """Format all results as Markdown tables, with the machine above and notes below."""
    return _join([_above(results), *_topics(results), *_comparisons(results), *_notes(results)])


def render_figures(results: Results) -> str:
    """Format the figures of each peer, with the machine above and notes below."""
    return _join([_above(results), *_topics(results), *_notes(results)])


def render_comparisons(results: Results) -> str:
    """Format the ratios to other peers, and the targets."""
    return _join([f"The run of {results.at} UTC.", *_comparisons(results)])


def _join(parts: list[str]) -> str:
    return "\n\n".join(parts)


def _topics(results: Results) -> list[str]:
    return [f"{topic}:\n\n{_topic(results, keys)}" for topic, keys in TOPICS.items()]


def _comparisons(results: Results) -> list[str]:
    others = [other for other in results.peers if not other.startswith(OWN)]
    parts = [
        f"{peer}, by the same figure of:\n\n{_compared(results, peer, others)}"
        for peer in results.peers
        if peer.startswith(OWN) and others
    ]
    aims = "\n".join(_align(target.lines(results)))
    return [*parts, f"Targets:\n\n{aims}"]


def _notes(results: Results) -> list[str]:
    return ["\n".join(_below(results))]


def _topic(results: Results, keys: tuple[str, ...]) -> str:
    rows = [BY_KEY[key] for key in keys]
    lines = [["", *(row.head for row in rows)]]
    for peer in results.peers:
        cells = [_spread(row.values(results, peer), row.form) for row in rows]
        lines.append([peer, *cells])
    return "\n".join(_align(lines))


def _compared(results: Results, peer: str, others: list[str]) -> str:
    lines = [["", *others]]
    for row in (BY_KEY[key] for key in COMPARED):
        cells = [ratio(ratios(row, results, peer, other)) for other in others]
        if any(cell != "-" for cell in cells):
            lines.append([row.label, *cells])
    return "\n".join(_align(lines))


def _spread(values: Values, form: str) -> str:
    """Format the median and the range."""
    measured = [value for value in values if value is not None]
    if not measured:
        return "-"
    low, high = (format(value, form) for value in (min(measured), max(measured)))
    return format(middle(values), form) + (f" ({low}-{high})" if low != high else "")


def ratio(ratios: list[float]) -> str:
    """Format the median of ratios with their range: below 1 as a share, above as a multiple."""
    half = middle([*ratios])
    if half is None:
        return "-"
    times, form, unit = (100, ".0f", "%") if half < 1 else (1, ".0f" if half >= 100 else ".1f", "x")
    if half * times < 10 and unit == "%":
        form = ".1f"
    low, high = (format(value * times, form) for value in (min(ratios), max(ratios)))
    return f"{half * times:{form}}{unit}" + (f" ({low}-{high})" if low != high else "")


def _align(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in (lines[0], rule, *lines[1:])
    ]


def _above(results: Results) -> str:
    here = results.machine
    versions = ", ".join(
        f"{name} {version}" for name, version in results.versions.items() if version
    )
    return (
        f"{results.at} UTC, {here.processor}, {here.cpus} CPUs, Linux {here.kernel}, Python"
        f" {here.python}; peers on CPU {here.gateway_cpu} with one worker, mock and load on CPU"
        f" {here.load_cpu}; medians of {results.scale.rounds} rounds, with their range."
        f"\n{versions}."
    )


def _below(results: Results) -> list[str]:
    """Return notes that a reader needs to judge the figures."""
    notes = [
        "Ratios are medians of the rounds' ratios. CPU-seconds hold on a busy machine, times do not.",
        *results.notes,
    ]
    notes += [
        f"{kind.name} is not in this run."
        for kind in SET_UPS.values()
        if kind.name not in results.peers
        and not any(note.startswith(kind.name + " ") for note in results.notes)
    ]
    here = results.machine
    if here.load_average > here.cpus / 2:
        notes.append(f"The machine was busy before: a load of {here.load_average:.1f}.")
    if here.gateway_cpu == here.load_cpu:
        notes.append("One CPU only: peers, mock and load share it, so all times are too long.")
    shares = {peer: waiting(results, peer) for peer in results.peers}
    if busy := [f"{peer} {share:.0%}" for peer, share in shares.items() if share > BUSY]:
        notes.append(
            "Others used the machine, so times are too long: of the time that it could have run,"
            f" a peer waited for its CPU: {', '.join(busy)}."
        )
    return [f"- {note}" for note in notes]
