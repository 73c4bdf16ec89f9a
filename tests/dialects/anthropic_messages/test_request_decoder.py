"""The decoder reads a client's Messages request, and names all that another dialect loses."""

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
from gateway.core.loss import Loss
from gateway.dialects import compatibility, translation
from gateway.dialects.anthropic_messages import COUNT_TOKENS, DIALECT, TRANSLATION
from tests.dialects.anthropic_messages.cases import HI, Object, ask, raw


def decode(**more: Any) -> CanonicalRequest:
    return TRANSLATION.decode_request(ask(**more))


def parts(*blocks: Object, role: str = "user") -> tuple[Part, ...]:
    request = decode(messages=[{"role": role, "content": [*blocks]}])
    [turn] = request.turns
    assert turn.role == role
    return turn.parts


def test_a_small_request_has_one_turn_and_defaults() -> None:
    request = decode(stream=True)
    [turn] = request.turns
    assert (turn.role, turn.parts, turn.source) == ("user", (Text(text="hi"),), HI[0])
    assert (request.max_output, request.stream, request.stream_usage) == (4096, True, True)
    assert (request.tools, request.tool_choice, request.parallel_tools) == ((), None, None)
    assert (request.form, request.effort, request.extra_members, request.metadata) == (None, None, {}, None)  # fmt: skip
    assert request.names["max_output"] == "max_tokens"
    counted = TRANSLATION.decode_request(COUNT_TOKENS.read(raw(max_tokens=...)))
    assert counted.max_output is None


def test_the_system_prompt_and_system_turns_keep_their_places() -> None:
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
def test_the_decoder_reads_images_and_documents(block: Object, expected: Object) -> None:
    assert parts(block) == (Media(source=block, **expected),)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "container_upload", "file_id": "f"},
        {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}},
        {"type": "image", "source": {"type": "new"}},
        {"type": "image", "source": {"type": "url"}},
        {"type": "image"},
        {"type": "document", "source": {"type": "content", "content": [{"type": "image"}]}},
        {"type": "document", "source": {"type": "content"}},
        {"type": "new"},
    ],
)
def test_a_block_that_no_other_dialect_has_is_kept_by_its_type(block: Object) -> None:
    """The part keeps its type, so that `check_request` refuses it by name."""
    request = decode(messages=[{"role": "user", "content": [block]}])
    assert request.turns[0].parts == (Foreign(kind=block["type"], source=block),)
    _, refusals = compatibility.check_request(request, "openai-chat")
    assert any(block["type"] in why for why in refusals)


def test_a_block_without_a_type_is_foreign() -> None:
    assert parts({"text": "a"}) == (Foreign(kind="unknown", source={"text": "a"}),)


def test_reasoning_with_a_label_of_the_gateway_names_its_maker() -> None:
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


def test_a_state_tied_to_a_tool_use_returns_to_it() -> None:
    use: Object = {"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 1}}
    other: Object = {**use, "id": "t2", "input": {}}
    tied: Object = {"type": "thinking", "thinking": "", "signature": "tg1.beef.tool:t1:sig"}
    assert parts(use, tied, other, role="assistant") == (
        ToolUse(id="t1", name="f", arguments='{"n":1}', state="sig", maker="beef", source=use),
        ToolUse(id="t2", name="f", arguments="{}", source=other),
    )


def test_tool_results_get_the_names_of_their_uses() -> None:
    inner: Object = {"type": "image", "source": {"type": "url", "url": "u"}}
    unknown: Object = {"type": "new", "tool_name": "g"}
    first: Object = {"type": "tool_result", "tool_use_id": "t1", "content": "a", "is_error": True}
    second: Object = {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "b"}, inner, unknown], "cache_control": {"type": "ephemeral"}}  # fmt: skip
    empty: Object = {"type": "tool_result", "tool_use_id": "t3"}
    use: Object = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    request = decode(messages=[{"role": "assistant", "content": [use]}, {"role": "user", "content": [first, second, empty]}])  # fmt: skip
    assert request.turns[1].parts == (
        ToolResult(id="t1", name="f", parts=(Text(text="a"),), error=True, source=first),
        ToolResult(
            id="t2",
            parts=(Text(text="b", source=second["content"][0]), Media(kind="image", url="u", source=inner)),
            cache="",
            source=second,
        ),
        Foreign(kind="new", source=unknown),
        ToolResult(id="t3", source=empty),
    )  # fmt: skip


def test_the_decoder_reads_tools_and_their_choice() -> None:
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


def test_the_decoder_reads_all_other_settings() -> None:
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


def test_the_decoder_reads_the_output_format() -> None:
    """The name `output_format` is older, from a beta."""
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
def test_the_decoder_reads_effort_budget_and_shown_thoughts(more: Object, effort: str | None, budget: int | None, shown: bool | None, name: str) -> None:  # fmt: skip
    request = decode(**more)
    assert (request.effort, request.budget, request.thoughts_shown) == (effort, budget, shown)
    assert request.names["effort"] == name
    assert request.extra_members == {}


