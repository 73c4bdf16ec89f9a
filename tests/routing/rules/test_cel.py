"""CEL in conditions: checked when read, bounded when evaluated, and never the end of a call."""

import time
from datetime import UTC, datetime
from importlib import util

import pytest

from gateway.core.call import Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import DecisionContext
from gateway.core.decision_record import DecisionRecord
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.errors import MissingFeatureError, RuleError
from gateway.routing.replay_decision import RecordedFeatures
from gateway.routing.rules import cel, conditions
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import evaluate_guards
from tests.ledger.rows import entry
from tests.routing import world
from tests.routing.world import Json

AT = datetime(2026, 11, 26, 23, 30, tzinfo=UTC).timestamp()
KEY = Key(name="alice", tenant="acme", tags=("code",))


def matches(expression: str) -> bool:
    rules = world.rules(choices=[{"when": {"cel": expression}, "tier": "fast"}])
    call = world.call(
        "Prove that the integral of x^2 is what it is.", key=KEY, steer=RequestOptions(tags=("draft",)),
        chars=4_000, user_turns=3, tools=("read", "write"), images=2, files=1, json_schema=True,
    )  # fmt: skip
    call.turn = ConversationTurn(kind="side", task="title", client="codex")
    view = RuleContext(call, rules.patterns, DecisionContext(at=AT), HeuristicClassifier())
    evaluate_guards(rules, view)
    matched = rules.choices[0].test(view)
    assert not view.failed_rules
    return matched


EXPRESSIONS: list[tuple[str, bool]] = [
    ('call.user_tokens > 4 && "code" in call.tags', True),
    ('call.user_tokens > 40 && "code" in call.tags', False),
    ("call.prompt_tokens == 1000", True),
    ("call.turns == 3", True),
    ('call.text.startsWith("Prove")', True),
    ('call.text.matches("integral\\\\s+of")', True),
    ("call.maths > 0.1 && call.code < 0.9", True),
    ("call.need > 0.3 && call.confidence < 0.99", True),
    ('call.system == "" && call.user == "" && size(call.metadata) == 0', True),
    ('call.max_tokens == 0 && call.temperature == -1.0 && call.effort == ""', True),
    ('call.language == "en"', True),
    ('call.tools == ["read", "write"]', True),
    ('call.tools.exists(name, name.startsWith("wr"))', True),
    ("size(call.tools) > 2", False),
    ("call.tool_loop", False),
    ("!call.stream && call.json_schema", True),
    ("call.images == 2 && call.files == 1 && call.audio == 0", True),
    ('call.kind == "side" && call.task == "title" && call.client == "codex"', True),
    ("size(call.evidence) == 0", True),
    ('call.dialect == "openai-chat" && call.asked == "auto"', True),
    ('call.key == "alice" && call.tenant == "acme"', True),
    ('call.tags == ["code", "draft"]', True),
    ('call.at.getHours("UTC") == 23', True),
    ('call.at.getDayOfWeek("Europe/Berlin") == 5', True),
    ("call . user_tokens > 4 ? true : false", True),
    ("true", True),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS)
def test_an_expression_reads_the_call(expression: str, expected: bool) -> None:
    assert matches(expression) is expected


def test_the_expressions_above_read_every_field() -> None:
    fields_read = {
        name for expression, _ in EXPRESSIONS for name in cel.FIELDS if f"call.{name}" in expression
    }
    assert fields_read == cel.FIELDS


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        (
            "call.user_tokns > 4",
            "undeclared reference to 'call.user_tokns', at 1:5",
            "Did you mean 'user_tokens'?",
        ),
        (
            "user_tokens > 4",
            "undeclared reference to 'user_tokens', at 1:1",
            "Write it as call.user_tokens.",
        ),
        (
            'call.user_tokens > "a"',
            "found no matching overload for '_>_' applied to '(int, string)', at 1:18",
            "",
        ),
        ("call.user_tokens", "is int, and a condition must be true or false", ""),
        ("call.tags", "is list<string>, and a condition must be true or false", ""),
        ("foo(1)", "undeclared reference to 'foo', at 1:4", ""),
        ("true &&\n  foo(1)", "undeclared reference to 'foo', at 2:6", ""),
    ],
)
def test_an_expression_that_is_no_condition_is_reported_with_its_place(
    expression: str, message: str, hint: str
) -> None:
    with pytest.raises(RuleError) as caught:
        world.rules(choices=[{"when": {"any": [{}, {"cel": expression}]}, "tier": "fast"}])
    assert caught.value.path == ("choices", 0, "when", "any", 1, "cel")
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_a_syntax_error_is_reported_with_its_place() -> None:
    with pytest.raises(RuleError, match=r"^Syntax error: .*, at 1:"):
        world.rules(choices=[{"when": {"cel": "call.user_tokens >"}, "tier": "fast"}])


