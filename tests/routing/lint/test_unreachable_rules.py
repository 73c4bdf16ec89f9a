"""The lint names rules without effect, with file and line, and never a rule that may matter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.core.call import OPEN_KEY, Key
from gateway.dialects import DIALECTS
from gateway.routing.lint import unreachable_rules
from gateway.runtime.build import build_config
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.loader import ConfigSource, load
from gateway.settings.schema.root import Config
from tests.routing.world import Json
from tests.settings import world as written

LABS: Json = {
    "openai": {"fast": [{"model": "luna"}], "smart": [{"model": "sol"}], "reasoning": [{"model": "astra"}, {"model": "sol"}]},
    "google": {"fast": [{"model": "lite"}], "embeddings": [{"model": "vector"}]},
    "anthropic": {"reasoning": [{"model": "opus"}]},
}  # fmt: skip


def source(guards: Sequence[Json], choices: Sequence[Json], **more: Any) -> ConfigSource:
    """Return a configuration of these rules, with a name for each rule that has none."""
    config = Config.model_validate(
        {
            "version": 1,
            "labs": LABS,
            "guards": [{"name": f"g{at}", **rule} for at, rule in enumerate(guards)],
            "choices": [{"name": f"c{at}", **rule} for at, rule in enumerate(choices)],
            **more,
        }
    )
    return ConfigSource(Path("c.yaml"), {}, {}, config, "v")


def describe(mistakes: Sequence[Mistake]) -> list[str]:
    return [
        f"{item.path}: {item.message}{' ' if item.hint else ''}{item.hint}" for item in mistakes
    ]


CONTRADICTIONS: list[tuple[Json, list[str]]] = [
    # conditions that never hold
    ({"turns": {"max": -1}}, ["turns: never holds: the rule never matches."]),
    ({"turns": {"min": 2.2, "max": 2.8}}, ["turns: never holds: the rule never matches."]),
    (
        {"code": {"min": 1.5}},
        ["code: never holds: the rule never matches. It goes from 0 to 1: write {min: 0.3}."],
    ),
    (
        {"need": {"min": 1.5}},
        ["need: never holds: the rule never matches. It goes from 0 to 1: write {min: 0.3}."],
    ),
    ({"not": {}}, ["not: never holds: the rule never matches."]),
    ({"not": {"user_tokens": {"min": 0}}}, ["not: never holds: the rule never matches."]),
    ({"not": {"code": {"max": 1}}}, ["not: never holds: the rule never matches."]),
    ({"not": {"time": {}}}, ["not: never holds: the rule never matches."]),
    ({"not": {"matches": "hello|hi|"}}, ["not: never holds: the rule never matches."]),
    ({"not": {"asked": "*"}}, ["not: never holds: the rule never matches."]),
    (
        {"not": {"any": [{"tools": True}, {"tools": False}]}},
        ["not: never holds: the rule never matches."],
    ),
    ({"any": [{"code": {"min": 2}}, {"not": {}}]}, ["any: never holds: the rule never matches."]),
    (
        {"any": [{"tag": "a", "not": {"tag": "a"}}]},
        ["any: never holds: the rule never matches."],
    ),
    # two conditions that exclude each other
    (
        {"tool_loop": True, "not": {"tool_loop": True}},
        ["not: cannot hold together with tool_loop: the rule never matches."],
    ),
    (
        {"all": [{"user_tokens": {"min": 9}}, {"tag": "a"}, {"user_tokens": {"max": 8}}]},
        [
            "all[2].user_tokens: cannot hold together with all[0].user_tokens: the rule never matches."
        ],
    ),
    (
        {"user_tokens": {"min": 8.2}, "all": [{"user_tokens": {"max": 8.9}}]},
        ["all[0].user_tokens: cannot hold together with user_tokens: the rule never matches."],
    ),
    (
        {"tools": False, "tool_names": "search"},
        ["tool_names: cannot hold together with tools: the rule never matches."],
    ),
    (
        {"tools": {"max": 0}, "not": {"not": {"tool_names": ["a", "mcp__*"]}}},
        ["not: cannot hold together with tools: the rule never matches."],
    ),
    (
        {"tools": True, "not": {"tool_names": "*"}},
        ["not: cannot hold together with tools: the rule never matches."],
    ),
    (
        {"keywords": "a rather long phrase", "user_tokens": {"max": 4}},
        ["keywords: cannot hold together with user_tokens: the rule never matches."],
    ),
    (
        {"keywords": "race condition", "not": {"keywords": ["condition"]}},
        ["not: cannot hold together with keywords: the rule never matches."],
    ),
    (
        {"dialect": "gemini", "not": {"dialect": ["gemini", "openai-chat"]}},
        ["not: cannot hold together with dialect: the rule never matches."],
    ),
    (
        {"asked": "gpt-4o", "not": {"asked": "gpt-*"}},
        ["not: cannot hold together with asked: the rule never matches."],
    ),
    (
        {"asked": "gpt-4*", "not": {"asked": "gpt-*"}},
        ["not: cannot hold together with asked: the rule never matches."],
    ),
    (
        {"tool_names": "mcp__git__*", "not": {"tool_names": "mcp__*"}},
        ["not: cannot hold together with tool_names: the rule never matches."],
    ),
    (
        {"language": "de", "all": [{"language": ["fr", "unknown"]}]},
        ["all[0].language: cannot hold together with language: the rule never matches."],
    ),
    (
        {
            "time": {"hours": "08:00-12:00", "zone": "Europe/Berlin"},
            "all": [{"time": {"hours": "12:00-18:00", "zone": "Europe/Berlin"}}],
        },
        ["all[0].time: cannot hold together with time: the rule never matches."],
    ),
    (
        {"cel": "call.turns > 1", "not": {"cel": "call.turns > 1"}},
        ["not: cannot hold together with cel: the rule never matches."],
    ),
    # three conditions that exclude each other together
    (
        {
            "any": [{"tag": "a"}, {"tag": "b"}],
            "all": [{"not": {"tag": "a"}}, {"not": {"tag": "b"}}],
        },
        [": these conditions cannot all hold: the rule never matches."],
    ),
]


@pytest.mark.parametrize(("when", "expected"), CONTRADICTIONS)
def test_conditions_that_contradict_each_other_are_errors(when: Json, expected: list[str]) -> None:
    for kind, config in (
        ("guards", source([{"when": {}, "tag": "t"}, {"when": when, "max_tier": "fast"}], [])),
        (
            "choices",
            source([], [{"when": {"tag": "t"}, "tier": "fast"}, {"when": when, "lab": "openai"}]),
        ),
    ):
        errors = unreachable_rules.list_errors(config, DIALECTS)
        prefix = f"{kind}[1].when"
        assert describe(errors) == [
            f"{prefix}{line}" if line.startswith(":") else f"{prefix}.{line}" for line in expected
        ]
        assert {item.level for item in errors} == {"error"}


POSSIBLE: list[Json] = [
    {},
    {"user_tokens": {"min": 8, "max": 8}},
    {"user_tokens": {"min": 8.1, "max": 9}},
    {"code": {"min": 0.5}, "all": [{"code": {"max": 0.5}}]},
    {"code": {"min": 0.5}, "not": {"code": {"min": 0.6}}},
    {"tools": True, "not": {"tool_names": ["a", "b"]}},
    {"tool_names": "a", "not": {"tool_names": "b*"}},
    {"keywords": "condition", "not": {"keywords": "race condition"}},
    {"keywords": "provers", "not": {"keywords": "prover"}},
    {"keywords": "证xy", "not": {"keywords": "x"}},
    {"keywords": "证x证", "user_tokens": {"max": 1}},
    {"keywords": "a \ua66e", "not": {"keywords": "\ua66e"}},  # left alone: it marks an end inside
    {"keywords": "abcd", "user_tokens": {"max": 1}},
    {"matches": "a", "not": {"matches": "b"}},
    {"not": {"matches": "^"}},
    {"matches": "("},  # the schema check reports this error already
    {"not": {"matches": r"\b"}},
    {"not": {"matches": "a*b"}},
    {"asked": "gpt-*", "not": {"asked": ["gpt-5-m*", "sol"]}},
    {"asked": "*-mini", "all": [{"asked": "gpt-*"}]},
    {"tag": "a", "not": {"tag": "b"}},
    {"tag": ["a", "b"], "not": {"tag": "a"}},
    {
        "time": {"hours": "08:00-12:00"},
        "all": [{"time": {"hours": "12:00-18:00", "zone": "Asia/Tokyo"}}],
    },
    {"time": {"days": "sun", "hours": "23:59-24:00"}},
    {"language": "unknown", "not": {"language": ["en", "de"]}},
    {"kind": "main", "client": "codex", "not": {"client": "claude-*"}},
    {"traffic": 0},
    {"traffic": "5%", "tag": "a"},
    {"not": {"max_tokens": {"min": 0}}},  # a request without a cap
    {"not": {"temperature": {"min": -9}}},
    {"user": "a", "not": {"user": "b"}},
    {"metadata": {"a": "x"}, "not": {"metadata": {"a": "y"}}},
    {"effort": "high", "not": {"effort": "low"}},
    {"system_keywords": "a", "not": {"system_keywords": "b", "system_matches": "c"}},
    {"not": {"need": {"min": 0}}},  # a turn without a score
    {"turns": {"min": 3, "max": 1}},  # the schema check reports this error already
]


@pytest.mark.parametrize("when", POSSIBLE)
def test_conditions_that_may_hold_get_no_finding(when: Json) -> None:
    more = {"aliases": {"gpt-5-mini": "auto"}}
    config = source([{"when": when, "no_cache": True}], [{"when": when, "tier": "fast"}], **more)
    assert unreachable_rules.list_errors(config, DIALECTS) == []
    if when.get("turns") is None:
        assert unreachable_rules.list_warnings(config, DIALECTS) == []


SHORT: Json = {"user_tokens": {"max": 30}}

UNREACHED: list[tuple[list[Json], dict[int, str]]] = [
    # the conditions of all choices; which are never reached, and because of which
    ([{}, SHORT], {1: "'c0'"}),
    ([SHORT, SHORT], {1: "'c0'"}),
    ([SHORT, {"tag": "a"}, SHORT], {2: "'c0'"}),
    ([SHORT, {"user_tokens": {"max": 10}}], {1: "'c0'"}),
    ([SHORT, {"user_tokens": {"max": 10}, "tag": "a"}], {1: "'c0'"}),
    ([SHORT, {"user_tokens": {"min": 31}}, {"tag": "a"}, {}], {2: "'c0' or 'c1'", 3: "'c0' or 'c1'"}),
    ([SHORT, {"user_tokens": {"min": 32}}, {"tag": "a"}], {}),
    ([{"tag": ["a", "b"]}, {"tag": "b"}], {1: "'c0'"}),
    ([{"tag": "b"}, {"tag": ["a", "b"]}], {}),
    ([{"tag": "a"}, {"tag": "b"}, {"tag": ["a", "b"]}], {2: "'c0' or 'c1'"}),
    ([{"keywords": ["prove", "derive"]}, {"keywords": "Derive"}], {1: "'c0'"}),
    ([{"keywords": "prove"}, {"keywords": ["please  prove", "prove it"]}], {1: "'c0'"}),
    ([{"keywords": "证明"}, {"keywords": "请证明它"}], {1: "'c0'"}),
    ([{"keywords": "prove"}, {"keywords": "improve"}], {}),
    ([{"tools": True}, {"tool_names": "read"}], {1: "'c0'"}),
    ([{"tools": {"min": 2}}, {"tool_names": "read"}], {}),
    ([{"tools": True}, {"tools": False}, {}], {2: "'c0' or 'c1'"}),
    ([{"images": True}, {"images": {"min": 3}}], {1: "'c0'"}),
    ([{"any": [{"tag": "a"}, SHORT]}, {"user_tokens": {"max": 3}}], {1: "'c0'"}),
    ([{"all": [{"tag": "a"}, SHORT]}, {"user_tokens": {"max": 3}}], {}),
    ([{"not": {"tag": "a"}}, {"tag": "b"}], {}),
    ([{"not": {"tag": "a"}}, {"not": {"tag": ["a", "b"]}}], {1: "'c0'"}),
    ([{"dialect": ["gemini", "openai-chat"]}, {"dialect": ["openai-responses", "anthropic-messages"]}, {}], {2: "'c0' or 'c1'"}),
    ([{"kind": ["main", "side"]}, {"not": {"kind": "agent"}}], {1: "'c0'"}),
    ([{"evidence": ["refusal", "asked_again"]}, {"evidence": "refusal"}], {1: "'c0'"}),
    ([{"evidence": "refusal"}, {"evidence": "asked_again"}], {}),
    ([{"language": "en"}, {"not": {"language": "en"}}, SHORT], {2: "'c0' or 'c1'"}),
    ([{"time": {"days": ["mon-fri"]}}, {"time": {"days": "wed", "hours": "08:00-09:00"}}], {1: "'c0'"}),
    ([{"time": {"days": ["mon-fri"]}}, {"time": {"days": "sat-sun"}}, {}], {2: "'c0' or 'c1'"}),
    ([{"time": {"days": ["mon-fri"]}}, {"time": {"days": "wed", "zone": "Asia/Tokyo"}}], {}),
    ([{"code": {"min": 0.3}}, {"code": {"min": 0.3001}}], {1: "'c0'"}),
    ([{"code": {"min": 0.3}}, {"code": {"max": 0.3}}, {}], {2: "'c0' or 'c1'"}),
    ([{"max_tokens": {"min": 9}}, {"max_tokens": {"max": 9}}, {}], {}),
    ([{"max_tokens": {"min": 9}}, {"max_tokens": {"min": 10}}], {1: "'c0'"}),
    ([{"user": "a"}, {"user": "a", "tag": "b"}], {1: "'c0'"}),
    ([{"traffic": 0.5}, {"traffic": 0.1}, {"traffic": 1}, {}], {}),  # each rule takes others
    ([{"tag": "a"}, {"traffic": 0.5, "tag": "a"}], {1: "'c0'"}),
    ([{"traffic": 0.5, "tag": "a"}, {"tag": "a"}], {}),
    ([{"need": {"min": 0.3}}, {"need": {"min": 0.4}}], {1: "'c0'"}),
    ([{"need": {"min": 0.3}}, {"need": {"max": 0.3}}, {}], {}),  # a turn without a score
    ([{"matches": "a"}, {"matches": "a", "tag": "b"}], {1: "'c0'"}),
    ([{"matches": ".*"}, {"tag": "b"}], {1: "'c0'"}),
    ([{"matches": "^.*"}, {"tag": "b"}], {}),
    ([{"cel": "call.turns > 1"}, {"cel": "call.turns > 1", "tag": "b"}], {1: "'c0'"}),
    ([{"cel": "call.turns > 1"}, {"cel": "call.turns > 2"}], {}),
]  # fmt: skip


@pytest.mark.parametrize(("whens", "expected"), UNREACHED)
def test_a_choice_that_is_never_reached_is_a_warning(
    whens: list[Json], expected: dict[int, str]
) -> None:
    config = source([], [{"when": when, "tier": "fast"} for when in whens])
    assert unreachable_rules.list_errors(config, DIALECTS) == []
    assert describe(unreachable_rules.list_warnings(config, DIALECTS)) == [
        f"choices[{at}]: is never reached: {first} matches first." for at, first in expected.items()
    ]


@pytest.mark.parametrize(("pairs", "is_found"), [(4, True), (5, False)])
def test_with_very_many_alternatives_the_analysis_gives_up(pairs: int, is_found: bool) -> None:
    alternatives = [{"any": [{"tag": f"a{at}"}, {"tag": f"b{at}"}]} for at in range(pairs)]
    streams = {"any": [{"stream": True, "tag": "c"}, {"stream": True, "images": True}]}
    rule = {"when": {"all": [*alternatives, streams, {"stream": False}]}, "tier": "fast"}
    assert bool(unreachable_rules.list_errors(source([], [rule]), DIALECTS)) is is_found


def test_a_pattern_that_covers_a_later_one_makes_it_unreachable() -> None:
    aliases = dict.fromkeys(("gpt-4o", "gpt-5-mini"), "auto")
    choices = [
        {"when": {"asked": name}, "tier": "fast"} for name in ("gpt-*", ["gpt-4o", "gpt-5*"])
    ]
    warnings = unreachable_rules.list_warnings(source([], choices, aliases=aliases), DIALECTS)
    assert describe(warnings) == ["choices[1]: is never reached: 'c0' matches first."]


BRANCHES: list[tuple[Json, list[str]]] = [
    (
        {"any": [{"tag": "a"}, {"code": {"min": 2}}]},
        ["any[1]: never holds: the others decide alone."],
    ),
    (
        {"not": {"any": [{"tag": "a"}, {"tag": "b", "not": {"tag": "b"}}]}},
        ["not.any[1]: never holds: the others decide alone."],
    ),
    (
        {"user_tokens": {"min": 40}, "any": [{"tag": "a"}, {"user_tokens": {"max": 9}}]},
        ["any[1]: never holds with what else must hold: the others decide alone."],
    ),
    ({"any": [{"tag": "a"}, {"tag": "b"}]}, []),
]


@pytest.mark.parametrize(("when", "expected"), BRANCHES)
def test_a_part_that_never_holds_is_a_warning(when: Json, expected: list[str]) -> None:
    config = source([{"when": when, "no_cache": True}], [])
    assert describe(unreachable_rules.list_warnings(config, DIALECTS)) == [
        f"guards[0].when.{line}" for line in expected
    ]


OVERRULED: list[tuple[list[Json], Json, list[str]]] = [
    # guards, the choice, the findings about it
    (
        [{"when": SHORT, "max_tier": "smart"}],
        {"when": {"user_tokens": {"max": 9}}, "tier": "reasoning"},
        [".tier: no call gets reasoning: 'g0' does not let one that matches."],
    ),
    ([{"when": SHORT, "max_tier": "smart"}], {"when": {"tag": "a"}, "tier": "reasoning"}, []),
    ([{"when": SHORT, "max_tier": "smart"}], {"when": SHORT, "tier": "smart"}, []),
    (
        [{"min_tier": "smart"}],
        {"tier": "fast"},
        [".tier: no call gets fast: 'g0' does not let one that matches."],
    ),
    ([{"min_tier": "smart"}, {"when": {"tag": "a"}, "max_tier": "fast"}], {"tier": "fast"}, []),
    (
        [{"when": {"tools": True}, "max_tier": "fast"}, {"when": {"tools": False}, "max_tier": "smart"}],
        {"tier": "reasoning"},
        [".tier: no call gets reasoning: 'g0' or 'g1' does not let one that matches."],
    ),
    (
        [{"when": {"tag": "legal"}, "allow": ["anthropic"]}],
        {"when": {"tag": "legal"}, "lab": "google"},
        [".lab: no call goes to google: 'g0' does not let one that matches."],
    ),
    (
        [{"deny": ["google", "anthropic"]}],
        {"tier": "fast", "lab": "google"},
        [".lab: no call goes to google: 'g0' does not let one that matches."],
    ),
    ([{"when": {"tag": "legal"}, "allow": ["anthropic"]}], {"lab": "google"}, []),
    (
        [{"max_tier": "fast"}],
        {"model": "sol"},
        [".model: no call gets sol: 'g0' does not let one that matches."],
    ),
    ([{"max_tier": "smart"}], {"model": "sol"}, []),
    (
        [{"max_tier": "smart"}],
        {"model": "openai/astra"},
        [".model: no call gets openai/astra: 'g0' does not let one that matches."],
    ),
    (
        [{"deny": "openai"}],
        {"model": "sol"},
        [".model: no call gets sol: 'g0' does not let one that matches."],
    ),
    (
        [{"when": SHORT, "refuse": "No."}],
        {"when": SHORT, "tier": "fast"},
        [": decides nothing: 'g0' refuses every call that it matches."],
    ),
    ([{"when": SHORT, "refuse": "No."}], {"tier": "fast"}, []),
    (
        # one guard sets the tag that another reads
        [{"when": SHORT, "tag": "short"}, {"when": {"tag": "short"}, "max_tier": "fast"}],
        {"when": SHORT, "tier": "smart"},
        [".tier: no call gets smart: 'g1' does not let one that matches."],
    ),
    (
        [{"tag": "all"}],
        {"when": {"not": {"tag": "all"}}, "tier": "fast"},
        [".when: never matches: guards set tags that it must not have."],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("guards", "choice", "expected"), OVERRULED)
def test_a_choice_that_guards_always_overrule_is_a_warning(
    guards: list[Json], choice: Json, expected: list[str]
) -> None:
    lines = describe(unreachable_rules.list_warnings(source(guards, [choice]), DIALECTS))
    assert [line for line in lines if not line.startswith("guards")] == [
        f"choices[0]{line}" for line in expected
    ]


CROSSED: list[tuple[list[Json], list[str]]] = [
    ([{"max_tier": "fast"}, {"when": {"tag": "t"}, "min_tier": "smart"}], ["guards[1].min_tier: smart is above fast, all that 'g0' allows: where both match, fast holds."]),
    ([{"min_tier": "reasoning"}, {"when": {"tag": "t"}, "max_tier": "smart"}], ["guards[0].min_tier: reasoning is above smart, all that 'g1' allows: where both match, smart holds."]),
    ([{"when": SHORT, "max_tier": "fast"}, {"when": {"user_tokens": {"max": 3}}, "min_tier": "smart"}], ["guards[1].min_tier: smart is above fast, all that 'g0' allows: where both match, fast holds."]),
    ([{"when": SHORT, "max_tier": "fast"}, {"when": {"tag": "t"}, "min_tier": "smart"}], []),
    ([{"when": SHORT, "max_tier": "fast"}, {"when": {"user_tokens": {"min": 31}}, "min_tier": "smart"}], []),
    ([{"max_tier": "smart"}, {"min_tier": "smart"}], []),
]  # fmt: skip


@pytest.mark.parametrize(("guards", "expected"), CROSSED)
def test_guards_that_contradict_each_other_are_a_warning(
    guards: list[Json], expected: list[str]
) -> None:
    assert describe(unreachable_rules.list_warnings(source(guards, []), DIALECTS)) == expected


ALICE = Key(name="alice", tags=("code",), allowed_tags=("draft",))
BOB = Key(name="team-bob", allowed_tags=())

NAMES: list[tuple[Json, list[Key] | None, list[str]]] = [
    ({"key": "alise"}, None, []),
    ({"key": "alise"}, [ALICE, BOB], ["key: no key is called 'alise'. Did you mean 'alice'?"]),
    ({"key": "team-*"}, [ALICE, BOB], []),
    ({"key": "ops-*"}, [ALICE, BOB], ["key: no key is called 'ops-*'. Known: alice, team-bob."]),
    ({"key": "alice"}, [OPEN_KEY], ["key: no key is called 'alice': keys are open, as 'open'."]),
    ({"key": "open"}, [OPEN_KEY], []),
    ({"tag": "draft"}, [ALICE, BOB], []),
    ({"tag": ["draft", "drafts"]}, [ALICE, BOB], ["tag: no key may send the tag 'drafts', and no guard sets it. Did you mean 'draft'?"]),
    ({"tag": "anything"}, [ALICE, Key(name="free")], []),
    ({"tag": "anything"}, [OPEN_KEY], []),
    ({"tag": "set"}, [BOB], []),  # a guard sets it
    ({"key": "team-bob", "tag": "draft"}, [ALICE, BOB], [": never matches, with the keys that there are and the tags that they may send."]),
    ({"key": "alice", "not": {"tag": "code"}}, [ALICE, BOB], [": never matches, with the keys that there are and the tags that they may send."]),
    ({"key": "alice", "tag": "draft"}, [ALICE, BOB], []),
    ({"client": ["codex", "claude-*", "*"]}, None, []),
    ({"client": "claude-cod"}, None, ["client: no application is known as 'claude-cod'. Did you mean 'claude-code'?"]),
    ({"client": "claud-*"}, None, ["client: no application is known as 'claud-*'. Did you mean 'claude-code'?"]),
    ({"asked": "auto"}, None, []),
    ({"asked": ["openai/smart", "sol", "openai/sol", "vector", "google/vector", "old"]}, None, []),
    ({"asked": "smrt"}, None, ["asked: no model or alias is called 'smrt': the gateway refuses calls that ask for it. Did you mean 'smart'?"]),
    ({"asked": ["claude-opus-9", "claude-*", "c*", "*"]}, None, []),
    ({"asked": "gpt-*"}, None, ["asked: no model or alias is called 'gpt-*': the gateway refuses calls that ask for it."]),
    ({"asked": "*/auto"}, None, []),
]  # fmt: skip


@pytest.mark.parametrize(("when", "keys", "expected"), NAMES)
def test_an_unknown_name_in_a_condition_is_a_warning(
    when: Json, keys: list[Key] | None, expected: list[str]
) -> None:
    more = {"aliases": {"old": "auto"}}
    setting: Json = {"when": {"images": True}, "tag": "set"}
    for kind, config in (
        ("guards[1]", source([setting, {"when": when, "no_cache": True}], [], **more)),
        ("choices[0]", source([setting], [{"when": when, "tier": "fast"}], **more)),
    ):
        warnings = unreachable_rules.list_warnings(config, DIALECTS, keys)
        assert describe(warnings) == [
            f"{kind}.when{line}" if line.startswith(":") else f"{kind}.when.{line}"
            for line in expected
        ]
        assert {item.level for item in warnings} <= {"warning"}


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("gpt-4o", True),
        ("openai/gpt-4o", True),
        ("gpt-oss-1", False),
        ("o3", True),
        ("opuss", False),
        ("openai/smrt", False),
        ("gpt-4*", True),
        ("g*", True),
        ("llama-*", False),
        ("claude-opus-9", True),
        ("claude-opus*", True),
    ],
)
def test_an_unlisted_model_name_with_an_owner_is_no_warning(name: str, is_known: bool) -> None:
    openai = {"dialects": {"openai-chat": "https://x"}, "names": ["gpt-*", "!gpt-oss*", "o[1-9]*"]}
    rule = {"when": {"asked": name}, "tier": "fast"}
    config = source([], [rule], providers={"openai": openai})
    assert (unreachable_rules.list_warnings(config, DIALECTS) == []) == is_known


def test_a_tag_that_is_set_but_never_read_is_a_warning() -> None:
    setting: Json = {"when": {"images": True}, "tag": ["picture", "seen"]}
    reading: Json = {"when": {"tag": "pictures"}, "tier": "fast"}
    warnings = unreachable_rules.list_warnings(source([setting], [reading]), DIALECTS)
    assert describe(warnings) == [
        "guards[0].tag: sets 'picture', which no rule reads. Did you mean 'pictures'?"
    ]
    # A tag that only the ledger reads needs no warning; nor does one that a limit or a key uses.
    assert unreachable_rules.list_warnings(source([setting], []), DIALECTS) == []
    limit = {"name": "l", "tag": "picture", "requests": "9/m"}
    assert (
        unreachable_rules.list_warnings(source([setting], [reading], limits=[limit]), DIALECTS)
        == []
    )
    key = Key(name="k", tags=("pictures",))
    assert unreachable_rules.list_warnings(source([setting], [reading]), DIALECTS, [key]) == []


def test_findings_have_file_and_line_and_an_error_prevents_the_start(
    tmp_path: Path,
) -> None:
    text = f"""{written.BASE}guards:
