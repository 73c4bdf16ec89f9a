"""Make the reference set of the quality dial, and print how good its decisions are.

`python -m bench.quality_reference FOLDER`: FOLDER holds outcomes.parquet. Each prompt is scored by
a classifier that has not seen it; the worths of 300 written prompts go to
`gateway/routing/quality_reference.json`. Then it prints the tables of docs/classifier.md.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

from gateway.core import jsonio
from gateway.core.decision_context import Score
from gateway.core.quality import DIAL_SHARES, MAX_POSITION
from gateway.core.target import TIERS
from gateway.evaluation import labels
from gateway.evaluation.metrics.cross_validation import Fold, split_randomly
from gateway.evaluation.training import fit, train
from gateway.evaluation.training.dataset import TrainingRow, compute_scores, list_placed, read_rows
from gateway.routing import quality_dial
from gateway.routing.quality_dial import TierCosts

WRITTEN_PROMPTS = Path(__file__).parent / "written_prompts"
REFERENCE_FILE = Path(quality_dial.__file__).parent / "quality_reference.json"
ROWS_A_TIER = 100
SEED = 1
SHUFFLES = 200
COSTS_BY_LAB: dict[str, TierCosts] = {
    "docs": (0.005, 0.15, 1.0),
    "openai": (0.0034, 0.0909, 1.0),
    "anthropic": (0.0068, 0.1818, 1.0),
    "google": (0.0591, 0.2727, 1.0),
    "mistral": (0.0796, 0.4, 1.0),
}
"""The cost of an answer of each tier, reasoning being 1: list prices times usual tokens."""


def read_labelled_rows(folder: Path) -> list[TrainingRow]:
    """Return all rows that the shipped classifier learns from."""
    files = [folder / "outcomes.parquet", *sorted(WRITTEN_PROMPTS.glob("*.jsonl"))]
    return read_rows(label for file in files for label in labels.read_labels(file))


def score_part(rows: Sequence[TrainingRow], fold: Fold) -> list[Score]:
    """Score the held-out rows of a fold with a classifier trained on the others."""
    train_rows = [rows[index] for index in fold.train_rows]
    model = train.learn(train_rows, fit.SHIPPED, SEED).model
    return compute_scores(model, [rows[index] for index in fold.held_out_rows])


def score_unseen(rows: Sequence[TrainingRow]) -> list[Score]:
    """Score each row with a classifier that has not seen it."""
    folds = list(split_randomly([row.source for row in rows], Random(SEED)))
    scores: list[Score | None] = [None] * len(rows)
    with ProcessPoolExecutor() as pool:
        for fold, part in zip(folds, pool.map(partial(score_part, rows), folds), strict=True):
            for index, score in zip(fold.held_out_rows, part, strict=True):
                scores[index] = score
    return [score for score in scores if score is not None]


def draw_reference(rows: Sequence[TrainingRow], scores: Sequence[Score]) -> list[list[float]]:
    """Return the worths of equally many placed rows of each tier."""
    random = Random(SEED)
    worths: list[list[float]] = []
    for tier in TIERS:
        tier_scores = [score for row, score in zip(rows, scores, strict=True) if row.tier == tier]
        worths += [
            [round(worth, 4) for worth in quality_dial.estimate_worth(score)]
            for score in random.sample(tier_scores, ROWS_A_TIER)
        ]
    return sorted(worths)


def print_agreement(rows: Sequence[TrainingRow], scores: Sequence[Score]) -> None:
    """Print how many placed prompts get their tier, by lab and position of the dial."""
    placed = [(row, score) for row, score in zip(rows, scores, strict=True) if row.tier is not None]
    wanted = [row.tier for row, _ in placed]
    for lab, costs in COSTS_BY_LAB.items():
        for position in range(1, MAX_POSITION):
            chosen = [
                quality_dial.choose_tier(
                    quality_dial.estimate_worth(score), costs, DIAL_SHARES[position]
                )
                for _, score in placed
            ]
            agreed = sum(map(str.__eq__, map(str, wanted), chosen)) / len(placed)
            on_fast = sum(
                tier == "reasoning" and choice == "fast"
                for tier, choice in zip(wanted, chosen, strict=True)
            )
            print(f"placed {lab} dial {position}: agree {agreed:.3f}, hard on fast {on_fast}")


def print_kept_quality(rows: Sequence[TrainingRow], scores: Sequence[Score]) -> None:
    """Print quality kept and cost on prompts with scores of reasoning, against shuffled picks."""
    random = Random(SEED)
    priced = [
        (row, quality_dial.estimate_worth(score))
        for row, score in zip(rows, scores, strict=True)
        if row.reasoning is not None and row.tier is None
    ]
    answers = [(row.fast, row.smart, row.reasoning or 0.0) for row, _ in priced]
    best = sum(answer[2] for answer in answers)
    for lab, costs in COSTS_BY_LAB.items():
        for position in range(1, MAX_POSITION):
            share = DIAL_SHARES[position]
            picks = [
                TIERS.index(quality_dial.choose_tier(worth, costs, share)) for _, worth in priced
            ]
            kept = _sum_quality(answers, picks) / best
            cost = sum(costs[pick] or 0.0 for pick in picks) / len(picks)
            shuffled = sorted(
                _sum_quality(answers, random.sample(picks, len(picks))) / best
                for _ in range(SHUFFLES)
            )
            mix = "/".join(str(round(100 * picks.count(tier) / len(picks))) for tier in range(3))
            print(
                f"scored {lab} dial {position}: kept {kept:.3f} at {cost:.3f} of the cost, {mix}%,"
                f" shuffled {shuffled[5]:.3f} to {shuffled[-6]:.3f}"
            )


def _sum_quality(answers: Sequence[tuple[float, ...]], picks: Sequence[int]) -> float:
    return sum(answer[pick] for answer, pick in zip(answers, picks, strict=True))


def main() -> None:
    """Write the reference set and print the tables."""
    rows = read_labelled_rows(Path(sys.argv[1]))
    scores = score_unseen(rows)
    REFERENCE_FILE.write_bytes(jsonio.dumps(draw_reference(rows, scores)) + b"\n")
    quality_dial.load_shipped_reference.cache_clear()
    print(f"{len(list_placed(rows))} placed prompts, {len(rows)} in all")
    print_agreement(rows, scores)
    print_kept_quality(rows, scores)


if __name__ == "__main__":
    main()
