"""The decoder reads every role, part, tool and setting of a request, and names every loss."""

import base64
import json
from typing import Any

import msgspec
import pytest

from gateway.core.canonical_request import (
    CanonicalRequest,
    Foreign,
    Media,
    OutputFormat,
    Part,
    Refused,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.dialects import OPENAI_CHAT, reasoning_state
from gateway.dialects.openai_chat import TRANSLATION

type Object = dict[str, Any]

HI = {"role": "user", "content": "hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
B64 = base64.b64encode(b"words").decode()


def ask(*messages: Object, **more: Any) -> CanonicalRequest:
    value = {"model": "m", "messages": list(messages) or [HI], **more}
    return TRANSLATION.decode_request(OPENAI_CHAT.read(json.dumps(value).encode()))


def parts(*content: Any, role: str = "user") -> tuple[Part, ...]:
    [turn] = ask({"role": role, "content": list(content)}).turns
    return turn.parts


def test_every_message_becomes_a_turn_in_its_place() -> None:
    """System turns stay in the middle; tool results belong to user turns."""
    request = ask(
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "u", "name": "Ann"},
        {"role": "assistant", "content": "a", "tool_calls": [CALL], "refusal": "no"},
        {"role": "tool", "tool_call_id": "call_1", "content": "r"},
        {"role": "system", "content": "s"},
        {"role": "critic", "content": "c"},
    )
    assert [turn.role for turn in request.turns] == [
        "developer", "user", "assistant", "user", "system", "user",
    ]  # fmt: skip
    assert [turn.name for turn in request.turns] == [None, "Ann", None, None, None, None]
    assert request.turns[2].parts == (
        Text(text="a"),
        Refused(text="no", source="no"),
        ToolUse(id="call_1", name="f", arguments='{"a":1}', source=CALL),
    )
    [result] = request.turns[3].parts
    assert isinstance(result, ToolResult)
    assert (result.id, result.name, result.parts) == ("call_1", "f", (Text(text="r"),))
    assert isinstance(request.turns[5].parts[0], Foreign)
    assert request.turns[5].parts[0].kind == "critic"


def test_empty_content_is_no_part() -> None:
    """Hosts send null or an empty string beside calls."""
    blanks: list[Any] = [None, "", []]
    for content in blanks:
        message = {"role": "assistant", "content": content, "tool_calls": [CALL, 7]}
        assert [type(part) for part in ask(message).turns[0].parts] == [ToolUse]


IMAGE = {"url": "data:image/png;base64,aGk=", "detail": "low"}
PARTS: list[tuple[Object | str, Part]] = [
    ({"type": "text", "text": "t", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, Text(text="t", cache="1h")),
    ({"type": "text", "text": "t", "prompt_cache_breakpoint": True}, Text(text="t", cache="")),
    ("bare", Text(text="bare")),
    ({"type": "image_url", "image_url": IMAGE}, Media(kind="image", type="image/png", data="aGk=", detail="low")),
    ({"type": "image_url", "image_url": "https://x.test/a.png"}, Media(kind="image", url="https://x.test/a.png")),
    ({"type": "image_url", "image_url": {"url": "https://x.test/a", "detail": "auto"}}, Media(kind="image", url="https://x.test/a")),
    ({"type": "image_url", "image_url": {"url": "data:broken"}}, Media(kind="image", url="data:broken")),
    ({"type": "image_url", "image_url": {"url": "data:,a%20b"}}, Media(kind="image", type="text/plain", data="YSBi")),
    ({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,aGk="}}, Media(kind="video", type="video/mp4", data="aGk=")),
    ({"type": "document_url", "document_url": "https://x.test/a.pdf"}, Media(kind="file", url="https://x.test/a.pdf")),
    ({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}}, Media(kind="audio", type="audio/mpeg", data="aGk=")),
    ({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}, Media(kind="audio", type="audio/wav", data="aGk=")),
    ({"type": "input_audio", "input_audio": "aGk="}, Media(kind="audio", data="aGk=")),
    ({"type": "input_audio", "input_audio": "https://x.test/a"}, Media(kind="audio", url="https://x.test/a")),
    ({"type": "file", "file": {"file_id": "file-1"}}, Media(kind="file", id="file-1")),
    ({"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}}, Media(kind="file", type="application/pdf", data="aGk=", name="a.pdf")),
    ({"type": "file", "file": {"file_data": f"data:text/plain;base64,{B64}"}}, Media(kind="file", type="text/plain", text="words")),
    ({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}, Media(kind="file", type="text/plain", data="/w==")),
    ({"type": "file", "file": {"file_data": B64, "filename": "a.csv"}}, Media(kind="file", type="text/csv", text="words", name="a.csv")),
    ({"type": "file", "file": {"file_data": "aGk="}}, Media(kind="file", type="application/pdf", data="aGk=")),
    ({"type": "file", "file": {"file_data": "https://x.test/a"}}, Media(kind="file", url="https://x.test/a")),
    ({"type": "refusal", "refusal": "no"}, Refused(text="no")),
    ({"type": "thinking", "thinking": [{"type": "text", "text": "h"}, 7, {"text": "m"}]}, Thought(text="hm")),
    ({"type": "thinking", "thinking": "hm"}, Thought(text="hm")),
    ({"type": "thinking", "thinking": 7}, Thought()),
]  # fmt: skip


@pytest.mark.parametrize(("content", "part"), PARTS)
def test_the_decoder_reads_parts_of_every_kind_and_keeps_their_source(
    content: Any, part: Part
) -> None:
    """The decoder splits data URLs and reads text documents as text. Detail "auto" is unset."""
    source = content if isinstance(content, dict) else None
    assert parts(content) == (msgspec.structs.replace(part, source=source),)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"type": "hologram"}, "hologram"), ({"type": "text", "text": 7}, "text"), ({"type": "refusal"}, "refusal"),
        ({"type": "image_url", "image_url": {"url": 7}}, "image_url"), ({"type": "file", "file": 7}, "file"),
        ({"type": "file", "file": {"filename": 7, "file_id": 7}}, "file"), ({"type": "input_audio", "input_audio": {}}, "input_audio"),
        ({"text": "t"}, "content"), (7, "content"),
    ],
)  # fmt: skip
def test_an_unknown_part_is_foreign(content: Any, kind: str) -> None:
    """The part is never lost and never guessed: translation refuses it by the name of its type."""
    assert parts(content) == (Foreign(kind=kind, source=content),)


def test_the_audio_of_an_assistant_is_foreign() -> None:
    """The sound is only an id at the provider that made it."""
    [turn] = ask({"role": "assistant", "audio": {"id": "a"}}).turns
    assert turn.parts == (Foreign(kind="audio", source={"id": "a"}),)


def test_results_find_their_calls_by_id_or_legacy_name() -> None:
    """Results match by id, or by name in the years before tools. A custom tool's are marked."""
    custom = {"id": "c2", "type": "custom", "custom": {"name": "sql", "input": "select"}}
    request = ask(
        {"role": "assistant", "tool_calls": [custom]},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "r"}, {"type": "x"}]},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "r"},
        {"role": "function", "name": "g", "content": "r"},
        {"role": "tool", "tool_call_id": "c9", "name": "h", "content": "r"},
    )  # fmt: skip
    use, result, old, answer, orphan, unknown = (turn.parts[0] for turn in request.turns)
    assert isinstance(use, ToolUse)
    assert isinstance(result, ToolResult)
    assert (use.custom, use.arguments, result.custom, result.name) == (True, "select", True, "sql")
    assert [part.text for part in result.parts if isinstance(part, Text)] == ["r", '{"type":"x"}']
    assert isinstance(old, ToolUse)
    assert isinstance(answer, ToolResult)
    assert old.id == answer.id
    assert isinstance(orphan, ToolResult)
    assert orphan.id not in ("", old.id)
    assert isinstance(unknown, ToolResult)
    assert (unknown.id, unknown.name, unknown.custom) == ("c9", "h", False)


