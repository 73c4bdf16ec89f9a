"""Native requests: facts for routing, refusals that name the field, and the target's bytes."""

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ProblemError
from gateway.core.loss import Loss
from gateway.core.prompt import Prompt
from gateway.core.target import EFFORTS, ModelFacts
from gateway.dialects.anthropic_messages import DIALECT, effort, request
from gateway.dialects.base import WrittenBody
from tests.dialects.anthropic_messages.cases import HI, Object, ask, raw, sent, target
from tests.dialects.cases import SPACE, values

REMIND = {"type": "text", "text": "<system-reminder>\nBe brief.</system-reminder>"}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "42"}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"é": 1}}]}  # fmt: skip
ALL = ("low", "medium", "high", "xhigh", "max")
BUDGET = ModelFacts(
    effort_style="anthropic-budget", efforts=("none", *ALL[:3]), sampling="effort-none"
)
BOTH = ModelFacts(effort_style="anthropic-budget+effort", efforts=("none", *ALL[:3]))
MIXED = ModelFacts(effort_style="anthropic-mixed", efforts=("none", "low", "medium", "high", "max"), sampling="effort-none")  # fmt: skip
ADAPTIVE = ModelFacts(effort_style="anthropic", efforts=("none", *ALL), sampling="never")
BETWEEN = ModelFacts(effort_style="anthropic-between-tools", efforts=("none", *ALL))
ALWAYS = ModelFacts(effort_style="anthropic-always", efforts=ALL)
PLAIN = ModelFacts(vision=True)
ADAPT, OFF = {"type": "adaptive"}, {"type": "disabled"}


def text(words: str) -> Object:
    return {"type": "text", "text": words}


def user(*content: Object | str) -> Object:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else [*content]}


def prompt(*messages: Object, **more: Any) -> Prompt:
    return ask(messages=[*messages] or HI, **more).prompt


