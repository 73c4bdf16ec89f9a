"""Realistic prompts with their tier written down, in two halves; no tuning has read one of them."""

from collections import Counter

import pytest

from gateway.core.target import TIERS
from tests.routing.test_golden_conversations import read_file

_LANGUAGES = {"ar", "de", "en", "es", "fr", "ja", "pt", "ru", "zh"}


@pytest.mark.parametrize("name", ["open", "sealed"])
def test_a_half_has_twenty_prompts_of_each_tier_in_nine_languages(name: str) -> None:
    prompts = read_file(name)
    assert Counter(prompt.tier for prompt in prompts) == dict.fromkeys(TIERS, 20)
    assert {prompt.why[:2] for prompt in prompts} == _LANGUAGES


def test_the_halves_have_no_prompt_in_common() -> None:
    prompts = [prompt.prompt for name in ("open", "sealed") for prompt in read_file(name)]
    assert len(set(prompts)) == len(prompts) == 120
