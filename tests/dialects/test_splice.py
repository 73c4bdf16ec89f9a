"""One answer gone on with from another: all of it once, or nothing of the other at all."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core import sse as wire
from gateway.core.events import (
    End,
    Event,
    Finish,
    Start,
    Thinking,
    ThoughtEnd,
    Told,
    ToolEnd,
    ToolPiece,
    ToolStart,
    Words,
)
from gateway.core.usage import Usage
from gateway.dialects import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, splice
from gateway.dialects.base import Dialect
from gateway.dialects.speech import Telling
from tests.dialects.cases import Object, chunk, sse

FOUR = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI)
NAMES = frozenset({"id", "call_id", "item_id", "responseId"})
TEXT = st.text(min_size=1, max_size=12)
WORDS = st.tuples(st.just("words"), TEXT)
TOOL = st.tuples(st.just("tool"), TEXT.map(lambda text: jsonio.dumps({"x": text}).decode()))
THOUGHT = st.tuples(st.just("thought"), TEXT)

type Item = tuple[str, str]


@st.composite
def items(draw: st.DrawFn, *, thoughts: bool) -> list[Item]:
    """What an answer says: some reasoning first, then text and calls of tools."""
    first = draw(st.lists(THOUGHT, max_size=1)) if thoughts else []
    return [*first, *draw(st.lists(WORDS | TOOL, min_size=1, max_size=4))]


def pieces(text: str, sizes: list[int]) -> list[str]:
    """A text in pieces of these sizes; the last has the rest."""
    found = []
    for size in sizes:
        found.append(text[:size])
        text = text[size:]
    return [it for it in (*found, text) if it]


def stream(dialect: Dialect, said: list[Item], sizes: list[int], name: str) -> bytes:
    """An answer in frames, by a model of this name, whose ids have that name in them."""
    telling = Telling(id=f"tg-{name}", created=len(name), model=f"model-{name}")
    assert dialect.speech is not None
    encoder = dialect.speech.encoder(telling)
    events: list[Event] = [Start(model=telling.model)]
    tools = 0
    for kind, text in said:
        if kind == "words":
            events += map(Words, pieces(text, sizes))
        elif kind == "thought":
            events += [*map(Thinking, pieces(text, sizes)), ThoughtEnd()]
        else:
            events.append(ToolStart(tools, f"call_{name}_{tools}", f"f{tools}"))
            events += [ToolPiece(tools, piece) for piece in pieces(text, sizes)]
            events.append(ToolEnd(tools))
            tools += 1
    counts = Usage(input=3, output=len(name))
    events += [Told(counts), Finish("tools" if tools else "stop"), End()]
    return b"".join(map(encoder.write, events))


def plain(value: Any) -> Any:
    """A whole answer without its names and times, and without who made it and what it used."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    leave = {*NAMES, "created", "created_at", "completed_at", "model", "modelVersion"}
    return {name: plain(item) for name, item in value.items() if name not in leave}


def whole(dialect: Dialect, data: bytes) -> Any:
    return plain(jsonio.loads(dialect.fold(data)))


def names(frames: list[Object]) -> set[tuple[Any, str]]:
    """What each thing is called: the answer (None), and items of Responses by their place."""
    found = set()
    for value in frames:
        top = value.get("response", value)
        found |= {(None, top[name]) for name in ("id", "responseId") if name in top}
        place, item = value.get("output_index"), value.get("item", {})
        found |= {(place, id) for id in (item.get("id"), value.get("item_id")) if id is not None}
    return found


SIZES = st.lists(st.integers(1, 5), max_size=4)


@pytest.mark.parametrize("dialect", FOUR, ids=[it.name for it in FOUR])
@settings(max_examples=50)
@given(data=st.data())
def test_what_was_shown_and_the_rest_are_the_other_answer(
    dialect: Dialect, data: st.DataObject
) -> None:
    """Wherever it is cut and however the other is: each word once, by the names that were shown."""
    said = data.draw(items(thoughts=dialect is not OPENAI_RESPONSES))
    one = wire.frames(stream(dialect, said, data.draw(SIZES), "one"))
    other = stream(dialect, said, data.draw(SIZES), "other")
    at = data.draw(st.integers(1, len(one) - 1))
    shown = b"".join(one[:at])
    rest = splice.rest(dialect, shown, other)
    assert rest is not None
    assert whole(dialect, shown + rest) == whole(dialect, other)
    spliced = [
        jsonio.loads(it) for it in map(wire.data, wire.frames(shown + rest)) if it[:1] == b"{"
    ]
    assert len(list(names(spliced))) == len(dict(names(spliced)))
    if dialect is OPENAI_RESPONSES:
        assert [value["sequence_number"] for value in spliced] == list(range(len(spliced)))
    if dialect is ANTHROPIC_MESSAGES:
        assert rest.count(b"message_start") == 0


