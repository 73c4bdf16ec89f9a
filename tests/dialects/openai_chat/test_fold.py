"""Folding a stream into a whole answer, and unfolding it: the same words, calls and usage."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.core import sse as wire
from gateway.dialects import OPENAI_CHAT
from tests.dialects.cases import TEXT, Object, ask, chunk, make_usage_chunk, sse

HEAD = {"id": "c1", "created": 1, "model": "m-1"}


def fold_chunks(*chunks: Object | bytes) -> Object:
    value: Object = json.loads(OPENAI_CHAT.fold(sse(*chunks)))
    return value


def unfold_answer(whole: Object, *, usage: bool = True) -> bytes:
    return OPENAI_CHAT.unfold(json.dumps(whole).encode(), usage)


def fold_message(*deltas: Object) -> Object:
    """Return the message that deltas add up to, without the role and content that all have."""
    folded: Object = fold_chunks(*[chunk(delta) for delta in deltas])["choices"][0]["message"]
    return folded


CALL = st.fixed_dictionaries(
    {"id": st.sampled_from(["call_1", "x"]), "name": st.just("f"), "arguments": TEXT}
)
CHOICE = st.fixed_dictionaries(
    {
        "content": st.none() | TEXT,
        "reasoning_content": st.none() | TEXT,
        "refusal": st.none() | TEXT,
        "calls": st.lists(CALL, max_size=3),
        "finish": st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    }
)
ANSWER = st.fixed_dictionaries(
    {
        "choices": st.lists(CHOICE, min_size=1, max_size=3),
        "usage": st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99)),
    }
)


def usage(answer: Object) -> Object | None:
    if answer["usage"] is None:
        return None
    prompt, completion = answer["usage"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def make_whole(answer: Object) -> Object:
    """Make the whole answer that a provider would send."""
    choices = []
    for index, choice in enumerate(answer["choices"]):
        text = {name: choice[name] for name in ("reasoning_content", "refusal") if choice[name]}
        calls = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in choice["calls"]
        ]
        content = choice["content"] or None
        whole = {
            "role": "assistant",
            "content": content,
            **text,
            **({"tool_calls": calls} if calls else {}),
        }
        choices.append({"index": index, "message": whole, "finish_reason": choice["finish"]})
    end = usage(answer)
    return {
        **HEAD,
        "object": "chat.completion",
        "choices": choices,
        **({"usage": end} if end else {}),
    }


@st.composite
def draw_stream(draw: st.DrawFn, answer: Object) -> bytes:
    """Draw the stream that the same provider would send: strings in pieces, choices interleaved."""

    def split(text: str) -> list[str]:
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
        return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    rows: list[list[Object]] = []
    for index, choice in enumerate(answer["choices"]):
        row = [chunk({"role": "assistant"}, index=index)]
        for name in ("reasoning_content", "refusal", "content"):
            row += [
                chunk({name: piece}, index=index) for piece in split(choice[name] or "") if piece
            ]
        for at, call in enumerate(choice["calls"]):
            first, *more = split(call["arguments"])
            begin = {
                "index": at,
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": first},
            }
            row.append(chunk({"tool_calls": [begin]}, index=index))
            row += [
                chunk(
                    {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}, index=index
                )
                for piece in more
            ]
        rows.append([*row, chunk(index=index, finish=choice["finish"])])
    chunks = []
    while any(rows):
        row = draw(st.sampled_from([row for row in rows if row]))
        chunks.append(row.pop(0))
    end = usage(answer)
    return sse(*chunks, *([make_usage_chunk(end)] if end else []))


@given(ANSWER, st.data())
def test_a_stream_folds_to_the_same_whole_answer(answer: Object, data: st.DataObject) -> None:
    """Law 2, within one dialect: text, reasoning, calls, finishes and usage stay the same."""
    stream, whole = data.draw(draw_stream(answer)), make_whole(answer)
    folded = OPENAI_CHAT.fold(stream)
    assert json.loads(folded) == whole
    ChatCompletion.model_validate_json(folded)
    summary, inspector = (
        OPENAI_CHAT.summarize(folded),
        OPENAI_CHAT.inspect_stream(ask(stream=True, n=len(answer["choices"]))),
    )
    inspector.feed(stream)
    assert inspector.complete
    assert inspector.usage == summary.usage
    assert inspector.served_model == summary.served_model == "m-1"


@given(ANSWER, st.booleans())
def test_a_whole_answer_unfolds_to_a_stream_that_folds_back(
    answer: Object, has_usage: bool
) -> None:
    whole = make_whole(answer)
    stream = unfold_answer(whole, usage=has_usage)
    for frame in wire.split_frames(stream)[:-1]:
        ChatCompletionChunk.model_validate_json(wire.read_data(frame))
    expected = (
        whole if has_usage else {name: value for name, value in whole.items() if name != "usage"}
    )
    assert json.loads(OPENAI_CHAT.fold(stream)) == expected
    inspector = OPENAI_CHAT.inspect_stream(ask(stream=True, usage=True, n=len(answer["choices"])))
    assert inspector.feed(stream) == stream
    assert inspector.complete
    assert inspector.usage == (
        OPENAI_CHAT.summarize(json.dumps(whole).encode()).usage if has_usage else None
    )


def test_a_stream_as_openai_writes_it_folds_to_its_answer() -> None:
    """The stream is OpenAI's, with members that the gateway does not know."""
    stream = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","system_fingerprint":"fp",'
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],'
        b'"usage":null,"obfuscation":"x1"}\n\n'
        b': ping\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","system_fingerprint":"fp",'
        b'"choices":[{"index":0,"delta":{"content":"\\u00e9\\n"},"logprobs":{"content":[{"token":"a"}],"refusal":null},"finish_reason":null}],'
        b'"usage":null,"obfuscation":"x2"}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","system_fingerprint":"fp",'
        b'"choices":[{"index":0,"delta":{"content":"b"},"logprobs":{"content":[{"token":"b"}],"refusal":null},"finish_reason":null}],'
        b'"usage":null}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","system_fingerprint":"fp",'
        b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","system_fingerprint":"fp",'
        b'"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
        b'data: [DONE]\n\n'
    )  # fmt: skip
    assert OPENAI_CHAT.fold(stream).decode() == (
        '{"id":"c","object":"chat.completion","created":1,"model":"m","service_tier":"default","system_fingerprint":"fp",'
        '"choices":[{"index":0,"message":{"role":"assistant","content":"\u00e9\\nb","refusal":null},'
        '"logprobs":{"content":[{"token":"a"},{"token":"b"}],"refusal":null},"finish_reason":"stop"}],'
        '"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
    )