def test_a_small_request_has_one_user_turn() -> None:
    assert ask().prompt == Prompt(
        model="m", user="hi", user_turns=1, chars=2, max_output=4096,
        members=frozenset({"model", "max_tokens", "messages"}),
    )  # fmt: skip
    assert DIALECT.asks_usage(ask())
    assert prompt(stream=True, max_tokens=0).stream
    assert prompt(max_tokens=0).max_output == 0


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"model": ...}, "model"), ({"model": ""}, "model"), ({"max_tokens": ...}, "max_tokens"), ({"max_tokens": True}, "max_tokens"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"max_tokens": -1}, "max_tokens"), ({"max_tokens": "9"}, "max_tokens"), ({"messages": ...}, "messages"), ({"messages": {}}, "messages"),
        ({"messages": [*HI, "hi"]}, "messages[1]"), ({"stream": 1}, "stream"),
    ],
)  # fmt: skip
def test_an_invalid_request_is_refused_with_its_field(more: Object, param: str) -> None:
    with pytest.raises(ProblemError) as caught:
        ask(**more)
    problem = caught.value.problem
    assert (problem.kind, problem.param) == ("invalid_request", param)
    assert param.split("[", maxsplit=1)[0] in problem.message


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{", "invalid_json"), (b'{"a":NaN}', "invalid_json"), (b"[]", "invalid_request")],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(ProblemError) as caught:
        DIALECT.read(body)
    assert caught.value.problem.kind == kind


@pytest.mark.parametrize(
    ("messages", "expected", "turns"),
    [
        ([user("a"), user("b")], "b", 2),
        ([user(text("a"), text("b"))], "a\nb", 1),
        ([user(REMIND, text("a"))], "a", 1),
        ([user(REMIND)], REMIND["text"], 1),
        ([user("a"), CALL, user(RESULT)], "a", 1),
        ([user("a"), CALL, user(RESULT, REMIND)], "a", 1),
        ([user("a"), CALL, user(RESULT, text("b"))], "b", 2),
        ([user("a"), {"role": "system", "content": "s"}], "a", 1),
        ([user({"type": "image"})], "", 1),
        ([], "", 0),
        ([{"role": "user", "content": None}, {"content": 7}], "", 1),
        ([user(text("a"), {"type": "text"}, {"type": "new", "text": "b"}), {"role": "user", "content": [7]}], "", 2),
    ],
)  # fmt: skip
def test_the_gateway_reads_the_last_words_of_a_person(
    messages: list[Object], expected: str, turns: int
) -> None:
    """Only a person's words count: no tool results, and no text that Claude Code adds to a turn."""
    read = ask(messages=messages).prompt
    assert (read.user, read.user_turns) == (expected, turns)


SEARCHED: Object = {
    "role": "assistant",
    "content": [{"type": "server_tool_use", "id": "t", "name": "f", "input": {}}],
}


@pytest.mark.parametrize(
    ("messages", "loop"),
    [
        ([user("a"), CALL, user(RESULT)], True), ([user("a"), CALL, user(RESULT), user("b")], True),
        ([user("a"), CALL, user(RESULT), {"role": "system", "content": "s"}], True),
        ([user("a"), CALL, user(RESULT), {"role": "assistant", "content": "x"}], True),
        ([user("a"), CALL, user(RESULT), {"role": "assistant", "content": "x"}, user("b")], False),
        ([user("a"), SEARCHED], True), ([user("a"), SEARCHED, user("b")], False), ([user("a")], False), ([user("a"), CALL], False),
    ],
)  # fmt: skip
def test_a_tool_result_or_a_paused_tool_marks_a_tool_loop(
    messages: list[Object], loop: bool
) -> None:
    """The last message is a tool result, or the provider's tools paused: stop_reason pause_turn."""
    assert ask(messages=messages).prompt.tool_loop == loop


def test_the_gateway_reads_tools_and_which_run_at_the_provider() -> None:
    """Dated types decide: bash and similar tools run at the client, the others at the provider."""
    own = [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g"}, {"type": "bash_20250124", "name": "bash"}]  # fmt: skip
    read = prompt(tools=own)
    assert (read.tools, read.hosted_tools) == (("f", "g", "bash"), False)
    assert read.chars == 2 + len(json.dumps(own))
    assert prompt(tools=[*own, {"type": "web_search_20250305", "name": "web_search"}]).hosted_tools
    assert prompt(tools=[{"type": "mcp_toolset"}, 7]).tools == ("", "")
    assert prompt(tools=7).tools == ()
    assert prompt(mcp_servers=[{"url": "u"}]).hosted_tools
    assert prompt(tools=[], mcp_servers=[]).hosted_tools is False


@pytest.mark.parametrize(
    ("choice", "forced"),
    [({"type": "any"}, True), ({"type": "tool", "name": "f"}, True), ({"type": "auto"}, False), ({"type": "none"}, False), ("any", False)],
)  # fmt: skip
def test_the_gateway_reads_a_forced_tool_choice(choice: object, forced: bool) -> None:
    assert prompt(tool_choice=choice).forced_tool == forced


def test_all_text_that_the_model_reads_is_counted() -> None:
    """The count includes system, turns, tool inputs and results, and plain-text documents.

    It excludes base64.
    """
    document = {"type": "document", "source": {"type": "text", "data": "12345"}}
    inside = {"type": "document", "source": {"type": "content", "content": [text("123"), {"type": "image"}]}}  # fmt: skip
    pdf: Object = {"type": "document", "source": {"type": "base64", "data": "JVBER"}}
    read = prompt(
        user(text("12"), {"type": "image"}, document, inside, pdf, {"type": "document"}, {"type": "container_upload"}),
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "1234", "signature": "s"}, *CALL["content"]]},
        user({"type": "tool_result", "content": [text("1"), {"type": "image"}]}),
        {"role": "system", "content": [text("12")]},
        system=[text("123")],
    )  # fmt: skip
    assert read.chars == 2 + 5 + 3 + 4 + len('{"é":1}') + 1 + 2 + 3
    assert (read.images, read.files) == (3, 5)
    assert prompt(system="1234").chars == 6


