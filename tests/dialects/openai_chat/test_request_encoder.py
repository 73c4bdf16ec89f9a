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

HERE = target()
ME = reasoning_state.hash_maker(HERE, "openai-chat")
LOST = "openai-chat reasoning of another model is for that model alone"


def turn(role: Role, *parts: Part | str, name: str | None = None) -> CanonicalTurn:
    said = [Text(text=part) if isinstance(part, str) else part for part in parts]
    return CanonicalTurn(role=role, parts=tuple(said), name=name)


def encode(*turns: CanonicalTurn, **more: Any) -> EncodedRequest:
    said = TRANSLATION.encode_request(CanonicalRequest(turns=turns, **more), HERE)
    OPENAI_CHAT.read(json.dumps({"model": "m", **said.value}).encode())
    return said


def messages(*turns: CanonicalTurn) -> list[Object]:
    found: list[Object] = encode(*turns).value["messages"]
    return found


def user(*parts: Part | str) -> Any:
    [message] = messages(turn("user", *parts))
    return message["content"]


def assistant(*parts: Part | str) -> Object:
    [message] = messages(turn("assistant", *parts))
    return message


def use(id: str = "call_1", name: str = "f", arguments: str = "{}", **more: Any) -> ToolUse:
    return ToolUse(id=id, name=name, arguments=arguments, **more)


def result(id: str = "call_1", *parts: Text | Media | str, **more: Any) -> ToolResult:
    said = [Text(text=part) if isinstance(part, str) else part for part in parts]
    return ToolResult(id=id, parts=tuple(said), **more)


def test_turns_stay_where_they_stood() -> None:
    """System turns stay in the middle, and neighbours of one role stay apart.

    Texts alone are one string.
    """
    found = messages(
        turn("developer", "a", "b"),
        turn("user", "c", name="Ann"),
        turn("user", "d"),
        turn("system", "e"),
        turn("assistant", "f", "g", name="Bot"),
    )
    assert found == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "c", "name": "Ann"},
        {"role": "user", "content": "d"},
        {"role": "system", "content": "e"},
        {"role": "assistant", "content": "fg", "name": "Bot"},
    ]


def test_results_stand_right_behind_their_calls() -> None:
    """The order of turns does not matter, and the user's other words follow the results."""
    found = messages(
        turn("assistant", use("call_1")),
        turn("assistant", "and", use("call_2"), use("call_3")),
        turn("user", "now", result("call_2", "two")),
        turn("user", result("call_1", "one")),
    )
    assert [(it["role"], it["content"]) for it in found] == [
        ("assistant", None), ("tool", "one"), ("assistant", "and"), ("tool", "two"), ("user", "now"),
    ]  # fmt: skip
    assert [it.get("tool_call_id") for it in found] == [None, "call_1", None, "call_2", None]


def test_the_same_id_twice_has_each_its_own_result() -> None:
    """Clients may number their calls anew in every turn."""
    found = messages(
        turn("assistant", use("0")),
        turn("user", result("0", "one")),
        turn("assistant", use("0")),
        turn("user", result("0", "two")),
    )
    assert [it["content"] for it in found] == [None, "one", None, "two"]


def test_a_result_without_its_call_stays_where_it_stood() -> None:
    """The provider reports the mistake; the gateway makes up nothing."""
    found = messages(turn("user", result("x", "r"), result("x", "s")))
    assert [(it["role"], it["content"]) for it in found] == [("tool", "r"), ("tool", "s")]


def test_media_of_results_follow_behind_all_of_them() -> None:
    """Results are text; a text document stays in its result."""
    image = Media(kind="image", type="image/png", data="aGk=")
    words = Media(kind="file", text="words", name="a.txt")
    found = messages(
        turn("assistant", use("call_1"), use("call_2")),
        turn("user", result("call_1", image, name="look"), result("call_2", "r", words, image)),
    )
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert [it["role"] for it in found] == ["assistant", "tool", "tool", "user"]
    assert found[1]["content"] == "It follows in the next message."
    assert found[2]["content"] == "r\n\na.txt:\n\nwords"
    assert found[3]["content"] == [
        {"type": "text", "text": "Of the result of look:"},
        shown,
        {"type": "text", "text": "Of the result of call_2:"},
        shown,
    ]


def test_an_error_is_told_in_its_text() -> None:
    """An empty result stays empty."""
    found = messages(
        turn("user", result("a", "gone", error=True), result("b", error=True), result("c"))
    )
    assert [it["content"] for it in found] == ["Error: gone", "Error: ", ""]


