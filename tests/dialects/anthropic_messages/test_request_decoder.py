"""A client's Messages request in no dialect: nothing that it says is lost unseen."""

from typing import Any

import pytest

from gateway.core.canonical_request import (
    CanonicalRequest,
    Foreign,
    Media,
    OutputFormat,
    Part,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)  # fmt: skip
from gateway.core.errors import ProblemError
from gateway.dialects import compatibility
from gateway.dialects.anthropic_messages import COUNT_TOKENS, TRANSLATION
from tests.dialects.anthropic_messages.cases import HI, Object, ask, raw


def decode(**more: Any) -> CanonicalRequest:
    return TRANSLATION.decode_request(ask(**more))


def parts(*blocks: Object, role: str = "user") -> tuple[Part, ...]:
    request = decode(messages=[{"role": role, "content": [*blocks]}])
    [turn] = request.turns
    assert turn.role == role
    return turn.parts


def test_a_small_request() -> None:
    request = decode(stream=True)
    [turn] = request.turns
    assert (turn.role, turn.parts, turn.source) == ("user", (Text(text="hi"),), HI[0])
    assert (request.max_output, request.stream, request.stream_usage) == (4096, True, True)
    assert (request.tools, request.tool_choice, request.parallel_tools) == ((), None, None)
    assert (request.form, request.effort, request.extra_members, request.metadata) == (None, None, {}, None)  # fmt: skip
    assert request.names["max_output"] == "max_tokens"
    counted = TRANSLATION.decode_request(COUNT_TOKENS.read(raw(max_tokens=...)))
    assert counted.max_output is None


def test_the_system_prompt_and_system_turns_stay_where_they_stood() -> None:
    block: Object = {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}}  # fmt: skip
    request = decode(system=[block], messages=[*HI, {"role": "system", "content": "now"}])
    assert [turn.role for turn in request.turns] == ["system", "user", "system"]
    assert request.turns[0].parts == (Text(text="b", cache="1h", source=block),)
    assert decode(system="s").turns[0].parts == (Text(text="s"),)
    assert len(decode(system="").turns) == 1


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iV"}}, {"kind": "image", "type": "image/png", "data": "iV"}),
        ({"type": "image", "source": {"type": "url", "url": "https://a.test/b"}}, {"kind": "image", "url": "https://a.test/b"}),
        ({"type": "image", "source": {"type": "file", "file_id": "f1"}}, {"kind": "image", "id": "f1"}),
        ({"type": "document", "title": "t", "context": "c", "source": {"type": "base64", "media_type": "application/pdf", "data": "JV"}}, {"kind": "file", "type": "application/pdf", "data": "JV", "name": "t"}),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "w"}}, {"kind": "file", "type": "text/plain", "text": "w"}),
        ({"type": "document", "source": {"type": "url", "url": "u"}}, {"kind": "file", "url": "u"}),
        ({"type": "document", "source": {"type": "file", "file_id": "f1"}}, {"kind": "file", "id": "f1"}),
        ({"type": "document", "source": {"type": "content", "content": "w"}}, {"kind": "file", "text": "w"}),
        ({"type": "document", "cache_control": {"type": "ephemeral"}, "source": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}, {"kind": "file", "text": "a\nb", "cache": ""}),
    ],
)  # fmt: skip
def test_images_and_documents(block: Object, expected: Object) -> None:
    assert parts(block) == (Media(source=block, **expected),)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "search_result", "source": "https://a.test", "title": "t", "content": []},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "container_upload", "file_id": "f"},
        {"type": "image", "source": {"type": "new"}},
        {"type": "image", "source": {"type": "url"}},
        {"type": "image"},
        {"type": "document", "source": {"type": "content", "content": [{"type": "image"}]}},
        {"type": "document", "source": {"type": "content"}},
        {"type": "new"},
    ],
)
def test_what_no_other_dialect_has_is_kept_by_its_type(block: Object) -> None:
    """So that `fields` refuses it by name."""
    request = decode(messages=[{"role": "user", "content": [block]}])
    assert request.turns[0].parts == (Foreign(kind=block["type"], source=block),)
    _, refusals = compatibility.check_request(request, "openai-chat")
    assert any(block["type"] in why for why in refusals)


