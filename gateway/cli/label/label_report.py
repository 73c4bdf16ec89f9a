"""Reports of the command `label`: the sample, the expected cost, and the outcome of a run."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

import click

from gateway.cli.label.run import PlannedPrompt, RunSummary
from gateway.cli.terminal import (
    TableColumn,
    format_count,
    format_upper_bound,
    format_usd,
    print_table,
)
from gateway.core.jsonio import Json
from gateway.core.printable_text import make_printable
from gateway.evaluation.labelling.strata import DrawnPrompt, LabelCandidate

_COUNTS = ("calls", "prompts", "labelled", "drawn")


def describe_sample(
    candidates: Sequence[LabelCandidate],
    drawn: Sequence[DrawnPrompt],
    labelled: set[str],
    left_out: Counter[str],
) -> dict[str, Json]:
    """Return the strata with their counts, and why calls are no candidates."""
    strata: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COUNTS, 0))
    for candidate in candidates:
        counts = strata[candidate.stratum]
        counts["calls"] += candidate.calls
        counts["prompts"] += 1
        counts["labelled"] += candidate.digest in labelled
    for item in drawn:
        strata[item.candidate.stratum]["drawn"] += 1
    return {"strata": dict(sorted(strata.items())), "left_out": _list_reasons(left_out)}


def print_sample(report: Mapping[str, Json]) -> None:
    """Print the strata, and why calls are no candidates."""
    strata: Mapping[str, Mapping[str, int]] = report["strata"]
    print_table(
        [TableColumn("score of fast"), *(TableColumn(name, numeric=True) for name in _COUNTS)],
        [
            [stratum, *(format_count(counts[name]) for name in _COUNTS)]
            for stratum, counts in strata.items()
        ],
    )
    _print_reasons("left out", report["left_out"])
    if not any(counts["drawn"] for counts in strata.values()):
        click.echo("Nothing is left to label.")


def describe_expected(
    planned: Sequence[PlannedPrompt], refused: Counter[str], judged_itself: set[str]
) -> dict[str, Json]:
    """Return what labels would cost."""
    return {
        "expected": {
            "prompts": len(planned),
            "usd": f"{sum((item.expected_usd for item in planned), Decimal(0)):f}",
            "at_most": f"{sum((item.max_usd for item in planned), Decimal(0)):f}",
        },
        "not_asked": _list_reasons(refused),
        "judged_itself": sorted(judged_itself),
    }


def describe_run(summary: RunSummary) -> dict[str, Json]:
    """Return what a run has done."""
    return {
        "labels": summary.labels,
        "charged": f"{summary.charged_usd:f}",
        "comparisons": summary.comparisons,
        "splits": summary.splits,
        "not_labelled": _list_reasons(summary.not_labelled),
        "ended_by": summary.ended_by or None,
        "judged_itself": sorted(summary.judged_itself),
    }


def print_outcome(outcome: Mapping[str, Json], *, is_judged: bool) -> None:
    """Print what labels would cost, or what a run has done."""
    if names := ", ".join(outcome["judged_itself"]):
        message = f"{names} answers and judges: models prefer their own answers."
        click.secho(f"{message} Name another --judge.", fg="yellow", err=True)
    if "expected" in outcome:
        expected = outcome["expected"]
        usd = format_usd(Decimal(expected["usd"]))
        most = format_upper_bound(Decimal(expected["at_most"]))
        count = format_count(expected["prompts"])
        click.echo(f"{count} prompts would be asked: about {usd} USD, at most {most} USD.")
        _print_reasons("would not be asked", outcome["not_asked"])
        click.echo("Nothing was sent to anybody.")
        return
    what = "labels" if is_judged else "prompts wait for people"
    click.echo(
        f"{format_count(outcome['labels'])} {what}, for at most"
        f" {format_usd(Decimal(outcome['charged']))} USD. `tiergate costs --only tag=label` has the"
        " calls."
    )
    if outcome["comparisons"]:
        click.echo(
            f"{format_count(outcome['splits'])} of {format_count(outcome['comparisons'])}"
            " comparisons differ by the order of the answers."
        )
    _print_reasons("not labelled", outcome["not_labelled"])
    if outcome["ended_by"]:
        click.secho(f"The run ended early: {outcome['ended_by']}.", fg="yellow")
    if not is_judged and outcome["labels"]:
        click.echo("Compare them on the dashboard's page Labels, then: tiergate label --collect")


def _list_reasons(reasons: Counter[str]) -> dict[str, Json]:
    return {reason: count for reason, count in reasons.most_common() if count}


def _print_reasons(heading: str, reasons: Mapping[str, int]) -> None:
    parts = [
        f"{format_count(count)} ({make_printable(reason)})" for reason, count in reasons.items()
    ]
    if parts:
        click.echo(f"{heading}: {', '.join(parts)}")