def test_an_effort_beside_disabled_thinking_is_named() -> None:
    request = decode(thinking={"type": "between_tools"}, output_config={"effort": "high"})
    assert (request.effort, request.extra_members) == ("none", {"output_config.effort": "high"})


def test_unknown_members_of_effort_are_named() -> None:
    request = decode(
        thinking={"type": "new", "x": 1}, output_config={"effort": "extreme", "task_budget": {"total": 9}}
    )  # fmt: skip
    assert request.effort is None
    assert request.extra_members == {
        "thinking": {"type": "new", "x": 1},
        "output_config.effort": "extreme",
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
def test_an_invalid_request_is_refused_with_its_field(more: Object, param: str | None) -> None:
    if param is None:
        assert decode(**more).tools == ()
        return
    with pytest.raises(ProblemError) as caught:
        decode(**more)
    assert (caught.value.problem.kind, caught.value.problem.param) == ("invalid_request", param)


SYSTEM: Object = {"role": "system", "content": "now"}
ANSWER: Object = {"role": "assistant", "content": "yes"}


def list_losses(request: CanonicalRequest) -> list[tuple[str, str]]:
    """List what a chat target gets changed or not at all; assert that nothing is refused."""
    losses, refusals = compatibility.check_request(request, "openai-chat")
    assert refusals == []
    return [(loss.field, loss.action) for loss in losses]


@pytest.mark.parametrize(
    ("clear_at", "last", "is_kept"),
    [
        ("next_user_message", HI, False),
        ("next_user_message", [ANSWER], True),
        ("never", HI, True),
        (None, HI, True),
    ],
)
def test_a_cleared_system_message_is_left_out(
    clear_at: str | None, last: list[Object], is_kept: bool
) -> None:
    message = {**SYSTEM, "clear_at": clear_at}
    request = decode(messages=[*HI, message, *last])
    assert [turn.role for turn in request.turns].count("system") == is_kept
    assert request.lost_members == ()


def test_a_tool_that_a_cleared_message_removes_stays_removed() -> None:
    removal = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "f"}}
    blocks = [{"type": "text", "text": "now"}, removal]
    message = {"role": "system", "content": blocks, "clear_at": "next_user_message"}
    request = decode(messages=[*HI, message, *HI])
    assert request.turns[1].parts == (Foreign(kind="tool_removal", source=removal),)


def test_an_unknown_way_to_clear_a_system_message_is_named() -> None:
    request = decode(messages=[*HI, {**SYSTEM, "clear_at": "next_week"}, *HI])
    assert [turn.role for turn in request.turns] == ["user", "system", "user"]
    assert list_losses(request) == [("messages.clear_at", "dropped")]


def test_an_effort_set_by_a_system_message_is_dropped_and_named() -> None:
    message = {"role": "system", "output_config": {"effort": "low"}}
    body = ask(messages=[*HI, message])
    request = translation.decode_request(DIALECT, body)
    assert [turn.role for turn in request.turns] == ["user"]
    assert list_losses(request) == [("messages.output_config.effort", "dropped")]


@pytest.mark.parametrize(
    ("more", "loss"),
    [
        ({"thinking": {"type": "between_tools"}}, Loss("thinking", "approximated", "openai-chat cannot think only between tools: gets effort none")),
        ({"thinking": {"type": "adaptive", "display": "updates"}}, Loss("thinking.display", "approximated", "openai-chat has no such control: each host shows reasoning or not")),
        ({"thinking": {"type": "adaptive", "display": "new"}}, Loss("thinking.display", "approximated", "openai-chat shows a summary of its reasoning, or nothing")),
    ],
)  # fmt: skip
def test_thinking_that_no_other_dialect_has_is_named(more: Object, loss: Loss) -> None:
    assert loss in compatibility.check_request(decode(**more), "openai-chat")[0]


def test_citations_that_are_off_are_no_loss() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "a"}
    part = {"type": "document", "source": source, "context": "c", "citations": {"enabled": True}}
    for block, expected in (
        (part, ["messages.content.context", "messages.content.citations.enabled"]),
        ({**part, "context": None, "citations": {"enabled": False}}, []),
    ):
        body = ask(messages=[{"role": "user", "content": [block]}])
        request = translation.decode_request(DIALECT, body)
        assert [field for field, _ in list_losses(request)] == expected