def test_calls_without_ids_get_different_ids() -> None:
    """Two calls of one name are two calls; the decoder reads broken ones as far as possible."""
    calls = [
        {"function": {"name": "f", "arguments": {"a": 1}}}, {"id": "", "function": {"name": "f"}}, {"function": 7},
    ]  # fmt: skip
    [turn] = ask({"role": "assistant", "tool_calls": calls}).turns
    uses = [part for part in turn.parts if isinstance(part, ToolUse)]
    assert len({use.id for use in uses}) == 3
    assert [(use.name, use.arguments) for use in uses] == [("f", '{"a":1}'), ("f", ""), ("", "")]


def sealed(state: str, **more: Any) -> Object:
    return {"type": "reasoning.encrypted", "data": reasoning_state.write_label("ab", state), **more}


def test_labelled_states_split_the_reasoning_text_between_them() -> None:
    """Each state carries its number of characters of the reasoning.

    A state with a call's id belongs to that call.
    """
    message = {
        "role": "assistant",
        "reasoning_content": "onetwo",
        "reasoning_details": [
            sealed("s1", chars=3), sealed("s2", chars=3), sealed("s3", redacted=True), sealed("s4", id="call_1"),
        ],
        "tool_calls": [CALL],
    }  # fmt: skip
    first, second, third, use = ask(message).turns[0].parts
    assert isinstance(first, Thought)
    assert (first.text, first.state, first.maker, first.redacted) == ("one", "s1", "ab", False)
    assert isinstance(second, Thought)
    assert (second.text, second.state) == ("two", "s2")
    assert isinstance(third, Thought)
    assert (third.text, third.state, third.redacted) == ("", "s3", True)
    assert isinstance(use, ToolUse)
    assert (use.state, use.maker) == ("s4", "ab")


