"""Each member list has a decision on everything in the SDKs that the tests install."""

import pytest

from gateway.dialects import DIALECTS
from gateway.dialects.beta_headers import BetaHeader
from gateway.dialects.translation import get_translation
from tests.drift.sdk_types import find_undecided
from tests.drift.search import (
    ANSWER_ROOTS,
    BETAS,
    ROOTS,
    list_undecided,
    list_undecided_betas,
    list_undecided_in_answers,
)


@pytest.mark.parametrize("dialect", ROOTS)
def test_every_request_member_of_an_sdk_has_a_decision(dialect: str) -> None:
    assert [*list_undecided(dialect)] == []


@pytest.mark.parametrize("dialect", ANSWER_ROOTS)
def test_every_answer_member_of_an_sdk_has_a_decision(dialect: str) -> None:
    assert [*list_undecided_in_answers(dialect)] == []


def test_the_search_finds_a_member_without_a_decision() -> None:
    undecided = find_undecided(ROOTS["openai-chat"]["request"], {"request": {}}, "request")
    assert "request.messages" in [*undecided]


def test_the_search_finds_a_beta_without_a_decision() -> None:
    header = BetaHeader("anthropic-beta", {})
    undecided = [*list_undecided_betas(BETAS["anthropic-messages"], header)]
    assert "anthropic-beta message-threads-2026-08-12" in undecided


@pytest.mark.parametrize("dialect", BETAS)
def test_each_dialect_whose_sdk_has_betas_has_a_beta_header(dialect: str) -> None:
    assert get_translation(DIALECTS[dialect]).beta_header.words
