"""The encoder writes requests of other dialects for Chat Completions: only what the client set."""

import json
from typing import Any

import pytest

from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Foreign,
    Media,
    OutputFormat,
    Part,
    Refused,
    Role,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.core.loss import Loss
from gateway.dialects import OPENAI_CHAT, reasoning_state, tool_ids
from gateway.dialects.base import EncodedRequest
from gateway.dialects.openai_chat import TRANSLATION
from gateway.dialects.openai_chat import effort as efforts
from tests.dialects.cases import target

type Object = dict[str, Any]

TARGET = target()
MAKER = reasoning_state.hash_maker(TARGET, "openai-chat")
FOREIGN_REASONING = "openai-chat gets no reasoning of another model"


def make_turn(role: Role, *parts: Part | str, name: str | None = None) -> CanonicalTurn:
    content = [Text(text=part) if isinstance(part, str) else part for part in parts]
    return CanonicalTurn(role=role, parts=tuple(content), name=name)


def encode(*turns: CanonicalTurn, **more: Any) -> EncodedRequest:
    encoded = TRANSLATION.encode_request(CanonicalRequest(turns=turns, **more), TARGET)
    OPENAI_CHAT.read(json.dumps({"model": "m", **encoded.value}).encode())
    return encoded


def encode_messages(*turns: CanonicalTurn) -> list[Object]:
    written: list[Object] = encode(*turns).value["messages"]
    return written


def encode_user(*parts: Part | str) -> Any:
    [message] = encode_messages(make_turn("user", *parts))
    return message["content"]


def encode_assistant(*parts: Part | str) -> Object:
    [message] = encode_messages(make_turn("assistant", *parts))
    return message


def make_use(id: str = "call_1", name: str = "f", arguments: str = "{}", **more: Any) -> ToolUse:
    return ToolUse(id=id, name=name, arguments=arguments, **more)


def make_result(id: str = "call_1", *parts: Text | Media | str, **more: Any) -> ToolResult:
    content = [Text(text=part) if isinstance(part, str) else part for part in parts]
    return ToolResult(id=id, parts=tuple(content), **more)


def test_turns_keep_their_order_and_stay_separate() -> None:
    """System turns stay in the middle, and neighbours of one role stay apart.

    Texts alone are one string.
    """
    written = encode_messages(
        make_turn("developer", "a", "b"),
        make_turn("user", "c", name="Ann"),
        make_turn("user", "d"),
        make_turn("system", "e"),
        make_turn("assistant", "f", "g", name="Bot"),
    )
    assert written == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "c", "name": "Ann"},
        {"role": "user", "content": "d"},
        {"role": "system", "content": "e"},
        {"role": "assistant", "content": "fg", "name": "Bot"},
    ]


def test_tool_results_directly_follow_their_calls() -> None:
    """The order of turns does not matter, and the user's other words follow the results."""
    written = encode_messages(
        make_turn("assistant", make_use("call_1")),
        make_turn("assistant", "and", make_use("call_2"), make_use("call_3")),
        make_turn("user", "now", make_result("call_2", "two")),
        make_turn("user", make_result("call_1", "one")),
    )
    assert [(message["role"], message["content"]) for message in written] == [
        ("assistant", None), ("tool", "one"), ("assistant", "and"), ("tool", "two"), ("user", "now"),
    ]  # fmt: skip
    assert [message.get("tool_call_id") for message in written] == [
        None,
        "call_1",
        None,
        "call_2",
        None,
    ]


def test_calls_with_the_same_id_each_get_their_own_result() -> None:
    """Clients may number their calls anew in every turn."""
    written = encode_messages(
        make_turn("assistant", make_use("0")),
        make_turn("user", make_result("0", "one")),
        make_turn("assistant", make_use("0")),
        make_turn("user", make_result("0", "two")),
    )
    assert [message["content"] for message in written] == [None, "one", None, "two"]


def test_a_result_without_its_call_keeps_its_place() -> None:
    """The provider reports the mistake; the gateway makes up nothing."""
    written = encode_messages(make_turn("user", make_result("x", "r"), make_result("x", "s")))
    assert [(message["role"], message["content"]) for message in written] == [
        ("tool", "r"),
        ("tool", "s"),
    ]


