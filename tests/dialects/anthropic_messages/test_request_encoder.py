"""The encoder turns a request of another dialect into a Messages request that the API accepts."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
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
)  # fmt: skip
from gateway.core.loss import Loss
from gateway.core.target import ModelFacts, Target
from gateway.dialects import reasoning_state, tool_ids, translation
from gateway.dialects.anthropic_messages import DIALECT, TRANSLATION
from gateway.dialects.base import EncodedRequest
from tests.dialects.anthropic_messages.cases import Object, sent, target

CHAT_NAMES = {"turns": "messages", "max_output": "max_completion_tokens", "effort": "reasoning_effort", "form": "response_format"}  # fmt: skip
"""Member names of a Chat Completions client."""
TRANSLATABLE = msgspec.structs.replace(DIALECT, translation=TRANSLATION)
TARGET = target("m", facts=ModelFacts(max_output=64_000))


def turn(role: str, *parts: Part | str) -> CanonicalTurn:
    inner = tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
    return CanonicalTurn(role=role, parts=inner)  # type: ignore[arg-type]  # of the tests


HELLO = turn("user", "hi")


def encode(*turns: CanonicalTurn, to: Target = TARGET, **more: Any) -> EncodedRequest:
    return TRANSLATION.encode_request(
        CanonicalRequest(turns=turns or (HELLO,), names=CHAT_NAMES, **more), to
    )


def messages(*turns: CanonicalTurn) -> list[tuple[str, list[Object]]]:
    value = encode(*turns).value["messages"]
    return [(message["role"], message["content"]) for message in value]


def text(text: str) -> Object:
    return {"type": "text", "text": text}


def list_losses(encoded: EncodedRequest) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in encoded.losses]


def test_the_encoder_writes_only_the_cap_and_the_messages_of_a_bare_request() -> None:
    encoded = encode()
    assert encoded.value == {
        "max_tokens": 64_000,
        "messages": [{"role": "user", "content": [text("hi")]}],
    }
    assert encoded.losses == ()


def test_the_cap_is_the_clients_the_targets_the_models_or_a_default() -> None:
    assert encode(max_output=5).value["max_tokens"] == 5
    capped = target("m", max_output=7, facts=ModelFacts(max_output=64_000))
    assert encode(to=capped).value["max_tokens"] == 7
    assert encode(to=target("m")).value["max_tokens"] == 32_000


def test_a_clamped_cap_is_named_with_the_clients_word() -> None:
    request = CanonicalRequest(turns=(HELLO,), max_output=100_000, names=CHAT_NAMES)
    written = translation.write_request(request, TRANSLATABLE, TARGET)
    assert [loss.field for loss in written.losses] == ["max_completion_tokens"]


def test_leading_system_turns_become_the_system_prompt_and_later_ones_are_wrapped() -> None:
    encoded = encode(
        turn("system", "a", " "), turn("developer", "b"), HELLO, turn("developer", "now"), turn("assistant", "x"), turn("system", "c")
    )  # fmt: skip
    assert encoded.value["system"] == [text("a"), text("b")]
    assert [(message["role"], message["content"]) for message in encoded.value["messages"]] == [
        ("user", [text("hi"), text("<system>\nnow\n</system>")]),
        ("assistant", [text("x")]),
        ("user", [text("<system>\nc\n</system>")]),
    ]


def test_the_last_of_only_system_turns_becomes_a_user_message() -> None:
    encoded = encode(turn("system", "a"), turn("system", "do it"))
    assert encoded.value["system"] == [text("a")]
    assert encoded.value["messages"] == [{"role": "user", "content": [text("do it")]}]
    assert list_losses(encoded) == [("messages", "approximated")]


def test_a_picture_in_a_later_system_turn_is_not_wrapped() -> None:
    picture = Media(kind="image", url="u")
    [(_, content)] = messages(HELLO, turn("system", picture))
    assert content[1] == {"type": "image", "source": {"type": "url", "url": "u"}}


def test_neighbouring_turns_become_one_message_and_no_message_is_empty() -> None:
    assert messages(turn("assistant", "hello"), turn("user", ""), turn("user", " "), turn("assistant", " "), turn("user", "b"), turn("assistant", "c"), turn("user", "")) == [
        ("user", [text("(no content)")]),
        ("assistant", [text("hello")]),
        ("user", [text("b")]),
        ("assistant", [text("c")]),
        ("user", [text("(no content)")]),
    ]  # fmt: skip
    assert TRANSLATION.encode_request(CanonicalRequest(turns=()), TARGET).value["messages"] == []


def test_an_answer_begun_by_the_client_loses_its_trailing_space() -> None:
    encoded = encode(HELLO, turn("assistant", "Sure: \n"))
    assert encoded.value["messages"][1] == {"role": "assistant", "content": [text("Sure:")]}
    assert list_losses(encoded) == [("messages", "approximated")]
    assert encode(HELLO, turn("assistant", "Sure:")).losses == ()


USE = ToolUse(id="call_1", name="f", arguments='{"a": 1}')


def use(id: str, name: str = "f", input: Any = None) -> Object:
    return {"type": "tool_use", "id": id, "name": name, "input": {"a": 1} if input is None else input}  # fmt: skip


def result(id: str, *content: Object, **more: Any) -> Object:
    return {"type": "tool_result", "tool_use_id": id, **({"content": [*content]} if content else {}), **more}  # fmt: skip


def test_all_tool_results_of_a_turn_come_first_in_one_message() -> None:
    two = ToolUse(id="call_2", name="g", arguments="")
    encoded = messages(
        HELLO,
        turn("assistant", "t", USE, two),
        turn("user", "between"),
        turn("user", ToolResult(id="call_2", parts=(), cache="1h")),
        turn("user", ToolResult(id="call_1", parts=(Text(text="r"),))),
        turn("user", "after"),
    )
    assert encoded[1] == ("assistant", [text("t"), use("call_1"), use("call_2", "g", {})])
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert encoded[2] == ("user", [result("call_2", **cached), result("call_1", text("r")), text("between"), text("after")])  # fmt: skip


NO_RESULT = text("No result provided")


def test_a_tool_use_without_a_result_gets_an_error_result() -> None:
    missing = result("call_1", NO_RESULT, is_error=True)
    assert messages(HELLO, turn("assistant", USE), turn("user", "go on"))[2] == ("user", [missing, text("go on")])  # fmt: skip
    assert messages(HELLO, turn("assistant", USE))[2] == ("user", [missing])


def test_a_tool_result_without_a_use_becomes_text() -> None:
    encoded = encode(turn("user", ToolResult(id="call_9", parts=(Text(text="r"),)), "x"))
    assert encoded.value["messages"] == [{"role": "user", "content": [text("r"), text("x")]}]
    assert list_losses(encoded) == [("messages.tool_result", "approximated")]


def test_a_picture_in_an_error_result_comes_after_the_results() -> None:
    """The API refuses an image in an error result, and an error result without text."""
    picture = Media(kind="image", url="u", cache="")
    failed = ToolResult(id="call_1", parts=(Text(text="r"), picture), error=True)
    bare = ToolResult(id="call_1", parts=(picture,), error=True)
    shown: Object = {"type": "image", "source": {"type": "url", "url": "u"}, "cache_control": {"type": "ephemeral"}}  # fmt: skip
    for part, inner in ((failed, "r"), (bare, "Error")):
        content = messages(HELLO, turn("assistant", USE), turn("user", part, "x"))[2][1]
        assert content == [result("call_1", text(inner), is_error=True), shown, text("x")]
    fine = ToolResult(id="call_1", parts=(picture,))
    assert messages(HELLO, turn("assistant", USE), turn("user", fine))[2][1] == [result("call_1", shown)]  # fmt: skip


def test_tool_ids_and_names_are_plain_unique_and_equal_in_use_and_result() -> None:
    use_ = ToolUse(id="call:1", name="mcp.a", arguments="{}")
    encoded = messages(
        turn("assistant", use_), turn("user", ToolResult(id="call:1")), turn("assistant", use_, use_), turn("user", ToolResult(id="call:1")),
    )  # fmt: skip
    plain = tool_ids.make_plain_id("call:1", "toolu_")
    assert encoded[1][1] == [use(plain, tool_ids.make_plain_id("mcp.a", "tool_"), {})]
    assert encoded[2][1] == [result(plain)]
    second, third = (use_["id"] for use_ in encoded[3][1])
    assert encoded[4][1] == [result(second), result(third, NO_RESULT, is_error=True)]
    assert len({plain, second, third}) == 3
    assert all(tool_ids.make_plain_id(id_) == id_ for id_ in (plain, second, third))


@pytest.mark.parametrize("arguments", ["", " ", "null", "{}"])
def test_missing_arguments_become_an_empty_object_without_a_loss(arguments: str) -> None:
    """Groq writes "null" if the model calls a function without arguments."""
    encoded = encode(HELLO, turn("assistant", ToolUse(id="call_1", name="f", arguments=arguments)))
    assert encoded.value["messages"][1]["content"] == [use("call_1", "f", {})]
    assert list_losses(encoded) == []


@pytest.mark.parametrize("arguments", ['{"a": 1', "[1]", "words"])
def test_arguments_that_are_no_object_are_kept_as_text_and_named(arguments: str) -> None:
    bad = ToolUse(id="call_1", name="f", arguments=arguments)
    encoded = encode(HELLO, turn("assistant", bad))
    assert encoded.value["messages"][1]["content"] == [use("call_1", "f", {"_raw": arguments})]
    assert list_losses(encoded) == [("messages.arguments", "approximated")]


def test_a_custom_tool_becomes_a_function_with_one_text() -> None:
    tool = Tool(name="patch", kind="custom", description="d", strict=True, cache="")
    free = ToolUse(id="call_1", name="patch", arguments="*** Begin", custom=True)
    encoded = encode(HELLO, turn("assistant", free), turn("user", ToolResult(id="call_1", custom=True)), tools=(tool,), tool_choice=ToolChoice(mode="tool", name="patch"))  # fmt: skip
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"], "additionalProperties": False}  # fmt: skip
    assert encoded.value["tools"] == [{"name": "patch", "description": "d", "input_schema": schema, "cache_control": {"type": "ephemeral"}}]  # fmt: skip
    assert encoded.value["tool_choice"] == {"type": "tool", "name": "patch"}
    assert encoded.value["messages"][1]["content"] == [
        use("call_1", "patch", {"input": "*** Begin"})
    ]


OURS = reasoning_state.hash_maker(TARGET, "anthropic-messages")


def test_reasoning_goes_only_to_its_maker() -> None:
    mine = turn("assistant", Thought(text="a", state="s", maker=OURS), Thought(state="d", redacted=True, maker=OURS), "x")  # fmt: skip
    assert encode(HELLO, mine).losses == ()
    assert messages(HELLO, mine)[1][1] == [
        {"type": "thinking", "thinking": "a", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        text("x"),
    ]
    why = "anthropic-messages gets no reasoning of another model"
    for part in (Thought(text="a", state="s", maker="other"), Thought(text="a", state="s"), Thought(text="a"), Thought(text="a", maker=OURS), ToolUse(id="c", name="f", arguments="{}", state="s")):  # fmt: skip
        encoded = encode(HELLO, turn("assistant", part, "x"))
        assert encoded.losses == (Loss("messages.reasoning", "dropped", why),)
        assert "thinking" not in str(encoded.value)


def test_a_refusal_becomes_text_of_the_assistant() -> None:
    assert messages(HELLO, turn("assistant", Refused(text="no")), HELLO)[1][1] == [text("no")]


@pytest.mark.parametrize(
    ("role", "part", "field"),
    [
        ("user", Media(kind="audio", data="a"), "messages.audio"),
        ("user", Foreign(kind="x"), "messages.foreign"),
        ("assistant", Media(kind="image", url="u"), "messages.image"),
        ("assistant", Foreign(kind="x"), "messages.foreign"),
    ],
)
def test_a_part_without_a_place_in_the_message_is_dropped_and_named(
    role: str, part: Part, field: str
) -> None:
    encoded = encode(HELLO, turn(role, part, "x"), HELLO)
    assert list_losses(encoded) == [(field, "dropped")]


PNG, JPG = "iVBORw0KGgo=", "/9j/4AAQ"


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (Media(kind="image", type="image/jpg", data=JPG), {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": JPG}}),
        (Media(kind="image", data=PNG), {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}),
        (Media(kind="image", type="image/tiff", data="SUkq"), {"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "SUkq"}}),
        (Media(kind="file", type="image/png", data=PNG, name="n"), {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}),
        (Media(kind="image", id="f"), {"type": "image", "source": {"type": "file", "file_id": "f"}}),
        (Media(kind="file", data="JVBERi0="), {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}),
        (Media(kind="file", url="u", name="n"), {"type": "document", "source": {"type": "url", "url": "u"}, "title": "n"}),
        (Media(kind="file", text="w", cache="5m"), {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "w"}, "cache_control": {"type": "ephemeral"}}),
        (Media(kind="file", type="text/csv", data="YSxi"), {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}}),
        (Media(kind="file", type="text/csv", data="/w=="), {"type": "document", "source": {"type": "base64", "media_type": "text/csv", "data": "/w=="}}),
    ],
)  # fmt: skip
def test_images_and_documents_are_encoded_by_their_content(part: Media, block: Object) -> None:
    """The bytes decide an image's type: the API refuses "image/jpg"."""
    assert messages(turn("user", part)) == [("user", [block])]


