"""Training: the result holds on held-out prompts, and the same seed gives the same bytes."""

import re
from random import Random

import msgspec
import pytest

from gateway.core.decision_context import Score
from gateway.evaluation.errors import TooFewError
from gateway.evaluation.labels import Label
from gateway.evaluation.metrics.cross_validation import leave_one_out, split_randomly
from gateway.evaluation.training import (
    base_model,
    dataset,
    refit,
    ridge,
    train,
    validation,
)
from gateway.evaluation.training import dataset as reading
from gateway.routing.classifier import heuristic
from gateway.routing.classifier import model_file as files
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.classifier.text_signals import read_signals
from tests.evaluation.training import lesson


def test_a_trained_model_beats_its_shuffled_control_on_held_out_prompts() -> None:
    """The result is better than the best of the shuffled controls, whose mean is chance."""
    result = lesson.learnt().result
    assert result.apgr.mean is not None
    assert result.control is not None
    assert result.apgr.mean.value > 0.6
    assert 0.45 < result.control.mean < 0.55
    assert result.better


def test_a_prompt_with_hard_words_has_a_lower_score() -> None:
    classifier = LearnedClassifier(lesson.learnt().model)
    hard, easy = " ".join(lesson.HARD), " ".join(lesson.EASY)
    assert (
        classifier.score(hard, read_signals(hard)).fast
        < classifier.score(easy, read_signals(easy)).fast
    )


def test_a_seed_gives_the_same_bytes_and_another_seed_gives_others() -> None:
    repeated = train.learn(lesson.rows(), lesson.SMALL, seed=3).model
    other_model = train.learn(lesson.rows(), lesson.SMALL, seed=4).model
    assert files.write(repeated) == files.write(lesson.learnt().model)
    assert other_model.id != repeated.id


def test_shuffled_labels_give_no_better_model() -> None:
    chance, rows = Random(1), lesson.rows()
    scored = [(row.fast, row.smart) for row in rows]
    chance.shuffle(scored)
    noise = [
        row._replace(fast=fast, smart=smart)
        for row, (fast, smart) in zip(rows, scored, strict=True)
    ]
    result = train.learn(noise, lesson.SMALL, seed=3).result
    assert not result.better


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(TooFewError, match="20 labels have scores of fast and smart; 100 are"):
        train.learn(lesson.rows()[:20], lesson.SMALL, seed=1)


def test_labels_where_smart_is_never_better_are_refused() -> None:
    equal = [row._replace(fast=1.0) for row in lesson.rows()]
    with pytest.raises(TooFewError, match="nothing to learn"):
        train.learn(equal, lesson.SMALL, seed=1)


def test_probabilities_are_calibrated_on_held_out_prompts() -> None:
    """About as many prompts are served well by fast as the scores predict."""
    scores = dataset.compute_scores(lesson.learnt().model, lesson.rows())
    predicted = sum(score.fast for score in scores) / len(scores)
    actual = sum(row.gain <= 0 for row in lesson.rows()) / len(scores)
    assert abs(predicted - actual) < 0.1
    assert all(0 <= score.fast <= score.smart <= 1 for score in scores)


def test_the_thresholds_have_the_id_of_the_model() -> None:
    model = lesson.learnt().model
    assert re.fullmatch(r"learned-[0-9a-f]{8}", model.id)
    assert model.thresholds.id == model.id
    assert 0 < model.thresholds.fast <= 1
    assert 0 < model.thresholds.smart <= 1


def test_an_unseen_source_is_judged_by_a_model_trained_without_it() -> None:
    folds = list(leave_one_out([row.source for row in lesson.rows()]))
    judged = validation.judge_source(lesson.rows(), lesson.SMALL, 3, base_model.refit, folds[0])
    result = train.judge_scores(
        judged.scores, [lesson.rows()[at] for at in folds[0].held_out_rows], Random(1)
    )
    assert result.rows == 160
    assert set(result.apgr.sources) == {"chat"}


def test_without_a_gap_between_tiers_the_result_has_no_figures() -> None:
    flat = [row._replace(fast=1.0, smart=1.0) for row in lesson.rows()[:10]]
    result = train.judge_scores([Score(fast=0.5, smart=0.5)] * 10, flat, Random(1))
    assert result.control is None
    assert not result.better
    assert train.describe_result(result)["apgr"] is None
    assert train.describe_result(result)["shuffled"] is None