@pytest.mark.parametrize(
    ("more", "schema"),
    [
        ({"output_config": {"format": {"type": "json_schema"}}}, True), ({"output_format": {"type": "json_schema"}}, True),
        ({"output_config": {"effort": "low"}}, False), ({"output_config": 7}, False), ({}, False),
    ],
)  # fmt: skip
def test_the_gateway_reads_the_wish_for_structured_output(more: Object, schema: bool) -> None:
    assert prompt(**more).json_schema == schema


@pytest.mark.parametrize(
    ("more", "effort"),
    [
        ({}, None), ({"thinking": {"type": "adaptive"}}, None), ({"output_config": {"effort": "max"}}, "max"),
        ({"output_config": {"effort": 7}}, None), ({"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}}, "none"),
        ({"thinking": {"type": "between_tools"}}, "none"), ({"thinking": {"type": "new"}}, None), ({"thinking": 7}, None),
        ({"thinking": {"type": []}}, None), *(
            ({"thinking": {"type": "enabled", "budget_tokens": budget}}, effort)
            for budget, effort in ((1024, "low"), (2000, "medium"), (7999, "medium"), (8000, "high"), (24000, "xhigh"), (None, None))
        ),
    ],
)  # fmt: skip
def test_the_gateway_reads_the_effort(more: Object, effort: str | None) -> None:
    assert prompt(**more).effort == effort


def test_the_gateway_reads_sampling_and_stored_state_for_the_cache() -> None:
    assert prompt(temperature=0.5).sampled
    assert not prompt(temperature=0).sampled
    assert prompt(container="c").stored
    assert prompt(thread={"type": "create"}).stored
    assert not prompt(container=None).stored


@pytest.mark.parametrize(
    ("thread", "member"),
    [
        (None, ""), ({"type": "create"}, ""), ({"type": "continue", "previous_message_id": "msg_1"}, "thread"),
        ({}, "thread"), ({"type": "new"}, "thread"), ("x", "thread"), ({"type": "create", "x": 1}, "thread"),
    ],
)  # fmt: skip
def test_a_thread_continues_unless_the_client_creates_it(thread: object, member: str) -> None:
    """An unknown thread may depend on anything."""
    assert prompt(thread=thread).continuation_member == member


def test_the_received_bytes_are_kept() -> None:
    assert DIALECT.read(raw()).raw == raw()


def test_forwarded_header_names_are_in_lower_case_and_no_credentials() -> None:
    """All are in lower case, and none is a credential."""
    assert all(name == name.lower() for name in request.FORWARDED_HEADERS)
    assert {b"anthropic-version", b"anthropic-beta"} <= request.FORWARDED_HEADERS
    # A subagent of a subagent in Claude Code sends the first; users set the second.
    assert {b"x-claude-code-parent-agent-id", b"x-anthropic-additional-protection"} <= request.FORWARDED_HEADERS  # fmt: skip
    assert request.FORWARDED_HEADERS.isdisjoint({b"authorization", b"x-api-key"})
    assert {name.encode() for name in request.DEFAULT_HEADERS} <= request.FORWARDED_HEADERS


def enabled(budget: int, **more: Any) -> Object:
    return {"type": "enabled", "budget_tokens": budget, **more}


def write(facts: ModelFacts, tier_effort: str | None = None, **more: Any) -> WrittenBody:
    return DIALECT.write(ask(**more), target(facts=facts, effort=tier_effort))


def list_losses(written: WrittenBody) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in written.losses]


def read_effort(written: WrittenBody) -> tuple[object, object]:
    value = sent(written)
    return value.get("thinking"), value.get("output_config")


@given(st.data())
def test_a_request_without_changes_keeps_the_clients_bytes(data: st.DataObject) -> None:
    """Law 1: unknown members, the spelling of numbers and the spaces between members stay."""
    space = data.draw(SPACE)
    more = data.draw(st.dictionaries(st.sampled_from(["x", "metadata", "speed"]), values(), max_size=3))  # fmt: skip
    parts = {"model": '"m"', "max_tokens": "64", "messages": '[{"role":"user","content":"\\u00e9","n":1.50}]', **more}  # fmt: skip
    body = (space + "{" + ("," + space).join(f'"{k}":{space}{v}' for k, v in parts.items()) + "}").encode()  # fmt: skip
    request_ = DIALECT.read(body)
    assert DIALECT.write(request_, target()).body is body
    renamed = DIALECT.write(request_, target("other")).body
    expected = {**parts, "model": '"other"'}
    assert renamed == ("{" + ",".join(f'"{k}":{v}' for k, v in expected.items()) + "}").encode()


def test_thread_creation_goes_only_to_providers_with_threads() -> None:
    """For other providers the gateway drops and names it: each request has all of the history."""
    create = {"type": "create"}
    body = ask(thread=create)
    assert DIALECT.write(body, target()).body is body.raw
    written = DIALECT.write(body, target(refuses=frozenset({"thread"})))
    assert "thread" not in sent(written)
    assert list_losses(written) == [("thread", "dropped")]


def test_thread_continuation_goes_only_to_providers_with_threads() -> None:
    threadless = target(refuses=frozenset({"thread"}))
    continued = ask(thread={"type": "continue", "previous_message_id": "msg_1"}).prompt
    assert DIALECT.explain_unfit(continued, threadless) == "refuses thread"
    assert DIALECT.explain_unfit(continued, target()) == ""
    assert DIALECT.explain_unfit(ask(thread={"type": "create"}).prompt, threadless) == ""


def test_a_repeated_member_is_sent_once() -> None:
    body = DIALECT.read(b'{"model":"a","model":"m","max_tokens":1,"messages":[]}')
    assert DIALECT.write(body, target()).body == b'{"model":"m","max_tokens":1,"messages":[]}'


@pytest.mark.parametrize(
    ("facts", "tier_effort", "thinking", "config"),
    [
        (ADAPTIVE, "high", ADAPT, {"effort": "high"}), (ADAPTIVE, "none", OFF, None), (ADAPTIVE, "minimal", ADAPT, {"effort": "low"}),
        (BETWEEN, "none", {"type": "between_tools"}, None), (BETWEEN, "max", ADAPT, {"effort": "max"}),
        (ALWAYS, "none", ADAPT, {"effort": "low"}), (MIXED, "low", ADAPT, {"effort": "low"}),
        (BUDGET, "low", enabled(2048), None), (BUDGET, "minimal", enabled(1024), None), (BUDGET, "max", enabled(3072), None), (BUDGET, "none", OFF, None),
        (BOTH, "low", enabled(2048), {"effort": "low"}), (PLAIN, "high", None, None),
        (ModelFacts(effort_style="reasoning_effort"), "high", None, None), (ADAPTIVE, None, None, None),
    ],
)  # fmt: skip
def test_the_targets_effort_fills_what_the_client_left_open(
    facts: ModelFacts, tier_effort: str | None, thinking: object, config: object
) -> None:
    written = write(facts, tier_effort)
    assert (*read_effort(written), written.losses) == (thinking, config, ())


def test_an_added_effort_leaves_the_bytes_of_the_format() -> None:
    schema = '{"type":"json_schema" , "schema":{"maximum":1.50}}'
    body = f'{{"model":"m","max_tokens":9,"messages":[],"output_config":{{"format": {schema}}}}}'
    written = DIALECT.write(DIALECT.read(body.encode()), target(facts=ADAPTIVE, effort="low"))
    assert f'"output_config":{{"format":{schema},"effort":"low"}}'.encode() in written.body
    assert read_effort(write(ADAPTIVE, "low", output_config=None)) == (ADAPT, {"effort": "low"})
    assert read_effort(write(ADAPTIVE, "low", output_config=7)) == (None, 7)


@pytest.mark.parametrize("more", [{"thinking": ADAPT}, {"output_config": {"effort": "low"}}])
def test_the_clients_effort_goes_before_the_targets(more: Object) -> None:
    written = write(ADAPTIVE, "max", **more)
    assert sent(written) == sent(write(ADAPTIVE, **more))
    assert (written.body, written.losses) == (ask(**more).raw, ())


CALLED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}  # fmt: skip
THOUGHT = {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "s"}]}
RESULT_MESSAGE = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}


