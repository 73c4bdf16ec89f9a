"""Training: what is learnt carries over to what was held out, the same seed gives the same bytes."""

import re
from collections import Counter
from random import Random
from zlib import crc32

import msgspec
import pytest

from gateway.evaluation.errors import TooFewError
from gateway.evaluation.labels import Label
from gateway.evaluation.metrics.cross_validation import leave_one_out, split_randomly
from gateway.evaluation.training import (
    base_model,
    dataset,
    extra_trees,
    fit,
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
    """Better than the best of its shuffled controls, whose mean is chance."""
    _, told = lesson.learnt()
    assert told.apgr.mean is not None
    assert told.control is not None
    assert told.apgr.mean.value > 0.6
    assert 0.45 < told.control.mean < 0.55
    assert told.better


def test_a_prompt_with_hard_words_needs_more() -> None:
    classifier = LearnedClassifier(lesson.learnt()[0])
    hard, easy = " ".join(lesson.HARD), " ".join(lesson.EASY)
    assert (
        classifier.score(hard, read_signals(hard)).fast
        < classifier.score(easy, read_signals(easy)).fast
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    again, _ = train.learn(lesson.rows(), lesson.SMALL, seed=3)
    other, _ = train.learn(lesson.rows(), lesson.SMALL, seed=4)
    assert files.write(again) == files.write(lesson.learnt()[0])
    assert other.id != again.id


def test_labels_that_say_nothing_teach_nothing() -> None:
    """Needs whose labels were shuffled are not better than their control."""
    chance, known = Random(1), lesson.rows()
    scored = [(row.fast, row.smart) for row in known]
    chance.shuffle(scored)
    noise = [
        row._replace(fast=fast, smart=smart)
        for row, (fast, smart) in zip(known, scored, strict=True)
    ]
    _, told = train.learn(noise, lesson.SMALL, seed=3)
    assert not told.better


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(TooFewError, match="20 labels have scores of fast and smart; 100 are"):
        train.learn(lesson.rows()[:20], lesson.SMALL, seed=1)


def test_labels_where_smart_is_never_better_are_refused() -> None:
    same = [row._replace(fast=1.0) for row in lesson.rows()]
    with pytest.raises(TooFewError, match="nothing to learn"):
        train.learn(same, lesson.SMALL, seed=1)


def test_probabilities_are_calibrated_on_what_was_held_out() -> None:
    """About as many prompts are served well by fast as the scores say."""
    found = dataset.scores(lesson.learnt()[0], lesson.rows())
    said = sum(score.fast for score in found) / len(found)
    true = sum(row.gain <= 0 for row in lesson.rows()) / len(found)
    assert abs(said - true) < 0.1
    assert all(0 <= score.fast <= score.smart <= 1 for score in found)


def test_thresholds_are_a_snapshot_under_the_name_of_the_artefact() -> None:
    found, _ = lesson.learnt()
    assert re.fullmatch(r"learned-[0-9a-f]{8}", found.id)
    assert found.thresholds.id == found.id
    assert 0 < found.thresholds.fast <= 1
    assert 0 < found.thresholds.smart <= 1


def test_an_unseen_source_is_judged_by_what_was_trained_without_it() -> None:
    folds = list(leave_one_out([row.source for row in lesson.rows()]))
    done = validation.source(lesson.rows(), lesson.SMALL, 3, base_model.refit, folds[0])
    need = [value for value, _ in done.weighed]
    told = train.held(need, [lesson.rows()[at] for at in folds[0].held_out_rows], Random(1))
    assert told.rows == 160
    assert set(told.apgr.sources) == {"chat"}


def test_a_judgement_without_a_gap_has_no_figures() -> None:
    flat = [row._replace(fast=1.0, smart=1.0) for row in lesson.rows()[:10]]
    told = train.held([0.0] * 10, flat, Random(1))
    assert told.control is None
    assert not told.better
    assert train.plain(told)["apgr"] is None
    assert train.plain(told)["shuffled"] is None


def test_the_card_tells_rows_figures_and_what_it_was_told() -> None:
    found, told = lesson.learnt()
    card = train.card(lesson.rows(), lesson.SMALL, 3, told, {"id": found.id, "licence": "MIT"})
    assert card["rows"] == {"chat": 160, "code": 160, "exam": 160}
    assert card["reasoning_rows"] == 160
    assert card["licence"] == "MIT"
    assert card["held_out"] == train.plain(told)


def test_nothing_of_a_prompt_is_in_the_file() -> None:
    written = files.write(lesson.learnt()[0])
    assert not any(word.encode() in written for word in (*lesson.EASY, *lesson.HARD, *lesson.PLAIN))


def test_a_table_is_of_the_terms_that_most_prompts_have() -> None:
    """Of as many as the plan says, each in three prompts at the least."""
    plan = msgspec.structs.replace(lesson.SMALL, terms=20, passes=1)
    found = fit.fit(lesson.rows(), plan, Random(1))
    counts = Counter(term for row in lesson.rows() for term in row.terms)
    least = sorted(counts.values(), reverse=True)[19]
    assert found.size == 20
    assert all(counts[term] >= least for term in files.unpack_terms(found.terms))
    few = fit.common(lesson.rows()[:3], 4096)
    assert {counts[term] for term in few} <= {*range(3, 481)}
    assert not fit.common(lesson.rows()[:3], 4096, {*few})
    assert not fit.common(lesson.rows()[:2], 4096)


def test_a_ridge_finds_the_weights_that_made_its_targets() -> None:
    chance = Random(2)
    examples, targets = [], []
    for _ in range(300):
        places = tuple(sorted(chance.sample(range(16), 4)))
        form = (chance.uniform(-1, 1), chance.uniform(-1, 1))
        examples.append(ridge.Example(places, 0.5, form))
        targets.append(sum(place == 3 for place in places) + 2 * form[0] - form[1])
    fitted = ridge.ridge(examples, targets, [1.0] * 300, 0.01, size=16, chance=chance, passes=60)
    assert fitted.form == pytest.approx([2, -1], abs=0.02)
    assert fitted.table[3] - fitted.table[4] == pytest.approx(2, abs=0.1)  # each place counts half


def test_a_ridge_of_nothing_is_nothing() -> None:
    """Nor does a row without places move the table."""
    assert ridge.ridge([], [], [], 1.0, size=2, chance=Random(1)).table == [0.0, 0.0]
    only = [ridge.Example((), 0.0, (1.0,))] * 9
    fitted = ridge.ridge(only, [1.0] * 9, [1.0] * 9, 1e-6, size=2, chance=Random(1), passes=30)
    assert fitted.table == [0.0, 0.0]
    assert fitted.form == pytest.approx([1.0], abs=1e-3)


def test_cuts_lie_between_values_and_are_few() -> None:
    assert extra_trees.cuts([3.0, 1.0, 1.0, 2.0]) == (1.5, 2.5)
    assert extra_trees.cuts([1.0, 1.0]) == ()
    assert len(extra_trees.cuts([float(at) for at in range(1000)])) <= 65


def test_a_forest_without_anything_to_part_by_is_leaves() -> None:
    grown = extra_trees.grow(
        [(1.0,)] * 9, [1.0] * 9, [1.0] * 9, extra_trees.Growth(trees=2, leaf=2), Random(1)
    )
    assert grown.trees == (1, 1)
    assert grown.nodes == bytes((255, 255, 0, 0)) * 2
    flat = extra_trees.grow([(1.0,)], [0.0], [1.0], extra_trees.Growth(trees=1, leaf=1), Random(1))
    assert flat.nodes == bytes((255, 128, 0, 0))


def test_the_prior_fitted_again_keeps_what_was_judgement() -> None:
    """And its probabilities keep their order."""
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
    assert refit.weight(count) == weight


def own(count: int = 160) -> list[reading.TrainingRow]:
    """An owner whose hard words are what is easy elsewhere."""
    turned = []
    for row in reading.outcomes(lesson.labels(count, seed=9)):
        fast = 1.0 if row.fast < row.smart else 0.0
        turned.append(row._replace(fast=fast, smart=1.0, source=""))
    return turned


def gain(
    artefact: files.ClassifierModel, rows: list[reading.TrainingRow], seed: int = 1
) -> refit.RefitGain:
    """Each label is judged by an artefact that was refitted without it."""
    chance, bare = Random(seed), refit.without(artefact)
    after = refit.unseen(bare, rows, chance, seed, 5)
    return refit.compare(dataset.needs(bare, rows), after, rows, chance)


def test_own_labels_turn_what_the_owner_s_traffic_says_otherwise() -> None:
    artefact, _ = lesson.learnt()
    rows = own()
    told = gain(artefact, rows, seed=2)
    assert told.before is not None
    assert told.after is not None
    assert told.before.value < 0.45
    assert told.after.value > told.before.value + 0.05
    assert told.gain is not None
    assert told.gain.is_above(0.0)


def test_a_refitted_artefact_can_be_read_refitted_again_and_taken_back() -> None:
    artefact, _ = lesson.learnt()
    fitted = refit.refit(artefact, own())
    assert fitted.own == 160
    assert files.read(files.write(fitted)) == fitted
    assert fitted.id != artefact.id
    assert refit.refit(fitted, own()) == fitted
    assert refit.without(fitted) == artefact
    assert refit.refit(fitted, []) == artefact
    said = LearnedClassifier(fitted)
    hard = " ".join(lesson.HARD)
    assert "own labels says" in said.explain(
        read_signals(hard), said.score(hard, read_signals(hard))
    )


def test_labels_that_say_what_is_known_gain_nothing() -> None:
    """Nor is there a gain where there is no gap."""
    artefact, _ = lesson.learnt()
    flat = [row._replace(fast=1.0, smart=1.0) for row in lesson.rows()[:60]]
    assert gain(artefact, flat).gain is None


def test_opinions_count_as_own_labels_and_are_no_outcomes() -> None:
    given = [Label(prompt="one two", tier="smart"), Label(prompt="hi", scores={"fast": 1.0})]
    assert reading.outcomes(given) == []
    (row,) = reading.own(given)
    assert (row.fast, row.smart, row.source) == (0.0, 1.0, "labels")


def test_a_part_is_judged_by_what_was_trained_without_it() -> None:
    """And three tiers by scores that had not seen the prompt: the oracle is the cheapest."""
    (fold, *_) = split_randomly([row.source for row in lesson.rows()], Random(1))
    done = validation.part(lesson.rows(), lesson.SMALL, 3, fold)
    assert (len(done.weighed), done.own, done.gain) == (len(fold.held_out_rows), 0, None)
    artefact, _ = lesson.learnt()
    scored = [validation.score(one, artefact.slope, artefact.level) for one in done.weighed]
    told = validation.frugality([lesson.rows()[at] for at in fold.held_out_rows], scored)
    found = [told[name] for name in ("oracle", "learned", "chance")]
    assert None not in found
    assert found == sorted(found, key=lambda one: one or 0.0)
    plain = [row._replace(reasoning=None) for row in lesson.rows()]
    assert validation.frugality(plain, []) == {}


def test_a_forest_of_short_tries_stops_where_none_helps() -> None:
    """One row alone has nothing to part, and values of two numbers are all that is looked at."""
    rows = [(float(at % 2), float(at % 3)) for at in range(12)]
    grown = extra_trees.grow(
        rows, [0.0] * 12, [1.0] * 12, extra_trees.Growth(trees=1, leaf=1, tries=1.0), Random(1)
    )
    assert grown.trees == (1,)  # what is flat is not parted


def test_a_tree_has_no_more_leaves_than_it_may_and_parts_first_what_tells_most() -> None:
    """A step of ten, and within its low side one of two: with two leaves it is the step of ten."""
    rows, targets = (
        [(float(at),) for at in range(40)],
        [10.0 * (at > 19) + (at % 20 > 9) for at in range(40)],
    )
    for leaves, most in ((1, 1), (2, 3), (4, 7)):
        growth = extra_trees.Growth(trees=1, leaf=1, tries=1.0, leaves=leaves)
        grown = extra_trees.grow(rows, targets, [1.0] * 40, growth, Random(1))
        assert grown.trees == (most,)


def test_what_an_owner_says_alone_is_learnt_of_his_own_words() -> None:
    """Words that no benchmark has stand in no table but his."""
    artefact, _ = lesson.learnt()
    turn = {"tensor": "Schraube", "lattice": "Mutter", "apple": "Hammer", "river": "Zange"}
    labels_ = []
    for label in lesson.labels(160, seed=9):
        words = [turn.get(word, word) for word in label.prompt.split(" ")]
        labels_.append(msgspec.structs.replace(label, prompt=" ".join(words), source=""))
    fitted = refit.refit(artefact, reading.outcomes(labels_))
    more = {*files.unpack_terms(fitted.more_terms)}
    assert {crc32(word.lower().encode()) for word in turn.values()} <= more
    assert more.isdisjoint(files.unpack_terms(artefact.terms))


def test_only_words_of_three_prompts_are_known() -> None:
    once, often = lesson.rows()[0]._replace(words=frozenset({9})), lesson.rows()[0]
    bits = fit.known([once, *[often._replace(words=frozenset({17}))] * 3])
    assert bits[2] == 2
    assert sum(bits) == 2