F, G = Tool(name="f", parameters={"properties": {"a": {}}}, strict=True), Tool(name="g", strict=False)  # fmt: skip


def test_the_encoder_writes_tools_with_an_object_schema() -> None:
    assert encode(tools=(F, G)).value["tools"] == [
        {"name": "f", "input_schema": {"type": "object", "properties": {"a": {}}}, "strict": True},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="auto"), None, {"type": "auto"}),
        (ToolChoice(mode="required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="none"), False, {"type": "none"}),
        (ToolChoice(mode="tool", name="f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_the_encoder_writes_the_tool_choice(choice: ToolChoice | None, parallel: bool | None, expected: Any) -> None:  # fmt: skip
    encoded = encode(tools=(F,), tool_choice=choice, parallel_tools=parallel)
    assert encoded.value.get("tool_choice") == expected
    assert "tool_choice" not in encode(tool_choice=choice, parallel_tools=parallel).value


def test_only_allowed_tools_are_sent() -> None:
    hosted = Tool(name="h", kind="hosted")
    choice = ToolChoice(mode="required", allowed=("g", "h"))
    encoded = encode(tools=(F, G, hosted), tool_choice=choice)
    assert [tool["name"] for tool in encoded.value["tools"]] == ["g"]
    assert encoded.value["tool_choice"] == {"type": "any"}


def test_the_encoder_writes_all_other_settings() -> None:
    encoded = encode(temperature=0.5, top_k=3, stop=("a", " \n"), user="u-1", stream=True, form=OutputFormat(schema={"type": "object"}))  # fmt: skip
    assert {k: v for k, v in encoded.value.items() if k not in ("max_tokens", "messages")} == {
        "temperature": 0.5, "top_k": 3, "stop_sequences": ["a"], "metadata": {"user_id": "u-1"}, "stream": True,
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }  # fmt: skip
    assert list_losses(encoded) == [("stop", "dropped")]
    assert encoded.client_names["output_config.format"] == "response_format"
    assert encode(top_p=0.5).value["top_p"] == 0.5


def test_sampling_is_limited_to_what_the_api_accepts() -> None:
    """The API accepts temperatures up to 1, and newer models refuse top_p beside a temperature."""
    encoded = encode(temperature=1.5, top_p=0.9)
    assert (encoded.value["temperature"], "top_p" in encoded.value) == (1, False)
    assert list_losses(encoded) == [("temperature", "clamped"), ("top_p", "dropped")]
    assert encode(temperature=0, top_p=1).losses == ()


@pytest.mark.parametrize("user", ["jo@example.org", "x" * 257])
def test_a_user_id_that_may_name_a_person_is_hashed(user: str) -> None:
    sent = encode(user=user).value["metadata"]["user_id"]
    assert sent == encode(user=user).value["metadata"]["user_id"] != user
    assert len(sent) == 32


MARK = {"cache_control": {"type": "ephemeral"}}


def test_a_cache_key_becomes_cache_breakpoints() -> None:
    """Breakpoints go after the instructions, or else the tools, and at the end.

    A client's own marks stay alone.
    """
    ask, call = turn("user", "hi"), turn("assistant", ToolUse(id="c", name="f", arguments="{}"))
    both = turn("user", ToolResult(id="c", parts=(Text(text="1"),)), ToolResult(id="d", parts=()))
    tools = (Tool(name="f"), Tool(name="g"))
    encoded = encode(turn("system", "a", "b"), ask, call, both, tools=tools, cache_key="k").value
    assert [MARK.items() <= block.items() for block in encoded["system"]] == [False, True]
    assert str(encoded).count("cache_control") == 2
    assert MARK.items() <= encoded["messages"][-1]["content"][-1].items()
    assert "cache_control" not in str(encoded["tools"])
    plain = encode(ask, tools=tools, cache_key="k")
    assert [MARK.items() <= tool.items() for tool in plain.value["tools"]] == [False, True]
    assert plain.value["messages"] == [{"role": "user", "content": [{**text("hi"), **MARK}]}]
    assert (plain.losses, encode(ask, cache_key="k").value["messages"]) == (
        (),
        plain.value["messages"],
    )
    assert "cache_control" not in str(encode(ask, tools=tools).value)
    own = encode(turn("user", Text(text="hi", cache="1h")), turn("user", "more"), cache_key="k")
    assert str(own.value).count("cache_control") == 1
    thought = turn("assistant", Thought(text="hm", state="s", maker=OURS))
    ended = str(encode(ask, thought, cache_key="k").value)
    assert "thinking" in ended
    assert "cache_control" not in ended


def test_a_tool_loop_gets_cache_breakpoints_without_a_cache_key() -> None:
    """Other APIs cache prompts by themselves. An agent resends the same prompt with each result."""
    call, tools = turn("assistant", ToolUse(id="c", name="f", arguments="{}")), (Tool(name="f"),)
    both = turn("user", "hi"), call
    loop = *both, turn("user", ToolResult(id="c", parts=(Text(text="1"),)))
    for turns, offered, marks in (
        (loop, tools, 2), ((*loop, turn("user", "go on")), tools, 2),
        (both, tools, 0), (loop, (), 0), ((HELLO,), tools, 0),
    ):  # fmt: skip
        assert str(encode(*turns, tools=offered).value).count("cache_control") == marks


def test_only_the_last_four_cache_breakpoints_stay() -> None:
    parts = [Text(text=str(n), cache="") for n in range(4)]
    encoded = encode(turn("system", Text(text="s", cache="")), turn("user", *parts), tools=(Tool(name="f", cache="30m"),))  # fmt: skip
    assert str(encoded.value).count("cache_control") == 4
    assert all("cache_control" in block for block in encoded.value["messages"][0]["content"])
    assert list_losses(encoded) == [("cache_control", "dropped")]
    fitting = encode(turn("user", *parts))
    assert (str(fitting.value).count("cache_control"), fitting.losses) == (4, ())


def facts(style: str, *efforts: str, **more: Any) -> ModelFacts:
    return ModelFacts(effort_style=style, efforts=efforts, max_output=64_000, **more)


SIX = facts("anthropic", "none", "low", "medium", "high", "xhigh", "max")
OLD = facts("anthropic-budget")
MIXED = facts("anthropic-budget+effort", "low", "medium", "high")
ALWAYS = facts("anthropic-always", "low", "medium", "high")


@pytest.mark.parametrize(
    ("facts_", "wish", "thinking", "effort", "losses"),
    [
        (SIX, {"effort": "high"}, {"type": "adaptive"}, "high", []),
        (SIX, {"effort": "minimal"}, {"type": "adaptive"}, "low", ["reasoning_effort"]),
        (SIX, {"effort": "none"}, {"type": "disabled"}, None, []),
        (SIX, {"effort": "none", "thoughts_shown": True}, {"type": "disabled"}, None, []),
        (SIX, {"effort": "low", "thoughts_shown": True}, {"type": "adaptive", "display": "summarized"}, "low", []),
        (SIX, {"effort": "low", "thoughts_shown": False}, {"type": "adaptive", "display": "omitted"}, "low", []),
        (SIX, {"budget": 3000}, {"type": "adaptive"}, "medium", ["budget"]),
        (SIX, {"budget": 0}, {"type": "disabled"}, None, []),
        (SIX, {"budget": -1}, {"type": "adaptive"}, None, []),
        (ALWAYS, {"effort": "max"}, {"type": "adaptive"}, "high", ["reasoning_effort"]),
        (ALWAYS, {"effort": "none"}, {"type": "adaptive"}, "low", ["reasoning_effort"]),
        (OLD, {"effort": "low"}, {"type": "enabled", "budget_tokens": 2048}, None, ["reasoning_effort", "reasoning_effort"]),
        (OLD, {"budget": 3000}, {"type": "enabled", "budget_tokens": 3000}, None, []),
        (OLD, {"budget": 100}, {"type": "enabled", "budget_tokens": 1024}, None, ["budget"]),
        (OLD, {"budget": 3000, "max_output": 3500}, {"type": "enabled", "budget_tokens": 2476}, None, ["budget"]),
        (OLD, {"budget": 3000, "max_output": 1500}, None, None, ["budget"]),
        (MIXED, {"effort": "high"}, {"type": "enabled", "budget_tokens": 16384}, "high", ["reasoning_effort"]),
        (ModelFacts(tools=True), {"effort": "high"}, None, None, ["reasoning_effort"]),
    ],
)  # fmt: skip
def test_effort_is_written_as_each_model_takes_it(facts_: ModelFacts, wish: Object, thinking: Any, effort: Any, losses: list[str]) -> None:  # fmt: skip
    """The test calls `write_request`, which fits the effort to the model.

    Losses carry the client's names.
    """
    request = CanonicalRequest(turns=(HELLO,), names=CHAT_NAMES, **wish)
    written = translation.write_request(request, TRANSLATABLE, target("m", facts=facts_))
    value = sent(written)
    assert value.get("thinking") == thinking
    assert (value.get("output_config") or {}).get("effort") == effort
    assert [loss.field for loss in written.losses] == losses


@pytest.mark.parametrize(
    ("to", "thinking", "effort"),
    [
        (target("m", facts=SIX, effort="medium"), {"type": "adaptive", "display": "summarized"}, "medium"),
        (target("m", facts=SIX, effort="minimal"), {"type": "adaptive", "display": "summarized"}, "low"),
        (target("m", facts=SIX, effort="none"), {"type": "disabled"}, None),
        (target("m", facts=SIX), None, None),
        (target("m", facts=facts("anthropic", "none", "low", default_effort="high")), {"type": "adaptive", "display": "summarized"}, None),
        (target("m", facts=OLD, effort="low"), {"type": "enabled", "budget_tokens": 2048}, None),
        (target("m"), None, None),
    ],
)  # fmt: skip
def test_a_client_that_wants_to_see_thoughts_changes_no_effort(to: Target, thinking: Any, effort: Any) -> None:  # fmt: skip
    """The effort of the target's tier stands; a model that would not think still does not."""
    request = CanonicalRequest(turns=(HELLO,), names=CHAT_NAMES, thoughts_shown=True)
    written = translation.write_request(request, TRANSLATABLE, to)
    value = sent(written)
    assert value.get("thinking") == thinking
    assert (value.get("output_config") or {}).get("effort") == effort
    assert written.losses == ()


def test_the_output_format_and_the_effort_share_a_member() -> None:
    encoded = encode(effort="high", form=OutputFormat(schema={}))
    assert encoded.value["output_config"] == {"effort": "high", "format": {"type": "json_schema", "schema": {}}}  # fmt: skip
    assert (encoded.client_names["output_config.effort"], encoded.client_names["output_config.format"]) == ("reasoning_effort", "response_format")  # fmt: skip


def test_the_dialect_reads_what_the_encoder_writes() -> None:
    encoded = encode(turn("system", "s"), HELLO, turn("assistant", USE), tools=(F,), stream=True)
    body = DIALECT.read(json.dumps({"model": "m", **encoded.value}).encode())
    assert (body.prompt.model, body.prompt.stream, body.prompt.tools) == ("m", True, ("f",))
    assert body.prompt.tool_loop


IDS = st.sampled_from(["call_1", "call_2", "a:b", ""])
TEXTS = st.sampled_from(["", " ", "alpha", "beta\n"]).map(
    lambda text_: Text(text=text_, cache="" if text_ else None)
)
PICTURES = st.sampled_from([Media(kind="image", url="u"), Media(kind="file", text="w", cache="1h")])
USES = st.builds(ToolUse, id=IDS, name=st.sampled_from(["f", "g.h"]), arguments=st.sampled_from(["", "{}", "[", "1"]), custom=st.booleans())  # fmt: skip
RESULTS = st.builds(ToolResult, id=IDS, parts=st.lists(TEXTS | PICTURES, max_size=2).map(tuple), error=st.booleans())  # fmt: skip
THOUGHTS = st.builds(Thought, text=st.just("t"), state=st.just("s"), maker=st.sampled_from([None, OURS]))  # fmt: skip
TURNS = st.one_of(
    st.builds(CanonicalTurn, role=st.sampled_from(["system", "developer"]), parts=st.lists(TEXTS, max_size=2).map(tuple)),
    st.builds(CanonicalTurn, role=st.just("user"), parts=st.lists(TEXTS | PICTURES | RESULTS, max_size=3).map(tuple)),
    st.builds(CanonicalTurn, role=st.just("assistant"), parts=st.lists(TEXTS | USES | THOUGHTS, max_size=3).map(tuple)),
)  # fmt: skip


@given(st.lists(TURNS, min_size=1, max_size=6))
def test_any_conversation_becomes_one_that_the_api_accepts(turns: list[CanonicalTurn]) -> None:
    """Roles alternate, beginning with the user. Results follow their uses at once and come first.

    No text is blank.
    """
    encoded = encode(*turns)
    body = encoded.value["messages"]
    assert [message["role"] for message in body] == ["user", "assistant"] * (len(body) // 2) + ["user"] * (len(body) % 2)  # fmt: skip
    seen_ids: set[str] = set()
    open_: list[str] = []
    for message in body:
        blocks = message["content"]
        assert blocks
        kinds = [block["type"] for block in blocks]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert sorted(results) == sorted(open_)
        assert kinds[: len(results)] == ["tool_result"] * len(results)
        open_ = [block["id"] for block in blocks if block["type"] == "tool_use"]
        assert all(tool_ids.make_plain_id(id_) == id_ for id_ in open_)
        assert not seen_ids.intersection(open_)
        assert len(set(open_)) == len(open_)
        seen_ids.update(open_)
        for block in blocks:
            inner = block.get("content", [])
            assert all(part["text"].strip() for part in [block, *inner] if part["type"] == "text")
            assert isinstance(block.get("input", {}), dict)
            if block.get("is_error"):
                assert {part["type"] for part in inner} == {"text"}
    assert not open_
    assert all(block["text"].strip() for block in encoded.value.get("system", []))
    assert json.dumps(encoded.value).count("cache_control") <= 4
    words = [part.text for turn in turns for part in turn.parts if isinstance(part, Text)]
    assert all(json.dumps(encoded.value).count(word.strip()) for word in words)


@pytest.mark.parametrize("system", [[], ["Be brief."]])
def test_json_without_a_schema_becomes_the_last_instruction(
    system: list[str],
) -> None:
    """The instruction stands behind the client's own; with a schema the gateway adds none."""
    turns = [turn("system", *system)] if system else []
    value = encode(*turns, HELLO, form=OutputFormat()).value
    *own, last = [block["text"] for block in value["system"]]
    assert own == system
    assert "one JSON object and nothing else" in last
    assert "output_config" not in value
    value = encode(*turns, HELLO, form=OutputFormat(schema={"type": "object"})).value
    assert [block["text"] for block in value.get("system", ())] == system
    assert value["output_config"]["format"]["schema"] == {"type": "object"}
