"""A golden file takes another prompt at its end, and keeps all that it has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.evaluation.errors import DuplicatePromptError
from gateway.evaluation.golden import GoldenPrompt, read_prompts
from gateway.evaluation.golden_file import add_prompt
from gateway.settings import yaml
from gateway.settings.errors import ConfigError

ADDED = GoldenPrompt(prompt="Prove it: 1 = 1", tier="reasoning", why="call tg-1")


@given(
    prompt=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    tags=st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=9)),
)
def test_any_text_is_read_back_as_it_was(prompt: str, tags: list[str]) -> None:
    added = GoldenPrompt(prompt=prompt, tier="fast", tags=tuple(tags), model="smart")
    text, count = add_prompt("", "golden.yaml", ADDED)
    assert count == 1
    text, count = add_prompt(text, "golden.yaml", added)
    assert count == 2
    assert read_prompts(yaml.read(text, "golden.yaml")) == [ADDED, added]


@pytest.mark.parametrize(
    "text",
    [
        "prompts:\n- {prompt: Hi, tier: fast}",
        "# mine\nprompts:\n  - prompt: Hi  # a greeting\n    tier: fast\n\n",
        "prompts:\n    - turns:\n      - {prompt: Hi, tier: fast}\n",
    ],
)
def test_a_file_keeps_its_form(text: str) -> None:
    known = read_prompts(yaml.read(text, "golden.yaml"))
    new_text, count = add_prompt(text, "golden.yaml", ADDED)
    assert new_text.startswith(text)
    assert count == len(known) + 1
    assert read_prompts(yaml.read(new_text, "golden.yaml")) == [*known, ADDED]


def test_a_prompt_that_the_file_has_is_refused_with_its_line() -> None:
    text, _ = add_prompt("prompts:\n- {prompt: Hi, tier: fast}\n", "golden.yaml", ADDED)
    again = GoldenPrompt(prompt=ADDED.prompt, tier="fast", why="another call")
    with pytest.raises(
        DuplicatePromptError, match="line 3 has this prompt already, for the tier reasoning"
    ):
        add_prompt(text, "golden.yaml", again)
    as_other_model = GoldenPrompt(prompt=ADDED.prompt, tier="fast", model="smart")
    assert add_prompt(text, "golden.yaml", as_other_model)[1] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompts: [{prompt: Hi, tier: fast}]", "belongs to no key above it"),
        ("prompts:\n- tier: fast\n  prompt: |\n    Hi", "takes no line at its end"),
        ("prompts: []", "names no prompts"),
        ("a: b", "unknown field"),
        ("{", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_take_a_line_stays_as_it_is(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        add_prompt(text, "golden.yaml", ADDED)