def test_the_card_has_rows_figures_and_the_given_fields() -> None:
    model, result, _ = lesson.learnt()
    card = train.make_card(
        lesson.rows(), lesson.SMALL, 3, result, {"id": model.id, "licence": "MIT"}
    )
    assert card["rows"] == {"chat": 160, "code": 160, "exam": 160}
    assert card["reasoning_rows"] == 160
    assert card["licence"] == "MIT"
    assert card["held_out"] == train.describe_result(result)


def test_the_model_file_contains_no_words_of_prompts() -> None:
    written = files.write(lesson.learnt().model)
    assert not any(word.encode() in written for word in (*lesson.EASY, *lesson.HARD, *lesson.PLAIN))


def test_ridge_regression_finds_the_weights_behind_its_targets() -> None:
    chance = Random(2)
    examples, targets = [], []
    for _ in range(300):
        places = tuple(sorted(chance.sample(range(16), 4)))
        form = (chance.uniform(-1, 1), chance.uniform(-1, 1))
        examples.append(ridge.Example(places, 0.5, form))
        targets.append(sum(place == 3 for place in places) + 2 * form[0] - form[1])
    fitted = ridge.fit_ridge(
        examples, targets, [1.0] * 300, 0.01, size=16, random=chance, passes=60
    )
    assert fitted.numbers == pytest.approx([2, -1], abs=0.02)
    assert fitted.table[3] - fitted.table[4] == pytest.approx(2, abs=0.1)  # each place counts half


def test_ridge_regression_without_rows_gives_zero_weights() -> None:
    """A row without places does not change the table either."""
    assert ridge.fit_ridge([], [], [], 1.0, size=2, random=Random(1)).table == [0.0, 0.0]
    only = [ridge.Example((), 0.0, (1.0,))] * 9
    fitted = ridge.fit_ridge(only, [1.0] * 9, [1.0] * 9, 1e-6, size=2, random=Random(1), passes=30)
    assert fitted.table == [0.0, 0.0]
    assert fitted.numbers == pytest.approx([1.0], abs=1e-3)


def test_the_refitted_heuristic_keeps_its_order_and_explanation() -> None:
    refitted = base_model.refit(lesson.rows())
    before = base_model.RefittedHeuristic([term.fast_weight for term in heuristic.TERMS])
    for row in lesson.rows()[:20]:
        score = refitted.score("", row.signals)
        assert 0 <= score.fast <= score.smart <= 1
    hello = read_signals("hello")
    assert refitted.score("", hello).fast != before.score("", hello).fast
    assert before.score("", hello) == heuristic.HeuristicClassifier().score("", hello)
    assert refitted.explain(hello, refitted.score("", hello)).endswith(
        "1 word, greeting, simple task"
    )


@pytest.mark.parametrize(("count", "weight"), [(0, 1.0), (80, 0.5), (500, 80 / 580)])
def test_eighty_own_labels_weigh_as_much_as_all_others(count: int, weight: float) -> None:
    assert refit.compute_base_share(count) == weight


def own_rows(count: int = 160) -> list[reading.TrainingRow]:
    """Return labels of an owner whose hard words are easy elsewhere."""
    rows = []
    for row in reading.read_rows(lesson.labels(count, seed=9)):
        fast = 1.0 if row.fast < row.smart else 0.0
        rows.append(row._replace(fast=fast, smart=1.0, source=""))
    return rows


def gain(
    artefact: files.ClassifierModel, rows: list[reading.TrainingRow], seed: int = 1
) -> refit.RefitGain:
    """Return the gain, with each label judged by a model refitted without it."""
    chance, bare = Random(seed), refit.remove_own_labels(artefact)
    after = refit.compute_unseen_needs(bare, rows, chance, seed, 5)
    return refit.compare_needs(dataset.compute_needs(bare, rows), after, rows, chance)