def test_calls_are_told_as_they_were() -> None:
    """Arguments keep their bytes, but missing ones become an empty object.

    Ids become acceptable to hosts.
    """
    message = assistant(
        use("call_1", arguments=' {"a":1.50}'), use("a:b", arguments=" "), use("c", "sql", 'a "b"', custom=True)
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


def test_text_around_a_call_stays_apart() -> None:
    """Neighbouring texts are one, because citations cut a text in the middle of a sentence."""
    assert assistant("a", "b", use(), "c")["content"] == "ab\n\nc"
    assert assistant(use(), "c")["content"] == "c"
    assert assistant("a", Media(kind="file", text="b"), "c")["content"] == "a\n\nb\n\nc"
    assert assistant("a", "")["content"] == "a"


def test_a_refusal_is_told_as_one() -> None:
    """The text goes into the dialect's own member `refusal`."""
    message = assistant(Refused(text="I "), Refused(text="won't"))
    assert message == {"role": "assistant", "content": None, "refusal": "I won't"}


@pytest.mark.parametrize(
    ("state", "member"),
    [("reasoning_content", "hm"), ("reasoning", "hm"), ("reasoning_text", "hm")],
)
def test_a_host_gets_its_own_reasoning_where_it_gave_it(state: str, member: str) -> None:
    """DeepSeek and Moonshot refuse a turn with calls but without it."""
    thoughts = [Thought(text=text, state=state, maker=ME) for text in ("h", "m")]
    assert assistant(*thoughts, use())[state] == member


def test_mistral_gets_its_own_reasoning_in_content() -> None:
    """The reasoning becomes a part of type thinking before the text."""
    thought = Thought(text="hm", state="content", maker=ME)
    inner = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert assistant(thought, "a")["content"] == [inner, {"type": "text", "text": "a"}]
    assert assistant(thought, use())["content"] == [inner]


def test_openrouter_gets_its_own_blocks_verbatim() -> None:
    """The message has all sealed blocks, in their order."""
    thoughts = [Thought(state=f'[{{"data":"{it}"}}]', maker=ME) for it in "ab"]
    assert assistant(*thoughts, "x")["reasoning_details"] == [{"data": "a"}, {"data": "b"}]


def test_google_gets_its_own_signature_on_the_call() -> None:
    """The signature goes into extra_content.google.thought_signature."""
    [call] = assistant(use(state="s", maker=ME))["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "s"}}


@pytest.mark.parametrize(
    "part",
    [
        Thought(text="secret"), Thought(text="secret", state="reasoning"), Thought(text="secret", state="reasoning", maker="other"),
        Thought(state="no json", maker=ME), Thought(state="{}", maker=ME), use("c", state="s"), use("c", state="s", maker="other"),
    ],
)  # fmt: skip
def test_reasoning_of_another_model_is_left_out_and_named(part: Part) -> None:
    """The loss appears once, under the client's own name for turns.

    The reasoning never becomes text.
    """
    said = encode(turn("assistant", part, part, "x"), names={"turns": "input"})
    assert said.losses == (Loss("input.reasoning", "dropped", LOST),)
    assert "secret" not in json.dumps(said.value)
    assert "extra_content" not in json.dumps(said.value)


def test_a_turn_of_which_nothing_is_left_is_left_out() -> None:
    """Hosts refuse an assistant's message without content."""
    assert messages(turn("assistant", Thought(text="hm"))) == []
    assert messages(turn("user")) == [{"role": "user", "content": ""}]


def test_a_picture_of_an_assistant_is_left_out_and_named() -> None:
    """The dialect has no place for such a picture."""
    said = encode(turn("assistant", "x", Media(kind="image", data="aGk=")))
    assert [(loss.field, loss.action) for loss in said.losses] == [("messages.image", "dropped")]


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


@pytest.mark.parametrize(("part", "said"), MEDIA)
def test_media_are_parts(part: Media, said: Object) -> None:
    """Data goes into data URLs. A document gets a name, because hosts demand one."""
    assert user("look", part) == [{"type": "text", "text": "look"}, said]


def test_a_document_of_plain_text_is_text() -> None:
    """The text stands below the document's name."""
    assert user("look", Media(kind="file", text="w", name="a.txt")) == "look\n\na.txt:\n\nw"
    assert user(Media(kind="file", text="w"), Foreign(kind="x")) == "w"


def test_only_what_was_asked_is_said() -> None:
    """The body has only turns if the client set nothing else."""
    assert encode(turn("user", "hi")).value == {"messages": [{"role": "user", "content": "hi"}]}


def test_settings_are_said_by_the_dialect_s_names_and_known_by_the_client_s() -> None:
    """Losses in the dialect's `write` then carry the client's names."""
    said = encode(
        turn("user", "hi"),
        max_output=5, temperature=0.5, top_p=0.1, presence_penalty=1, frequency_penalty=2, seed=3, logit_bias={"1": 1},
        top_logprobs=2, logprobs=True, verbosity="low", effort="high", service_tier="flex", user="u", metadata={"a": "b"},
        cache_key="k", parallel_tools=False, stop=("x",), choices=2, stream=True, budget=1, thoughts_shown=True, top_k=3,
        names={"max_output": "max_tokens", "stop": "stop_sequences", "effort": "output_config"},
    )  # fmt: skip
    value = dict(said.value)
    assert value.pop("messages")
    assert value == {
        "max_completion_tokens": 5, "temperature": 0.5, "top_p": 0.1, "presence_penalty": 1, "frequency_penalty": 2, "seed": 3,
        "logit_bias": {"1": 1}, "top_logprobs": 2, "logprobs": True, "verbosity": "low", "reasoning_effort": "high",
        "service_tier": "flex", "user": "u", "metadata": {"a": "b"}, "prompt_cache_key": "k", "parallel_tool_calls": False,
        "stop": ["x"], "n": 2, "stream": True,
    }  # fmt: skip
    assert set(said.client_names) == set(said.value)
    assert (said.client_names["max_completion_tokens"], said.client_names["stop"]) == (
        "max_tokens",
        "stop_sequences",
    )
    assert (said.client_names["reasoning_effort"], said.client_names["n"]) == ("output_config", "n")
    assert said.client_names["messages"] == "messages"


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(0, "none"), (1024, "low"), (2048, "medium"), (8191, "medium"), (10000, "high"), (31999, "xhigh")],
)  # fmt: skip
def test_a_budget_is_an_effort(budget: int, effort: str) -> None:
    """The table of thinking budgets gives the effort."""
    said = encode(turn("user", "hi"), budget=budget, names={"budget": "thinking"})
    assert said.value["reasoning_effort"] == efforts.from_budget(budget) == effort
    assert said.client_names["reasoning_effort"] == "thinking"


