"""`tiergate train LABELS`: trains a classifier from scratch, and judges it on held-out labels."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import click
import msgspec

from gateway.cli.terminal import progress
from gateway.cli.train.artefact_file import EXIT_NOT_BETTER, write_artefact
from gateway.core import jsonio
from gateway.core.decision_context import Score, Thresholds
from gateway.evaluation import labels
from gateway.evaluation.errors import TooFewError
from gateway.evaluation.metrics.cross_validation import Fold, leave_one_out, split_randomly
from gateway.evaluation.training import base_model, fit, train, validation
from gateway.evaluation.training.dataset import TrainingRow, list_placed, list_scored, read_rows


def train_and_write(
    sources: tuple[str, ...],
    path: Path,
    seed: int,
    card_fields: dict[str, object],
    *,
    thorough: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Train from labels, and write the artefact and its card.

    `card_fields` are the fields that the card has beside the results. Raises SystemExit if the
    classifier is not better than its control.
    """
    all_labels = [label for file in sources for label in labels.read_labels(Path(file))]
    with progress("reading", len(all_labels)) as step:
        rows = []
        for label in all_labels:
            rows += read_rows([label])
            step()
    plan = fit.SHIPPED
    try:
        with progress("training", 2 * fit.STEPS) as step:
            model, verdict, calibration = train.learn(rows, plan, seed, step)
    except TooFewError as error:
        raise click.ClickException(f"{error}.") from None
    card_fields = {
        "id": model.id,
        "hash": model.hash,
        **card_fields,
        "left_out": len(all_labels) - len(rows),
    }
    if thorough:
        card_fields |= _judge_thoroughly(rows, plan, seed, model.thresholds, calibration)
    card_fields["fitted"] = train.measure_own_fit(model, rows)
    card = train.make_card(rows, plan, seed, verdict, card_fields)
    should_write = verdict.better or force
    if not as_json:
        _print_card(card)
    if should_write:
        write_artefact(path, model, card)
    if as_json:
        file = str(path) if should_write else None
        click.echo(jsonio.dumps_printable({"better": verdict.better, "file": file, "card": card}))
    elif should_write:
        size = path.stat().st_size
        click.echo(f"{model.id} is in {path}: {size:,} bytes, hash {model.hash}.")
    else:
        click.echo("Not written: it is no better than chance on labels it has not seen.", err=True)
    if not verdict.better:
        raise SystemExit(EXIT_NOT_BETTER)


def _judge_thoroughly(
    rows: list[TrainingRow],
    plan: fit.TrainingPlan,
    seed: int,
    thresholds: Thresholds,
    calibration: train.Calibration,
) -> dict[str, object]:
    """Judge on held-out rows: five parts of all rows, and each source of the scored rows."""
    scored = list_scored(rows)
    parts = list(split_randomly([row.source for row in rows], Random(seed)))  # noqa: S311 - seeded
    sources = list(leave_one_out([row.source for row in scored]))
    judge_part = partial(validation.judge_part, rows, plan, seed, calibration)
    judge_source = partial(validation.judge_source, rows, plan, seed, base_model.refit)
    with (
        progress("judging", len(parts) + len(sources)) as step,
        ProcessPoolExecutor() as pool,
    ):
        part_results = _gather_results(pool, judge_part, parts, len(rows), step)
        source_results = _gather_results(pool, judge_source, sources, len(scored), step)
    pairs = list(zip(rows, part_results.scores, strict=True))
    five_parts = train.judge_scores(
        [score for row, score in pairs if row.tier is None],
        scored,
        Random(seed),  # noqa: S311 - seeded
    )
    agreement = train.measure_agreement(
        [score for row, score in pairs if row.tier is not None], list_placed(rows), thresholds
    )
    fields: dict[str, object] = {
        "five_parts": train.describe_result(
            msgspec.structs.replace(five_parts, agreement=agreement)
        ),
        "three_tiers": validation.measure_frugality(rows, part_results.scores),
    }
    if sources:
        unseen = train.judge_scores(source_results.scores, scored, Random(seed))  # noqa: S311 - seeded
        fields["unseen_sources"] = train.describe_result(unseen)
        fields["own_labels"] = source_results.gains
    return fields


class _FoldResults(NamedTuple):
    """The scores of all rows, each by a model that has not seen it, and the gain of own labels."""

    scores: list[Score]
    gains: dict[str, object]
    """The gains by source."""


def _gather_results(
    pool: ProcessPoolExecutor,
    judge: Callable[[Fold], validation.UnseenResult],
    folds: list[Fold],
    row_count: int,
    step: Callable[[], None],
) -> _FoldResults:
    futures = [(fold, pool.submit(judge, fold)) for fold in folds]
    results = _FoldResults([Score(fast=0.0, smart=0.0)] * row_count, {})
    for fold, future in futures:
        result = future.result()
        for index, score in zip(fold.held_out_rows, result.scores, strict=True):
            results.scores[index] = score
        if result.gain is not None:
            gain = validation.describe_gain(result.gain)
            results.gains[fold.name] = {"labels": result.own_labels, **gain}
        step()
    return results


def _print_card(card: dict[str, object]) -> None:
    for name in ("held_out", "five_parts", "unseen_sources"):
        section = card.get(name)
        if not isinstance(section, dict):
            continue
        title = name.replace("_", " ")
        click.echo(
            f"{title}: APGR {_format_range(section['apgr'])}, "
            f"shuffled {_format_range(section['shuffled'])}"
        )
        for source, value in section["sources"].items():
            click.echo(f"  {source}: {_format_range(value)}")


def _format_range(value: object) -> str:
    if not isinstance(value, list):
        return "unknown"
    middle, low, high = value
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"
