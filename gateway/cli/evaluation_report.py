"""What an evaluation says, for people."""

from collections.abc import Mapping, Sequence

import click

from gateway.cli.terminal import TableColumn, draw, number, usd
from gateway.core.target import TIERS, Tier
from gateway.evaluation.evaluate import EvaluationReport, HandLabels, ScoredLabels
from gateway.evaluation.metrics.bootstrap import Interval
from gateway.evaluation.routed_labels import RoutedLabel


def show(report: EvaluationReport, rows: Sequence[RoutedLabel], output: Mapping[Tier, int]) -> None:
    """Print a report: outcomes, then opinions, apart."""
    if report.trained:
        click.secho(
            f"The classifier was trained on prompts of {', '.join(report.trained)}: on what it has "
            "seen it looks better than it is.\n",
            fg="yellow",
        )
    for view in report.views:
        _outcomes(view)
    if report.views:
        click.echo(_prices(rows, output))
    if report.alone:
        click.echo(f"{number(report.alone)} prompts have a score of one tier alone: left out.")
    if report.refused:
        click.echo(f"{number(report.refused)} prompts are refused here: left out.")
    if report.opinions is not None:
        if report.views:
            click.echo()
        _opinions(report.opinions)


def _outcomes(view: ScoredLabels) -> None:
    title = f"Outcomes of {', '.join(view.tiers)}: {number(view.rows)} prompts"
    click.secho(f"{title}\n", bold=True)
    columns = [
        TableColumn("router"),
        TableColumn("mean score", right=True),
        TableColumn("95%", right=True),
    ]
    columns += [TableColumn("USD per 1,000", right=True)]
    columns += [TableColumn(tier, right=True, rank=1) for tier in view.tiers]
    rows = [
        [
            line.name,
            *_figures(line.quality),
            usd(line.usd),
            *(f"{line.shares[tier]:.1%}" for tier in view.tiers),
        ]
        for line in view.lines
    ]
    draw(columns, rows)
    click.echo()
    if view.folded:
        folded = f"{number(view.folded)} prompts get a tier that has no score here"
        click.echo(f"{folded}: the nearest stands in.")
    _money(view)
    _knows(view)
    click.echo()
    draw(
        [
            TableColumn("source"), TableColumn("prompts", right=True),
            TableColumn("APGR", right=True),
            TableColumn("95%", right=True), TableColumn("gain over shuffled", right=True),
            TableColumn("95%", right=True),
        ],
        [
            [one.name or "-", number(one.rows), *_figures(one.apgr), *_figures(one.gain)]
            for one in view.sources
        ],
    )  # fmt: skip
    click.echo()


def _money(view: ScoredLabels) -> None:
    if view.gain is not None:
        click.echo(f"Gain over the same picks shuffled: {view.gain}; 0 is the control.")
    saving = view.saving
    if saving is None:
        click.secho(f"No saving is told: {view.refused}.", fg="red")
        return
    click.secho(
        f"Saving against always {saving.baseline}: {_percent(saving.part)} of its cost, "
        f"{usd(saving.usd)} USD per 1,000 prompts.",
        fg="green",
    )
    click.echo(f"The score changes by {saving.quality} against always {saving.baseline}.")
    if saving.beyond is not None:
        click.echo(
            f"Tiers mixed by chance would cost more for this score: {_percent(saving.beyond)} "
            "of that is saved."
        )


def _knows(view: ScoredLabels) -> None:
    if view.apgr is not None:
        pair = " to ".join(view.tiers[:2])
        click.echo(f"The classifier, {pair}: APGR {view.apgr}, mean of sources; .5 is chance.")
    if view.auc is not None and view.calibration is not None:
        click.echo(
            f"Whether {view.tiers[0]} suffices: AUC {view.auc}, calibration error "
            f"{view.calibration.error:.3f}, Brier {view.calibration.brier:.3f}."
        )
    if view.frugal:
        told = ", ".join(f"{name} {part:.2f}" for name, part in view.frugal.items())
        click.echo(
            f"Cost of 95% of the score of always {view.tiers[-1]}, as a part of its: {told}."
        )


def _prices(rows: Sequence[RoutedLabel], output: Mapping[Tier, int]) -> str:
    """Where the costs come from."""
    said = []
    for tier in TIERS:
        names = sorted({row.targets[tier] for row in rows if tier in row.targets})
        if names:
            said.append(f"{tier} {', '.join(names)} with {number(output[tier])} tokens")
    if not said:
        return "Costs are those of the labels."
    return f"Costs are of the first targets and an answer's expected tokens: {'; '.join(said)}."


def _opinions(found: HandLabels) -> None:
    click.secho(f"Opinions: {number(found.rows)} tiers given by hand\n", bold=True)
    draw(
        [TableColumn("given"), *(TableColumn(f"gets {tier}", right=True) for tier in TIERS)],
        [[tier, *(number(found.table[tier][got]) for got in TIERS)] for tier in TIERS],
    )
    click.echo(
        f"\n{found.agreed:.1%} agree, {found.above:.1%} get a dearer tier, {found.below:.1%} a "
        "cheaper one. Opinions say little of outcomes."
    )
    if found.refused:
        click.echo(f"{number(found.refused)} are refused here.")


def _figures(one: Interval | None) -> list[str]:
    return ["-", "-"] if one is None else [f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f}"]


def _percent(one: Interval) -> str:
    return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})"
