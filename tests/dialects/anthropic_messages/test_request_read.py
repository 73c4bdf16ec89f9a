"""Requests as they are read: facts for routing, and refusals that name the field."""

import json
from typing import Any

import pytest

from gateway.core.errors import ProblemError
from gateway.core.prompt import Prompt
from gateway.dialects.anthropic_messages import DIALECT
from tests.dialects.anthropic_messages.cases import HI, Object, ask, raw

REMIND = {"type": "text", "text": "<system-reminder>\nBe brief.</system-reminder>"}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "42"}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"é": 1}}]}  # fmt: skip


def text(said: str) -> Object:
    return {"type": "text", "text": said}


def user(*content: Object | str) -> Object:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else [*content]}


def prompt(*messages: Object, **more: Any) -> Prompt:
    return ask(messages=[*messages] or HI, **more).prompt


def test_a_small_request() -> None:
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
def test_a_request_that_is_none_is_refused_by_field(more: Object, param: str) -> None:
    with pytest.raises(ProblemError) as caught:
        ask(**more)
    problem = caught.value.problem
    assert (problem.kind, problem.param) == ("invalid_request", param)
    assert param.split("[", maxsplit=1)[0] in problem.message


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{", "invalid_json"), (b'{"a":NaN}', "invalid_json"), (b"[]", "invalid_request")],
)
def test_a_body_that_is_no_object(body: bytes, kind: str) -> None:
    with pytest.raises(ProblemError) as caught:
        DIALECT.read(body)
    assert caught.value.problem.kind == kind


@pytest.mark.parametrize(
    ("messages", "said", "turns"),
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
def test_what_the_user_said_last(messages: list[Object], said: str, turns: int) -> None:
    """Typed by a person: neither a tool's result nor what Claude Code adds to a turn."""
    seen = ask(messages=messages).prompt
    assert (seen.user, seen.user_turns) == (said, turns)


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
def test_in_the_middle_of_a_turn(messages: list[Object], loop: bool) -> None:
    """A result came last, or the provider's own tools paused (stop_reason pause_turn)."""
    assert ask(messages=messages).prompt.tool_loop == loop


def test_tools() -> None:
    """By their dated types: bash and its like run at the client, the others at the provider."""
    own = [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g"}, {"type": "bash_20250124", "name": "bash"}]  # fmt: skip
    seen = prompt(tools=own)
    assert (seen.tools, seen.hosted_tools) == (("f", "g", "bash"), False)
    assert seen.chars == 2 + len(json.dumps(own))
    assert prompt(tools=[*own, {"type": "web_search_20250305", "name": "web_search"}]).hosted_tools
    assert prompt(tools=[{"type": "mcp_toolset"}, 7]).tools == ("", "")
    assert prompt(tools=7).tools == ()
    assert prompt(mcp_servers=[{"url": "u"}]).hosted_tools
    assert prompt(tools=[], mcp_servers=[]).hosted_tools is False


@pytest.mark.parametrize(
    ("choice", "forced"),
    [({"type": "any"}, True), ({"type": "tool", "name": "f"}, True), ({"type": "auto"}, False), ({"type": "none"}, False), ("any", False)],
)  # fmt: skip
def test_a_forced_tool(choice: object, forced: bool) -> None:
    assert prompt(tool_choice=choice).forced_tool == forced


def test_all_that_the_model_reads_is_counted() -> None:
    """System, turns, inputs and results of tools, documents in plain text; not what is base64."""
    document = {"type": "document", "source": {"type": "text", "data": "12345"}}
    inside = {"type": "document", "source": {"type": "content", "content": [text("123"), {"type": "image"}]}}  # fmt: skip
    pdf: Object = {"type": "document", "source": {"type": "base64", "data": "JVBER"}}
    seen = prompt(
        user(text("12"), {"type": "image"}, document, inside, pdf, {"type": "document"}, {"type": "container_upload"}),
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "1234", "signature": "s"}, *CALL["content"]]},
        user({"type": "tool_result", "content": [text("1"), {"type": "image"}]}),
        {"role": "system", "content": [text("12")]},
        system=[text("123")],
    )  # fmt: skip
    assert seen.chars == 2 + 5 + 3 + 4 + len('{"é":1}') + 1 + 2 + 3
    assert (seen.images, seen.files) == (3, 5)
    assert prompt(system="1234").chars == 6


@pytest.mark.parametrize(
    ("more", "schema"),
    [
        ({"output_config": {"format": {"type": "json_schema"}}}, True), ({"output_format": {"type": "json_schema"}}, True),
        ({"output_config": {"effort": "low"}}, False), ({"output_config": 7}, False), ({}, False),
    ],
)  # fmt: skip
def test_structured_output(more: Object, schema: bool) -> None:
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
def test_effort(more: Object, effort: str | None) -> None:
    assert prompt(**more).effort == effort


def test_what_the_cache_asks_about() -> None:
    assert prompt(temperature=0.5).sampled
    assert not prompt(temperature=0).sampled
    assert prompt(container="c").stored
    assert prompt(thread={"type": "create"}).stored
    assert not prompt(container=None).stored


@pytest.mark.parametrize(
    ("thread", "goes_on"),
    [
        (None, ""), ({"type": "create"}, ""), ({"type": "continue", "previous_message_id": "msg_1"}, "thread"),
        ({}, "thread"), ({"type": "new"}, "thread"), ("x", "thread"), ({"type": "create", "x": 1}, "thread"),
    ],
)  # fmt: skip
def test_a_thread_goes_on_unless_it_is_begun(thread: object, goes_on: str) -> None:
    """What is not known may depend on anything."""
    assert prompt(thread=thread).continuation_member == goes_on


def test_raw_bytes_are_kept() -> None:
    assert DIALECT.read(raw()).raw == raw()