@pytest.mark.parametrize(
    ("more", "budget"),
    [
        ({"max_tokens": 2048}, 1024), ({"max_tokens": 2047}, None), ({"tool_choice": {"type": "any"}}, None),
        ({"messages": [*HI, {"role": "assistant", "content": "{"}]}, None), ({"messages": [*HI, CALLED, RESULT_MESSAGE]}, None),
        ({"messages": [*HI, {"role": "assistant", "content": "text"}, RESULT_MESSAGE]}, None), ({"messages": [RESULT_MESSAGE]}, None),
        ({"messages": [*HI, THOUGHT, RESULT_MESSAGE]}, 2048), ({"messages": []}, 2048),
    ],
)  # fmt: skip
def test_a_budget_is_sent_only_if_the_api_accepts_one(more: Object, budget: int | None) -> None:
    """A budget leaves room for an answer.

    With a forced tool, a prefill or a turn begun without thinking, the API answers 400.
    """
    assert read_effort(write(BUDGET, "low", **more)) == (enabled(budget) if budget else None, None)


@pytest.mark.parametrize(
    ("facts", "more", "thinking", "config", "losses"),
    [
        (ADAPTIVE, {"thinking": enabled(9000, display="summarized")}, {**ADAPT, "display": "summarized"}, {"effort": "high"}, [("thinking.budget_tokens", "approximated")]),
        (ADAPTIVE, {"thinking": enabled(9000), "output_config": {"effort": "max"}}, ADAPT, {"effort": "max"}, [("thinking.budget_tokens", "approximated")]),
        (ADAPTIVE, {"thinking": {"type": "enabled"}}, ADAPT, None, [("thinking.budget_tokens", "approximated")]),
        (MIXED, {"thinking": enabled(2000)}, enabled(2000), None, []),
        (ADAPTIVE, {"thinking": {"type": "between_tools"}}, OFF, None, [("thinking", "approximated")]),
        (BETWEEN, {"thinking": OFF}, {"type": "between_tools"}, None, [("thinking", "approximated")]),
        (ALWAYS, {"thinking": OFF}, ADAPT, {"effort": "low"}, [("thinking", "clamped")]),
        (ALWAYS, {"thinking": OFF, "output_config": {"effort": "high"}}, ADAPT, {"effort": "high"}, [("thinking", "clamped")]),
        (BUDGET, {"thinking": {**ADAPT, "display": "omitted"}}, enabled(3072, display="omitted"), None, [("thinking", "approximated")]),
        (BUDGET, {"thinking": ADAPT, "max_tokens": 99}, None, None, [("thinking", "dropped")]),
        (BUDGET, {"thinking": ADAPT, "output_config": {"effort": "low"}}, enabled(2048), None, [("thinking", "approximated"), ("output_config.effort", "approximated")]),
        (BUDGET, {"output_config": {"effort": "low"}}, enabled(2048), None, [("output_config.effort", "approximated")]),
        (BUDGET, {"output_config": {"effort": "low"}, "max_tokens": 99}, None, None, [("output_config.effort", "dropped")]),
        (BUDGET, {"thinking": OFF, "output_config": {"effort": "low", "format": {"a": 1}}}, OFF, {"format": {"a": 1}}, [("output_config.effort", "dropped")]),
        (BOTH, {"output_config": {"effort": "max"}}, None, {"effort": "high"}, [("output_config.effort", "clamped")]),
        (MIXED, {"output_config": {"effort": "xhigh"}}, None, {"effort": "high"}, [("output_config.effort", "clamped")]),
        (ADAPTIVE, {"thinking": OFF, "output_config": {"effort": "xhigh"}}, OFF, {"effort": "high"}, [("output_config.effort", "clamped")]),
        (ADAPTIVE, {"thinking": OFF, "output_config": {"effort": "high"}}, OFF, {"effort": "high"}, []),
        (ADAPTIVE, {"output_config": {"effort": "new"}}, None, {"effort": "new"}, []),
        (ModelFacts(effort_style="anthropic"), {"output_config": {"effort": "max"}}, None, {"effort": "max"}, []),
        (ADAPTIVE, {"thinking": {"type": "new"}, "output_config": {"effort": "max"}}, {"type": "new"}, {"effort": "max"}, []),
        (PLAIN, {"thinking": enabled(2000), "output_config": {"effort": "low"}}, None, None, [("thinking", "dropped"), ("output_config.effort", "dropped")]),
        (PLAIN, {"thinking": OFF}, OFF, None, []),
        (ModelFacts(), {"thinking": enabled(2000), "output_config": {"effort": "low"}}, enabled(2000), {"effort": "low"}, []),
        (ModelFacts(effort_style="thinking"), {"thinking": enabled(2000)}, enabled(2000), None, []),
    ],
)  # fmt: skip
def test_an_effort_that_the_model_refuses_is_approximated(
    facts: ModelFacts, more: Object, thinking: object, config: object, losses: object
) -> None:
    written = write(facts, **more)
    assert (*read_effort(written), list_losses(written)) == (thinking, config, losses)
    assert all("m" in loss.reason for loss in written.losses)


