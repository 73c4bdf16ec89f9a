"""The SDK google-genai decodes what this dialect writes: streams, answers, errors, replays."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from gateway.core.errors import Problem
from gateway.core.events import (
    End,
    Event,
    Finish,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)
from gateway.core.usage import Usage
from gateway.dialects.base import RequestBody
from gateway.dialects.gemini import COUNT_TOKENS, DIALECT, TRANSLATION
from tests.dialects.gemini.cases import CONTEXT, read

genai: Any = pytest.importorskip("google.genai", reason="no google-genai: make install")

EVENTS: list[Event] = [
    Start(id="r1", model="m-1"), ReasoningDelta("hm"), ReasoningEnd("sig"), TextDelta("Hé"), TextDelta("llo"),
    ToolStart(0, "c1", "f"), ToolDelta(0, '{"a":'), ToolDelta(0, "1}"), ToolEnd(0),
    UsageUpdate(Usage(input=5, cache_read=1, output=2, reasoning=3)), Finish("tools"), End(),
]  # fmt: skip


type Answer = Callable[[httpx2.Request], httpx2.Response]
type Make = Callable[[Answer], Any]


@pytest.fixture
def client() -> Iterator[Make]:
    """Make the official client over a transport that calls a function; close it after the test."""
    with contextlib.ExitStack() as stack:

        def make(answer: Answer) -> Any:
            options = {
                "client_args": {"transport": httpx2.MockTransport(answer)},
                "base_url": "http://x.test",
            }
            return stack.enter_context(
                genai.Client(api_key="k", vertexai=False, http_options=options)
            )

        yield make


def answer_with(data: bytes, status: int = 200) -> Answer:
    return lambda _: httpx2.Response(status, content=data)


def read_path(request: httpx2.Request) -> str:
    """Return the variable part of the URL's path."""
    return re.sub("^/v1(beta)?/", "", request.url.path)


def encode(events: list[Event]) -> bytes:
    encoder = TRANSLATION.make_encoder(CONTEXT)
    return b"".join(encoder.write(event) for event in events)


def summarize(chunks: list[Any]) -> tuple[Any, ...]:
    """Return text, reasoning, calls, the last reason and the last usage."""
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    used = chunks[-1].usage_metadata
    return (
        "".join(part.text or "" for part in parts if not part.thought),
        "".join(part.text or "" for part in parts if part.thought),
        [(part.function_call.id, part.function_call.name, part.function_call.args) for part in parts if part.function_call],
        chunks[-1].candidates[0].finish_reason.value,
        (used.prompt_token_count, used.cached_content_token_count, used.candidates_token_count, used.thoughts_token_count, used.total_token_count),
    )  # fmt: skip


EXPECTED = ("Héllo", "hm", [("c1", "f", {"a": 1})], "STOP", (6, 1, 2, 3, 11))


def test_the_sdk_decodes_a_stream(client: Make) -> None:
    chunks = list(client(answer_with(encode(EVENTS))).models.generate_content_stream(model="m", contents="hi"))  # fmt: skip
    assert summarize(chunks) == EXPECTED
    assert (chunks[-1].response_id, chunks[-1].model_version) == ("r1", "m-1")


def test_the_sdk_decodes_a_whole_answer(client: Make) -> None:
    whole = TRANSLATION.encode_response(EVENTS, CONTEXT)
    answer = client(answer_with(whole)).models.generate_content(model="m", contents="hi")  # fmt: skip
    assert summarize([answer]) == EXPECTED
    unfolded = list(client(answer_with(DIALECT.unfold(whole, True))).models.generate_content_stream(model="m", contents="hi"))  # fmt: skip
    assert summarize(unfolded) == EXPECTED


def test_the_sdk_raises_an_error_in_a_stream(client: Make) -> None:
    frame = DIALECT.write_problem_frame(Problem(kind="upstream_truncated", message="It broke."))
    stream_ = client(answer_with(encode(EVENTS[:5]) + frame)).models.generate_content_stream(model="m", contents="hi")  # fmt: skip
    with pytest.raises(genai.errors.ServerError, match=r"It broke\."):
        list(stream_)