def test_tools_are_said_in_full() -> None:
    """Hosted tools never get here, because their target is skipped. Few hosts have custom tools."""
    schema = {"type": "object"}
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    said = encode(
        turn("user", "hi"),
        tools=(
            Tool(name="f", description="d", parameters=schema, strict=True),
            Tool(name="g"),
            Tool(name="c", kind="custom", grammar={"type": "grammar", "syntax": "lark"}),
            Tool(name="t", kind="custom", description="d"),
            Tool(name="w", kind="hosted"),
            Tool(name="files.read"),
        ),
    )
    assert said.value["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}},
        {"type": "function", "function": {"name": "g"}},
        {"type": "function", "function": {"name": "c", "parameters": text}},
        {"type": "function", "function": {"name": "t", "description": "d", "parameters": text}},
        {"type": "function", "function": {"name": tool_ids.make_plain_id("files.read", "tool_")}},
    ]  # fmt: skip


FUNCTION = {"type": "function", "function": {"name": "f"}}
CUSTOM = {"type": "function", "function": {"name": "c"}}


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ToolChoice(mode="auto"), "auto"), (ToolChoice(mode="none", allowed=("f",)), "none"), (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="tool", name="f"), FUNCTION), (ToolChoice(mode="tool", name="c"), CUSTOM),
        (ToolChoice(mode="required", allowed=("f", "c")), {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FUNCTION, CUSTOM]}}),
    ],
)  # fmt: skip
def test_a_choice_of_tools_is_said(choice: ToolChoice, said: object) -> None:
    """A custom tool is named as the function that replaces it."""
    tools = (Tool(name="f"), Tool(name="c", kind="custom"))
    assert encode(turn("user", "hi"), tools=tools, tool_choice=choice).value["tool_choice"] == said


def test_who_the_user_is_fits_its_member() -> None:
    """OpenAI takes 64 characters and other hosts 128; Claude Code sends a longer JSON object."""
    user = '{"device_id":"' + "0" * 64 + '","account_uuid":"","session_id":"1"}'
    sent = encode(turn("user", "hi"), user=user).value["user"]
    assert (
        sent
        == encode(turn("user", "hi"), user=user).value["user"]
        == tool_ids.make_plain_id(user, "user_")
    )
    assert len(sent) <= 64
    assert encode(turn("user", "hi"), user="u-1").value["user"] == "u-1"


def test_a_form_is_a_response_format() -> None:
    """A schema must have a name."""
    schema = {"type": "object"}
    for form, said in (
        (OutputFormat(), {"type": "json_object"}),
        (OutputFormat(schema=schema), {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
        (OutputFormat(schema=schema, name="n", description="d", strict=False), {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "description": "d", "strict": False}}),
    ):  # fmt: skip
        assert encode(turn("user", "hi"), form=form).value["response_format"] == said