@pytest.mark.parametrize(("style", "word"), list(product(effort.STYLES, EFFORTS)))
def test_every_written_effort_is_of_a_type_that_the_model_takes(style: str, word: str) -> None:
    """A filled-in or fitted effort suits every model style, for every client style and effort."""
    facts = ModelFacts(effort_style=style, efforts=("none", *ALL))
    takes = effort.STYLES[style]
    asks: list[Object] = [{}, {"thinking": ADAPT}, {"thinking": OFF}, {"thinking": enabled(3000)}, {"output_config": {"effort": word}}]  # fmt: skip
    for more in asks:
        thinking, config = read_effort(write(facts, word, **more))
        assert thinking is None or (isinstance(thinking, dict) and thinking["type"] in takes.thinking)  # fmt: skip
        assert config is None or takes.effort


@pytest.mark.parametrize(
    ("requested", "most", "sent_cap", "budget"),
    [(9000, 8000, 8000, 6976), (9000, 1500, 1500, 1024), (9000, 8500, 8500, 7476), (9000, 64000, 9000, 8500), (9000, None, 9000, 8500)],
)  # fmt: skip
def test_a_clamped_cap_also_clamps_the_budget(
    requested: int, most: int | None, sent_cap: int, budget: int
) -> None:
    facts = ModelFacts(effort_style="anthropic-budget", max_output=most)
    written = write(facts, max_tokens=requested, thinking=enabled(8500))
    value = sent(written)
    assert (value["max_tokens"], value["thinking"]["budget_tokens"]) == (sent_cap, budget)
    clamped = [("max_tokens", "clamped"), ("thinking.budget_tokens", "clamped")]
    assert list_losses(written) == (clamped if sent_cap != requested else [])


