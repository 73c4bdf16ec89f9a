"""Models that only Bedrock's Converse serves, for clients of every dialect, over real sockets."""

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest
from google.genai import errors as google

from gateway.core import jsonio
from tests.clients.model_turns import CONVERSE, Tokens, Turn, state, write_turn
from tests.dialects.bedrock_converse import frames
from tests.e2e.four_labs import (
    ARGUMENTS,
    ASKS,
    CHAT,
    COUNTS,
    DIALECTS,
    MESSAGES,
    QUESTION,
    SCHEMA,
    SYSTEM,
    TEXT,
    ParsedAnswer,
    canonical,
)
from tests.e2e.upstream import Answer, Pieces, Upstream, failing
from tests.e2e.world import SECRET, Config, Make, World

NOVA, LLAMA = "us.amazon.nova-2-lite-v1:0", "us.meta.llama3-3-70b-instruct-v1:0"
NOVA_PATH = "/model/us.amazon.nova-2-lite-v1%3A0/converse"
LLAMA_PATH = "/model/us.meta.llama3-3-70b-instruct-v1%3A0/converse"
SPARE_PATH = "/model/amazon.nova-micro-v1%3A0/converse"
ERRORS = (openai.APIError, anthropic.APIError, google.APIError)
TOKENS = Tokens(fresh=COUNTS[0], output=COUNTS[1])
WHOLE_AND_STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
CLIENTS = pytest.mark.parametrize("client", DIALECTS)


def bedrock(value: Config) -> None:
    """Configure Bedrock with a lab for Nova, one for Llama, and one for Nova with a spare target."""
    base = value["providers"]["acme"]["base_url"].removesuffix("/acme")
    value["aliases"] = {}
    value["providers"] = {
        "bedrock-converse": {
            "base_url": base,
            "dialects": {CONVERSE: ""},
            "accounts": {"main": SECRET},
        }
    }
    bedrock = {"provider": "bedrock-converse"}
    value["labs"] = {
        "nova": {"smart": [{**bedrock, "model": NOVA}]},
        "llama": {"smart": [{**bedrock, "model": LLAMA}]},
        "spared": {
            "smart": [{**bedrock, "model": NOVA}, {**bedrock, "model": "amazon.nova-micro-v1:0"}]
        },
    }
    price = {"input": 1, "cache_read": 0.1, "cache_write": 1.25, "output": 4}
    value["models"] = {name: {"price": price} for name in (NOVA, LLAMA, "amazon.nova-micro-v1:0")}
    value["default"] = {"lab": "nova", "tier": "smart"}


@pytest.fixture
def world(make: Make) -> World:
    return make(bedrock)


def answer(*, tools: bool = False, stream: bool = False, tokens: Tokens = TOKENS) -> Answer:
    """Return the text, or the call of a tool, that the clients expect."""
    turn = Turn(calls=(("weather", ARGUMENTS),)) if tools else Turn(text=TEXT)
    return write_turn(CONVERSE, turn, 1, stream=stream, tokens=tokens)


def expected(*, tools: bool) -> ParsedAnswer:
    if tools:
        return ParsedAnswer(
            calls=(("weather", canonical(ARGUMENTS)),), finish="tools", counts=COUNTS
        )
    return ParsedAnswer(text=TEXT, counts=COUNTS)


def refuse(status: int, type: str, message: str) -> Answer:
    """Refuse as Bedrock does: the type of the error stands in a header."""
    kind = f"{type}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    return failing(status, jsonio.dumps({"message": message}), x_amzn_errortype=kind)