def test_text_that_no_longer_fits_goes_to_the_last_state() -> None:
    """A client may have changed the text, or left out the number of characters."""
    message = {"role": "assistant", "reasoning": "onetwo", "reasoning_details": [sealed("s1")]}
    assert [part.text for part in ask(message).turns[0].parts if isinstance(part, Thought)] == [
        "onetwo"
    ]


def test_reasoning_of_a_host_is_a_thought_without_a_maker() -> None:
    """The state is empty for text alone, and otherwise the host's own blocks."""
    blocks = [{"type": "reasoning.text", "text": "hm", "signature": "sig"}]
    for more, text, state in (
        ({"reasoning_content": "hm"}, "hm", None),
        ({"reasoning_text": "hm"}, "hm", None),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}, 7]}, "hm", None),
        ({"reasoning_details": blocks}, "hm", json.dumps(blocks, separators=(",", ":"))),
    ):
        [turn] = ask({"role": "assistant", "content": "", **more}).turns
        [thought] = turn.parts
        assert isinstance(thought, Thought)
        assert (thought.text, thought.state, thought.maker) == (text, state, None)


def test_googles_signature_belongs_to_its_call() -> None:
    """Google's own endpoint puts it into extra_content.google.thought_signature."""
    for extra, state in (({"google": {"thought_signature": "s"}}, "s"), ({"google": 7}, None), (7, None)):  # fmt: skip
        [turn] = ask({"role": "assistant", "tool_calls": [{**CALL, "extra_content": extra}]}).turns
        assert isinstance(turn.parts[0], ToolUse)
        assert turn.parts[0].state == state


