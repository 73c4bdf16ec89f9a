"""`tiergate evaluate`: compares the router on labels with chance, and with an oracle."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import click

from gateway.cli import evaluation_report
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import progress
from gateway.core import jsonio
from gateway.core.target import TIERS, Tier
from gateway.evaluation import chart, evaluate, labels, routed_labels
from gateway.routing.classifier.exemplars import ExemplarClassifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.quality_dial import EXPECTED_OUTPUT_TOKENS
from gateway.routing.router import Router

_EXIT_NOT_BETTER = 3


def _parse_output_tokens(
    _ctx: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> Mapping[Tier, int]:
    tokens = dict(EXPECTED_OUTPUT_TOKENS)
    for value in values:
        name, _, count = value.partition("=")
        tier = next((candidate for candidate in TIERS if candidate == name), None)
        if tier is None or not count.isdecimal():
            raise click.BadParameter("write it as reasoning=3000.", param=option)
        tokens[tier] = int(count)
    return tokens


@click.command("evaluate")
@click.argument("files", nargs=-1, required=True, metavar="LABELS...")
@click.option(
    "--baseline", type=click.Choice(TIERS), help="The tier that savings are compared with."
)
@click.option(
    "--output-tokens",
    "output",
    multiple=True,
    callback=_parse_output_tokens,
    metavar="TIER=N",
    help="Tokens of an answer of a tier, with its reasoning; may be repeated.",
)
@click.option(
    "--picture",
    "drawing",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the cost-quality curve as SVG.",
)
@click.option(
    "--seed", default=1, show_default=True, help="A seed; the same seed gives the same figures."
)
@click.option(
    "--repeats",
    default=evaluate.REPEATS,
    show_default=True,
    type=click.IntRange(100),
    help="Number of resamples for the intervals.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
@pass_session
def command(
    session: CommandSession,
    files: tuple[str, ...],
    baseline: Tier | None,
    output: Mapping[Tier, int],
    drawing: Path | None,
    seed: int,
    repeats: int,
    *,
    as_json: bool,
) -> None:
    """Hold this configuration's decisions against labels; nothing is sent to anybody.

    LABELS are .jsonl, .csv or .parquet with a prompt and the scores of tiers, or golden prompts.
    The report compares this router, the same picks shuffled, each tier alone and an oracle, with
    95% intervals. It has a saving only if this router is better than chance.

    \b
    Examples:
      tiergate evaluate labels.jsonl
      tiergate evaluate labels.jsonl --baseline smart --picture curve.svg
      tiergate evaluate labels.csv --output-tokens reasoning=3000 --json

    \b
    Exit status:
      0  this router is better than its shuffled control, or there are opinions alone
      1  labels or configuration are wrong
      2  the command itself was not understood
      3  it is not better than its control: the command prints no saving
    """  # noqa: D301 - the mark keeps click from filling these lines
    all_labels = [label for file in files for label in labels.read_labels(Path(file))]
    keys = session.load_keys_by_name() if any(label.key is not None for label in all_labels) else {}
    label_router = routed_labels.LabelRouter(
        router=session.built_config.router, priced_at=time.time(), keys=keys, output_tokens=output
    )
    rows = []
    with progress("deciding", len(all_labels)) as step:
        for label in all_labels:
            rows.append(routed_labels.route_label(label_router, label))
            step()
    baseline_tier = baseline or find_baseline(session)
    with progress("resampling", evaluate.count_ticks(rows, repeats)) as step:
        report = evaluate.build_report(
            rows,
            Random(seed),  # noqa: S311 - resamples, guards nothing
            baseline=baseline_tier,
            repeats=repeats,
            trained_sources=_list_trained_sources(label_router.router),
            tick=step,
        )
    if drawing is not None:
        _write_chart(drawing, report)
    if as_json:
        click.echo(
            jsonio.dumps_printable(
                {"seed": seed, "repeats": repeats, "output": output, **_build_report_json(report)}
            )
        )
    else:
        evaluation_report.print_report(report, rows, output)
        if drawing is not None:
            click.echo(f"The curve is in {drawing}.")
    sys.exit(0 if report.beats_control else _EXIT_NOT_BETTER)


def _list_trained_sources(router: Router) -> tuple[str, ...]:
    """Return the sources that the classifier was trained on."""
    classifier = router.classifier
    classifier = classifier.base if isinstance(classifier, ExemplarClassifier) else classifier
    return classifier.model.sources if isinstance(classifier, LearnedClassifier) else ()


def find_baseline(session: CommandSession) -> Tier | None:
    """Return the tier of the ledger's baseline; None if the baseline names no tier."""
    setting = session.source.config.ledger.baseline or ""
    name = setting.rpartition("/")[2]
    return next((tier for tier in TIERS if tier == name), None)


def _write_chart(file: Path, report: evaluate.EvaluationReport) -> None:
    svg = chart.draw_curves(report.views)
    if svg is None:
        raise click.ClickException(
            "There is nothing to draw: the targets have no prices, or the labels no outcomes."
        )
    try:
        file.write_text(svg, "utf-8")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise click.ClickException(f"{file} cannot be written: {reason}.") from None


def _build_report_json(report: evaluate.EvaluationReport) -> dict[str, object]:
    return {
        "better": report.beats_control,
        **{name: getattr(report, name) for name in report.__struct_fields__},
    }
