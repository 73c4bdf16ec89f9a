"""`tiergate judge`: calibrates the probabilities of the judge on the owner's labels."""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random

import click

from gateway.cli.app import CommandGroup, parse_amount
from gateway.cli.judge_asking import AskingResult, JudgeAsker, find_judge_model
from gateway.cli.ledger_session import open_ledger, parse_query_options, period_options, read_calls
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import TableColumn, print_table, progress
from gateway.core import jsonio
from gateway.core.decision_context import Score
from gateway.core.ledger_rows import FinalRow
from gateway.evaluation import labels
from gateway.evaluation.implicit_feedback import infer_feedback
from gateway.evaluation.judge_calibration import (
    CalibrationResult,
    JudgedOutcome,
    LineResult,
    calibrate_judge,
    find_outcome,
)
from gateway.evaluation.labels import Label
from gateway.evaluation.metrics.calibration import CalibrationCurve
from gateway.routing.judge_calibration import JudgeCalibration
from gateway.upstream.connection_pools import ConnectionPools
from gateway.upstream.credentials.cloud_credentials import CloudCredentials

EXIT_NOT_BETTER = 3
_COLUMNS = (
    TableColumn("suffices"),
    TableColumn("labels", numeric=True),
    TableColumn("ECE", numeric=True),
    TableColumn("calibrated", numeric=True),
    TableColumn("Brier", numeric=True),
    TableColumn("calibrated", numeric=True),
    TableColumn("shuffled", numeric=True),
)


@click.group("judge", cls=CommandGroup)
def command() -> None:
    """Calibrate the judge: the model that the gateway asks which tier a turn needs.

    \b
    Examples:
      tiergate judge calibrate labels.jsonl --budget 0.50
      tiergate judge calibrate --from-ledger --since 30d
    """  # noqa: D301 - \b is click's sign that lines stay apart


