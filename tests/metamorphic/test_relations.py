"""A change that does not make a prompt harder moves few prompts up: each within its bound.

Each prompt is changed ten times. `make metamorphic` prints the shares.
"""

from collections.abc import Callable

import pytest

from gateway.routing.router import Router
from tests.metamorphic import relations
from tests.metamorphic.__main__ import main
from tests.metamorphic.prompts import EASY, LANGUAGES
from tests.metamorphic.relations import RELATIONS, TRANSLATED, Change, Relation


@pytest.fixture(scope="module")
def shipped_router() -> Router:
    return relations.router()


@pytest.fixture(scope="module")
def easy(shipped_router: Router) -> list[str]:
    return relations.easy(shipped_router)


def test_nearly_all_easy_prompts_get_fast_in_each_language(easy: list[str]) -> None:
    """If few prompts got fast, there would be nothing to move up."""
    assert len(easy) >= 0.9 * len(EASY) * len(LANGUAGES)
    for line in EASY:
        assert len(line) == len(set(line)) == len(LANGUAGES)


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda item: item.name)
def test_a_harmless_change_moves_few_prompts_above_fast(
    shipped_router: Router, easy: list[str], relation: Relation
) -> None:
    moved = relations.measure(shipped_router, relation, easy, 10)
    assert moved.up <= relation.up, moved
    assert moved.reasoned <= relation.reasoned, moved


@pytest.mark.parametrize("place", [relations.fenced, relations.placed_before, relations.quoted, lambda item: item])  # fmt: skip
def test_an_easy_question_about_much_code_does_not_get_reasoning(
    shipped_router: Router, place: Callable[[Change], Change]
) -> None:
    relation = Relation("200 lines", place(relations.pasted_code(200)), 1.0)
    texts = ["What does this do?", "Can you explain this?", "Which language is this?"]
    assert relations.measure(shipped_router, relation, texts, 20).reasoned == 0


def test_few_translations_of_an_easy_prompt_leave_fast(shipped_router: Router) -> None:
    results = list(relations.translated(shipped_router))
    assert [result.name for result in results] == [f"in {name}" for name in LANGUAGES[1:]]
    for result in results:
        assert result.reasoned <= result.up <= TRANSLATED, result


def test_the_figures_are_the_same_in_every_run(
    shipped_router: Router, easy: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (relations.measure(shipped_router, RELATIONS[3], easy) for _ in range(2))
    assert first == second
    assert main(1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{len(easy)} easy prompts in nine languages that get fast; ")
    assert len(lines) == 1 + len(RELATIONS) + len(LANGUAGES) - 1


def test_a_change_that_makes_prompts_hard_exceeds_the_bound(
    shipped_router: Router, easy: list[str]
) -> None:
    """The measure can fail: a request for a proof in front moves them all to reasoning."""
    hard = Relation("hard", lambda text, _: f"Prove rigorously: {text}", 0.0)
    moved = relations.measure(shipped_router, hard, easy[:10])
    assert (moved.up, moved.reasoned) == (1.0, 1.0)
    assert moved.example.startswith("Prove rigorously: ")
