"""Answers of 4,000 tokens, each with the 20 next best ones: above the bound of values, and legitimate."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.core import json_size
from tests.e2e.four_labs import (
    CHAT,
    ENDPOINTS,
    GEMINI,
    MESSAGES,
    RESPONSES,
    Json,
    four,
    make_request,
    whole,
)
from tests.e2e.upstream import DONE, ROLE, SSE, Answer, Upstream, chunk
from tests.e2e.world import Config, Make, World

TOKENS = 4_000
TEXT = "x" * TOKENS
COUNTS = (7, TOKENS)
CHOICE = {"token": "x", "logprob": -0.1, "bytes": [120]}
ROWS = [{**CHOICE, "top_logprobs": [CHOICE] * 20}] * TOKENS
COMPLETIONS = "completions"


def make_chat() -> Json:
    message = {"role": "assistant", "content": TEXT}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": ROWS},
        "finish_reason": "stop",
    }
    counts = {"prompt_tokens": 7, "completion_tokens": TOKENS, "total_tokens": TOKENS + 7}
    return {"id": "c-1", "object": "chat.completion", "created": 1, "model": "served", "choices": [choice], "usage": counts}  # fmt: skip


def make_responses() -> Json:
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": ROWS}
    item = {"type": "message", "id": "m-1", "status": "completed", "role": "assistant", "content": [part]}  # fmt: skip
    counts = {"input_tokens": 7, "output_tokens": TOKENS, "total_tokens": TOKENS + 7}
    return {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "served", "output": [item], "usage": counts}  # fmt: skip


def make_gemini() -> Json:
    row = {"token": "x", "tokenId": 1, "logProbability": -0.1}
    log_probs = {
        "topCandidates": [{"candidates": [row] * 20}] * TOKENS,
        "chosenCandidates": [row] * TOKENS,
    }
    content = {"role": "model", "parts": [{"text": TEXT}]}
    candidate = {"content": content, "finishReason": "STOP", "index": 0, "logprobsResult": log_probs}  # fmt: skip
    counts = {"promptTokenCount": 7, "candidatesTokenCount": TOKENS, "totalTokenCount": TOKENS + 7}
    return {"candidates": [candidate], "usageMetadata": counts, "modelVersion": "served", "responseId": "g-1"}  # fmt: skip


def make_completion() -> Json:
    log_probs = {
        "tokens": ["x"] * TOKENS,
        "token_logprobs": [-0.1] * TOKENS,
        "top_logprobs": [{f"t{index}": -0.1 for index in range(50)}] * TOKENS,
        "text_offset": [*range(TOKENS)],
    }
    choice = {"index": 0, "text": TEXT, "logprobs": log_probs, "finish_reason": "stop"}
    counts = {"prompt_tokens": 7, "completion_tokens": TOKENS, "total_tokens": TOKENS + 7}
    return {"id": "c-1", "object": "text_completion", "created": 1, "model": "served", "choices": [choice], "usage": counts}  # fmt: skip


ANSWERS: dict[str, Callable[[], Json]] = {
    CHAT: make_chat,
    RESPONSES: make_responses,
    GEMINI: make_gemini,
}
PAIRS = [(client, dialect) for client in ENDPOINTS for dialect in ANSWERS if client != dialect]


def serve_all(value: Config) -> None:
    """Configure the four labs, a cache, and legacy completions."""
    four(value)
    value["cache"] = {"default": "on", "ttl": "1h"}
    base = value["providers"][CHAT]["base_url"]
    value["providers"][CHAT]["endpoints"] = {"openai-completions": f"{base}{ENDPOINTS[CHAT]}"}


@pytest.fixture
def world(make: Make) -> World:
    return make(serve_all)


def make_answer(value: Json) -> Answer:
    """Build an answer with too many values, in the provider's own spacing."""
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    assert json_size.exceeds(body, json_size.MAX_VALUES)
    return Answer(pieces=(body,), length=len(body), bill=COUNTS)


def read_body(answer: Answer) -> bytes:
    return b"".join(piece for piece in answer.pieces if piece is not None)