def call(name: str | None, arguments: str, **more: Any) -> Object:
    function = {"arguments": arguments, **({"name": name} if name is not None else {})}
    return {"tool_calls": [{**more, "function": function}]}


def expected_call(name: str, arguments: str, **more: Any) -> Object:
    return {**more, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("deltas", "calls"),
    [
        # DashScope: an empty id, and an empty name, in every piece after the first.
        ([call("f", "{", index=0, id="a"), call("", "}", index=0, id="")], [expected_call("f", "{}", id="a")]),
        # Baseten: the id again in every piece.
        ([call("f", "{", index=0, id="a"), call(None, "}", index=0, id="a")], [expected_call("f", "{}", id="a")]),
        # Mistral: whole calls without an index.
        ([call("f", "{}", id="a"), call("g", "[]", id="b")], [expected_call("f", "{}", id="a"), expected_call("g", "[]", id="b")]),
        # One index for two calls with different ids.
        ([call("f", "{}", index=0, id="a"), call("g", "{", index=0, id="b"), call(None, "}", index=0)],
         [expected_call("f", "{}", id="a"), expected_call("g", "{}", id="b")]),
        # A new id in every piece of one call.
        ([call("f", "{", index=0, id="a"), call(None, "}", index=0, id="b")], [expected_call("f", "{}", id="b")]),
        # Pieces without index and id belong to the last call.
        ([call("f", "{", id="a"), call(None, "}")], [expected_call("f", "{}", id="a")]),
        # Two calls whose pieces come mixed.
        ([call("f", "{", index=0, id="a"), call("g", "[", index=1, id="b"), call(None, "}", index=0), call(None, "]", index=1)],
         [expected_call("f", "{}", id="a"), expected_call("g", "[]", id="b")]),
        # No arguments at all, or as an object.
        ([{"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}], [{"id": "a", "function": {"name": "f"}, "type": "function"}]),
        ([{"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]}],
         [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}, "type": "function"}]),
        # A call without a function.
        ([{"tool_calls": [{"index": 0, "id": "a"}]}], [{"id": "a", "type": "function"}]),
    ],
)  # fmt: skip
def test_tool_calls_fold_however_a_host_splits_them(
    deltas: list[Object], calls: list[Object]
) -> None:
    assert fold_message(*deltas)["tool_calls"] == calls


def test_content_that_comes_in_parts_folds_to_parts() -> None:
    """Mistral streams thinking in lists and the answer in strings. Folded, they are one list."""
    folded = fold_message(
        {"content": ""},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}]},
        {"content": [{"type": "thinking", "closed": True}]},
        {"content": "c"},
        {"content": "d"},
        {"content": [{"type": "text", "text": "e"}, {"type": "reference", "reference_ids": [1]}]},
    )
    assert folded["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]},
        {"type": "text", "text": "cde"},
        {"type": "reference", "reference_ids": [1]},
    ]
    assert fold_message({"content": "a"}, {"content": [{"type": "text", "text": "b"}]})[
        "content"
    ] == [{"type": "text", "text": "ab"}]