SETTINGS: list[tuple[Object, Object, Object]] = [
    ({"max_completion_tokens": 5, "max_tokens": 5}, {"max_output": 5}, {}),
    ({"max_completion_tokens": 5, "max_tokens": 6}, {"max_output": 5}, {"max_tokens": 6}),
    ({"max_tokens": 6}, {"max_output": 6}, {}),
    ({"stop": "a"}, {"stop": ("a",)}, {}),
    ({"stop": ["a", "b"]}, {"stop": ("a", "b")}, {}),
    ({"stop": [7]}, {}, {"stop": [7]}),
    ({"temperature": 1, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 2}, {"temperature": 1, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 2}, {}),
    ({"temperature": True, "seed": 1.5}, {}, {"temperature": True, "seed": 1.5}),
    ({"seed": 1, "top_k": 2, "n": 3, "top_logprobs": 4, "logprobs": True}, {"seed": 1, "top_k": 2, "choices": 3, "top_logprobs": 4, "logprobs": True}, {}),
    ({"random_seed": 1}, {"seed": 1}, {}),
    ({"logit_bias": {"1": 2}}, {"logit_bias": {"1": 2}}, {}),
    ({"logit_bias": 7, "logprobs": 2}, {}, {"logit_bias": 7, "logprobs": 2}),
    ({"verbosity": "low", "service_tier": "flex"}, {"verbosity": "low", "service_tier": "flex"}, {}),
    ({"safety_identifier": "a", "user": "a"}, {"user": "a"}, {}),
    ({"user": "a", "metadata": {"k": "v"}, "prompt_cache_key": "p"}, {"user": "a", "metadata": {"k": "v"}, "cache_key": "p"}, {}),
    ({"user": 7}, {}, {"user": 7}),
    ({"stream_options": {"include_usage": True}}, {"stream_usage": True}, {}),
    ({"stream_options": {"include_usage": False, "include_obfuscation": False}}, {}, {"stream_options": {"include_usage": False, "include_obfuscation": False}}),
    ({"stream_options": {}}, {}, {"stream_options": {}}),
    ({"parallel_tool_calls": False}, {"parallel_tools": False}, {}),
    ({"response_format": {"type": "text"}, "modalities": ["text"], "store": False, "tools": [], "functions": [], "service_tier": "auto"}, {}, {}),
    ({"response_format": {"type": "json_object"}}, {"form": OutputFormat()}, {}),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True}}}, {"form": OutputFormat(schema={}, name="a", strict=True)}, {}),
    ({"response_format": {"type": "json_schema", "schema": {"type": "object"}}}, {"form": OutputFormat(schema={"type": "object"})}, {}),
    ({"response_format": {"type": "json_schema", "json_schema": 7}}, {}, {"response_format": {"type": "json_schema", "json_schema": 7}}),
    ({"response_format": {"type": "regex"}}, {}, {"response_format": {"type": "regex"}}),
    ({"response_format": 7}, {}, {"response_format": 7}),
    ({"seed": None, "unheard_of": 7, "store": True, "audio": {}}, {}, {"unheard_of": 7, "store": True, "audio": {}}),
    ({"reasoning_effort": "low"}, {"effort": "low"}, {}),
    ({"reasoning_effort": "default"}, {}, {"reasoning_effort": "default"}),
    ({"reasoning": {"effort": "high", "exclude": True}}, {"effort": "high", "thoughts_shown": False}, {}),
    ({"reasoning": {"max_tokens": 2000}}, {"budget": 2000}, {}),
    ({"reasoning": {"enabled": False}}, {"effort": "none"}, {}),
    ({"reasoning": {"enabled": True}}, {}, {"reasoning": {"enabled": True}}),
    ({"reasoning": 7, "thinking": 7}, {}, {"reasoning": 7, "thinking": 7}),
    ({"thinking": {"type": "disabled"}}, {"effort": "none"}, {}),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"budget": 1024}, {}),
    ({"thinking": {"type": "enabled"}}, {}, {"thinking": {"type": "enabled"}}),
    ({"enable_thinking": True, "thinking_budget": 9}, {"budget": 9}, {}),
    ({"enable_thinking": True}, {}, {"enable_thinking": True}),
    ({"enable_thinking": False}, {"effort": "none"}, {}),
    ({"chat_template_kwargs": {"enable_thinking": False}}, {"effort": "none"}, {}),
    ({"chat_template_kwargs": {"a": 1}}, {}, {"chat_template_kwargs": {"a": 1}}),
    ({"include_reasoning": True}, {"thoughts_shown": True}, {}),
    ({"tool_choice": "auto"}, {"tool_choice": ToolChoice(mode="auto")}, {}),
    ({"tool_choice": "any"}, {"tool_choice": ToolChoice(mode="required")}, {}),
    ({"tool_choice": "often"}, {}, {"tool_choice": "often"}),
    ({"tool_choice": 7}, {}, {"tool_choice": 7}),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"tool_choice": ToolChoice(mode="tool", name="f")}, {}),
    ({"tool_choice": {"function": {"name": "f"}}}, {"tool_choice": ToolChoice(mode="tool", name="f")}, {}),
    ({"tool_choice": {"type": "tool", "name": "f"}}, {"tool_choice": ToolChoice(mode="tool", name="f")}, {}),
    ({"tool_choice": {"type": "custom", "custom": {"name": "c"}}}, {"tool_choice": ToolChoice(mode="tool", name="c")}, {}),
    ({"tool_choice": {"type": "function", "function": {}}}, {}, {"tool_choice": {"type": "function", "function": {}}}),
    ({"tool_choice": {"type": 7}}, {}, {"tool_choice": {"type": 7}}),
    ({"function_call": "none"}, {"tool_choice": ToolChoice(mode="none")}, {}),
    ({"function_call": {"name": "f"}}, {"tool_choice": ToolChoice(mode="tool", name="f")}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("members", "fields", "others"), SETTINGS)
