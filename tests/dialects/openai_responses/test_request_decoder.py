"""The decoder reads a Responses request, and names everything that another dialect loses."""

import pytest

from gateway.core.canonical_request import (
    CanonicalTurn,
    Foreign,
    Media,
    OutputFormat,
    Refused,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.dialects import compatibility, reasoning_state
from gateway.dialects.openai_responses.reasoning_state import SlotContent, read_slot, write_slot
from tests.dialects.openai_responses.cases import Object, decoded


def parts(*items: object) -> tuple[object, ...]:
    """Return the parts of the one turn that the items become, without their sources."""
    (turn,) = decoded(input=[*items]).turns
    return tuple(without_source(part) for part in turn.parts)


def without_source(part: object) -> object:
    names = [name for name in part.__struct_fields__ if name not in ("source", "parts")]  # type: ignore[attr-defined]  # a struct
    more = {"parts": tuple(map(without_source, part.parts))} if isinstance(part, ToolResult) else {}
    return type(part)(**{name: getattr(part, name) for name in names}, **more)


def read_content(**content: object) -> tuple[object, ...]:
    return parts({"role": "user", "content": [content]})


def test_a_string_and_instructions_become_two_turns() -> None:
    request = decoded(input="hi", instructions="Be brief.")
    assert request.turns == (
        CanonicalTurn(role="system", parts=(Text(text="Be brief."),), source="Be brief."),
        CanonicalTurn(role="user", parts=(Text(text="hi"),), source="hi"),
    )
    assert decoded(input=..., instructions="", prompt={"id": "p"}).turns == ()


def test_items_of_the_model_become_one_turn_and_each_result_its_own() -> None:
    """One message of other dialects has a thought, words and two calls."""
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "phase": "commentary", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x y"},
        {"type": "function_call_output", "call_id": "c1", "output": "22"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "33"},
        {"role": "system", "content": "Later."},
    ]
    turns = decoded(input=items).turns
    assert [turn.role for turn in turns] == [
        "developer", "user", "assistant", "user", "user", "system",
    ]  # fmt: skip
    assert turns[2].source == items[2:6]
    assert tuple(map(without_source, turns[2].parts)) == (
        Thought(text="hm"),
        Text(text="I look."),
        ToolUse(id="c1", name="f", arguments="{}"),
        ToolUse(id="c2", name="g", arguments="x y", custom=True),
    )
    assert without_source(turns[3].parts[0]) == ToolResult(id="c1", parts=(Text(text="22"),))
    assert without_source(turns[4].parts[0]) == ToolResult(
        id="c2", parts=(Text(text="33"),), custom=True
    )
    assert turns[0].source is not None


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "input_text", "text": "a"}, Text(text="a")),
        ({"type": "text", "text": 3}, Text(text="")),
        ({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}, Text(text="a", cache="")),
        ({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"ttl": "12h"}}, Text(text="a", cache="12h")),
        ({"type": "refusal", "refusal": "no"}, Refused(text="no")),
        (
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
            Media(kind="image", type="image/png", data="AA=="),
        ),
        ({"type": "input_image", "image_url": "https://a.test/b", "detail": "low"}, Media(kind="image", url="https://a.test/b", detail="low")),
        ({"type": "input_image", "file_id": "file-1"}, Media(kind="image", id="file-1")),
        (
            {"type": "input_file", "file_data": "data:text/csv;base64,AA==", "filename": "a.csv"},
            Media(kind="file", type="text/csv", data="AA==", name="a.csv"),
        ),
        ({"type": "input_file", "file_data": "AA=="}, Media(kind="file", type="application/pdf", data="AA==")),
        ({"type": "input_file", "file_url": "https://a.test/b"}, Media(kind="file", url="https://a.test/b")),
        ({"type": "input_file", "file_id": "file-1"}, Media(kind="file", id="file-1")),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, Media(kind="audio", type="audio/wav", data="AA==")),
        ({"type": "input_audio"}, Media(kind="audio")),
        ({"type": "new"}, Foreign(kind="new")),
        ({"x": 1}, Foreign(kind="None")),
    ],
)  # fmt: skip
def test_the_decoder_reads_parts_of_every_kind_and_keeps_their_source(
    part: Object, expected: object
) -> None:
    (turn,) = decoded(input=[{"role": "user", "content": [part]}]).turns
    assert without_source(turn.parts[0]) == expected
    assert getattr(turn.parts[0], "source", None) == part


