"""Each member list has a decision on everything in the SDKs that the tests install."""

import pytest

from tests.drift.sdk_types import find_undecided
from tests.drift.search import (
    ANSWER_ROOTS,
    ROOTS,
    list_undecided,
    list_undecided_in_answers,
)


@pytest.mark.parametrize("dialect", ROOTS)
def test_every_member_that_an_sdk_knows_has_a_decision(dialect: str) -> None:
    assert [*list_undecided(dialect)] == []


@pytest.mark.parametrize("dialect", ANSWER_ROOTS)
def test_every_member_of_an_answer_that_an_sdk_knows_has_a_decision(dialect: str) -> None:
    assert [*list_undecided_in_answers(dialect)] == []


def test_a_member_without_a_decision_is_found() -> None:
    found = find_undecided(ROOTS["openai-chat"]["request"], {"request": {}}, "request")
    assert "request.messages" in [*found]