def make_stream() -> Answer:
    """Build a stream of Responses: each token comes in an event, and all of them at the end again."""
    place = {"item_id": "m-1", "output_index": 0, "content_index": 0}
    response = make_responses()
    [item] = response["output"]
    [part] = item["content"]
    events: list[Json] = [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": [], "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        *(
            {"type": "response.output_text.delta", **place, "delta": "x", "logprobs": [row]}
            for row in ROWS
        ),
        {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": ROWS},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]  # fmt: skip
    frames = [
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))
        for event in events
    ]
    return Answer(pieces=tuple(frames), headers=SSE, bill=COUNTS)


def ask(world: World, client: str, lab: str, *, stream: bool = False, **more: Any) -> Any:
    path, body = make_request(client, f"{lab}/smart", "Write.", stream=stream, **more)
    return world.client.post(path, json=body)


def check_row(world: World) -> None:
    """Check that the row has the usage and the end of the answer."""
    row = world.entry()
    assert row.state == "settled"
    assert (row.usage, row.input, row.output) == ("provider", *COUNTS)
    assert row.finish in ("stop", "STOP", "completed")


@pytest.mark.parametrize("dialect", ANSWERS)
def test_a_client_of_the_same_dialect_gets_every_byte(
    world: World, upstream: Upstream, dialect: str
) -> None:
    answer = make_answer(ANSWERS[dialect]())
    upstream.on(ENDPOINTS[dialect], answer)
    reply = ask(world, dialect, dialect)
    assert reply.status_code == 200
    assert reply.content == read_body(answer)
    assert "x-tiergate-dropped" not in reply.headers
    check_row(world)


def test_legacy_completions_pass_and_their_usage_is_known(world: World, upstream: Upstream) -> None:
    answer = make_answer(make_completion())
    upstream.on(ENDPOINTS[CHAT], answer)
    reply = world.client.post("/v1/completions", json={"model": f"m-{CHAT}", "prompt": "Write."})
    assert (reply.status_code, reply.content) == (200, read_body(answer))
    assert (world.entry().input, world.entry().output) == COUNTS


def test_a_stream_of_responses_passes_with_its_last_events(
    world: World, upstream: Upstream
) -> None:
    answer = make_stream()
    upstream.on(ENDPOINTS[RESPONSES], answer)
    reply = ask(world, RESPONSES, RESPONSES, stream=True, store=False)
    assert reply.content == read_body(answer)
    check_row(world)


def test_a_translated_stream_has_all_log_probabilities(world: World, upstream: Upstream) -> None:
    """The deltas have them, so nothing is lost where the last events are read without."""
    upstream.on(ENDPOINTS[RESPONSES], make_stream())
    reply = ask(world, CHAT, RESPONSES, stream=True)
    assert reply.content.count(b'"top_logprobs":[') == TOKENS
    assert b"tiergate dropped" not in reply.content
    assert reply.content.endswith(b"data: [DONE]\n\n")
    check_row(world)


@pytest.mark.parametrize(("client", "dialect"), PAIRS)
def test_a_client_of_another_dialect_gets_the_text_and_the_name_of_what_it_lacks(
    world: World, upstream: Upstream, client: str, dialect: str
) -> None:
    upstream.on(ENDPOINTS[dialect], make_answer(ANSWERS[dialect]()))
    reply = ask(world, client, dialect)
    assert reply.status_code == 200
    assert TEXT.encode() in reply.content
    assert "logprobs" in reply.headers["x-tiergate-dropped"]
    assert not json_size.exceeds(reply.content, 1_000)
    check_row(world)
    assert "logprobs" in world.entry().dropped


def test_a_translated_chunk_with_too_many_names_them(world: World, upstream: Upstream) -> None:
    value = make_chat()
    [choice] = value["choices"]
    last = {**value, "choices": [{**choice, "delta": choice.pop("message")}]}
    pieces = (ROLE, chunk({"content": "x"}), b"data: %b\n\n" % orjson.dumps(last), DONE)
    upstream.on(ENDPOINTS[CHAT], Answer(pieces=pieces, headers=SSE, bill=COUNTS))
    reply = ask(world, MESSAGES, CHAT, stream=True)
    assert TEXT.encode() in reply.content
    assert reply.content.endswith(b": tiergate dropped: x_unknown, logprobs\n\n")
    check_row(world)