def test_a_budget_above_the_clients_own_cap_stays() -> None:
    """The provider reports it in its own words."""
    assert write(BUDGET, max_tokens=2000, thinking=enabled(8500)).losses == ()
    assert write(BUDGET, thinking={"type": "enabled"}).losses == ()
    facts = ModelFacts(effort_style="anthropic-budget", max_output=8000)
    assert list_losses(write(facts, max_tokens=9000, thinking=enabled(2000))) == [
        ("max_tokens", "clamped")
    ]


def test_a_cap_of_zero_stays_zero() -> None:
    """The API writes the prompt cache for `max_tokens: 0` and gives no answer."""
    assert sent(write(ADAPTIVE, max_tokens=0))["max_tokens"] == 0


SAMPLED: Object = {"temperature": 0.5, "top_p": 0.9, "top_k": 40}


CLEAR = {"type": "clear_thinking_20251015", "keep": "all"}
TOOLS = {"type": "clear_tool_uses_20250919"}


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"edits": [CLEAR]}, None),
        ({"edits": [CLEAR, TOOLS], "x": 1.5}, {"edits": [TOOLS], "x": 1.5}),
        ({"edits": [CLEAR], "x": 1.5}, {"x": 1.5}),
    ],
)
@pytest.mark.parametrize("facts", [PLAIN, BUDGET])
def test_dropping_thinking_also_drops_the_edits_that_need_it(
    facts: ModelFacts, context: Object, expected: Object | None
) -> None:
    """The API answers 400: "`clear_thinking_20251015` strategy requires `thinking`"."""
    written = write(facts, thinking=ADAPT, context_management=context, max_tokens=99)
    assert sent(written).get("context_management") == expected
    assert list_losses(written) == [
        ("thinking", "dropped"),
        ("context_management.edits", "dropped"),
    ]