def test_the_sdk_raises_a_refused_request(client: Make) -> None:
    body = DIALECT.write_problem(Problem(kind="invalid_request", message="No.", param="contents"))
    with pytest.raises(genai.errors.ClientError, match=r"INVALID_ARGUMENT.*No\."):
        client(answer_with(body, 400)).models.generate_content(model="m", contents="hi")  # fmt: skip


def test_the_sdk_sends_reasoning_and_calls_back_with_their_label(client: Make) -> None:
    """Streamed or not, the SDK's own history keeps the label in its slot."""
    bodies: list[RequestBody] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        method_path = read_path(request)
        bodies.append(read(request.content, method_path))
        if method_path.endswith("streamGenerateContent"):
            return httpx2.Response(200, content=encode(EVENTS))
        return httpx2.Response(200, content=TRANSLATION.encode_response(EVENTS, CONTEXT))

    for method in ("send_message", "send_message_stream"):
        chat = client(answer).chats.create(model="openai/auto")
        list(getattr(chat, method)("hi"))
        list(getattr(chat, method)(genai.types.Part.from_function_response(name="f", response={"output": "x"})))  # fmt: skip
        request = TRANSLATION.decode_request(bodies[-1])
        kinds = [type(part).__name__ for turn in request.turns for part in turn.parts]
        assert kinds == ["Text", "Thought", *["Text"] * (len(kinds) - 4), "ToolUse", "ToolResult"]
        turns = [part for turn in request.turns for part in turn.parts]
        thought, use, result = turns[1], turns[-2], turns[-1]
        assert (thought.text, thought.state, thought.maker) == ("hm", "sig", "ab12")  # type: ignore[union-attr]  # a thought
        assert (use.id, result.id, result.name) == ("c1", "c1", "f")  # type: ignore[union-attr]  # a call and its result
        assert bodies[-1].prompt.model == "openai/auto"


def test_the_gateway_reads_a_request_of_the_sdk(client: Make) -> None:
    bodies: list[RequestBody] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        method_path = read_path(request)
        if method_path.endswith(":countTokens"):
            counting: Any = COUNT_TOKENS.read
            bodies.append(counting(request.content, method_path))
            return httpx2.Response(200, content=b'{"totalTokens": 3}')
        bodies.append(read(request.content, method_path))
        return httpx2.Response(200, content=TRANSLATION.encode_response(EVENTS, CONTEXT))

    types = genai.types
    declared = types.FunctionDeclaration(name="f", parameters={"type": "OBJECT", "properties": {"a": {"type": "STRING"}}})  # fmt: skip
    config = types.GenerateContentConfig(
        system_instruction="be kind", max_output_tokens=9, temperature=0.5, stop_sequences=["x"], response_mime_type="application/json",
        response_schema={"type": "OBJECT", "nullable": True}, thinking_config=types.ThinkingConfig(thinking_level="LOW", include_thoughts=True),
        tools=[types.Tool(function_declarations=[declared])], automatic_function_calling={"disable": True},
        tool_config={"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
    )  # fmt: skip
    image = types.Part.from_bytes(data=b"\xff\xfe", mime_type="image/png")
    client(answer).models.generate_content(model="m", contents=["hi", image], config=config)
    request = TRANSLATION.decode_request(bodies[0])
    assert [turn.role for turn in request.turns] == ["system", "user"]
    assert request.tools[0].parameters == {
        "type": "object",
        "properties": {"a": {"type": "string"}},
    }
    assert (request.max_output, request.temperature, request.stop) == (9, 0.5, ("x",))
    assert (request.effort, request.thoughts_shown, request.extra_members) == ("low", True, {})
    assert request.form is not None
    assert request.form.schema == {"type": ["object", "null"]}
    assert request.turns[1].parts[1].data == "//4="  # type: ignore[union-attr]  # an image
    counted = client(answer).models.count_tokens(model="m", contents="hi")
    assert (counted.total_tokens, bodies[1].prompt.user) == (3, "hi")