@command.command("calibrate")
@click.argument("files", nargs=-1, metavar="[LABELS...]")
@click.option("--from-ledger", is_flag=True, help="Use verdicts and feedback of own calls.")
@click.option("--tenant", default="default", show_default=True, help="The tenant of these calls.")
@period_options()
@click.option(
    "--budget",
    default="0.10",
    show_default=True,
    metavar="USD",
    callback=parse_amount,
    help="The most that all questions may cost.",
)
@click.option(
    "--seed", default=1, show_default=True, help="A seed; the same seed gives the same figures."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@pass_session
def calibrate_command(  # noqa: PLR0913 - its options
    session: CommandSession,
    files: tuple[str, ...],
    tenant: str,
    since: str | None,
    until: str | None,
    budget: Decimal,
    seed: int,
    *,
    from_ledger: bool,
    as_json: bool,
) -> None:
    """Find out what the probabilities of the judge mean, and print the calibration.

    With LABELS the command asks the judge about each prompt, and compares its answers with the
    scores or the tiers of the labels. With --from-ledger it asks nobody: the rows of judged calls
    have the probabilities, and feedback tells what came of them.

    \b
    Examples:
      tiergate judge calibrate labels.jsonl --budget 0.50
      tiergate judge calibrate --from-ledger --since 30d

    \b
    Exit status:
      0  the judge tells more than chance; its calibration is printed
      1  the configuration or the labels are wrong
      2  the command itself was not understood
      3  it tells no more than chance, or there are too few labels
    """  # noqa: D301 - \b is click's sign that lines stay apart
    if from_ledger == bool(files):
        raise click.UsageError("Name LABELS, or --from-ledger.")
    asking: AskingResult | None = None
    if from_ledger:
        outcomes = _read_outcomes(session, tenant, since, until)
    else:
        rows = [label for file in files for label in labels.read_labels(Path(file))]
        asking = _ask(session, rows, budget)
        outcomes = asking.outcomes
    result = calibrate_judge(outcomes, Random(seed))  # noqa: S311 - seeded
    if as_json:
        click.echo(jsonio.dumps_printable(_build_json(result, asking)))
    else:
        _print_result(result, asking)
    if result.calibration is None:
        raise SystemExit(EXIT_NOT_BETTER)


def _read_outcomes(
    session: CommandSession, tenant: str, since: str | None, until: str | None
) -> list[JudgedOutcome]:
    """Return the outcomes of judged calls that somebody gave feedback on."""
    place = session()
    query = parse_query_options(
        since=since, until=until, only=[f"tenant={tenant}"], zone=place.time_zone
    )
    with open_ledger(place) as store:
        calls = [] if store is None else [*read_calls(store, query)]
    rows_by_id = {row.id: row for row, _ in calls}
    outcomes = []
    for feedback in infer_feedback(calls):
        score = _find_score(rows_by_id[feedback.id]) if feedback.origin == "told" else None
        if score is not None:
            outcomes.append(JudgedOutcome(score, feedback.fast, feedback.smart))
    return outcomes


def _find_score(row: FinalRow) -> Score | None:
    """Return the score of a call as a decision model gave it; None if none judged the call."""
    evidence = None if row.basis is None else row.basis.evidence
    if evidence is None or evidence.judge_kind != "decision":
        return None
    return evidence.uncalibrated or evidence.judged


def _ask(session: CommandSession, rows: Sequence[Label], budget: Decimal) -> AskingResult:
    """Ask the judge about the prompts of all labels that tell something, within the budget."""
    labelled = [(label.prompt, *find_outcome(label)) for label in rows]
    usable = [row for row in labelled if row[1] is not None or row[2] is not None]
    model = find_judge_model(session)
    with progress("asking", len(usable)) as step:
        return asyncio.run(_run(session, JudgeAsker(model, budget, step), usable))


async def _run(
    session: CommandSession,
    asker: JudgeAsker,
    rows: Sequence[tuple[str, float | None, float | None]],
) -> AskingResult:
    pools, credentials = ConnectionPools(), CloudCredentials(session.environ)
    try:
        return await asker.ask_all(pools, credentials, rows)
    finally:
        await pools.close()
        await credentials.close()


def _print_result(result: CalibrationResult, asking: AskingResult | None) -> None:
    notes = [
        f"{line.name}: {line.refused}." for line in (result.fast, result.smart) if line.refused
    ]
    if asking is not None:
        cost = f"{asking.usd:.6f} USD"
        notes.append(f"{asking.asked_count} questions cost {cost}; {asking.describe_missing()}.")
    print_table(_COLUMNS, [_list_cells(line) for line in (result.fast, result.smart)], notes=notes)
    calibration = result.calibration
    if calibration is None:
        click.secho("No calibration: the judge tells too little here.", fg="yellow", err=True)
        return
    lines = _list_lines(calibration)
    click.echo(
        f"\nrouting:\n  judge:\n    calibration: {{fast: {lines['fast']}, smart: {lines['smart']}}}"
    )


def _list_cells(line: LineResult) -> list[str]:
    before, after = line.before, line.after
    return [
        line.name,
        str(line.rows),
        *(_format(None if curve is None else curve.error) for curve in (before, after)),
        *(_format(None if curve is None else curve.brier) for curve in (before, after)),
        _format(line.shuffled_brier),
    ]


def _format(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}"


def _list_lines(calibration: JudgeCalibration) -> dict[str, list[float]]:
    """Return the calibration as the configuration has it."""
    return {
        "fast": [calibration.fast.slope, calibration.fast.level],
        "smart": [calibration.smart.slope, calibration.smart.level],
    }


def _build_json(result: CalibrationResult, asking: AskingResult | None) -> dict[str, object]:
    calibration = result.calibration
    return {
        "calibration": None if calibration is None else _list_lines(calibration),
        "fast": _build_line_json(result.fast),
        "smart": _build_line_json(result.smart),
        "asked": None if asking is None else asking.asked_count,
        "usd": None if asking is None else asking.usd,
    }


def _build_line_json(line: LineResult) -> dict[str, object]:
    return {
        "labels": line.rows,
        "before": _build_curve_json(line.before),
        "after": _build_curve_json(line.after),
        "shuffled_brier": line.shuffled_brier,
        "refused": line.refused or None,
    }


def _build_curve_json(curve: CalibrationCurve | None) -> Mapping[str, float] | None:
    return None if curve is None else {"ece": curve.error, "brier": curve.brier}