def test_pieces_of_a_reasoning_block_fold_to_one_block() -> None:
    """OpenRouter wants its reasoning_details back unchanged. Pieces of a block become one."""
    text = {"type": "reasoning.text", "format": "x", "index": 0}
    folded = fold_message(
        {"reasoning_details": [{**text, "text": "a"}]},
        {"reasoning_details": [{**text, "text": "b"}, {**text, "signature": "s"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "e"}, {"type": "reasoning.summary", "summary": "f"}]},
    )  # fmt: skip
    assert folded["reasoning_details"] == [
        {**text, "text": "ab", "signature": "s"},
        {"type": "reasoning.encrypted", "data": "d", "index": 0},
        {"type": "reasoning.summary", "summary": "e"},
        {"type": "reasoning.summary", "summary": "f"},
    ]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        # A second finish that is null or empty.
        ([chunk({"content": "a"}, finish="stop"), chunk(finish=None), chunk(finish="")], {"finish_reason": "stop"}),
        # No finish at all.
        ([{"choices": [{"index": 0, "delta": {"content": "a"}}]}], {"finish_reason": None}),
        # No index: the first choice.
        ([{"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}], {"index": 0}),
        # Unknown members of a choice, and usage in it.
        ([chunk({"content": "a"}), {"choices": [{"index": 0, "delta": None, "usage": {"x": 1}, "native": "n"}]}],
         {"usage": {"x": 1}, "native": "n"}),
    ],
)  # fmt: skip
def test_choices_fold_however_a_host_ends_and_numbers_them(
    chunks: list[Object], expected: Object
) -> None:
    choice = fold_chunks(*chunks)["choices"][0]
    assert choice["message"]["content"] == "a"
    assert {name: choice[name] for name in expected} == expected


def test_later_chunks_extend_an_answer_and_replace_nothing() -> None:
    """Azure's first chunk has an empty id and model. Annotations and audio take several chunks."""
    folded = fold_chunks(
        {"id": "", "model": "", "choices": [], "prompt_filter_results": [1]},
        chunk({"content": "a", "annotations": [1], "audio": {"id": "x", "data": "AA"}}),
        chunk(
            {"annotations": [2], "audio": {"data": "BB", "transcript": "t"}},
            id="",
            service_tier=None,
        ),
        chunk(finish="stop", logprobs=None),
    )
    assert (folded["id"], folded["model"], folded["prompt_filter_results"]) == ("c1", "m-1", [1])
    folded_message = folded["choices"][0]["message"]
    assert folded_message["annotations"] == [1, 2]
    assert folded_message["audio"] == {"id": "x", "data": "AABB", "transcript": "t"}
    assert folded["service_tier"] is None


def test_a_stream_with_a_broken_frame_cannot_be_folded() -> None:
    """The answer cache then has a miss: half an answer is none."""
    with pytest.raises(ValueError, match="broken frame"):
        fold_chunks(chunk({"content": "a"}), b"data: {broken\n\n")


def test_an_answer_without_choices_unfolds_to_the_done_frame() -> None:
    stream = unfold_answer({**HEAD, "choices": [], "usage": {"prompt_tokens": 1}}, usage=False)
    assert stream == b"data: [DONE]\n\n"


def test_unfolding_keeps_members_that_the_gateway_does_not_know() -> None:
    """Log probabilities and hosts' own members of choice and answer stay."""
    whole = {
        **HEAD,
        "object": "chat.completion",
        "provider": "x",
        "choices": [{"message": {"role": "assistant", "content": "a"}, "logprobs": {"content": [1]}, "native": "n"}],
    }  # fmt: skip
    first = json.loads(wire.read_data(wire.split_frames(unfold_answer(whole))[0]))
    assert first["provider"] == "x"
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": "a"}, "logprobs": {"content": [1]}, "native": "n", "finish_reason": None}
    ]  # fmt: skip


def test_the_input_of_a_custom_tool_is_joined_too() -> None:
    folded = fold_message(
        {"tool_calls": [{"index": 0, "id": "c", "custom": {"name": "sh", "input": "l"}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "s"}}]},
    )
    assert folded["tool_calls"][0]["custom"] == {"name": "sh", "input": "ls"}


def test_a_chunk_with_log_probabilities_of_one_kind_keeps_the_other_kind() -> None:
    def piece(likely: Object | None) -> Object:
        value = chunk({"content": "a"})
        value["choices"][0]["logprobs"] = likely
        return value

    folded = fold_chunks(
        piece({"content": [{"token": "a"}]}),
        piece({"refusal": [{"token": "b"}]}),
        piece({"content": None, "refusal": [{"token": "c"}]}),
        piece(None),
    )
    assert folded["choices"][0]["logprobs"] == {
        "content": [{"token": "a"}],
        "refusal": [{"token": "b"}, {"token": "c"}],
    }


def test_unfolding_prefers_the_message_to_a_delta_beside_it() -> None:
    """Perplexity sends both."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "a"},
        "delta": {"content": ""},
    }
    stream = unfold_answer({**HEAD, "choices": [{**choice, "finish_reason": "stop"}]})
    assert b'"delta":{"role":"assistant","content":"a"}' in stream
