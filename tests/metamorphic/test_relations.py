"""A change that does not make a prompt harder moves few prompts up: each within its bound.

`make metamorphic` measures each ten times as long; here each prompt is changed once.
"""

from collections.abc import Callable

import pytest

from gateway.routing.router import Router
from tests.metamorphic import relations
from tests.metamorphic.__main__ import main
from tests.metamorphic.prompts import EASY, LANGUAGES
from tests.metamorphic.relations import RELATIONS, TRANSLATED, Change, Relation


@pytest.fixture(scope="module")
def known() -> Router:
    return relations.router()


@pytest.fixture(scope="module")
def easy(known: Router) -> list[str]:
    return relations.easy(known)


def test_nearly_all_easy_prompts_get_fast_in_every_language(easy: list[str]) -> None:
    """If few prompts got fast, there would be nothing to move up."""
    assert len(easy) >= 0.9 * len(EASY) * len(LANGUAGES)
    for line in EASY:
        assert len(line) == len(set(line)) == len(LANGUAGES)


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda one: one.name)
def test_a_change_moves_no_more_than_its_share(
    known: Router, easy: list[str], relation: Relation
) -> None:
    found = relations.measure(known, relation, easy)
    assert found.up <= relation.up, found
    assert found.reasoned <= relation.reasoned, found


@pytest.mark.parametrize("place", [relations.fenced, relations.before, relations.quoted, lambda one: one])  # fmt: skip
def test_an_easy_question_about_much_code_does_not_get_reasoning(
    known: Router, place: Callable[[Change], Change]
) -> None:
    relation = Relation("200 lines", place(relations.pasted_code(200)), 1.0)
    texts = ["What does this do?", "Can you explain this?", "Which language is this?"]
    assert relations.measure(known, relation, texts, 20).reasoned == 0


def test_translations_get_what_the_original_gets(known: Router) -> None:
    found = list(relations.translated(known))
    assert [one.name for one in found] == [f"in {name}" for name in LANGUAGES[1:]]
    for one in found:
        assert one.reasoned <= one.up <= TRANSLATED, one


def test_the_figures_are_the_same_every_time(
    known: Router, easy: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = (relations.measure(known, RELATIONS[3], easy) for _ in range(2))
    assert first == again
    assert main(1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{len(easy)} easy prompts in nine languages that get fast; ")
    assert len(lines) == 1 + len(RELATIONS) + len(LANGUAGES) - 1


def test_a_change_that_makes_prompts_hard_is_seen(known: Router, easy: list[str]) -> None:
    """The measure can fail: a request for a proof in front moves them all to reasoning."""
    hard = Relation("hard", lambda text, _: f"Prove rigorously: {text}", 0.0)
    found = relations.measure(known, hard, easy[:10])
    assert (found.up, found.reasoned) == (1.0, 1.0)
    assert found.example.startswith("Prove rigorously: ")