def test_every_member_becomes_a_field_or_an_extra_member(
    members: Object, fields: Object, others: Object
) -> None:
    """Every member is in exactly one of the two; null counts as unset."""
    request, blank = ask(**members), ask()
    for name in ("turns", "names", "extra_members"):
        fields = {**fields, name: getattr(request, name)}
    assert request == type(blank)(**fields)
    assert request.extra_members == others
    assert set(request.names.values()) <= set(members)


def test_decoded_settings_have_the_clients_names() -> None:
    """Losses use these names."""
    request = ask(max_tokens=5, reasoning={"effort": "low"}, functions=[{"name": "f"}], stream=True)
    assert request.names == {"max_output": "max_tokens", "effort": "reasoning", "tools": "functions"}  # fmt: skip
    assert request.stream


def allowed(*tools: Any, mode: str = "auto") -> Object:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


def test_allowed_tools_are_read_as_names() -> None:
    """The names are of functions and custom tools. The decoder does not understand a hosted one."""
    function, custom = ({"type": kind, kind: {"name": kind[0]}} for kind in ("function", "custom"))
    choice = ask(tool_choice=allowed(function, custom, mode="required")).tool_choice
    assert choice == ToolChoice(mode="required", allowed=("f", "c"))
    broken = {"type": "allowed_tools", "allowed_tools": {}}
    for choice_ in (allowed({"type": "web"}), allowed(7), allowed(function, mode="x"), broken):
        request = ask(tool_choice=choice_)
        assert (request.tool_choice, request.extra_members) == (None, {"tool_choice": choice_})


def test_the_decoder_reads_function_custom_and_hosted_tools() -> None:
    """A custom tool of free text has no grammar."""
    lark = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
    listed = [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}, "cache_control": {"type": "ephemeral"}},
        {"type": "custom", "custom": {"name": "c", "format": lark}},
        {"type": "custom", "custom": {"name": "t", "format": {"type": "text"}}},
        {"type": "custom", "custom": {}},
        {"type": "web_search"},
        {"type": "function", "function": 7},
        7,
    ]  # fmt: skip
    tools = ask(tools=listed).tools
    assert [tool.source for tool in tools] == listed
    assert [(tool.kind, tool.name) for tool in tools] == [
        ("function", "f"), ("custom", "c"), ("custom", "t"), ("custom", ""), ("hosted", "web_search"), ("hosted", "function"), ("hosted", "7"),
    ]  # fmt: skip
    assert tools[0] == Tool(name="f", description="d", parameters={"type": "object"}, strict=True, cache="", source=listed[0])  # fmt: skip
    assert [tool.grammar for tool in tools[1:4]] == [lark, None, None]


def test_legacy_functions_are_tools() -> None:
    """Without a list there are no tools."""
    assert [tool.name for tool in ask(functions=[{"name": "f"}, 7]).tools] == ["f"]
    assert ask(tools=7).extra_members == {"tools": 7}
    assert ask(functions=7).extra_members == {"functions": 7}