@WHOLE_AND_STREAM
@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
@CLIENTS
def test_a_client_of_any_dialect_is_served(
    world: World, upstream: Upstream, client: str, tools: bool, stream: bool
) -> None:
    """The SDK reads the same text, call, finish and usage as at any other lab."""
    request_id = (("x-amzn-requestid", "0c6f-17"),)
    scripted = answer(tools=tools, stream=stream)
    upstream.on("/model/", replace(scripted, headers=(*scripted.headers, *request_id)))
    assert ASKS[client](world, "nova/smart", tools, stream) == expected(tools=tools)
    (request,) = upstream.requests
    assert request.path == NOVA_PATH + ("-stream" if stream else "")
    assert request.header("authorization") == f"Bearer {SECRET}"
    assert request.header("content-type") == "application/json"
    body = request.json
    assert body["messages"] == [{"role": "user", "content": [{"text": QUESTION}]}]
    assert body["system"] == [{"text": SYSTEM}]
    assert body.keys() <= {"messages", "system", "toolConfig", "inferenceConfig"}
    if tools:
        (tool,) = body["toolConfig"]["tools"]
        assert tool["toolSpec"]["name"] == "weather"
        assert tool["toolSpec"]["inputSchema"] == {"json": SCHEMA}
    entry = world.entry()
    assert (entry.state, entry.lab, entry.model, entry.dialect) == ("settled", "nova", NOVA, client)
    assert (entry.input, entry.output, entry.usage) == (*COUNTS, "provider")
    assert (str(entry.cost), entry.upstream_id) == ("0.000019", "0c6f-17")
    assert entry.finish == ("tool_use" if tools else "end_turn")


@CLIENTS
def test_a_stream_in_odd_pieces_is_the_same_answer(
    world: World, upstream: Upstream, client: str
) -> None:
    """No read of the network ends where a message does."""
    whole = b"".join(piece or b"" for piece in answer(tools=True, stream=True).pieces)
    pieces = tuple(whole[at : at + 7] for at in range(0, len(whole), 7))
    upstream.on("/model/", replace(answer(stream=True), pieces=pieces))
    assert ASKS[client](world, "nova/smart", True, True) == expected(tools=True)


@WHOLE_AND_STREAM
@CLIENTS
def test_llama_with_tools_is_asked_for_a_whole_answer(
    world: World, upstream: Upstream, client: str, stream: bool
) -> None:
    """Bedrock streams no tools of Llama: the client gets its stream all the same."""
    upstream.on(LLAMA_PATH, answer(tools=True))
    assert ASKS[client](world, "llama/smart", True, stream) == expected(tools=True)
    assert [request.path for request in upstream.requests] == [LLAMA_PATH]
    entry = world.entry()
    assert (entry.state, entry.stream, str(entry.cost)) == ("settled", stream, "0.000019")


@WHOLE_AND_STREAM
@CLIENTS
def test_cached_tokens_are_counted_once(
    world: World, upstream: Upstream, client: str, stream: bool
) -> None:
    """Converse counts tokens of the prompt cache beside `inputTokens`, not within it."""
    tokens = Tokens(fresh=7, read=100, write=20, output=3)
    upstream.on("/model/", answer(stream=stream, tokens=tokens))
    parsed = ASKS[client](world, "nova/smart", False, stream)
    assert parsed.counts == ((7 if client == MESSAGES else 127), 3)
    entry = world.entry()
    assert (entry.input, entry.cache_read, entry.cache_write, entry.output) == (7, 100, 20, 3)
    assert str(entry.cost) == "0.000054"  # 7 + 100 / 10 + 20 * 1.25 + 3 * 4


CUTS: dict[str, Callable[[Pieces], Pieces]] = {
    "without its metadata": lambda pieces: pieces[:-1],
    "without its end": lambda pieces: pieces[:-2],
    "within a message": lambda pieces: (*pieces[:-1], (pieces[-1] or b"")[:-3]),
    "with damage": lambda pieces: (*pieces[:-1], (pieces[-1] or b"").replace(b"usage", b"usagE")),
    "by an exception": lambda pieces: (
        *pieces[:-2],
        frames.write_exception("modelStreamErrorException", "The model broke."),
    ),
}


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("is_aborted", [False, True], ids=["ends", "aborts"])
@CLIENTS
def test_an_sdk_raises_when_a_stream_is_cut(
    world: World, upstream: Upstream, client: str, how: str, is_aborted: bool
) -> None:
    """A truncated answer is never complete, however the provider ends it."""
    whole = answer(stream=True)
    pieces = CUTS[how](whole.pieces)
    upstream.on("/model/", replace(whole, pieces=pieces, end="cut" if is_aborted else "clean"))
    with pytest.raises(ERRORS) as caught:
        ASKS[client](world, "nova/smart", False, True)
    if how == "by an exception":
        assert "The provider sent an error in place of an answer." in str(caught.value)
    entry = world.entry()
    assert entry.state == "aborted"
    assert entry.usage != "provider"


