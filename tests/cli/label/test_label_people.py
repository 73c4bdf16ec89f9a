"""The command `label --person`: pairs for the dashboard's page, and labels of verdicts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.label_pairs import LabelPair, LabelPairs, PairVerdict, SavedVerdict
from tests.cli.label.scene import LabelScene, is_hard, mixed, open_scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[LabelScene]:
    with open_scene(tmp_path) as made:
        yield made


@pytest.fixture
def pairs(scene: LabelScene) -> LabelPairs:
    return LabelPairs(scene.folder / "data")


def judge(pair: LabelPair) -> PairVerdict:
    """Say what an honest person would."""
    right = [answer.text == "right" for answer in (pair.first, pair.second)]
    return "same" if right[0] == right[1] else "A" if right[0] else "B"


def compare(pairs: LabelPairs, *wanted: LabelPair, better: PairVerdict | None = None) -> None:
    for pair in wanted:
        verdict = SavedVerdict(pair=pair.id, better=better or judge(pair), who="ann", at=1e9)
        pairs.add_verdict(verdict)


def test_people_compare_what_tiers_answered(scene: LabelScene, pairs: LabelPairs) -> None:
    scene.serve(mixed(8))
    result = scene.label("--sample", "8", judge=None)
    assert result.exit_code == 0, result.output
    assert "8 prompts wait for people" in result.output
    made = pairs.read_pairs()
    assert len(made) == 8
    assert {pair.first.tier for pair in made} == {"fast", "smart"}  # the order is random
    compare(pairs, *made)
    collected = scene.run("label", "--collect", "--out", scene.out)
    assert collected.exit_code == 0
    assert "8 labels written, 0 skipped, 0 wait." in collected.output
    for row in scene.labels:
        assert row["fast"] == (0 if is_hard(row["prompt"]) else 1)
        assert row["how"]["by"] == "person"
        assert row["how"]["who"] == "ann"
        assert row["at"].startswith("2001-09-09T01:46:40")
    assert pairs.read_pairs() == []  # nothing of users stays there
    assert pairs.read_verdicts() == {}


def test_pairs_that_wait_stay_and_are_not_asked_again(scene: LabelScene, pairs: LabelPairs) -> None:
    scene.serve(mixed(6))
    scene.label("--sample", "4", judge=None)
    first, second, *_ = pairs.read_pairs()
    compare(pairs, first)
    compare(pairs, second, better="skip")
    result = scene.run("label", "--collect", "--out", scene.out)
    assert "1 labels written, 1 skipped, 2 wait." in result.output
    scene.provider.asked.clear()
    scene.label("--sample", "6", judge=None)
    waiting = pairs.read_pairs()
    assert first.id not in {pair.id for pair in waiting}
    assert len({pair.id for pair in waiting}) == len(waiting)
    labelled = {row["digest"] for row in scene.labels}
    assert not labelled.intersection(pair.label["members"]["digest"] for pair in waiting)


def test_three_tiers_make_two_pairs_of_one_label(scene: LabelScene, pairs: LabelPairs) -> None:
    scene.serve(mixed(2))
    scene.label("--sample", "2", "--tiers", "fast,smart,reasoning", judge=None)
    made = pairs.read_pairs()
    assert len(made) == 4
    compare(pairs, *made[:3])
    scene.run("label", "--collect", "--out", scene.out)
    (row,) = scene.labels
    assert row["reasoning"] == row["smart"] == 1
    assert len(pairs.read_pairs()) == 2