@pytest.mark.parametrize(
    "context", [{"edits": [TOOLS]}, {"edits": [None, {"type": 1}]}, {"edits": {}}, {}, None, 7]
)
def test_other_context_edits_stay(context: object) -> None:
    written = write(PLAIN, thinking=ADAPT, context_management=context)
    assert sent(written)["context_management"] == context
    assert list_losses(written) == [("thinking", "dropped")]


def test_edits_stay_with_thinking() -> None:
    context = {"edits": [CLEAR]}
    written = write(BUDGET, thinking=ADAPT, context_management=context, max_tokens=9000)
    assert sent(written)["context_management"] == context
    assert sent(written)["thinking"] == enabled(7976)


@pytest.mark.parametrize(
    ("facts", "more", "dropped"),
    [
        (ADAPTIVE, {}, True), (ModelFacts(), {}, False), (MIXED, {}, False), (MIXED, {"thinking": ADAPT}, True), (MIXED, {"thinking": OFF}, False),
        (BUDGET, {"thinking": enabled(2000)}, True), (BUDGET, {"output_config": {"effort": "low"}}, True),
        (ModelFacts(sampling="effort-none", effort_style="anthropic-between-tools"), {"thinking": {"type": "between_tools"}}, True),
        (ModelFacts(sampling="effort-none"), {"thinking": ADAPT}, False),
    ],
)  # fmt: skip
def test_sampling_is_dropped_and_named_if_the_model_refuses_it(
    facts: ModelFacts, more: Object, dropped: bool
) -> None:
    written = write(facts, **SAMPLED, **more)
    assert all((name in sent(written)) != dropped for name in SAMPLED)
    assert all(((name, "dropped") in list_losses(written)) == dropped for name in SAMPLED)


def test_sampling_stays_only_if_the_target_does_not_think() -> None:
    assert "temperature" in sent(write(MIXED, "none", **SAMPLED))
    assert "temperature" not in sent(write(MIXED, "low", **SAMPLED))
    between = ModelFacts(sampling="effort-none", effort_style="anthropic-between-tools")
    assert "temperature" not in sent(write(between, "none", **SAMPLED))


def test_refused_members_are_dropped_and_named() -> None:
    body = ask(speed="fast", metadata={"user_id": "u"}, top_k=1)
    refusing = target(refuses=frozenset({"speed", "absent"}), facts=ModelFacts(refused_members=frozenset({"top_k"}), sampling="never"))  # fmt: skip
    written = DIALECT.write(body, refusing)
    assert sent(written) == {**sent(WrittenBody(ask().raw)), "metadata": {"user_id": "u"}}
    assert written.losses == (
        Loss("top_k", "dropped", "m does not accept sampling parameters"),
        Loss("speed", "dropped", "here/m refuses it"),
    )


@given(st.sampled_from([ADAPTIVE, BETWEEN, ALWAYS, MIXED, BUDGET, BOTH]), st.sampled_from([None, *EFFORTS]))  # fmt: skip
def test_the_bytes_of_the_history_never_change(facts: ModelFacts, tier_effort: str | None) -> None:
    """Prompt caches and thinking signatures depend on the bytes of the history."""
    history = b'"system": [ {"type":"text","text":"\\u00e9"} ], "tools":[ ] ,"messages":[{"role":"user", "content":"a","n":1.50}]'
    body = DIALECT.read(b'{"model":"m","max_tokens":4096,"temperature":1,' + history + b"}")
    written = DIALECT.write(body, target("other", facts=facts, effort=tier_effort)).body
    for part in (b'[ {"type":"text","text":"\\u00e9"} ]', b'[{"role":"user", "content":"a","n":1.50}]', b"[ ]"):  # fmt: skip
        assert part in written
    assert json.loads(written)["model"] == "other"