def test_a_compile_error_without_a_place_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class FailingEnvironment:
        def compile(self, _: str) -> None:
            raise RuntimeError("out of memory")

    monkeypatch.setattr("cel_expr_python.cel.NewEnv", lambda **_: FailingEnvironment())
    with pytest.raises(RuleError, match=r"^is not an expression$"):
        world.rules(choices=[{"when": {"cel": "true"}, "tier": "fast"}])


def test_all_errors_are_reported_at_once() -> None:
    wrong: list[Json] = [
        {"when": {"cel": "1"}, "tier": "fast"},
        {"when": {"matches": "("}, "tier": "fast"},
    ]
    with pytest.raises(RuleError) as caught:
        world.rules(choices=wrong)
    assert [error.path[1] for error in caught.value.all_errors] == [0, 1]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("call.images / call.files > 1", "it divides by zero"),
        ('call.tags[5] == "a"', "a list has no such item"),
        ("int(call.text) > 3", "so the condition is false"),
        (
            "call.tools.all(a, call.tools.all(b, call.tools.all(c, a + b + c != '')))",
            "it takes too many steps",
        ),
    ],
)
def test_an_expression_that_fails_does_not_match_and_the_trace_says_so(
    expression: str, why: str
) -> None:
    when: Json = {"cel": expression}
    router = world.router([{"when": when, "max_tier": "fast"}], [{"when": when, "tier": "fast"}])
    call = world.call("a secret text", tools=tuple(f"t{n}" for n in range(200)))
    decision, _ = world.decided(router, call)
    assert decision.tier == "smart"
    lines = world.lines(decision)
    assert f"-rule:  (guard 0: its expression failed, {why})" in lines
    assert f"-rule:  (choice 0: its expression failed, {why})" in lines
    assert not any("secret" in line for line in lines)


def test_an_engine_failure_fails_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        cel._FIELD_READERS, "turns", (cel._FIELD_READERS["turns"][0], lambda _: object())
    )
    router = world.router(choices=[{"when": {"cel": "call.turns > 1"}, "tier": "fast"}])
    decision, _ = world.decided(router, world.call())
    assert "-rule:  (choice 0: its expression failed, so the condition is false)" in world.lines(
        decision
    )


def test_the_worst_allowed_expression_ends_soon() -> None:
    """The gateway ends a loop after 10,000 steps and cuts a long text.

    So neither a tool list nor a prompt costs more.
    """
    rules = world.rules(
        choices=[{"when": {"cel": "call.tools.all(a, call.tools.all(b, !(call.text.contains(a + b))))"}, "tier": "fast"}]
    )  # fmt: skip
    call = world.call("x" * 5_000_000, tools=tuple(f"t{n}" for n in range(3_000)))
    view = RuleContext(call, rules.patterns)
    began = time.process_time()
    assert not rules.choices[0].test(view)
    assert time.process_time() - began < 2
    assert view.failed_rules == {"choice 0": "its expression failed, it takes too many steps"}


def test_both_ends_of_a_long_text_are_read() -> None:
    rules = world.rules(
        choices=[{"when": {"cel": 'call.text.startsWith("ab") && call.text.endsWith("yz")'}, "tier": "fast"}]
    )  # fmt: skip
    assert rules.choices[0].test(
        RuleContext(world.call("ab" + "-" * 10_000 + "yz"), rules.patterns)
    )


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> object:
        return None if name == "cel_expr_python" else util.find_spec(name)

    monkeypatch.setattr(conditions, "find_spec", find)
    with pytest.raises(RuleError) as caught:
        world.rules(choices=[{"when": {"cel": "true"}, "tier": "fast"}])
    assert str(caught.value) == "needs the extra `cel`"
    assert caught.value.hint == "Install it: pip install 'tiergate[cel]'."


def recorded(tokens: int, language: str | None = None) -> RecordedFeatures:
    basis = DecisionRecord(user_tokens=tokens, language=language, tools=("read",), more_tools=3)
    return RecordedFeatures(entry(asked="auto", basis=basis), basis)


def test_a_replay_reports_a_text_that_the_row_does_not_keep() -> None:
    """A condition that needs the text reports it as missing, and does not count as failed."""
    rules = world.rules(
        choices=[
            {"when": {"cel": 'call.text == ""'}, "tier": "fast"},
            {"when": {"language": "de"}, "tier": "fast"},
            {"when": {"tools": {"min": 4, "max": 4}}, "tier": "fast"},
        ]
    )
    expression, german, four = rules.choices
    for choice in (expression, german):
        view = RuleContext(recorded(5), rules.patterns)
        with pytest.raises(MissingFeatureError, match="the text of the last user turn"):
            choice.test(view)
        assert not view.failed_rules
    assert expression.test(RuleContext(recorded(0), rules.patterns))
    assert not german.test(RuleContext(recorded(0), rules.patterns))
    assert german.test(RuleContext(recorded(5, "de"), rules.patterns))
    assert not german.test(RuleContext(recorded(5, "unknown"), rules.patterns))
    assert four.test(RuleContext(recorded(5), rules.patterns))