def test_own_labels_correct_the_model_for_own_traffic() -> None:
    artefact = lesson.learnt().model
    rows = own_rows()
    result = gain(artefact, rows, seed=2)
    assert result.before is not None
    assert result.after is not None
    assert result.before.value < 0.45
    assert result.after.value > result.before.value + 0.03
    assert result.gain is not None
    assert result.gain.is_above(0.0)


def test_a_refitted_model_can_be_read_refitted_and_reverted() -> None:
    artefact = lesson.learnt().model
    fitted = refit.refit(artefact, own_rows())
    assert fitted.own_labels == 160
    assert files.read(files.write(fitted)) == fitted
    assert fitted.id != artefact.id
    assert refit.refit(fitted, own_rows()) == fitted
    assert refit.remove_own_labels(fitted) == artefact
    assert refit.refit(fitted, []) == artefact
    classifier = LearnedClassifier(fitted)
    hard = " ".join(lesson.HARD)
    assert "its own labels say" in classifier.explain(
        read_signals(hard), classifier.score(hard, read_signals(hard))
    )


def test_labels_that_agree_with_the_model_gain_nothing() -> None:
    """Without a gap between tiers there is no gain either."""
    artefact = lesson.learnt().model
    flat = [row._replace(fast=1.0, smart=1.0) for row in lesson.rows()[:60]]
    assert gain(artefact, flat).gain is None


def test_a_label_is_scored_or_placed_or_left_out() -> None:
    labels = [
        Label(prompt="one two", tier="smart"),
        Label(prompt="hi", scores={"fast": 1.0}),
        Label(prompt="ho", scores={"fast": 1.0, "smart": 0.5}, tier="fast"),
    ]
    placed, scored = reading.read_rows(labels)
    assert (placed.tier, placed.fast, placed.smart, placed.source) == ("smart", 0.0, 1.0, "labels")
    assert (scored.tier, scored.fast, scored.smart) == (None, 1.0, 0.5)
    assert reading.list_placed([placed, scored]) == [placed]
    assert reading.list_scored([placed, scored]) == [scored]


def test_held_out_prompts_get_the_tier_that_a_person_chose() -> None:
    """These prompts get their tier far more often than by chance; probabilities are calibrated."""
    result = lesson.learnt_with_placed().result.agreement
    assert result is not None
    assert result.rows == 60
    assert result.share > 0.7 > 2 * result.shuffled
    assert result.hard_on_fast < 0.1
    assert lesson.learnt().result.agreement is None


def test_a_random_part_is_judged_by_a_model_trained_without_it() -> None:
    """Three tiers are compared by scores that have not seen the prompt: the oracle is cheapest."""
    (fold, *_) = split_randomly([row.source for row in lesson.rows()], Random(1))
    calibration = lesson.learnt().calibration
    judged = validation.judge_part(lesson.rows(), lesson.SMALL, 3, calibration, fold)
    assert (len(judged.scores), judged.own_labels, judged.gain) == (
        len(fold.held_out_rows),
        0,
        None,
    )
    shares = validation.measure_frugality(
        [lesson.rows()[at] for at in fold.held_out_rows], judged.scores
    )
    ordered = [shares[name] for name in ("oracle", "learned", "chance")]
    assert None not in ordered
    assert ordered == sorted(ordered, key=lambda share: share or 0.0)
    plain = [row._replace(reasoning=None) for row in lesson.rows()]
    assert validation.measure_frugality(plain, []) == {}


def test_training_on_placed_prompts_alone_is_refused() -> None:
    with pytest.raises(TooFewError, match="0 labels have scores"):
        train.learn(lesson.placed_rows(), lesson.SMALL, seed=1)


def test_a_refit_learns_words_that_only_own_labels_have() -> None:
    artefact = lesson.learnt().model
    turn = {"tensor": "Schraube", "lattice": "Mutter", "apple": "Hammer", "river": "Zange"}
    labels_ = []
    for label in lesson.labels(160, seed=9):
        words = [turn.get(word, word) for word in label.prompt.split(" ")]
        labels_.append(msgspec.structs.replace(label, prompt=" ".join(words), source=""))
    fitted = refit.refit(artefact, reading.read_rows(labels_))
    classifier = LearnedClassifier(fitted)
    needs = [1 - classifier.score(text, read_signals(text)).fast for text in ("Hammer", "Schraube")]
    assert needs[0] < needs[1]