def test_items_that_the_client_depends_on_refuse_other_dialects() -> None:
    items = [
        {"type": "new_call", "id": "n_1"},
        {"type": "item_reference", "id": "msg_1"},
        {"type": "new_call_output", "call_id": "c"},
        {"id": "msg_2"},
    ]
    request = decoded(input=items)
    assert [
        (turn.role, [without_source(part) for part in turn.parts]) for turn in request.turns
    ] == [
        ("assistant", [Foreign(kind="new_call"), Foreign(kind="item_reference")]),
        ("user", [Foreign(kind="new_call_output")]),
        ("user", [Foreign(kind="item_reference")]),
    ]
    refusals = compatibility.check_request(request, "anthropic-messages")[1]
    assert [refusal.partition(":")[0] for refusal in refusals] == [
        "input.new_call", "input.item_reference", "input.new_call_output",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"type": "compaction_trigger"}, "does not compact a conversation"),
        (
            {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
            "cannot read what another provider has compacted",
        ),
    ],
)
def test_a_compaction_refuses_other_dialects(item: Object, reason: str) -> None:
    """The item is readable by its provider alone, and stands for all of the history before it."""
    request = decoded(input=[item, {"role": "user", "content": "hi"}])
    for name in ("openai-chat", "anthropic-messages", "gemini"):
        losses, refusals = compatibility.check_request(request, name)
        assert (losses, refusals) == ([], [f"input.{item['type']}: {name} {reason}"])


def test_a_tool_result_may_hold_pictures_and_names_its_unknown_parts() -> None:
    output = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": "https://a.test/b"},
        {"type": "new"},
    ]
    result = parts({"type": "function_call_output", "output": output, "name": "f"})
    inner = (Text(text="see"), Media(kind="image", url="https://a.test/b"))
    assert result == (ToolResult(id="", name="f", parts=inner), Foreign(kind="new"))
    foreign = parts({"type": "function_call_output", "output": [{"type": "refusal"}]})
    assert foreign == (ToolResult(id=""), Foreign(kind="refusal"))


def test_malformed_items_are_read_leniently() -> None:
    assert parts({"role": 3, "content": None}) == ()
    assert parts({"type": "function_call"}, {"type": "custom_tool_call"}) == (
        ToolUse(id="", name="", arguments=""),
        ToolUse(id="", name="", arguments="", custom=True),
    )
    assert decoded(input=[{"role": "bot", "content": "a"}]).turns[0].role == "user"


def reasoning(state: str, *texts: str) -> Object:
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"type": "reasoning", "summary": [*summary, {"x": 1}], "encrypted_content": state}


def test_a_labelled_state_names_its_maker() -> None:
    assert parts(reasoning("abc", "one", "two")) == (Thought(text="one\n\ntwo", state="abc"),)
    labelled = reasoning_state.write_label("m1", write_slot(SlotContent("sig")))
    assert parts(reasoning(labelled, "one")) == (Thought(text="one", state="sig", maker="m1"),)
    hidden = reasoning_state.write_label("m1", write_slot(SlotContent("data", redacted=True)))
    assert parts(reasoning(hidden)) == (Thought(state="data", redacted=True, maker="m1"),)
    raw = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]}
    assert parts(raw) == (Thought(text="t"),)


def test_a_state_tied_to_a_call_returns_to_it() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    other = {**call, "call_id": "c2"}
    tied = reasoning_state.write_label("m1", write_slot(SlotContent("sig", call="c1")))
    assert parts(call, other, reasoning(tied)) == (
        ToolUse(id="c1", name="f", arguments="{}", state="sig", maker="m1"),
        ToolUse(id="c2", name="f", arguments="{}"),
    )
    untied = parts(other, reasoning(tied))
    assert untied[1] == Thought(state="sig", maker="m1")


@pytest.mark.parametrize("text", ["call:", "call:3", "call:[1]", "redacted", ""])
def test_an_unknown_slot_is_read_as_a_state(text: str) -> None:
    assert read_slot(text) == SlotContent(text)


