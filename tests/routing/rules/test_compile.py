"""Conditions of rules: alone and combined, whole words in every script, patterns in linear time."""

import time
from typing import Any

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.routing.errors import RuleError
from gateway.routing.rules.compile import compile_rules
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import evaluate_guards
from gateway.routing.rules.patterns import Patterns
from gateway.settings.schema.rules import ChoicePart, WhenPart
from tests.routing import world
from tests.routing.world import Json


def matches(when: Json, *args: Any, **facts: Any) -> bool:
    """True if a condition holds for a call."""
    rules = world.rules(choices=[{"when": when, "tier": "fast"}])
    view = RuleContext(world.call(*args, **facts), rules.patterns)
    evaluate_guards(rules, view)
    return rules.choices[0].test(view)


WORDS: list[tuple[str | list[str], str, bool]] = [
    ("prove", "Prove it.", True),
    ("prove", "PROVE", True),
    ("prove", "please prove", True),
    ("prove", "(prove)", True),
    ("prove", "prove\nthat", True),
    ("prove", "improve it", False),
    ("prove", "proven", False),
    ("prove", "un-prove", True),
    ("prove", "prove_it", False),
    ("prove", "prove2", False),
    ("prove", "", False),
    (["derive", "prove"], "now prove it", True),
    ("c++", "write C++ code", True),
    ("c++", "write c code", False),
    (".net", "in .NET", True),
    ("race condition", "a race condition here", True),
    ("race condition", "a race\n  condition here", True),
    ("race condition", "a race for conditions", False),
    (" race  condition ", "race condition", True),
    # Latin with marks, composed and at the edge of a word
    ("démontre", "Démontre que", True),
    ("démontre", "démontrer", False),
    ("cafe", "cafe\u0301", False),
    ("straße", "die Straße dort", True),
    # Cyrillic
    ("докажи", "Докажи, что", True),
    ("докажи", "докажите", False),
    ("доказать", "хочу ДОКАЗАТЬ", True),
    # Greek and Hindi: marks belong to words
    ("απόδειξε", "ΑΠΌΔΕΙΞΕ το", True),
    ("कर", "कर दो", True),
    ("कर", "करो", False),
    # Chinese, Japanese and Thai have no spaces: a keyword matches anywhere
    ("证明", "请证明根号二是无理数", True),
    ("证明", "请说明", False),
    ("証明", "素数が無限に存在することを証明してください", True),
    ("พิสูจน์", "ช่วยพิสูจน์ทฤษฎี", True),
    # a Latin word among them has its word boundaries there
    ("prove", "请prove这个", True),
    ("python", "用Python写代码", True),
    ("python", "用CPython写", False),
    (["prove", "证明"], "improve 证明", True),
]


@pytest.mark.parametrize(("words", "text", "expected"), WORDS)
def test_keywords_are_whole_words(words: str | list[str], text: str, expected: bool) -> None:
    assert matches({"keywords": words}, text) is expected


@given(
    word=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1),
    before=st.sampled_from(["", "a ", "- ", "\n", "(", "。"]),
    after=st.sampled_from(["", " a", ".", "\n", ")", "。"]),
)
def test_any_keyword_is_found_between_word_edges(word: str, before: str, after: str) -> None:
    assert matches({"keywords": [word]}, f"{before}{word}{after}")


PATTERNS: list[tuple[str, str, bool]] = [
    (r"^(hi|hello)\b", "Hello there", True),
    (r"^(hi|hello)\b", "Oh, hello there", False),
    (r"\bgpt-\d", "use GPT-6", True),
    (r"(?-i)GPT", "gpt", False),
    (r"(?-i)GPT", "GPT", True),
    (r"^übersetze", "Übersetze das", True),
    (r"\p{Han}{2}", "这个", True),
    (r"a.c", "a\nc", False),
    (r"(?s)a.c", "a\nc", True),
    (r"^b$", "a\nb", False),
    (r"(?m)^b$", "a\nb", True),
    (r"(a+)+$", "aaaa", True),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), PATTERNS)
def test_a_pattern_ignores_case_unless_it_says_otherwise(
    pattern: str, text: str, expected: bool
) -> None:
    assert matches({"matches": pattern}, text) is expected


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|aa)+$", r"(.*a){20}$", r"^(\w+\s?)*$"])
def test_costly_patterns_take_time_linear_in_the_text(pattern: str) -> None:
    """A backtracking engine needs 2^30 steps for thirty of these letters."""
    rules = world.rules(choices=[{"when": {"matches": pattern}, "tier": "fast"}])
    view = RuleContext(world.call("a" * 200_000 + "!"), rules.patterns)
    began = time.process_time()
    assert not rules.choices[0].test(view)
    assert time.process_time() - began < 2


