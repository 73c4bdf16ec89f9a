"""The unmodified OpenAI SDK with nothing changed but its base URL."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.e2e.upstream import (
    DONE,
    HTML,
    ROLE,
    WORDS,
    Answer,
    Script,
    Upstream,
    chunk,
    failing,
    frames,
    stream,
    whole,
)
from tests.e2e.world import Change, Config, Make, World

HELLO: list[Any] = [{"role": "user", "content": "GetText hello to me please."}]
HEL = chunk({"content": WORDS[0]})
ERROR = b'data: {"error":{"message":"It broke.","type":"server_error","code":"oops"}}\n\n'


@pytest.fixture
def sdk(world: World) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="any") as client:
        yield client


type GetText = Callable[[World, bool], str]


def get_text(world: World, streamed: bool) -> str:
    """Return the text that a program gets."""
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="any") as client:
        create = client.chat.completions.create
        if not streamed:
            return create(model="auto", messages=HELLO).choices[0].message.content or ""
        chunks = create(model="auto", messages=HELLO, stream=True)
        return "".join(piece.choices[0].delta.content or "" for piece in chunks if piece.choices)


def get_text_async(world: World, streamed: bool) -> str:
    """Return the text that an async program gets."""

    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=f"{world.url}/v1", api_key="any") as client:
            create = client.chat.completions.create
            if not streamed:
                answer = await create(model="auto", messages=HELLO)
                return answer.choices[0].message.content or ""
            chunks = await create(model="auto", messages=HELLO, stream=True)
            return "".join(
                [piece.choices[0].delta.content or "" async for piece in chunks if piece.choices]
            )

    return asyncio.run(run())


both = pytest.mark.parametrize("get_text", [get_text, get_text_async], ids=["sync", "async"])


@both
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_openai_sdk_gets_an_answer(
    world: World, upstream: Upstream, get_text: GetText, streamed: bool
) -> None:
    upstream.on("/acme", stream() if streamed else whole())
    assert get_text(world, streamed) == "Hello you."


BROKEN: list[tuple[str, Script, bool]] = [
    ("cut", stream(ROLE, HEL, end="cut"), True),
    ("cut after the finish", stream(ROLE, HEL, chunk({}, "stop"), end="cut"), True),
    ("clean end, no marker", stream(ROLE, HEL), True),
    ("clean end inside a frame", stream(ROLE, HEL, HEL[:40]), True),
    ("clean end inside the last frame", stream(ROLE, HEL, b'data: {"finish_reason":"sto'), True),
    ("a broken frame", stream(HEL, b'data: {"finish_reason":"stop\n\n', DONE), True),
    ("an error", stream(ROLE, HEL, ERROR), True),
    ("an error and then the marker", stream(ROLE, HEL, ERROR, DONE), True),
    ("an error beside choices", stream(HEL, chunk({}, "error", error={"message": "It broke."}), DONE), True),
    ("an error before content", stream(ROLE, ERROR, DONE), True),
    ("no content", stream(ROLE), True),
    ("HTML for a stream", HTML, True),
    ("JSON with an error for a stream", failing(200), True),
    ("200 with an error", failing(200), False),
    ("200 with HTML", HTML, False),
    ("200 with nothing", Answer(length=0), False),
    ("200 with null choices", Answer(pieces=(b'{"choices":null}',), length=16), False),
    ("cut body", Answer(pieces=(b'{"choices":[',), length=99, end="cut"), False),
    ("cut chunked body", Answer(pieces=(b'{"choices":[',), end="cut"), False),
]  # fmt: skip


@both
@pytest.mark.parametrize(("script", "streamed"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])  # fmt: skip
def test_the_openai_sdk_raises_for_an_incomplete_answer(
    world: World, upstream: Upstream, get_text: GetText, script: Script, streamed: bool
) -> None:
    """A truncated answer never ends cleanly; the gateway and the SDK ask for it once.

    There are two exceptions. The gateway asks once more for a stream that has shown nothing. The
    SDK retries a cut body, as it does at the provider.
    """
    upstream.on("/acme", script)
    with pytest.raises(openai.APIError):
        get_text(world, streamed)
    cut = not streamed and isinstance(script, Answer) and script.end == "cut"
    assert len(upstream.requests) == (3 if cut else 2 if script == stream(ROLE) else 1)
    entries = world.entries()
    assert len(entries) == (3 if cut else 1)
    assert {entry.state for entry in entries} <= {"aborted", "failed"}


@pytest.mark.parametrize(
    ("requested_model", "tier", "model"),
    [
        ("auto", "reasoning", "deep-1"),
        ("gpt-4o", "reasoning", "deep-1"),
        ("fast", "fast", "swift-1"),
        ("smart", "smart", "able-1"),
        ("acme/reasoning", "reasoning", "deep-1"),
        ("acme/auto", "reasoning", "deep-1"),
        ("other/smart", "smart", "else-1"),
        ("able-1", "smart", "able-1"),
        ("acme/swift-1", "fast", "swift-1"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_every_model_name_leads_to_its_target(
    sdk: openai.OpenAI,
    upstream: Upstream,
    streamed: bool,
    requested_model: str,
    tier: str,
    model: str,
) -> None:
    proof: list[Any] = [{"role": "user", "content": "Prove that there are infinitely many primes."}]
    create = sdk.chat.completions.with_raw_response.create
    if streamed:
        raw: Any = create(model=requested_model, messages=proof, stream=True)
        text = "".join(
            piece.choices[0].delta.content or "" for piece in raw.parse() if piece.choices
        )
    else:
        raw = create(model=requested_model, messages=proof)
        text = raw.parse().choices[0].message.content
    assert text == "word0 word1 word2 word3 word4 word5 word6 "
    head = raw.headers
    lab = "other" if requested_model.startswith("other") else "acme"
    assert head["x-request-id"] == head["request-id"] == raw.request_id
    source, _, decision = head["x-tiergate-decision"].partition("; ")
    assert decision == head["x-request-id"]
    assert source == ("classifier" if requested_model in ("auto", "acme/auto", "gpt-4o") else "pin")
    assert head["x-tiergate-lab"] == head["x-tiergate-provider"] == lab
    assert (head["x-tiergate-tier"], head["x-tiergate-model"]) == (tier, model)
    assert (head["x-tiergate-cache"], head["x-tiergate-attempts"]) == ("off", "1")
    assert "x-tiergate-dropped" not in head
    assert ("x-tiergate-cost" in head) is not streamed
    assert upstream.requests[0].json["model"] == model


def test_a_whole_answer_has_its_cost(sdk: openai.OpenAI, upstream: Upstream) -> None:
    upstream.on("/acme", whole(counts=(1_000_000, 100_000)))
    create = sdk.chat.completions.with_raw_response.create
    head = create(model="smart", messages=HELLO).headers
    assert (head["x-tiergate-cost"], "x-tiergate-estimated" in head) == ("1.4", False)


def test_the_gateway_drops_and_names_what_a_model_does_not_take(
    sdk: openai.OpenAI, upstream: Upstream
) -> None:
    create = sdk.chat.completions.with_raw_response.create
    headers = create(model="reasoning", messages=HELLO, temperature=0.5, top_p=0.9).headers
    assert headers["x-tiergate-dropped"] == "temperature, top_p"
    assert set(upstream.requests[0].json) == {"model", "messages", "reasoning_effort"}


def test_the_gateway_refuses_a_loss_where_the_client_says_so(
    world: World, upstream: Upstream
) -> None:
    body = {"model": "reasoning", "messages": HELLO, "temperature": 0.5}
    reply = world.ask(body, x_tiergate_on_loss="refuse")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "no_target")
    assert reply.json()["error"]["param"] == "temperature"
    assert not upstream.requests


def test_a_stream_has_usage_only_if_the_client_requests_it(
    sdk: openai.OpenAI, upstream: Upstream
) -> None:
    create = sdk.chat.completions.create
    with_usage = list(create(model="smart", messages=HELLO, stream=True, stream_options={"include_usage": True}))  # fmt: skip
    plain = list(create(model="smart", messages=HELLO, stream=True))
    assert with_usage[-1].usage is not None
    assert with_usage[-1].usage.total_tokens == 10
    assert not with_usage[-1].choices
    assert all(piece.usage is None and piece.choices for piece in plain)
    assert all(request.json["stream_options"] == {"include_usage": True} for request in upstream.requests)  # fmt: skip


def test_the_openai_sdk_lists_and_retrieves_models(sdk: openai.OpenAI) -> None:
    """Virtual names come first."""
    names = [model.id for model in sdk.models.list()]
    virtual = ["auto", "fast", "smart", "reasoning", "claude-auto", "gpt-4o"]
    assert names[:6] == virtual
    assert names.index("acme/auto") < names.index("able-1")
    assert {"swift-1", "deep-1", "else-1", "other/smart"} <= set(names)
    assert sdk.models.retrieve("acme/fast").owned_by == "acme"
    with pytest.raises(openai.NotFoundError, match="no-such"):
        sdk.models.retrieve("no-such")


def sampled(value: Config) -> None:
    value["cache"] = {"default": "on", "ttl": "1h", "sampled": True}


@pytest.mark.parametrize("first", [False, True], ids=["recorded whole", "recorded streamed"])
def test_one_cached_answer_serves_whole_and_streamed_calls(
    make: Make, upstream: Upstream, first: bool
) -> None:
    """A program reads the same answer, whichever way it was recorded and is served."""
    change: Change = sampled
    world = make(change)
    replies = []
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="any") as client:
        for streamed in (first, not first, first):
            if streamed:
                with client.chat.completions.stream(
                    model="smart", messages=HELLO, stream_options={"include_usage": True}
                ) as chunks:
                    reply = chunks.get_final_completion().model_dump()
            else:
                reply = client.chat.completions.create(model="smart", messages=HELLO).model_dump()
            world.loop.run(world.gateway.engine.drain())
            replies.append(without_sdk_members(reply))
    assert replies[0] == replies[1] == replies[2]
    assert replies[0]["usage"]["total_tokens"] == 10
    assert len(upstream.requests) == 1
    assert [entry.cache for entry in world.entries()] == ["miss", "hit", "hit"]


def without_sdk_members(reply: dict[str, Any]) -> dict[str, Any]:
    """Remove what the SDK's own accumulation of a stream adds."""
    message = reply["choices"][0]["message"]
    message.pop("parsed", None)
    empty = [name for name, value in message.items() if value is None]
    for name in empty:
        del message[name]
    return {name: value for name, value in reply.items() if value is not None}


def test_the_gateway_reads_a_stream_with_a_wrong_content_type(
    sdk: openai.OpenAI, upstream: Upstream
) -> None:
    """Hosts may mislabel their streams; the gateway looks at the content."""
    odd = Answer(pieces=frames(), headers=(("content-type", "text/plain"),))
    upstream.on("/acme", odd)
    chunks = sdk.chat.completions.create(model="smart", messages=HELLO, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in chunks) == "Hello you."