def test_the_cache_serves_it_whole_and_asks_again_for_a_stream(
    world: World, upstream: Upstream
) -> None:
    answer = make_answer(make_chat())
    upstream.on(ENDPOINTS[CHAT], answer, answer, whole({}))
    assert ask(world, CHAT, CHAT).headers["x-tiergate-cache"] == "miss"
    world.loop.run(world.gateway.engine.drain())
    reply = ask(world, CHAT, CHAT)
    assert (reply.headers["x-tiergate-cache"], reply.content) == ("hit", read_body(answer))
    assert ask(world, CHAT, CHAT, stream=True).headers["x-tiergate-cache"] == "miss"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_stored_answer_can_be_continued_and_has_no_log_probabilities(
    world: World, upstream: Upstream, stream: bool
) -> None:
    answer = make_stream() if stream else make_answer(make_responses())
    upstream.on(ENDPOINTS[RESPONSES], answer, make_answer(make_responses()))
    assert ask(world, RESPONSES, RESPONSES, stream=stream).content == read_body(answer)
    stored = world.client.get("/v1/responses/resp_1").json()
    [part] = stored["output"][0]["content"]
    assert (part["text"], part["logprobs"]) == (TEXT, None)
    assert stored["usage"]["output_tokens"] == TOKENS
    reply = ask(world, RESPONSES, RESPONSES, previous_response_id="resp_1")
    assert reply.status_code == 200
    assert TEXT in str(upstream.requests[-1].json["input"])


def test_too_many_values_beside_log_probabilities_are_refused(
    world: World, upstream: Upstream
) -> None:
    value = {**make_chat(), "x": [1] * 450_000}
    upstream.on(ENDPOINTS[CHAT], make_answer(value))
    reply = ask(world, CHAT, CHAT)
    assert reply.status_code == 502
    assert "more than 400,000 JSON values beside log probabilities" in reply.text


@pytest.mark.parametrize("client", [MESSAGES, CHAT])
def test_a_list_for_a_tool_that_has_the_name_of_log_probabilities_is_never_left_out(
    world: World, upstream: Upstream, client: str
) -> None:
    """Anthropic's API has no log probabilities, so the answer has too many values."""
    call = {"type": "tool_use", "id": "t-1", "name": "plot", "input": {"logprobs": [1] * 450_000}}
    value = {"id": "m-1", "type": "message", "role": "assistant", "model": "served", "content": [call],
             "stop_reason": "tool_use", "usage": {"input_tokens": 7, "output_tokens": TOKENS}}  # fmt: skip
    upstream.on(ENDPOINTS[MESSAGES], make_answer(value))
    reply = ask(world, client, MESSAGES)
    assert reply.status_code in (500, 502)
    assert "more than 400,000 JSON values" in reply.text


def test_the_last_events_of_a_translated_stream_repeat_no_more_than_the_bound(
    world: World, upstream: Upstream
) -> None:
    """The deltas have them all. The API's last events have them too, four times."""
    rows = [
        chunk({"content": "x"}).replace(
            b'"finish_reason"', b'"logprobs":{"content":[%b]},"finish_reason"' % orjson.dumps(row)
        )
        for row in ROWS
    ]
    pieces = (*rows, chunk({}, "stop"), DONE)
    upstream.on(ENDPOINTS[CHAT], Answer(pieces=pieces, headers=SSE, bill=COUNTS))
    reply = ask(world, RESPONSES, CHAT, stream=True, store=False)
    *deltas, last = [it for it in reply.content.split(b"\n\n") if b"data: " in it]
    assert sum(it.count(b'"top_logprobs":[') for it in deltas) == TOKENS
    assert TEXT.encode() in last
    assert b'"logprobs":[]' in last