def test_the_pattern_of_the_shipped_guard_finds_a_key_over_several_lines() -> None:
    pattern = r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    assert matches({"matches": pattern}, "x\n-----BEGIN RSA PRIVATE KEY-----\nMII")


RANGES: list[tuple[str, Json, Json, bool]] = [
    # condition, limits, call, holds
    ("user_tokens", {"max": 2}, {"text": "12345678"}, True),
    ("user_tokens", {"max": 2}, {"text": "123456789"}, False),
    ("user_tokens", {"min": 3}, {"text": "123456789"}, True),
    ("user_tokens", {"min": 3}, {"text": "12345678"}, False),
    ("user_tokens", {"min": 2, "max": 2}, {"text": "12345678"}, True),
    ("user_tokens", {}, {"text": "x"}, True),
    ("user_tokens", {"max": 0}, {"text": ""}, True),
    ("user_tokens", {"min": 2}, {"text": "你好"}, True),  # bytes, not letters
    ("prompt_tokens", {"min": 25}, {"text": "hi", "chars": 100}, True),
    ("prompt_tokens", {"min": 26}, {"text": "hi", "chars": 100}, False),
    ("turns", {"min": 2}, {"user_turns": 2}, True),
    ("turns", {"max": 1}, {"user_turns": 2}, False),
    ("code", {"min": 0.3}, {"text": "```py\ndef f():\n  return 1\n```"}, True),
    ("code", {"min": 0.3}, {"text": "A walk in the park."}, False),
    ("maths", {"min": 0.3}, {"text": "Solve the integral of the polynomial equation."}, True),
    ("maths", {"max": 0.1}, {"text": "A walk in the park."}, True),
]


@pytest.mark.parametrize(("name", "limits", "facts", "expected"), RANGES)
def test_a_range_includes_both_its_ends(
    name: str, limits: Json, facts: Json, expected: bool
) -> None:
    assert matches({name: limits}, **facts) is expected


FLAGS: list[tuple[Json, Json, bool]] = [
    ({"tools": True}, {"tools": ("f",)}, True),
    ({"tools": True}, {}, False),
    ({"tools": False}, {}, True),
    ({"tools": False}, {"tools": ("f",)}, False),
    ({"tool_loop": True}, {"tool_loop": True}, True),
    ({"tool_loop": False}, {"tool_loop": True}, False),
    ({"images": True}, {"images": 2}, True),
    ({"images": False}, {"images": 1}, False),
    ({"images": False}, {}, True),
    ({"tools": {"min": 2}}, {"tools": ("f",)}, False),
    ({"tools": {"min": 2}}, {"tools": ("f", "g")}, True),
    ({"tools": {"max": 0}}, {}, True),
    ({"images": {"min": 2, "max": 3}}, {"images": 3}, True),
    ({"images": {"min": 2, "max": 3}}, {"images": 4}, False),
    ({"files": True}, {"files": 1}, True),
    ({"files": True}, {"images": 1}, False),
    ({"files": False}, {"files": 1}, False),
    ({"audio": True}, {"audio": 1}, True),
    ({"audio": {"max": 1}}, {"audio": 2}, False),
    ({"json_schema": True}, {"json_schema": True}, True),
    ({"json_schema": True}, {}, False),
    ({"stream": True}, {"stream": True}, True),
    ({"stream": False}, {"stream": True}, False),
    ({"tool_names": "search"}, {"tools": ("read", "search")}, True),
    ({"tool_names": ["search", "find"]}, {"tools": ("find",)}, True),
    ({"tool_names": "search"}, {"tools": ("research",)}, False),
    ({"tool_names": "mcp__*"}, {"tools": ("read", "mcp__github__search")}, True),
    ({"tool_names": "mcp__*"}, {"tools": ("read", "an_mcp__x")}, False),
    ({"tool_names": ["mcp__*", "read"]}, {"tools": ("read",)}, True),
    ({"tool_names": "*"}, {}, False),
    ({"language": "de"}, {"text": "Wie geht es dir heute?"}, True),
    ({"language": ["fr", "de"]}, {"text": "Wie geht es dir heute?"}, True),
    ({"language": "en"}, {"text": "Wie geht es dir heute?"}, False),
    ({"language": "unknown"}, {"text": "42"}, True),
    ({"kind": "main"}, {}, True),
    ({"kind": ["side", "agent"]}, {}, False),
    ({"client": "codex"}, {}, False),
    ({"dialect": "openai-chat"}, {}, True),
    ({"dialect": ["gemini", "openai-chat"]}, {"dialect": "gemini"}, True),
    ({"dialect": "gemini"}, {}, False),
    ({"asked": "auto"}, {}, True),
    ({"asked": ["gpt-4o", "fast"]}, {"model": "fast"}, True),
    ({"asked": "gpt-4o"}, {"model": "gpt-4o-mini"}, False),
    ({"asked": "gpt-*"}, {"model": "gpt-4o"}, True),
    ({"asked": "gpt-*"}, {"model": "my-gpt-4o"}, False),
    ({"asked": "gpt-*"}, {"model": "gpt-"}, True),
    ({"asked": ["auto", "*-mini"]}, {"model": "gpt-4o-mini"}, True),
    ({"asked": ["auto", "*-mini"]}, {"model": "gpt-4o-mini-1"}, False),
    ({"asked": "g*-4*i"}, {"model": "gpt-4o-mini"}, True),
    ({"asked": "g*-4*i"}, {"model": "GPT-4o-mini"}, False),
    ({"asked": "a.*b"}, {"model": "a.\nb"}, True),
    ({"asked": "a.*b"}, {"model": "acb"}, False),
    ({"key": "team-*"}, {"key": Key(name="team-a")}, True),
    ({"key": "alice"}, {"key": Key(name="alice")}, True),
    ({"key": ["bob", "carol"]}, {"key": Key(name="alice")}, False),
    ({"tag": "draft"}, {"steer": RequestOptions(tags=("draft",))}, True),
    ({"tag": ["a", "b"]}, {"key": Key(name="k", tags=("b",))}, True),
    ({"tag": "draft"}, {"steer": RequestOptions(tags=("drafts",))}, False),
]


