"""A condition is known by its hash: two spellings of one meaning have the same hash."""

import pytest

from gateway.routing.rules.rule_hash import hash_condition
from gateway.settings.schema.rules import WhenPart
from tests.routing import world
from tests.routing.world import Json


def hash_of(when: Json) -> str:
    return hash_condition(WhenPart.model_validate(when))


A: Json = {"keywords": ["prove", "derive"]}
B: Json = {"user_tokens": {"min": 3}}

EQUAL_CONDITIONS: list[tuple[Json, Json]] = [
    ({"tag": "a"}, {"tag": ["a"]}),
    ({"tag": ["a", "b"]}, {"tag": ["b", "a", "b"]}),
    ({"keywords": "race  condition "}, {"keywords": ["race condition"]}),
    ({"user_tokens": {"min": 1}}, {"user_tokens": {"min": 1.0}}),
    ({"user_tokens": {}}, {}),
    ({"all": [A, B]}, {**A, **B}),
    ({"all": [A, B]}, {"all": [B, A, A]}),
    ({"any": [A, B]}, {"any": [B, A, B]}),
    ({"any": [A]}, A),
    ({"system_keywords": "race  condition"}, {"system_keywords": ["race condition"]}),
    ({"metadata": {"a": ["x", "y"], "b": "z"}}, {"metadata": {"b": ["z"], "a": ["y", "x", "y"]}}),
    ({"traffic": 0.05, **A}, A),
    ({"all": [{"all": [A]}]}, A),
    ({"any": [{"all": [A, B]}, A]}, {"any": [A, {**B, **A}]}),
    ({"not": {"not": A}}, A),
    ({"not": {"all": [A]}}, {"not": A}),
]


@pytest.mark.parametrize(("first", "second"), EQUAL_CONDITIONS)
def test_the_same_meaning_has_the_same_hash(first: Json, second: Json) -> None:
    assert hash_of(first) == hash_of(second)


DIFFERENT_CONDITIONS: list[Json] = [
    {},
    A,
    B,
    {**A, **B},
    {"any": [A, B]},
    {"not": A},
    {"not": {**A, **B}},
    {"not": {"any": [A, B]}},
    {"any": [{"not": A}, {"not": B}]},
    {"not": {}},
    {"keywords": "prove"},
    {"matches": "prove"},
    {"keywords": "prove,derive"},
    {"keywords": 'prove","derive'},
    {"tag": "a"},
    {"key": "a"},
    {"user_tokens": {"max": 3}},
    {"prompt_tokens": {"min": 3}},
    {"user_tokens": {"min": 3, "max": 3}},
    {"tools": True},
    {"tools": False},
    {"system_keywords": "prove"},
    {"system_matches": "prove"},
    {"metadata": {"a": "x"}},
    {"metadata": {"a": ["x", "y"]}},
    {"metadata": {"a": "x", "b": "y"}},
    {"user": "a"},
    {"stream": True},
]


def test_another_meaning_has_another_hash() -> None:
    hashes = [hash_of(when) for when in DIFFERENT_CONDITIONS]
    assert len(set(hashes)) == len(hashes)
    assert {len(digest) for digest in hashes} == {16}


def test_the_hash_is_the_same_in_every_process_and_release() -> None:
    assert hash_of({**A, **B}) == "be2cef39900efa41"


def test_a_rule_has_the_hash_of_its_conditions_alone() -> None:
    rules = world.rules(
        [{"when": A, "max_tier": "fast"}, {"when": A, "tag": "proof"}],
        [{"when": A, "tier": "smart"}, {"when": B, "tier": "smart"}],
    )
    assert [guard.hash for guard in rules.guards] == [hash_of(A), hash_of(A)]
    assert [choice.hash for choice in rules.choices] == [hash_of(A), hash_of(B)]