@CLIENTS
@pytest.mark.parametrize(
    "first",
    [
        refuse(429, "ThrottlingException", "Too many requests."),
        refuse(429, "ModelNotReadyException", "The model is not ready."),
        refuse(404, "ResourceNotFoundException", "The model is at its end of life."),
        refuse(400, "ValidationException", "The provided model identifier is invalid."),
        refuse(424, "ModelErrorException", "The model failed."),
        replace(
            answer(stream=True),
            pieces=(frames.write_exception("throttlingException", "Too many tokens."),),
        ),
        replace(answer(stream=True), pieces=(frames.start(),)),
        replace(answer(stream=True), pieces=(b"\x00" * 40,)),
        Answer(pieces=(b"<html>",), headers=(("content-type", "text/html"),)),
    ],
    ids=[
        "throttled", "not-ready", "retired", "unknown", "failed", "throttled-in-stream", "empty",
        "rubbish", "html",
    ],
)  # fmt: skip
def test_the_next_target_takes_over_before_the_first_content(
    world: World, upstream: Upstream, client: str, first: Answer
) -> None:
    upstream.on(NOVA_PATH, first)
    upstream.on(SPARE_PATH, answer(stream=True))
    assert ASKS[client](world, "spared/smart", False, True) == expected(tools=False)
    entry = world.entry()
    assert (entry.state, entry.model) == ("settled", "amazon.nova-micro-v1:0")


@pytest.mark.parametrize(
    ("refusal", "status", "problem"),
    [
        (refuse(429, "ThrottlingException", "Slow down."), 429, "upstream_rate_limited"),
        (refuse(400, "ServiceQuotaExceededException", "Your quota."), 429, "upstream_rate_limited"),
        (refuse(400, "ValidationException", "Input is too long for requested model."), 400, "upstream_context"),
        (refuse(400, "ValidationException", "The text field is blank."), 400, "upstream_rejected"),
        (refuse(503, "ServiceUnavailableException", "Later."), 503, "upstream_overloaded"),
    ],
)  # fmt: skip
@WHOLE_AND_STREAM
def test_an_error_is_of_the_kind_that_its_type_names(
    world: World, upstream: Upstream, refusal: Answer, status: int, problem: str, stream: bool
) -> None:
    upstream.on("/model/", refusal)
    body = {
        "model": "nova/smart",
        "messages": [{"role": "user", "content": "Hi."}],
        "stream": stream,
    }
    reply = world.client.post("/v1/chat/completions", json=body)
    assert (reply.status_code, world.entry().problem) == (status, problem), reply.text