@pytest.mark.parametrize(("when", "facts", "expected"), FLAGS)
def test_flags_and_names_match_as_written(when: Json, facts: Json, expected: bool) -> None:
    assert matches(when, **facts) is expected


YES: Json = {"keywords": "yes"}
NO: Json = {"keywords": "no"}

GROUPS: list[tuple[Json, bool]] = [
    ({}, True),
    ({"any": [YES, NO]}, True),
    ({"any": [NO, NO]}, False),
    ({"all": [YES, YES]}, True),
    ({"all": [YES, NO]}, False),
    ({"not": NO}, True),
    ({"not": YES}, False),
    ({"not": {}}, False),
    ({"not": {"not": YES}}, True),
    ({"any": [YES], "all": [NO]}, False),
    ({"any": [YES], "not": NO, "user_tokens": {"max": 9}}, True),
    ({"any": [YES], "not": NO, "user_tokens": {"max": 0}}, False),
    ({"any": [{"all": [YES, {"not": NO}]}, NO]}, True),
    ({"all": [{"any": [NO, YES]}, {"not": {"any": [NO, {"tools": True}]}}]}, True),
    ({"keywords": "yes", "matches": "^no"}, False),
    ({"keywords": "yes", "matches": "^yes"}, True),
]


@pytest.mark.parametrize(("when", "expected"), GROUPS)
def test_every_condition_of_a_rule_must_hold(when: Json, expected: bool) -> None:
    assert matches(when, "yes") is expected


@pytest.mark.parametrize(
    ("path", "when", "message"),
    [
        (("matches",), {"matches": "(a"}, "'(a' is not a regular expression: missing ): (a"),
        (
            ("any", 1, "matches"),
            {"any": [YES, {"matches": "[z-a]"}]},
            "'[z-a]' is not a regular expression: invalid character class range: z-a",
        ),
        (
            ("all", 0, "not", "matches"),
            {"all": [{"not": {"matches": r"\1"}}]},
            r"'\\1' is not a regular expression: invalid escape sequence: \1",
        ),
        (
            ("matches",),
            {"matches": "a(?=b)"},
            "'a(?=b)' is not a regular expression: invalid perl operator: (?=",
        ),
    ],
)
def test_an_invalid_pattern_is_reported_with_its_place(
    path: tuple[str | int, ...], when: Json, message: str
) -> None:
    for kind in ("guards", "choices"):
        rule = {"when": when, "tier": "fast"} if kind == "choices" else {"when": when, "tag": "t"}
        fine: Json = {**rule, "when": {}}
        with pytest.raises(RuleError) as caught:
            world.rules(**{kind: [fine, rule]})
        assert caught.value.path == (kind, 1, "when", *path)
        assert str(caught.value) == message


def test_a_pattern_error_without_a_message_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise re2.error

    monkeypatch.setattr(re2, "compile", fail)
    with pytest.raises(RuleError, match="'a' is not a regular expression: not a pattern"):
        world.rules(choices=[{"when": {"matches": "a"}, "tier": "fast"}])