- {{name: a, max_tier: fast}}
- {{name: b, when: {{tag: t}}, min_tier: smart}}
choices:
- {{name: all, tier: fast}}
- {{name: late, lab: acme}}
"""
    config = build_config(written.loaded(tmp_path, text), written.NOW)
    assert [str(item).removeprefix(f"{tmp_path}/") for item in config.warnings] == [
        "c.yaml:18: warning: guards[1].min_tier (rule 'b'): smart is above fast, all that 'a' allows: where both match, fast holds.",
        "c.yaml:21: warning: choices[1] (rule 'late'): is never reached: 'all' matches first.",
    ]
    wrong = text.replace("{tag: t}", "{tag: t,\n    not: {tag: [s, t]}}")
    with pytest.raises(ConfigError) as caught:
        build_config(written.loaded(tmp_path, wrong), written.NOW)
    assert [str(item).removeprefix(f"{tmp_path}/") for item in caught.value.mistakes] == [
        "c.yaml:19: error: guards[1].when.not (rule 'b'): cannot hold together with tag: the rule never matches."
    ]


def test_the_shipped_rules_get_no_finding() -> None:
    config = load(Path(__file__).parents[3] / "config" / "gateway.yaml", {})
    assert (
        unreachable_rules.list_errors(config, DIALECTS)
        == unreachable_rules.list_warnings(config, DIALECTS, [OPEN_KEY])
        == []
    )