def test_a_block_without_a_type() -> None:
    assert parts({"text": "a"}) == (Foreign(kind="unknown", source={"text": "a"}),)


def test_reasoning_names_its_maker_where_the_gateway_labelled_it() -> None:
    theirs: Object = {"type": "thinking", "thinking": "a", "signature": "Eq=="}
    ours: Object = {"type": "thinking", "thinking": "", "signature": "tg1.beef.Eq=="}
    bare: Object = {"type": "thinking", "thinking": "b", "signature": ""}
    sealed: Object = {"type": "redacted_thinking", "data": "tg1.beef.x"}
    assert parts(theirs, ours, bare, sealed, role="assistant") == (
        Thought(text="a", state="Eq==", source=theirs),
        Thought(state="Eq==", maker="beef", source=ours),
        Thought(text="b", source=bare),
        Thought(state="x", redacted=True, maker="beef", source=sealed),
    )


def test_a_state_tied_to_a_use_comes_back_to_it() -> None:
    use: Object = {"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 1}}
    other: Object = {**use, "id": "t2", "input": {}}
    tied: Object = {"type": "thinking", "thinking": "", "signature": "tg1.beef.tool:t1:sig"}
    assert parts(use, tied, other, role="assistant") == (
        ToolUse(id="t1", name="f", arguments='{"n":1}', state="sig", maker="beef", source=use),
        ToolUse(id="t2", name="f", arguments="{}", source=other),
    )


def test_results_are_named_after_their_uses() -> None:
    inner: Object = {"type": "image", "source": {"type": "url", "url": "u"}}
    odd: Object = {"type": "tool_reference", "tool_name": "g"}
    one: Object = {"type": "tool_result", "tool_use_id": "t1", "content": "a", "is_error": True}
    two: Object = {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "b"}, inner, odd], "cache_control": {"type": "ephemeral"}}  # fmt: skip
    none: Object = {"type": "tool_result", "tool_use_id": "t3"}
    use: Object = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    request = decode(messages=[{"role": "assistant", "content": [use]}, {"role": "user", "content": [one, two, none]}])  # fmt: skip
    assert request.turns[1].parts == (
        ToolResult(id="t1", name="f", parts=(Text(text="a"),), error=True, source=one),
        ToolResult(
            id="t2",
            parts=(Text(text="b", source=two["content"][0]), Media(kind="image", url="u", source=inner)),
            cache="",
            source=two,
        ),
        Foreign(kind="tool_reference", source=odd),
        ToolResult(id="t3", source=none),
    )  # fmt: skip


def test_tools_and_their_choice() -> None:
    plain: Object = {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True, "cache_control": {"type": "ephemeral"}}  # fmt: skip
    named: Object = {"type": "custom", "name": "g", "input_schema": {}, "strict": None}
    search: Object = {"type": "web_search_20260318", "name": "web_search"}
    toolset: Object = {"type": "mcp_toolset", "mcp_server_name": "s"}
    bare: Object = {"type": "new_20990101"}
    request = decode(tools=[plain, named, search, toolset, bare], tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True})  # fmt: skip
    assert request.tools == (
        Tool(name="f", description="d", parameters={"type": "object"}, strict=True, cache="", source=plain),
        Tool(name="g", parameters={}, source=named),
        Tool(name="web_search", kind="hosted", source=search),
        Tool(name="s", kind="hosted", source=toolset),
        Tool(name="new_20990101", kind="hosted", source=bare),
    )  # fmt: skip
    assert request.tool_choice == ToolChoice(mode="tool", name="f")
    assert request.parallel_tools is False
    modes = {"auto": "auto", "any": "required", "none": "none"}
    for word, mode in modes.items():
        choice = decode(tool_choice={"type": word, "disable_parallel_tool_use": False})
        assert (choice.tool_choice, choice.parallel_tools) == (ToolChoice(mode=mode), True)  # type: ignore[arg-type]  # of the table
    assert decode(tool_choice={"type": "auto"}).parallel_tools is None


