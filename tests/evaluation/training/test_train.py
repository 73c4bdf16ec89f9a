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


def test_words_that_make_prompts_hard_are_found_on_prompts_that_were_held_out() -> None:
    """The result is better than the best of the shuffled controls, whose mean is chance."""
    told = lesson.learnt().result
    assert told.apgr.mean is not None
    assert told.control is not None
    assert told.apgr.mean.value > 0.6
    assert 0.45 < told.control.mean < 0.55
    assert told.better


def test_a_prompt_with_hard_words_needs_more() -> None:
    classifier = LearnedClassifier(lesson.learnt().model)
    hard, easy = " ".join(lesson.HARD), " ".join(lesson.EASY)
    assert (
        classifier.score(hard, read_signals(hard)).fast
        < classifier.score(easy, read_signals(easy)).fast
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    again = train.learn(lesson.rows(), lesson.SMALL, seed=3).model
    other = train.learn(lesson.rows(), lesson.SMALL, seed=4).model
    assert files.write(again) == files.write(lesson.learnt().model)
    assert other.id != again.id


def test_labels_that_say_nothing_teach_nothing() -> None:
    """Needs from shuffled labels are not better than their control."""
    chance, known = Random(1), lesson.rows()
    scored = [(row.fast, row.smart) for row in known]
    chance.shuffle(scored)
    noise = [
        row._replace(fast=fast, smart=smart)
        for row, (fast, smart) in zip(known, scored, strict=True)
    ]
    told = train.learn(noise, lesson.SMALL, seed=3).result
    assert not told.better


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(TooFewError, match="20 labels have scores of fast and smart; 100 are"):
        train.learn(lesson.rows()[:20], lesson.SMALL, seed=1)


def test_labels_where_smart_is_never_better_are_refused() -> None:
    same = [row._replace(fast=1.0) for row in lesson.rows()]
    with pytest.raises(TooFewError, match="nothing to learn"):
        train.learn(same, lesson.SMALL, seed=1)


def test_probabilities_are_calibrated_on_what_was_held_out() -> None:
    """About as many prompts are served well by fast as the scores predict."""
    found = dataset.compute_scores(lesson.learnt().model, lesson.rows())
    said = sum(score.fast for score in found) / len(found)
    true = sum(row.gain <= 0 for row in lesson.rows()) / len(found)
    assert abs(said - true) < 0.1
    assert all(0 <= score.fast <= score.smart <= 1 for score in found)


def test_thresholds_are_a_snapshot_under_the_name_of_the_artefact() -> None:
    found = lesson.learnt().model
    assert re.fullmatch(r"learned-[0-9a-f]{8}", found.id)
    assert found.thresholds.id == found.id
    assert 0 < found.thresholds.fast <= 1
    assert 0 < found.thresholds.smart <= 1


def test_an_unseen_source_is_judged_by_what_was_trained_without_it() -> None:
    folds = list(leave_one_out([row.source for row in lesson.rows()]))
    done = validation.judge_source(lesson.rows(), lesson.SMALL, 3, base_model.refit, folds[0])
    told = train.judge_scores(
        done.scores, [lesson.rows()[at] for at in folds[0].held_out_rows], Random(1)
    )
    assert told.rows == 160
    assert set(told.apgr.sources) == {"chat"}


def test_a_judgement_without_a_gap_has_no_figures() -> None:
    flat = [row._replace(fast=1.0, smart=1.0) for row in lesson.rows()[:10]]
    told = train.judge_scores([Score(fast=0.5, smart=0.5)] * 10, flat, Random(1))
    assert told.control is None
    assert not told.better
    assert train.describe_result(told)["apgr"] is None
    assert train.describe_result(told)["shuffled"] is None


def test_the_card_tells_rows_figures_and_what_it_was_told() -> None:
    found, told, _ = lesson.learnt()
    card = train.make_card(lesson.rows(), lesson.SMALL, 3, told, {"id": found.id, "licence": "MIT"})
    assert card["rows"] == {"chat": 160, "code": 160, "exam": 160}
    assert card["reasoning_rows"] == 160
    assert card["licence"] == "MIT"
    assert card["held_out"] == train.describe_result(told)


def test_nothing_of_a_prompt_is_in_the_file() -> None:
    written = files.write(lesson.learnt().model)
    assert not any(word.encode() in written for word in (*lesson.EASY, *lesson.HARD, *lesson.PLAIN))


def test_a_ridge_finds_the_weights_that_made_its_targets() -> None:
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


def test_a_ridge_of_nothing_is_nothing() -> None:
    """A row without places does not change the table either."""
    assert ridge.fit_ridge([], [], [], 1.0, size=2, random=Random(1)).table == [0.0, 0.0]
    only = [ridge.Example((), 0.0, (1.0,))] * 9
    fitted = ridge.fit_ridge(only, [1.0] * 9, [1.0] * 9, 1e-6, size=2, random=Random(1), passes=30)
    assert fitted.table == [0.0, 0.0]
    assert fitted.numbers == pytest.approx([1.0], abs=1e-3)


def test_the_prior_fitted_again_keeps_what_was_judgement() -> None:
    """The refitted probabilities keep their order."""
    found = base_model.refit(lesson.rows())
    before = base_model.RefittedHeuristic([term.fast_weight for term in heuristic.TERMS])
    for row in lesson.rows()[:20]:
        score = found.score("", row.signals)
        assert 0 <= score.fast <= score.smart <= 1
    hello = read_signals("hello")
    assert found.score("", hello).fast != before.score("", hello).fast
    assert before.score("", hello) == heuristic.HeuristicClassifier().score("", hello)
    assert found.explain(hello, found.score("", hello)).endswith("1 word, greeting, simple task")


@pytest.mark.parametrize(("count", "weight"), [(0, 1.0), (150, 0.5), (500, 150 / 650)])
def test_a_hundred_and_fifty_own_labels_weigh_as_much_as_all_others(
    count: int, weight: float
) -> None:
    assert refit.compute_base_share(count) == weight


def own(count: int = 160) -> list[reading.TrainingRow]:
    """Return labels of an owner whose hard words are easy elsewhere."""
    turned = []
    for row in reading.read_rows(lesson.labels(count, seed=9)):
        fast = 1.0 if row.fast < row.smart else 0.0
        turned.append(row._replace(fast=fast, smart=1.0, source=""))
    return turned


def gain(
    artefact: files.ClassifierModel, rows: list[reading.TrainingRow], seed: int = 1
) -> refit.RefitGain:
    """Return the gain, with each label judged by a model refitted without it."""
    chance, bare = Random(seed), refit.remove_own_labels(artefact)
    after = refit.compute_unseen_needs(bare, rows, chance, seed, 5)
    return refit.compare_needs(dataset.compute_needs(bare, rows), after, rows, chance)


def test_own_labels_turn_what_the_owner_s_traffic_says_otherwise() -> None:
    artefact = lesson.learnt().model
    rows = own()
    told = gain(artefact, rows, seed=2)
    assert told.before is not None
    assert told.after is not None
    assert told.before.value < 0.45
    assert told.after.value > told.before.value + 0.03
    assert told.gain is not None
    assert told.gain.is_above(0.0)


def test_a_refitted_artefact_can_be_read_refitted_again_and_taken_back() -> None:
    artefact = lesson.learnt().model
    fitted = refit.refit(artefact, own())
    assert fitted.own_labels == 160
    assert files.read(files.write(fitted)) == fitted
    assert fitted.id != artefact.id
    assert refit.refit(fitted, own()) == fitted
    assert refit.remove_own_labels(fitted) == artefact
    assert refit.refit(fitted, []) == artefact
    said = LearnedClassifier(fitted)
    hard = " ".join(lesson.HARD)
    assert "its own labels say" in said.explain(
        read_signals(hard), said.score(hard, read_signals(hard))
    )


def test_labels_that_say_what_is_known_gain_nothing() -> None:
    """Without a gap between tiers there is no gain either."""
    artefact = lesson.learnt().model
    flat = [row._replace(fast=1.0, smart=1.0) for row in lesson.rows()[:60]]
    assert gain(artefact, flat).gain is None


def test_a_label_is_scored_or_placed_or_tells_nothing() -> None:
    given = [
        Label(prompt="one two", tier="smart"),
        Label(prompt="hi", scores={"fast": 1.0}),
        Label(prompt="ho", scores={"fast": 1.0, "smart": 0.5}, tier="fast"),
    ]
    placed, scored = reading.read_rows(given)
    assert (placed.tier, placed.fast, placed.smart, placed.source) == ("smart", 0.0, 1.0, "labels")
    assert (scored.tier, scored.fast, scored.smart) == (None, 1.0, 0.5)
    assert reading.list_placed([placed, scored]) == [placed]
    assert reading.list_scored([placed, scored]) == [scored]


def test_placed_prompts_get_their_tier_on_prompts_that_were_held_out() -> None:
    """These prompts get their tier far more often than by chance; probabilities are calibrated."""
    told = lesson.learnt_with_placed().result.agreement
    assert told is not None
    assert told.rows == 60
    assert told.share > 0.7 > 2 * told.shuffled
    assert told.hard_on_fast < 0.1
    assert lesson.learnt().result.agreement is None


def test_a_part_is_judged_by_what_was_trained_without_it() -> None:
    """Three tiers are compared by scores that have not seen the prompt: the oracle is cheapest."""
    (fold, *_) = split_randomly([row.source for row in lesson.rows()], Random(1))
    calibration = lesson.learnt().calibration
    done = validation.judge_part(lesson.rows(), lesson.SMALL, 3, calibration, fold)
    assert (len(done.scores), done.own_labels, done.gain) == (len(fold.held_out_rows), 0, None)
    told = validation.measure_frugality(
        [lesson.rows()[at] for at in fold.held_out_rows], done.scores
    )
    found = [told[name] for name in ("oracle", "learned", "chance")]
    assert None not in found
    assert found == sorted(found, key=lambda one: one or 0.0)
    plain = [row._replace(reasoning=None) for row in lesson.rows()]
    assert validation.measure_frugality(plain, []) == {}


def test_an_artefact_of_placed_prompts_alone_is_refused() -> None:
    with pytest.raises(TooFewError, match="0 labels have scores"):
        train.learn(lesson.placed_rows(), lesson.SMALL, seed=1)


def test_words_that_no_benchmark_has_are_learnt_of_the_owner() -> None:
    artefact = lesson.learnt().model
    turn = {"tensor": "Schraube", "lattice": "Mutter", "apple": "Hammer", "river": "Zange"}
    labels_ = []
    for label in lesson.labels(160, seed=9):
        words = [turn.get(word, word) for word in label.prompt.split(" ")]
        labels_.append(msgspec.structs.replace(label, prompt=" ".join(words), source=""))
    fitted = refit.refit(artefact, reading.read_rows(labels_))
    said = LearnedClassifier(fitted)
    needs = [1 - said.score(text, read_signals(text)).fast for text in ("Hammer", "Schraube")]
    assert needs[0] < needs[1]