def test_decoded_settings_have_the_clients_names() -> None:
    request = decoded(
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
        max_output_tokens=99,
        temperature=0.5,
        top_p=1,
        top_logprobs=2,
        parallel_tool_calls=False,
        service_tier="flex",
        safety_identifier="u",
        metadata={"a": "b"},
        prompt_cache_key="k",
        stream=True,
    )
    assert (request.effort, request.thoughts_shown, request.verbosity) == ("low", True, "low")
    assert (request.max_output, request.temperature, request.top_p) == (99, 0.5, 1)
    assert (request.logprobs, request.top_logprobs, request.form) == (True, 2, OutputFormat())
    assert (request.parallel_tools, request.service_tier, request.user) == (False, "flex", "u")
    assert (request.metadata, request.cache_key) == ({"a": "b"}, "k")
    assert (request.stream, request.stream_usage, request.extra_members) == (True, True, {})
    assert {name for name, _ in compatibility.list_set_fields(request)} == {
        "reasoning.effort", "reasoning.summary", "text.verbosity", "max_output", "temperature",
        "top_p", "logprobs", "service_tier", "user", "metadata", "cache_key", "json_object",
        "parallel_tools_off", "effort", "thoughts_shown", "verbosity",
    } - {"reasoning.effort", "reasoning.summary", "text.verbosity"}  # fmt: skip
    assert set(dict(compatibility.list_set_fields(request)).values()) == {
        "reasoning.effort", "reasoning.summary", "text.verbosity", "max_output_tokens",
        "temperature", "top_p", "include", "service_tier", "safety_identifier", "metadata",
        "prompt_cache_key", "text.format", "parallel_tool_calls",
    }  # fmt: skip


def test_default_values_set_nothing() -> None:
    request = decoded(
        reasoning={"effort": None},
        text={"format": {"type": "text"}},
        service_tier="auto",
        temperature=True,
        top_logprobs=True,
        tools=None,
        tool_choice=3,
        metadata={},
        store=False,
        background=False,
        truncation="disabled",
        stream_options={"include_obfuscation": False},
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        previous_response_id=None,
    )
    assert request.extra_members == {}
    assert list(compatibility.list_set_fields(request)) == [("logprobs", "include")]
    assert request.tool_choice is None


def test_members_of_this_dialect_alone_are_named() -> None:
    request = decoded(
        store=True,
        previous_response_id="r",
        truncation="auto",
        include=["file_search_call.results", "message.output_text.logprobs"],
        reasoning={"mode": "pro", "context": None},
        text={"x": 1},
        safety_identifier="u",
        user="v",
        x_new=0,
    )
    assert request.extra_members == {
        "store": True,
        "previous_response_id": "r",
        "truncation": "auto",
        "include": ["file_search_call.results"],
        "user": "v",
        "x_new": 0,
    }
    losses, refusals = compatibility.check_request(request, "openai-chat")
    assert [refusal.split(":")[0] for refusal in refusals] == ["previous_response_id"]
    assert {"store", "truncation", "reasoning.mode", "text.x", "x_new"} <= {
        loss.field for loss in losses
    }
    unknown: list[object] = [{"x": []}, "reasoning.encrypted_content"]
    assert decoded(include=unknown).extra_members == {"include": [{"x": []}]}
    alone = decoded(user="v")
    assert (alone.user, alone.names["user"], alone.extra_members) == ("v", "user", {})


def test_the_decoder_reads_function_custom_and_hosted_tools() -> None:
    function = {"type": "function", "name": "f", "description": "d", "parameters": {"a": 1}, "strict": True}  # fmt: skip
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    custom = {"type": "custom", "name": "c", "format": grammar}
    plain_ = {"type": "custom", "name": "p", "format": {"type": "text"}}
    hosted = {"type": "web_search", "search_context_size": "low"}
    loose = {"type": "function", "name": "g", "strict": None}
    request = decoded(tools=[function, custom, plain_, hosted, loose])
    assert request.tools == (
        Tool(name="f", description="d", parameters={"a": 1}, strict=True, source=function),
        Tool(name="c", kind="custom", grammar=grammar, source=custom),
        Tool(name="p", kind="custom", source=plain_),
        Tool(name="web_search", kind="hosted", source=hosted),
        Tool(name="g", source=loose),
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice(mode="auto")),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        ({"type": "function", "name": "f"}, ToolChoice(mode="tool", name="f")),
        ({"type": "web_search"}, ToolChoice(mode="tool", name="web_search")),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice(mode="required", allowed=("f",)),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]},
            ToolChoice(mode="auto", allowed=("mcp",)),
        ),
    ],
)  # fmt: skip
def test_the_decoder_reads_the_tool_choice(choice: object, expected: ToolChoice) -> None:
    assert decoded(tool_choice=choice).tool_choice == expected


def test_a_json_schema_becomes_the_output_format() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True, "description": "d"}  # fmt: skip
    expected = OutputFormat(schema={"a": 1}, name="n", strict=True, description="d")
    assert decoded(text={"format": form}).form == expected
    assert decoded(text={"format": {"type": "json_schema"}}).form == OutputFormat()