@WHOLE_AND_STREAM
def test_reasoning_goes_back_to_the_model_that_made_it(
    world: World, upstream: Upstream, stream: bool
) -> None:
    """Its signature travels under a label in the client's own block, and to no other model."""
    turn = Turn(thought="They ask for the weather.", calls=(("weather", ARGUMENTS),))
    upstream.on(NOVA_PATH, write_turn(CONVERSE, turn, 4, stream=stream), answer())
    upstream.on(LLAMA_PATH, answer())
    tool = {"name": "weather", "input_schema": SCHEMA}
    turns: list[Any] = [{"role": "user", "content": QUESTION}]
    more: dict[str, Any] = {"max_tokens": 99, "tools": [tool]}
    with anthropic.Anthropic(base_url=world.url, api_key="k", max_retries=0) as sdk:
        if stream:
            with sdk.messages.stream(model="nova/smart", messages=turns, **more) as events:
                reply = events.get_final_message()
        else:
            reply = sdk.messages.create(model="nova/smart", messages=turns, **more)
        thought, call = reply.content
        assert thought.type == "thinking"
        assert call.type == "tool_use"
        assert thought.thinking == turn.thought
        result = {
            "type": "tool_result",
            "tool_use_id": call.id,
            "content": "18 °C",
            "is_error": True,
        }
        turns += [
            {"role": "assistant", "content": reply.content},
            {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
        ]
        sdk.messages.create(model="nova/smart", messages=turns, **more)
        sdk.messages.create(model="llama/smart", messages=turns, **more)
    first, nova, llama = (request.json["messages"] for request in upstream.requests)
    assert first == nova[:1]
    signature = {"text": turn.thought, "signature": state(CONVERSE, 4)}
    use = {"toolUse": {"toolUseId": call.id, "name": "weather", "input": ARGUMENTS}}
    assert nova[1]["content"] == [{"reasoningContent": {"reasoningText": signature}}, use]
    returned = {"toolUseId": call.id, "content": [{"text": "18 °C"}], "status": "error"}
    assert nova[2]["content"] == [{"toolResult": returned}, {"text": "And now?"}]
    assert llama[1]["content"] == [use]
    assert "signature" not in jsonio.dumps(llama).decode()
    assert [message["role"] for message in llama] == ["user", "assistant"] * 2 + ["user"]


def test_an_image_and_a_document_go_as_data(world: World, upstream: Upstream) -> None:
    """A document gets a name that the API takes, and a URL is not opened."""
    png, pdf = base64.b64encode(b"\x89PNG").decode(), base64.b64encode(b"%PDF-1").decode()
    parts = [
        {"type": "text", "text": "Compare."},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}},
        {"type": "file", "file": {"filename": "Q3 (final).pdf", "file_data": f"data:application/pdf;base64,{pdf}"}},
    ]  # fmt: skip
    upstream.on("/model/", answer())
    body = {"model": "nova/smart", "messages": [{"role": "user", "content": parts}]}
    reply = world.client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    document = {"format": "pdf", "name": "Q3 (final) pdf", "source": {"bytes": pdf}}
    assert upstream.requests[0].json["messages"][0]["content"] == [
        {"text": "Compare."},
        {"image": {"format": "png", "source": {"bytes": png}}},
        {"document": document},
    ]
    linked = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    body["messages"] = [{"role": "user", "content": [linked]}]
    refused = world.client.post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    assert "accepts images as data, not as a URL" in refused.text
    assert len(upstream.requests) == 1


def test_what_converse_lacks_is_named(world: World, upstream: Upstream) -> None:
    upstream.on("/model/", answer())
    body = {
        "model": "nova/smart", "messages": [{"role": "user", "content": "Hi."}], "seed": 7,
        "presence_penalty": 0.5, "user": "ann", "temperature": 1.5, "stop": ["END"],
    }  # fmt: skip
    reply = world.client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200
    dropped = reply.headers["x-tiergate-dropped"].split(", ")
    assert sorted(dropped) == ["presence_penalty", "seed", "temperature", "user"]
    sent = upstream.requests[0].json
    assert sent["inferenceConfig"] == {"temperature": 1, "stopSequences": ["END"]}
    refused = world.client.post(
        "/v1/chat/completions", json=body, headers={"x-tiergate-on-loss": "refuse"}
    )
    assert refused.status_code == 400


def test_a_client_that_leaves_ends_the_request(world: World, upstream: Upstream) -> None:
    """The provider sees the connection close, and the row has an estimate of what it bills."""
    scripted = answer(stream=True)
    upstream.on("/model/", replace(scripted, pieces=scripted.pieces[:2], end="stall"))
    body = {"model": "nova/smart", "messages": [{"role": "user", "content": "Hi."}], "stream": True}
    with world.client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert b"Hello" in next(chunk for chunk in reply.iter_raw() if b"Hello" in chunk)
    assert upstream.requests[0].left.wait(20)
    assert world.entry().state == "aborted"


def test_no_client_speaks_converse_to_the_gateway(world: World) -> None:
    body = {"messages": [{"role": "user", "content": [{"text": "Hi."}]}]}
    assert world.client.post(NOVA_PATH, json=body).status_code == 404
    planned = world.client.post(
        "/v1/route",
        json={"model": "nova/smart", "messages": [{"role": "user", "content": "Hi."}]},
        params={"dialect": CHAT},
    ).json()["plan"]
    assert [target["dialect"] for target in planned] == [CONVERSE]