def test_media_of_tool_results_follow_after_all_results() -> None:
    """Results are text; a text document stays in its result."""
    image = Media(kind="image", type="image/png", data="aGk=")
    words = Media(kind="file", text="words", name="a.txt")
    written = encode_messages(
        make_turn("assistant", make_use("call_1"), make_use("call_2")),
        make_turn(
            "user",
            make_result("call_1", image, name="look"),
            make_result("call_2", "r", words, image),
        ),
    )
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert [message["role"] for message in written] == ["assistant", "tool", "tool", "user"]
    assert written[1]["content"] == "It follows in the next message."
    assert written[2]["content"] == "r\n\na.txt:\n\nwords"
    assert written[3]["content"] == [
        {"type": "text", "text": "Of the result of look:"},
        shown,
        {"type": "text", "text": "Of the result of call_2:"},
        shown,
    ]


def test_an_error_result_becomes_text() -> None:
    """An empty result stays empty."""
    written = encode_messages(
        make_turn(
            "user",
            make_result("a", "gone", error=True),
            make_result("b", error=True),
            make_result("c"),
        )
    )
    assert [message["content"] for message in written] == ["Error: gone", "Error: ", ""]


def test_calls_keep_the_bytes_of_their_arguments() -> None:
    """Arguments keep their bytes, but missing ones become an empty object.

    Ids become acceptable to hosts.
    """
    message = encode_assistant(
        make_use("call_1", arguments=' {"a":1.50}'), make_use("a:b", arguments=" "), make_use("c", "sql", 'a "b"', custom=True)
    )  # fmt: skip
    assert message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": ' {"a":1.50}'}},
            {"id": tool_ids.make_plain_id("a:b"), "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c", "type": "function", "function": {"name": "sql", "arguments": '{"input":"a \\"b\\""}'}},
        ],
    }  # fmt: skip


def test_text_before_and_after_a_call_stays_separate() -> None:
    """Neighbouring texts are one, because citations cut a text in the middle of a sentence."""
    assert encode_assistant("a", "b", make_use(), "c")["content"] == "ab\n\nc"
    assert encode_assistant(make_use(), "c")["content"] == "c"
    assert encode_assistant("a", Media(kind="file", text="b"), "c")["content"] == "a\n\nb\n\nc"
    assert encode_assistant("a", "")["content"] == "a"


def test_a_refusal_goes_into_its_own_member() -> None:
    """The text goes into the dialect's own member `refusal`."""
    message = encode_assistant(Refused(text="I "), Refused(text="won't"))
    assert message == {"role": "assistant", "content": None, "refusal": "I won't"}


@pytest.mark.parametrize(
    ("state", "member"),
    [("reasoning_content", "hm"), ("reasoning", "hm"), ("reasoning_text", "hm")],
)
def test_a_host_gets_its_own_reasoning_in_the_member_it_used(state: str, member: str) -> None:
    """DeepSeek and Moonshot refuse a turn with calls but without it."""
    thoughts = [Thought(text=text, state=state, maker=MAKER) for text in ("h", "m")]
    assert encode_assistant(*thoughts, make_use())[state] == member


def test_mistral_gets_its_own_reasoning_in_the_content() -> None:
    """The reasoning becomes a part of type thinking before the text."""
    thought = Thought(text="hm", state="content", maker=MAKER)
    inner = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert encode_assistant(thought, "a")["content"] == [inner, {"type": "text", "text": "a"}]
    assert encode_assistant(thought, make_use())["content"] == [inner]


def test_openrouter_gets_its_own_reasoning_blocks_unchanged() -> None:
    """The message has all sealed blocks, in their order."""
    thoughts = [Thought(state=f'[{{"data":"{letter}"}}]', maker=MAKER) for letter in "ab"]
    assert encode_assistant(*thoughts, "x")["reasoning_details"] == [{"data": "a"}, {"data": "b"}]


