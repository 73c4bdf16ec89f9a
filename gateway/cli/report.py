"""`tiergate report`: what routing saved, and what it cost in quality."""

import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import click

from gateway.cli.evaluate import find_baseline
from gateway.cli.ledger_session import open_ledger, parse_query_options, period_options
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import (
    TableColumn,
    count_progress,
    format_count,
    format_usd,
    print_table,
    progress,
)
from gateway.core import jsonio
from gateway.core.printable_text import make_printable
from gateway.evaluation.labelling.sampled_label import read_sampled_labels
from gateway.evaluation.metrics.bootstrap import Interval
from gateway.evaluation.routed_labels import LabelRouter, route_label
from gateway.evaluation.savings_report import (
    RoutedSample,
    SavingSample,
    SavingsReport,
    build_savings_report,
    describe_report,
)
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.saving_rows import read_saving_rows

_EXIT_NOTHING = 3


@click.command("report")
@period_options(since="30d")
@click.option(
    "--labels",
    "files",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Labels of own traffic, as `tiergate label` writes them; may be repeated.",
)
@click.option("--lab", help="Only calls of this lab.")
@click.option("--tenant", help="Only calls of this tenant.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same figures.")
@click.option("--json", "as_json", is_flag=True, help="JSON; USD as text, unknown as null.")
@pass_session
def command(
    session: CommandSession,
    since: str,
    until: str | None,
    files: tuple[Path, ...],
    lab: str | None,
    tenant: str | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """Say what routing saved, and what it cost in quality.

    The saving is of the ledger's calls that the router decided, against `ledger.baseline`. The
    quality is of labels of own traffic. Each has its 95% interval by conversation. The command
    claims nothing that may be chance, and says why.

    \b
    Examples:
      tiergate report
      tiergate report --since 7d --labels labels.jsonl
      tiergate report --labels labels.jsonl --json

    \b
    Exit status:
      0  routing saved money, and keeps more quality than the same tiers shuffled
      1  labels or configuration are wrong
      2  the command itself was not understood
      3  nothing can be claimed
    """  # noqa: D301 - the mark keeps click from filling these lines
    location = session()
    only = [
        f"{name}={value}" for name, value in (("lab", lab), ("tenant", tenant)) if value is not None
    ]
    query = parse_query_options(since=since, until=until, only=only, zone=location.time_zone)
    samples, unrouted = _route_labels(session, files)
    report = build_savings_report(
        _read_sample(session, query),
        samples,
        Random(seed),  # noqa: S311 - resamples, guards nothing
        baseline=find_baseline(session),
        unrouted=unrouted,
    )
    if as_json:
        click.echo(jsonio.dumps_printable({"seed": seed, **describe_report(report)}))
    else:
        _print_report(report)
    if report.reason and not as_json:
        message = f"Nothing can be claimed: {make_printable(report.reason)}."
        click.secho(message, fg="yellow", err=True)
    sys.exit(0 if report.is_claimed else _EXIT_NOTHING)


def _read_sample(session: CommandSession, query: LedgerQuery) -> SavingSample:
    sample = SavingSample()
    with open_ledger(session()) as store:
        if store is not None:
            rows = read_saving_rows(store, **query.selection, zone=query.time_zone)
            for row in count_progress(rows, "calls"):
                sample.add(row)
    return sample


def _route_labels(
    session: CommandSession, files: tuple[Path, ...]
) -> tuple[list[RoutedSample], int]:
    """Return the labels with the tier that routing picks now, and how many it refuses."""
    all_labels = [label for file in files for label in read_sampled_labels(file)]
    keys = (
        session.load_keys_by_name()
        if any(item.label.key is not None for item in all_labels)
        else {}
    )
    label_router = LabelRouter(router=session.built_config.router, priced_at=time.time(), keys=keys)
    samples = []
    with progress("deciding", len(all_labels)) as step:
        for item in all_labels:
            routed = route_label(label_router, item.label)
            if routed.tier is not None:
                samples.append(RoutedSample(item, routed.tier))
            step()
    return samples, len(all_labels) - len(samples)


def _print_report(report: SavingsReport) -> None:
    sample, quality = report.sample, report.quality
    rows: list[list[str]] = []
    if report.saved is not None:
        rows.append([f"saved, of always {report.baseline_tier}", *_format_shares(report.saved)])
    if quality is not None and quality.cost is not None:
        rows += [
            [name, *_format_scores(interval)]
            for name, interval in (
                ("score of the picked tiers", quality.quality),
                (f"score of always {report.baseline_tier}", quality.baseline),
                ("score of the same picks shuffled", quality.control),
                ("quality that routing costs", quality.cost),
                ("gain over shuffled; 0 is the control", quality.gain),
            )
        ]
    click.echo(
        f"{format_count(sample.calls)} calls that the router decided:"
        f" {format_usd(sample.cost)} USD. On {report.baseline_tier}:"
        f" {format_usd(sample.baseline)} USD."
    )
    if sample.judge_cost:
        click.echo(
            f"{format_usd(sample.judge_cost)} USD of that are of models that help to decide."
        )
    if sample.label_cost:
        click.echo(f"Labels cost {format_usd(sample.label_cost)} USD beside that.")
    if sample.unknown:
        click.echo(f"{format_count(sample.unknown)} more have an unknown cost or no baseline.")
    if quality is not None:
        mix = ", ".join(f"{tier} {share:.0%}" for tier, share in quality.shares.items())
        click.echo(f"{format_count(quality.labels)} labels; routing picks {mix}.")
        if quality.stand_ins:
            click.echo(
                f"{format_count(quality.stand_ins)} picked a tier without a score: the nearest"
                " stands in."
            )
    if report.unrouted:
        click.echo(f"{format_count(report.unrouted)} labels are left out: their call is refused.")
    if rows:
        click.echo()
        print_table(
            [TableColumn("figure"), TableColumn("value", numeric=True), TableColumn("95%")], rows
        )
        click.echo()
    if (
        report.is_claimed
        and report.saved is not None
        and quality is not None
        and quality.cost is not None
    ):
        click.secho(_describe_claim(report.saved, quality.cost, report.baseline_tier), fg="green")


def _describe_claim(saved: Interval, cost: Interval, tier: str) -> str:
    value, interval = _format_shares(saved)
    lost, lost_interval = _format_scores(cost)
    return (
        f"Routing saved {value} ({interval}) of what always {tier} would have cost, and its quality"
        f" is {lost} ({lost_interval}) lower. The same tiers shuffled keep less."
    )


def _format_shares(interval: Interval) -> list[str]:
    return [f"{interval.value:.1%}", f"{interval.low:.1%} to {interval.high:.1%}"]


def _format_scores(interval: Any) -> list[str]:
    if interval is None:
        return ["-", "-"]
    return [f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"]
