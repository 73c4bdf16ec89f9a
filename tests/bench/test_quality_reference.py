"""The tool that makes the reference set of the quality dial, on rows made up here."""

from math import inf
from pathlib import Path
from random import Random

import pytest

from bench import quality_reference
from bench.quality_reference import JudgedRow
from gateway.core.decision_context import Score
from gateway.core.target import Tier
from gateway.evaluation.training.dataset import TrainingRow
from gateway.routing import quality_dial
from gateway.routing.classifier.text_signals import read_signals
from gateway.routing.quality_dial import Worth

SHIPPED = Path(quality_dial.__file__).parent / "quality_reference.json"


def judged(
    fast: float, smart: float, reasoning: float | None = None, *, source: str = "a", need: float = 0.5
) -> JudgedRow:  # fmt: skip
    row = TrainingRow(
        source=source, fast=fast, smart=smart, reasoning=reasoning,
        terms=frozenset(), words=frozenset(), numbers=(), signals=read_signals("What is 2 and 2?"),
    )  # fmt: skip
    return JudgedRow(row, Score(fast=1 - need, smart=1 - need / 2))


def test_the_set_that_ships_is_written_as_the_tool_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "reference.json"
    quality_reference.write_reference(quality_dial.list_reference_worths(), file)
    assert file.read_bytes() == SHIPPED.read_bytes()


def test_a_source_becomes_fifty_cells_and_keeps_its_mean() -> None:
    rng = Random(0)
    rows = [
        judged(0, 1, source=source, need=rng.random()) for source in ("b", "a") for _ in range(500)
    ]
    worths = quality_reference.build_reference(rows, [f"Prove lemma {index}" for index in range(60)])  # fmt: skip
    assert len(worths) == 150
    of_b = [quality_dial.estimate_worth(item.score, item.row.signals) for item in rows[:500]]
    assert sum(worth.smart for worth in worths[50:100]) / 50 == pytest.approx(
        sum(worth.smart for worth in of_b) / 500, abs=1e-3
    )


def test_lines_are_found_again() -> None:
    """Of rows whose scores are worth what the shipped lines say."""
    rng = Random(1)
    rows = []
    for _ in range(400):
        item = judged(0, 0, need=rng.uniform(0.05, 0.95))
        worth = quality_dial.estimate_worth(item.score, item.row.signals)
        row = item.row._replace(fast=worth.fast, smart=worth.smart)
        if worth.fast:
            rows.append(JudgedRow(row, item.score))
    _, adds = quality_reference.fit_lines(rows)
    assert adds == pytest.approx([-1.54, -0.596], abs=1e-3)


def test_worth_is_predicted_without_the_source_of_a_row() -> None:
    rows = [judged(0.2, 0.9, 0.95, need=need / 10) for need in range(1, 10)]
    rows += [judged(0.8, 0.9, source="b", need=need / 10) for need in range(1, 10)]
    worths = quality_reference.predict_unseen(rows)
    assert worths[0].smart == pytest.approx(0.9, abs=0.01)
    assert worths[0].fast == pytest.approx(0.8, abs=0.02)
    assert worths[9].fast == pytest.approx(0.2, abs=0.02)
    lines = list(quality_reference.compute_distances(rows, worths))
    assert [line.partition(":")[0] for line in lines] == ["fast", "smart", "reasoning"]


def test_what_decisions_keep_and_cost() -> None:
    rows = [judged(1, 1, 1), judged(0, 1, 1), judged(0, 0, 1), judged(1, 1)]
    picks: dict[int, Tier] = {id(rows[0]): "fast", id(rows[1]): "smart", id(rows[2]): "reasoning"}
    line = quality_reference.describe_decisions(rows * 20, lambda item: picks[id(item)])
    kept, cost, chance, gain = (part.split(" ")[0] for part in line.split(" | "))
    assert (kept, cost, chance) == ("1.000", "0.385", "1.000")
    assert gain == "0.333"


@pytest.mark.parametrize(
    ("kept", "cost"), [(0.5, 0.005), (0.75, 0.0775), (0.95, 0.575), (1.0, 1.0), (1.1, inf)]
)
def test_what_a_mix_by_chance_costs(kept: float, cost: float) -> None:
    assert quality_reference._find_chance_cost([0.6, 0.9, 1.0], kept) == pytest.approx(cost)


def test_decisions_are_those_of_thresholds_and_of_the_dial() -> None:
    assert quality_reference.decide_by_thresholds(judged(1, 1, need=0.0)) == "fast"
    assert quality_reference.decide_by_thresholds(judged(1, 1, need=1.0)) == "reasoning"
    item = judged(1, 1, need=1.0)
    worth = quality_dial.estimate_worth(item.score, item.row.signals)
    assert isinstance(worth, Worth)
    assert quality_reference.decide_by_dial(item) == quality_dial.choose_tier(
        worth, (0.005, 0.15, 1.0), 0.83
    )