def test_google_gets_its_own_signature_on_the_call() -> None:
    """The signature goes into extra_content.google.thought_signature."""
    [call] = encode_assistant(make_use(state="s", maker=MAKER))["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "s"}}


@pytest.mark.parametrize(
    "part",
    [
        Thought(text="secret"), Thought(text="secret", state="reasoning"), Thought(text="secret", state="reasoning", maker="other"),
        Thought(state="no json", maker=MAKER), Thought(state="{}", maker=MAKER), make_use("c", state="s"), make_use("c", state="s", maker="other"),
    ],
)  # fmt: skip
def test_foreign_reasoning_is_dropped_and_named(part: Part) -> None:
    """The loss appears once, under the client's own name for turns.

    The reasoning never becomes text.
    """
    encoded = encode(make_turn("assistant", part, part, "x"), names={"turns": "input"})
    assert encoded.losses == (Loss("input.reasoning", "dropped", FOREIGN_REASONING),)
    assert "secret" not in json.dumps(encoded.value)
    assert "extra_content" not in json.dumps(encoded.value)


def test_an_assistant_turn_without_content_is_left_out() -> None:
    """Hosts refuse an assistant's message without content."""
    assert encode_messages(make_turn("assistant", Thought(text="hm"))) == []
    assert encode_messages(make_turn("user")) == [{"role": "user", "content": ""}]


def test_a_picture_of_an_assistant_is_dropped_and_named() -> None:
    """The dialect has no place for such a picture."""
    encoded = encode(make_turn("assistant", "x", Media(kind="image", data="aGk=")))
    assert [(loss.field, loss.action) for loss in encoded.losses] == [("messages.image", "dropped")]


MEDIA: list[tuple[Media, Object]] = [
    (Media(kind="image", url="https://x.test/a"), {"type": "image_url", "image_url": {"url": "https://x.test/a"}}),
    (Media(kind="image", data="aGk=", detail="low"), {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}),
    (Media(kind="audio", type="audio/mpeg", data="aGk="), {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}}),
    (Media(kind="audio", type="audio/flac", url="https://x.test/a"), {"type": "input_audio", "input_audio": {"data": "https://x.test/a", "format": "flac"}}),
    (Media(kind="video", data="aGk="), {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,aGk="}}),
    (Media(kind="file", data="aGk="), {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="}}),
    (Media(kind="file", type="x/unheard-of", data="aGk=", name="a.x"), {"type": "file", "file": {"filename": "a.x", "file_data": "data:x/unheard-of;base64,aGk="}}),
    (Media(kind="file", type="x/unheard-of", data="aGk="), {"type": "file", "file": {"filename": "document", "file_data": "data:x/unheard-of;base64,aGk="}}),
]  # fmt: skip


@pytest.mark.parametrize(("part", "expected"), MEDIA)
def test_media_become_content_parts(part: Media, expected: Object) -> None:
    """Data goes into data URLs. A document gets a name, because hosts demand one."""
    assert encode_user("look", part) == [{"type": "text", "text": "look"}, expected]


def test_a_document_of_plain_text_becomes_text() -> None:
    """The text stands below the document's name."""
    assert encode_user("look", Media(kind="file", text="w", name="a.txt")) == "look\n\na.txt:\n\nw"
    assert encode_user(Media(kind="file", text="w"), Foreign(kind="x")) == "w"


def test_the_encoder_writes_only_turns_if_nothing_else_is_set() -> None:
    """The body has only turns if the client set nothing else."""
    assert encode(make_turn("user", "hi")).value == {
        "messages": [{"role": "user", "content": "hi"}]
    }


def test_the_encoder_writes_settings_and_keeps_the_clients_names() -> None:
    """Losses in the dialect's `write` then carry the client's names."""
    encoded = encode(
        make_turn("user", "hi"),
        max_output=5, temperature=0.5, top_p=0.1, presence_penalty=1, frequency_penalty=2, seed=3, logit_bias={"1": 1},
        top_logprobs=2, logprobs=True, verbosity="low", effort="high", service_tier="flex", user="u", metadata={"a": "b"},
        cache_key="k", parallel_tools=False, stop=("x",), choices=2, stream=True, budget=1, thoughts_shown=True, top_k=3,
        names={"max_output": "max_tokens", "stop": "stop_sequences", "effort": "output_config"},
    )  # fmt: skip
    value = dict(encoded.value)
    assert value.pop("messages")
    assert value == {
        "max_completion_tokens": 5, "temperature": 0.5, "top_p": 0.1, "presence_penalty": 1, "frequency_penalty": 2, "seed": 3,
        "logit_bias": {"1": 1}, "top_logprobs": 2, "logprobs": True, "verbosity": "low", "reasoning_effort": "high",
        "service_tier": "flex", "user": "u", "metadata": {"a": "b"}, "prompt_cache_key": "k", "parallel_tool_calls": False,
        "stop": ["x"], "n": 2, "stream": True,
    }  # fmt: skip
    assert set(encoded.client_names) == set(encoded.value)
    assert (encoded.client_names["max_completion_tokens"], encoded.client_names["stop"]) == (
        "max_tokens",
        "stop_sequences",
    )
    assert (encoded.client_names["reasoning_effort"], encoded.client_names["n"]) == (
        "output_config",
        "n",
    )
    assert encoded.client_names["messages"] == "messages"


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(0, "none"), (1024, "low"), (2048, "medium"), (8191, "medium"), (10000, "high"), (31999, "xhigh")],
)  # fmt: skip
def test_a_budget_becomes_an_effort(budget: int, effort: str) -> None:
    """The table of thinking budgets gives the effort."""
    encoded = encode(make_turn("user", "hi"), budget=budget, names={"budget": "thinking"})
    assert encoded.value["reasoning_effort"] == efforts.from_budget(budget) == effort
    assert encoded.client_names["reasoning_effort"] == "thinking"


def test_the_encoder_writes_functions_and_replaces_custom_tools() -> None:
    """Hosted tools never get here, because their target is skipped. Few hosts have custom tools."""
    schema = {"type": "object"}
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    encoded = encode(
        make_turn("user", "hi"),
        tools=(
            Tool(name="f", description="d", parameters=schema, strict=True),
            Tool(name="g"),
            Tool(name="c", kind="custom", grammar={"type": "grammar", "syntax": "lark"}),
            Tool(name="t", kind="custom", description="d"),
            Tool(name="w", kind="hosted"),
            Tool(name="files.read"),
        ),
    )
    assert encoded.value["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}},
        {"type": "function", "function": {"name": "g"}},
        {"type": "function", "function": {"name": "c", "parameters": text}},
        {"type": "function", "function": {"name": "t", "description": "d", "parameters": text}},
        {"type": "function", "function": {"name": tool_ids.make_plain_id("files.read", "tool_")}},
    ]  # fmt: skip


FUNCTION = {"type": "function", "function": {"name": "f"}}
CUSTOM = {"type": "function", "function": {"name": "c"}}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(mode="auto"), "auto"), (ToolChoice(mode="none", allowed=("f",)), "none"), (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="tool", name="f"), FUNCTION), (ToolChoice(mode="tool", name="c"), CUSTOM),
        (ToolChoice(mode="required", allowed=("f", "c")), {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FUNCTION, CUSTOM]}}),
    ],
)  # fmt: skip
def test_the_encoder_writes_the_tool_choice(choice: ToolChoice, expected: object) -> None:
    """A custom tool is named as the function that replaces it."""
    tools = (Tool(name="f"), Tool(name="c", kind="custom"))
    assert (
        encode(make_turn("user", "hi"), tools=tools, tool_choice=choice).value["tool_choice"]
        == expected
    )


def test_a_long_user_id_is_shortened() -> None:
    """OpenAI takes 64 characters and other hosts 128; Claude Code sends a longer JSON object."""
    user_id = '{"device_id":"' + "0" * 64 + '","account_uuid":"","session_id":"1"}'
    sent = encode(make_turn("user", "hi"), user=user_id).value["user"]
    assert (
        sent
        == encode(make_turn("user", "hi"), user=user_id).value["user"]
        == tool_ids.make_plain_id(user_id, "user_")
    )
    assert len(sent) <= 64
    assert encode(make_turn("user", "hi"), user="u-1").value["user"] == "u-1"


def test_an_output_format_becomes_a_response_format() -> None:
    """A schema must have a name."""
    schema = {"type": "object"}
    for form, expected in (
        (OutputFormat(), {"type": "json_object"}),
        (OutputFormat(schema=schema), {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
        (OutputFormat(schema=schema, name="n", description="d", strict=False), {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "description": "d", "strict": False}}),
    ):  # fmt: skip
        assert encode(make_turn("user", "hi"), form=form).value["response_format"] == expected