@pytest.mark.parametrize("dialect", FOUR, ids=[it.name for it in FOUR])
@settings(max_examples=50)
@given(data=st.data())
def test_another_answer_is_not_gone_on_with(dialect: Dialect, data: st.DataObject) -> None:
    """One letter that differs in what was shown, or less than was shown: nothing of it follows."""
    said = data.draw(items(thoughts=True))
    sizes = data.draw(SIZES)
    one = stream(dialect, said, sizes, "one")
    shown = b"".join(wire.frames(one)[:-1])
    at = data.draw(st.integers(0, len(said) - 1))
    kind, text = said[at]
    letter = data.draw(st.integers(0, len(text) - 1))
    wrong = text[:letter] + ("y" if text[letter] != "y" else "z") + text[letter + 1 :]
    if kind == "tool" and dialect is GEMINI:
        wrong = jsonio.dumps({"x": f"{text} "}).decode()  # its arguments are no text
    different = [*said[:at], (kind, wrong), *said[at + 1 :]]
    assert splice.rest(dialect, shown, stream(dialect, different, sizes, "other")) is None
    shorter = said[:-1] or [("words", "")]
    assert splice.rest(dialect, shown, stream(dialect, shorter, sizes, "other")) is None


def events(*values: Object) -> bytes:
    """Events as Messages and Responses have them: each with its type as its name."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (it["type"].encode(), jsonio.dumps(it)) for it in values
    )


def gemini(*parts: Object, finish: str | None = None, **more: Any) -> Object:
    candidate: Object = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "g", "responseId": "r-1", **more}


def chat(*chunks: Object | bytes, done: bool = True) -> bytes:
    return sse(*chunks, done=done)


def tool(index: int, id: str | None = None, name: str = "", **inside: Any) -> Object:
    """A piece of a call; with an id, the first."""
    said: Object = {"index": index, "function": {**({"name": name} if name else {}), **inside}}
    if id is not None:
        said |= {"id": id, "type": "function"}
    return {"tool_calls": [said]}


def said(dialect: Dialect, shown: bytes, other: bytes) -> list[Any] | None:
    """The frames that follow, as values; what is no JSON as its bytes."""
    rest = splice.rest(dialect, shown, other)
    if rest is None:
        return None
    return [
        jsonio.loads(it) if it.startswith(b"{") else it for it in map(wire.data, wire.frames(rest))
    ]


def test_a_call_is_gone_on_with_in_the_middle_of_its_arguments() -> None:
    """Of the frame in which what was shown ends, the rest; its name, id and type are not said again."""
    shown = chat(
        chunk({"role": "assistant"}), chunk(tool(0, "call_a", "f", arguments='{"x"')), done=False
    )
    first = {"role": "assistant", **tool(0, "call_b", "f", arguments='{"x":1')}
    other = chat(
        {**chunk(first), "id": "c2", "created": 2, "model": "m-2"},
        {**chunk(tool(0, arguments="}")), "id": "c2", "created": 2, "model": "m-2"},
        {**chunk({}, finish="tool_calls"), "id": "c2", "created": 2, "model": "m-2"},
    )
    found = said(OPENAI_CHAT, shown, other)
    assert found is not None
    assert [it["choices"][0]["delta"] for it in found[:-1]] == [
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1"}}]},
        tool(0, arguments="}"),
        {},
    ]
    assert {(it["id"], it["created"], it["model"]) for it in found[:-1]} == {("c1", 1, "m-2")}
    assert found[-1] == b"[DONE]"


def test_frames_of_the_other_are_its_own_bytes_but_for_names() -> None:
    """Numbers, spaces and unknown members stay as they were written."""
    head = b'{"id": "%b", "x": 1.50, "choices": [{"index": 0, "delta": {"content": "%b"}}]}'
    frame = b"data: " + head + b"\n\n"
    end = chat(chunk({}, finish="stop"))
    shown, more = frame % (b"a", b"Hel"), frame % (b"b", b"lo")
    rest = splice.rest(OPENAI_CHAT, shown, frame % (b"b", b"Hel") + b": a comment\n\n" + more + end)
    assert rest == frame % (b"a", b"lo") + end


CHAT_OTHERS: list[tuple[str, list[Object], list[Object], bool]] = [
    # what it is of, what was shown, what the other says, whether that goes on
    ("two choices", [chunk({"content": "a"}), chunk({"content": "x"}, index=1)],
     [chunk({"content": "a"}), chunk({"content": "xy"}, index=1)], True),
    ("two choices the other way round", [chunk({"content": "a"}), chunk({"content": "x"}, index=1)],
     [chunk({"content": "x"}, index=1), chunk({"content": "a"})], False),
    ("a function_call", [chunk({"function_call": {"name": "f", "arguments": "{"}})],
     [chunk({"function_call": {"name": "f", "arguments": "{}"}})], True),
    ("another function", [chunk({"function_call": {"name": "f", "arguments": "{"}})],
     [chunk({"function_call": {"name": "g", "arguments": "{}"}})], False),
    ("no function_call", [chunk({"content": "a", "function_call": None})], [chunk({"content": "ab"})], True),
    ("a custom tool", [chunk({"tool_calls": [{"index": 0, "id": "1", "type": "custom", "custom": {"name": "f", "input": "a"}}]})],
     [chunk({"tool_calls": [{"index": 0, "id": "2", "type": "custom", "custom": {"name": "f", "input": "ab"}}]})], True),
    ("log probabilities", [{**chunk(), "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [1]}}]}],
     [{**chunk(), "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [2]}}]}], False),
    ("sealed reasoning", [chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "a"}]})],
     [chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "b"}]})], False),
    ("reasoning in another member", [chunk({"reasoning": "a"})], [chunk({"reasoning_content": "ab"})], False),
    ("text where reasoning was", [chunk({"reasoning": "a"})], [chunk({"content": "ab"})], False),
    ("empty pieces", [chunk({"content": "a", "refusal": ""})], [chunk({"content": "", "refusal": ""}), chunk({"content": "a", "refusal": ""}), chunk({"content": "b"})], True),
    ("an end, after which there is more", [chunk({"content": "a"}, finish="stop")], [chunk({"content": "ab"})], False),
]  # fmt: skip


@pytest.mark.parametrize("row", CHAT_OTHERS, ids=[row[0] for row in CHAT_OTHERS])
def test_what_goes_on_in_chat(row: tuple[str, list[Object], list[Object], bool]) -> None:
    _, shown, other, goes_on = row
    ends = [
        chunk({}, index=at, finish="stop") for at in {it["choices"][0]["index"] for it in other}
    ]
    rest = splice.rest(OPENAI_CHAT, chat(*shown, done=False), chat(*other, *ends))
    assert (rest is not None) is goes_on


def test_usage_is_told_again_where_it_was_shown() -> None:
    """With the finish in one chunk, or in one of its own; the content is not."""
    ends = {**chunk({"content": "b"}, finish="stop"), "usage": {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10}}  # fmt: skip
    shown = chat(chunk({"content": "a"}), chunk({"content": "b"}, finish="stop"), done=False)
    found = said(OPENAI_CHAT, shown, chat(chunk({"content": "a"}), ends))
    assert found is not None
    assert [it["usage"]["completion_tokens"] for it in found[:-1]] == [9]
    assert found[0]["choices"] == [{"index": 0, "delta": {}}]


def test_what_is_not_whole_or_failed_is_gone_on_with_by_nobody() -> None:
    shown = chat(chunk({"content": "a"}), done=False)
    error = b'data: {"error":{"message":"no"}}\n\n'
    assert splice.rest(OPENAI_CHAT, shown, chat(chunk({"content": "ab"}), done=False)) is None
    assert (
        splice.rest(OPENAI_CHAT, shown, chat(chunk({"content": "ab"}), error, done=False)) is None
    )
    assert splice.rest(OPENAI_CHAT, shown, b"") is None
    assert splice.rest(OPENAI_CHAT, shown, b"data: {half\n\n") is None


def test_where_nothing_was_shown_all_of_the_other_follows() -> None:
    other = chat(chunk({"content": "ab"}), chunk({}, finish="stop"))
    assert splice.rest(OPENAI_CHAT, b"", other) == other


START = {"type": "message_start", "message": {"id": "msg_a", "usage": {"input_tokens": 1}}}
STOP: list[Object] = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]


def block(at: int, begin: Object, *deltas: Object, stop: bool = True) -> list[Object]:
    found: list[Object] = [{"type": "content_block_start", "index": at, "content_block": begin}]
    found += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
    return [*found, {"type": "content_block_stop", "index": at}] if stop else found


WORD: Object = {"type": "text", "text": ""}
THINK: Object = {"type": "thinking", "thinking": "", "signature": ""}


def words(text: str) -> Object:
    return {"type": "text_delta", "text": text}


MESSAGES_OTHERS: list[tuple[str, list[Object], list[Object], bool]] = [
    ("a block that ends", block(0, WORD, words("a")), block(0, WORD, words("a")), True),
    ("a block that goes on", block(0, WORD, words("a")), block(0, WORD, words("ab")), False),
    ("citations as empty as none", block(0, WORD, words("a"), stop=False), block(0, {**WORD, "citations": []}, words("ab")), True),
    ("a signature", block(0, THINK, {"type": "thinking_delta", "thinking": "a"}, {"type": "signature_delta", "signature": "s"}),
     block(0, THINK, {"type": "thinking_delta", "thinking": "a"}, {"type": "signature_delta", "signature": "t"}), False),
    ("thinking without one yet", block(0, THINK, {"type": "thinking_delta", "thinking": "a"}, stop=False),
     block(0, THINK, {"type": "thinking_delta", "thinking": "ab"}, {"type": "signature_delta", "signature": "t"}), True),
    ("redacted thinking", block(0, {"type": "redacted_thinking", "data": "a"}), block(0, {"type": "redacted_thinking", "data": "b"}), False),
    ("a hosted tool", block(0, {"type": "server_tool_use", "id": "a", "name": "web_search", "input": {}}),
     block(0, {"type": "server_tool_use", "id": "b", "name": "web_search", "input": {}}), True),
    ("another hosted tool", block(0, {"type": "server_tool_use", "id": "a", "name": "web_search", "input": {}}),
     block(0, {"type": "server_tool_use", "id": "b", "name": "web_fetch", "input": {}}), False),
    ("a source", block(0, WORD, words("a"), {"type": "citations_delta", "citation": {"type": "char_location", "n": 1}}),
     block(0, WORD, words("a"), {"type": "citations_delta", "citation": {"type": "char_location", "n": 2}}), False),
]  # fmt: skip


@pytest.mark.parametrize("row", MESSAGES_OTHERS, ids=[row[0] for row in MESSAGES_OTHERS])
def test_what_goes_on_in_messages(row: tuple[str, list[Object], list[Object], bool]) -> None:
    """The head is never told again, nor are signs of life between."""
    _, shown, other, goes_on = row
    rest = splice.rest(
        ANTHROPIC_MESSAGES,
        events(START, *shown, {"type": "ping"}),
        events(START, *other, {"type": "ping"}, *STOP),
    )
    assert (rest is not None) is goes_on
    assert rest is None or (b"message_start" not in rest and b"ping" not in rest)


def test_the_end_of_a_message_is_told_again_with_the_others_usage() -> None:
    told = [STOP[0] | {"usage": {"output_tokens": 9}}, STOP[1]]
    body = block(0, WORD, words("a"))
    found = said(ANTHROPIC_MESSAGES, events(START, *body, STOP[0]), events(START, *body, *told))
    assert found == told


GEMINI_OTHERS: list[tuple[str, list[Object], list[Object], bool]] = [
    ("a text that goes on", [gemini({"text": "a"})], [gemini({"text": "ab"})], True),
    ("a thought for a text", [gemini({"text": "a", "thought": True})], [gemini({"text": "ab"})], False),
    ("a signature", [gemini({"text": "a", "thoughtSignature": "s"})], [gemini({"text": "a", "thoughtSignature": "t"}, {"text": "b"})], False),
    ("a call with other arguments", [gemini({"functionCall": {"name": "f", "args": {"x": 1}}})], [gemini({"functionCall": {"name": "f", "args": {"x": 2}}})], False),
    ("a call and more", [gemini({"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}})],
     [gemini({"functionCall": {"id": "b", "name": "f", "args": {"x": 1}}}, {"text": "b"})], True),
    ("a picture", [gemini({"inlineData": {"data": "a"}})], [gemini({"inlineData": {"data": "b"}})], False),
]  # fmt: skip


@pytest.mark.parametrize("row", GEMINI_OTHERS, ids=[row[0] for row in GEMINI_OTHERS])
def test_what_goes_on_in_gemini(row: tuple[str, list[Object], list[Object], bool]) -> None:
    _, shown, other, goes_on = row
    ends = {"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": {}}
    rest = splice.rest(GEMINI, sse(*shown, done=False), sse(*other, ends, done=False))
    assert (rest is not None) is goes_on


def test_usage_of_gemini_is_told_again_with_the_end() -> None:
    ends = gemini({"text": "a"}, finish="STOP", usageMetadata={"promptTokenCount": 9})
    found = said(GEMINI, sse(gemini({"text": "a"}, finish="STOP"), done=False), sse(ends, done=False))  # fmt: skip
    assert found is not None
    assert [it["usageMetadata"] for it in found] == [{"promptTokenCount": 9}]
    assert found[0]["candidates"][0]["content"]["parts"] == [{"text": ""}]


def test_a_refused_prompt_is_compared_by_its_reason() -> None:
    def refused(reason: str) -> bytes:
        return sse({"promptFeedback": {"blockReason": reason}, "responseId": "r"}, done=False)

    assert splice.rest(GEMINI, refused("SAFETY"), refused("SAFETY")) == b""
    assert splice.rest(GEMINI, refused("SAFETY"), refused("OTHER")) is None


def response(id: str, *output: Object, status: str = "completed") -> Object:
    return {"id": id, "created_at": len(id), "status": status, "model": f"m-{id}", "output": list(output)}  # fmt: skip


def item(kind: str, id: str, at: int, **more: Any) -> list[Object]:
    value = {"type": kind, "id": id, **more}
    return [
        {"type": "response.output_item.added", "output_index": at, "item": value},
        {"type": "response.output_item.done", "output_index": at, "item": value},
    ]


def responses(id: str, *said: Object, whole: bool = True) -> bytes:
    """A stream of Responses; its items are those that are done in it."""
    output = [it["item"] for it in said if it["type"].endswith("item.done")]
    begun = {"type": "response.created", "response": response(id, status="in_progress")}
    ends = {"type": "response.completed", "response": response(id, *output)}
    every = [begun, *said, *([ends] if whole else [])]
    return events(*({**it, "sequence_number": at} for at, it in enumerate(every)))


NOTE = {"type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0, "annotation_index": 0}  # fmt: skip
RESPONSES_OTHERS: list[tuple[str, list[Object], list[Object], bool]] = [
    ("reasoning, which is its maker's", item("reasoning", "rs_a", 0, summary=[]), item("reasoning", "rs_b", 0, summary=[]), False),
    ("a hosted tool", item("web_search_call", "ws_a", 0, action={"query": "a"}), item("web_search_call", "ws_b", 0, action={"query": "a"}), True),
    ("a hosted tool asked otherwise", item("web_search_call", "ws_a", 0, action={"query": "a"}), item("web_search_call", "ws_b", 0, action={"query": "b"}), False),
    ("a call that comes whole", item("function_call", "fc_a", 0, call_id="a", name="f", arguments="{}"), item("function_call", "fc_b", 0, call_id="b", name="f", arguments="{}"), True),
    ("a call with other arguments", item("function_call", "fc_a", 0, call_id="a", name="f", arguments="{}"), item("function_call", "fc_b", 0, call_id="b", name="f", arguments="[]"), False),
    ("a source", [NOTE | {"annotation": {"url": "a"}}], [NOTE | {"annotation": {"url": "b"}}], False),
    ("the same source", [NOTE | {"annotation": {"url": "a"}}], [NOTE | {"annotation": {"url": "a"}}], True),
    ("an event that nobody knows", [{"type": "response.new", "x": 1}], [{"type": "response.new", "x": 1, "item_id": "b"}], True),
    ("another that nobody knows", [{"type": "response.new", "x": 1}], [{"type": "response.new", "x": 2}], False),
    ("likely words", [{"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "a", "logprobs": [{"token": "a", "logprob": -1}]}],
     [{"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "a", "logprobs": [{"token": "a", "logprob": -2}]}], False),
]  # fmt: skip


@pytest.mark.parametrize("row", RESPONSES_OTHERS, ids=[row[0] for row in RESPONSES_OTHERS])
def test_what_goes_on_in_responses(row: tuple[str, list[Object], list[Object], bool]) -> None:
    _, shown, other, goes_on = row
    found = said(OPENAI_RESPONSES, responses("a", *shown, whole=False), responses("bb", *other))
    assert (found is not None) is goes_on
    if found is not None:
        assert found[-1]["sequence_number"] == len(shown) + 1
        last = found[-1]["response"]
        assert (last["id"], last["created_at"], last["model"]) == ("a", 1, "m-bb")
        assert [it["id"] for it in last["output"]] == [it["item"]["id"] for it in shown[1:] if "item" in it]  # fmt: skip
