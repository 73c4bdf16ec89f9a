"""The report of an evaluation, printed for people."""

from collections.abc import Mapping, Sequence

import click

from gateway.cli.terminal import TableColumn, format_count, format_usd, print_table
from gateway.core.target import TIERS, Tier
from gateway.evaluation.evaluate import EvaluationReport, HandLabels, ScoredLabels
from gateway.evaluation.metrics.bootstrap import Interval
from gateway.evaluation.routed_labels import RoutedLabel


def print_report(
    report: EvaluationReport, rows: Sequence[RoutedLabel], output: Mapping[Tier, int]
) -> None:
    """Print a report: outcomes first, then opinions, separately."""
    if report.trained:
        click.secho(
            f"The classifier was trained on prompts of {', '.join(report.trained)}: figures "
            "on prompts that it has seen are too high.\n",
            fg="yellow",
        )
    for view in report.views:
        _print_outcomes(view)
    if report.views:
        click.echo(_describe_prices(rows, output))
    if report.alone:
        click.echo(f"{format_count(report.alone)} prompts have a score of only one tier: left out.")
    if report.refused:
        click.echo(f"{format_count(report.refused)} prompts are refused here: left out.")
    if report.opinions is not None:
        if report.views:
            click.echo()
        _print_opinions(report.opinions)


def _print_outcomes(view: ScoredLabels) -> None:
    title = f"Outcomes of {', '.join(view.tiers)}: {format_count(view.rows)} prompts"
    click.secho(f"{title}\n", bold=True)
    columns = [
        TableColumn("router"),
        TableColumn("mean score", numeric=True),
        TableColumn("95%", numeric=True),
    ]
    columns += [TableColumn("USD per 1,000", numeric=True)]
    columns += [TableColumn(tier, numeric=True, rank=1) for tier in view.tiers]
    rows = [
        [
            line.name,
            *_format_interval(line.quality),
            format_usd(line.usd),
            *(f"{line.shares[tier]:.1%}" for tier in view.tiers),
        ]
        for line in view.lines
    ]
    print_table(columns, rows)
    click.echo()
    if view.folded:
        note = f"{format_count(view.folded)} prompts get a tier that has no score here"
        click.echo(f"{note}: the nearest stands in.")
    _print_saving(view)
    _print_classifier(view)
    click.echo()
    print_table(
        [
            TableColumn("source"), TableColumn("prompts", numeric=True),
            TableColumn("APGR", numeric=True),
            TableColumn("95%", numeric=True), TableColumn("gain over shuffled", numeric=True),
            TableColumn("95%", numeric=True),
        ],
        [
            [
                source.name or "-", format_count(source.rows),
                *_format_interval(source.apgr), *_format_interval(source.gain),
            ]
            for source in view.sources
        ],
    )  # fmt: skip
    click.echo()


def _print_saving(view: ScoredLabels) -> None:
    if view.gain is not None:
        click.echo(f"Gain over the same picks shuffled: {view.gain}; 0 is the control.")
    saving = view.saving
    if saving is None:
        click.secho(f"No saving is reported: {view.refused}.", fg="red")
        return
    click.secho(
        f"Saving against always {saving.baseline}: {_format_percent(saving.part)} of its cost, "
        f"{format_usd(saving.usd)} USD per 1,000 prompts.",
        fg="green",
    )
    click.echo(f"The score changes by {saving.quality} against always {saving.baseline}.")
    if saving.beyond is not None:
        click.echo(
            "Tiers mixed by chance would cost more for this score: "
            f"{_format_percent(saving.beyond)} of that is saved."
        )


def _print_classifier(view: ScoredLabels) -> None:
    if view.apgr is not None:
        pair = " to ".join(view.tiers[:2])
        click.echo(f"The classifier, {pair}: APGR {view.apgr}, mean of sources; .5 is chance.")
    if view.auc is not None and view.calibration is not None:
        click.echo(
            f"Whether {view.tiers[0]} suffices: AUC {view.auc}, calibration error "
            f"{view.calibration.error:.3f}, Brier {view.calibration.brier:.3f}."
        )
    if view.frugal:
        cost_shares = ", ".join(f"{name} {share:.2f}" for name, share in view.frugal.items())
        click.echo(
            f"Cost of 95% of the score of always {view.tiers[-1]}, as a part of its: {cost_shares}."
        )


def _describe_prices(rows: Sequence[RoutedLabel], output: Mapping[Tier, int]) -> str:
    """Say where the costs come from."""
    phrases = []
    for tier in TIERS:
        names = sorted({row.target_names[tier] for row in rows if tier in row.target_names})
        if names:
            phrases.append(f"{tier} {', '.join(names)} with {format_count(output[tier])} tokens")
    if not phrases:
        return "Costs are those of the labels."
    return f"Costs are of the first targets and an answer's expected tokens: {'; '.join(phrases)}."


def _print_opinions(opinions: HandLabels) -> None:
    click.secho(f"Opinions: {format_count(opinions.rows)} tiers given by hand\n", bold=True)
    print_table(
        [TableColumn("given"), *(TableColumn(f"gets {tier}", numeric=True) for tier in TIERS)],
        [
            [tier, *(format_count(opinions.table[tier][routed_tier]) for routed_tier in TIERS)]
            for tier in TIERS
        ],
    )
    click.echo(
        f"\n{opinions.agreed:.1%} agree, {opinions.above:.1%} get a dearer tier, "
        f"{opinions.below:.1%} a cheaper one. Opinions say little of outcomes."
    )
    if opinions.refused:
        click.echo(f"{format_count(opinions.refused)} are refused here.")


def _format_interval(interval: Interval | None) -> list[str]:
    return (
        ["-", "-"]
        if interval is None
        else [f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"]
    )


def _format_percent(interval: Interval) -> str:
    return f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"