def large_patterns(count: int, most: int) -> list[Json]:
    return [
        {"when": {"matches": f"word{n}x.{{0,{most}}}end{n}x"}, "tier": "fast"} for n in range(count)
    ]


def test_fifty_large_patterns_are_accepted_and_each_is_found() -> None:
    rules = world.rules(choices=large_patterns(50, 400))
    for number in (0, 17, 49):
        view = RuleContext(world.call(f"so word{number}x and end{number}x."), rules.patterns)
        assert [at for at, item in enumerate(rules.choices) if item.test(view)] == [number]


def test_patterns_that_are_too_large_together_are_refused() -> None:
    with pytest.raises(RuleError, match="too large together") as caught:
        world.rules(choices=large_patterns(50, 1000) + large_patterns(200, 1000))
    assert caught.value.path == ()


class CountingPatterns:
    """A stand-in for the pattern set that counts searches."""

    def __init__(self) -> None:
        self.searches = 0

    def Match(self, text: bytes) -> list[int]:  # noqa: N802 - re2's name
        self.searches += 1
        return [1]


def counted(counting: CountingPatterns) -> Patterns:
    return Patterns(counting.Match, (), "")


@given(
    digests=st.lists(st.sampled_from(["aaaaaa", "bbbbbb", "cccccc", "dddddd"]), max_size=6),
    data=st.data(),
)
def test_a_row_has_the_sorted_digests_of_the_patterns_that_its_text_matches(
    digests: list[str], data: st.DataObject
) -> None:
    """Each digest appears once, whatever kind of collection has the hits, and on repeated calls."""
    patterns = Patterns(lambda _: None, tuple(digests), "")
    every = st.sets(st.sampled_from(range(len(digests)))) if digests else st.just(set[int]())
    hits = data.draw(every)
    expected = "".join(sorted({digests[at] for at in hits}))
    for collection in (frozenset(hits), list(hits), frozenset(hits)):
        assert patterns.format_hits(collection) == expected


def test_a_text_is_searched_once_for_all_rules_and_only_if_needed() -> None:
    parts = [
        ChoicePart(name=f"r{n}", when=WhenPart(keywords=[f"word{n}"]), tier="fast")
        for n in range(50)
    ]
    rules = compile_rules([], parts)
    counting = CountingPatterns()
    view = RuleContext(world.call("word7"), counted(counting))
    assert counting.searches == 0
    assert [item.name for item in rules.choices if item.test(view)] == ["r1"]
    assert counting.searches == 1


def test_cheap_conditions_are_evaluated_before_patterns() -> None:
    when = WhenPart(keywords=["a"], tools=True)
    rules = compile_rules([], [ChoicePart(name="r", when=when, tier="fast")])
    counting = CountingPatterns()
    assert not rules.choices[0].test(RuleContext(world.call("a"), counted(counting)))
    assert counting.searches == 0


def test_fifty_rules_cost_a_decision_little() -> None:
    """The bound of two milliseconds of processor time is fifty times the measured value."""
    choices = [{"when": {"keywords": [f"word{n}", f"other{n}"]}, "tier": "fast"} for n in range(50)]
    router = world.router(choices=choices)
    calls = [world.call("nothing of it is here " * 20) for _ in range(51)]
    world.decided(router, calls.pop())
    began = time.process_time()
    for call in calls:
        world.decided(router, call)
    assert (time.process_time() - began) / 50 < 0.002


def test_a_condition_can_match_the_kind_of_turn_and_the_client() -> None:
    rules = world.rules(
        choices=[{"when": {"kind": "side", "client": "claude-*", "task": "title"}, "tier": "fast"}]
    )
    call = world.call()
    call.turn = ConversationTurn(kind="side", task="title", client="claude-code")
    assert rules.choices[0].test(RuleContext(call, rules.patterns))
    call.turn = ConversationTurn(kind="main", client="claude-code")
    assert not rules.choices[0].test(RuleContext(call, rules.patterns))


def test_a_name_with_many_stars_takes_time_linear_in_the_model_name() -> None:
    rules = world.rules(choices=[{"when": {"asked": "*a" * 20 + "*b"}, "tier": "fast"}])
    view = RuleContext(world.call(model="a" * 100_000), rules.patterns)
    began = time.process_time()
    assert not rules.choices[0].test(view)
    assert time.process_time() - began < 2


def test_without_rules_there_is_nothing_to_search() -> None:
    view = RuleContext(world.call("a"))
    assert 0 not in view.hits