PAGE: Object = {"type": "document", "title": "T", "source": {"type": "text", "data": "words"}}
PDF: Object = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JV"}}  # fmt: skip


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "server_tool_use", "name": "web_search", "input": {"query": "lakes"}}, "web_search:\nlakes"),
        ({"type": "mcp_tool_use", "name": "f", "input": {"a": 1, "b": "c"}}, 'f:\n{"a":1,"b":"c"}'),
        ({"type": "web_search_tool_result", "content": [{"type": "web_search_result", "title": "T", "url": "https://a.test", "encrypted_content": "x"}]}, "web_search result:\nT\nhttps://a.test"),
        ({"type": "web_search_tool_result", "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}}, "web_search result:\nunavailable"),
        ({"type": "web_fetch_tool_result", "content": {"type": "web_fetch_result", "url": "https://a.test", "content": PAGE}}, "web_fetch result:\nhttps://a.test\nT\nwords"),
        ({"type": "web_fetch_tool_result", "content": {"type": "web_fetch_result", "url": "https://a.test", "content": PDF}}, "web_fetch result:\nhttps://a.test"),
        ({"type": "code_execution_tool_result", "content": {"type": "code_execution_result", "stdout": "2\n", "stderr": "", "return_code": 0, "content": [{"type": "code_execution_output", "file_id": "f"}]}}, "code_execution result:\n2\n"),
        ({"type": "text_editor_code_execution_tool_result", "content": {"type": "text_editor_code_execution_str_replace_result", "lines": ["-a", "+b"]}}, "text_editor_code_execution result:\n-a\n+b"),
        ({"type": "tool_search_tool_result", "content": {"type": "tool_search_tool_search_result", "tool_references": [{"type": "tool_reference", "tool_name": "f"}]}}, "tool_search result:\nf"),
        ({"type": "mcp_tool_result", "content": "done"}, "mcp result:\ndone"),
        ({"type": "search_result", "title": "T", "source": "https://a.test", "content": [{"type": "text", "text": "words"}]}, "T\nhttps://a.test\nwords"),
    ],
)  # fmt: skip
def test_the_work_of_the_providers_own_tools_becomes_text(block: Object, text: str) -> None:
    marked = {**block, "cache_control": {"type": "ephemeral"}}
    request = decode(messages=[{"role": "assistant", "content": [marked]}, *HI])
    assert request.turns[0].parts == (Text(text=f"\n{text}\n", cache="", source=marked),)
    assert (f"messages.content.{block['type']}", "approximated") in list_losses(request)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "server_tool_use", "name": "advisor", "input": {}},
        {"type": "server_tool_use", "name": "advisor"},
        {"type": "text_editor_code_execution_tool_result", "content": {"is_file_update": True}},
        {"type": "web_search_tool_result", "content": []},
        {"type": "compaction", "content": None, "encrypted_content": "x"},
        {"type": "container_upload", "file_id": "f"},
        {"type": "mcp_tool_listing", "mcp_server_name": "m", "tools": []},
        {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}},
        {"type": "new", "text": "x"},
    ],
)
def test_state_of_the_provider_without_text_is_dropped_and_named(block: Object) -> None:
    message = {"role": "assistant", "content": [block, {"type": "text", "text": "yes"}]}
    request = decode(messages=[*HI, message, *HI])
    assert [turn.parts[0] for turn in request.turns] == [
        Text(text="hi"), Text(text="yes", source=message["content"][1]), Text(text="hi"),
    ]  # fmt: skip
    assert list_losses(request) == [(f"messages.content.{block['type']}", "dropped")]


def test_an_upload_in_the_current_turn_refuses_other_dialects() -> None:
    upload = {"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}
    assert list_losses(decode(messages=[upload, ANSWER, *HI])) == [
        ("messages.content.container_upload", "dropped")
    ]
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1"}
    loop = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    for messages in ([*HI, ANSWER, upload], [upload, *loop]):
        request = decode(messages=messages)
        assert compatibility.check_request(request, "openai-chat")[1] == [
            "messages.container_upload: openai-chat has no part of this kind"
        ]


def test_search_results_of_a_clients_tool_become_text() -> None:
    search = {"type": "search_result", "title": "T", "source": "u", "content": []}
    tabs = {"type": "browser_state", "tabs": []}
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [search, tabs]}
    request = decode(
        messages=[
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ]
    )
    assert request.turns[1].parts == (
        ToolResult(id="t1", name="f", parts=(Text(text="\nT\nu\n", source=search),), source=result),
    )
    assert list_losses(request) == [
        ("messages.content.search_result", "approximated"),
        ("messages.content.browser_state", "dropped"),
    ]


def test_a_summary_replaces_all_turns_before_it() -> None:
    """The provider does the same: it hides from the model all that a compaction summarizes."""
    summary = {"type": "compaction", "content": "We spoke.", "cache_control": {"type": "ephemeral"}}
    text = {"type": "text", "text": "yes"}
    request = decode(
        system="s",
        messages=[*HI, SYSTEM, {"role": "assistant", "content": [text, summary, text]}, *HI],
    )
    assert [(turn.role, turn.parts) for turn in request.turns] == [
        ("system", (Text(text="s"),)),
        ("user", (Text(text="We spoke.", cache="", source=summary),)),
        ("assistant", (Text(text="yes", source=text),)),
        ("user", (Text(text="hi"),)),
    ]
    assert ("messages.content.compaction", "approximated") in list_losses(request)
    paused = decode(messages=[*HI, {"role": "assistant", "content": [summary]}])
    assert [turn.role for turn in paused.turns] == ["user", "assistant"]


def test_a_token_count_names_the_losses_of_the_providers_own_blocks() -> None:
    use = {"type": "server_tool_use", "name": "web_search", "input": {"query": "lakes"}}
    body = COUNT_TOKENS.read(raw(max_tokens=..., messages=[{"role": "assistant", "content": [use]}, *HI]))  # fmt: skip
    request = translation.decode_request(COUNT_TOKENS, body)
    assert list_losses(request) == [("messages.content.server_tool_use", "approximated")]