def test_settings() -> None:
    request = decode(
        temperature=0.5, top_p=0.9, top_k=5, stop_sequences=["a"], service_tier="standard_only",
        metadata={"user_id": "u", "x": 1}, speed="fast", container=None, context_management={"edits": []},
    )  # fmt: skip
    assert (request.temperature, request.top_p, request.top_k, request.stop) == (0.5, 0.9, 5, ("a",))  # fmt: skip
    assert (request.service_tier, request.user, request.metadata) == ("default", "u", {"x": 1})
    assert request.extra_members == {"speed": "fast", "context_management": {"edits": []}}
    assert decode(service_tier="auto").service_tier is None
    assert (decode(metadata={"user_id": None}).user, decode(metadata=None).metadata) == (None, None)


SCHEMA: Object = {"type": "json_schema", "schema": {"type": "object"}}


def test_the_form_of_the_answer() -> None:
    """`output_format` is the older, beta name."""
    new, old = decode(output_config={"format": SCHEMA}), decode(output_format=SCHEMA)
    assert new.form == old.form == OutputFormat(schema={"type": "object"})
    assert (new.names["form"], old.names["form"]) == ("output_config.format", "output_format")
    assert decode(output_config={"format": {"type": "json_schema"}}).form == OutputFormat(schema={})
    odd = decode(output_config={"format": {"type": "new"}})
    assert (odd.form, odd.extra_members) == (None, {"output_config.format": {"type": "new"}})


@pytest.mark.parametrize(
    ("more", "effort", "budget", "shown", "name"),
    [
        ({}, None, None, None, "thinking"),
        ({"thinking": {"type": "disabled"}}, "none", None, None, "thinking"),
        ({"thinking": {"type": "between_tools"}}, "none", None, None, "thinking"),
        ({"thinking": {"type": "adaptive"}}, None, None, None, "thinking"),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, None, None, True, "thinking"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}}, "max", None, False, "output_config.effort"),
        ({"output_config": {"effort": "low", "format": None}}, "low", None, None, "output_config.effort"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1500}}, "low", 1500, True, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9000, "display": "omitted"}}, "high", 9000, False, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, None, None, True, "thinking"),
    ],
)  # fmt: skip
def test_effort(more: Object, effort: str | None, budget: int | None, shown: bool | None, name: str) -> None:  # fmt: skip
    request = decode(**more)
    assert (request.effort, request.budget, request.thoughts_shown) == (effort, budget, shown)
    assert request.names["effort"] == name
    assert request.extra_members == {}


def test_an_effort_beside_thinking_that_is_off_is_named() -> None:
    request = decode(thinking={"type": "between_tools"}, output_config={"effort": "high"})
    assert (request.effort, request.extra_members) == ("none", {"output_config.effort": "high"})


def test_what_is_not_known_of_effort_is_named() -> None:
    request = decode(
        thinking={"type": "new", "x": 1}, output_config={"effort": "extreme", "task_budget": {"total": 9}}
    )  # fmt: skip
    assert request.effort is None
    assert request.extra_members == {
        "thinking": {"type": "new", "x": 1},
        "thinking.x": 1,
        "output_config.effort": "extreme",
        "output_config.task_budget": {"total": 9},
    }


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": 1}]}]}, "tool_result.content"),
        ({"system": 1}, "system"),
        ({"tools": {}, "messages": HI}, None),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tools": {"a": 1}}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"stop_sequences": [1]}, "stop_sequences"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": True}, "top_k"),
        ({"metadata": "u"}, "metadata"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_its_field(more: Object, param: str | None) -> None:
    if param is None:
        assert decode(**more).tools == ()
        return
    with pytest.raises(ProblemError) as caught:
        decode(**more)
    assert (caught.value.problem.kind, caught.value.problem.param) == ("invalid_request", param)
