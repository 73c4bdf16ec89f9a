"""The client's bytes arrive as they were written, except for necessary changes; so do answers."""

import pytest

from gateway.core import jsonio
from tests.e2e.upstream import DONE, ROLE, SSE, Answer, Upstream, chunk, frames, stream, whole
from tests.e2e.world import Config, Make, World

MESSAGES = b'[ {"role":"user", "content":"\\u00e4 \xc3\xa4 \\/ \\ud83d\\ude00", "x": 1.50, "x": 1e400_} ]'.replace(b"1e400_", b"12345678901234567890123")  # fmt: skip
ODD = b'"x_own" : {"b":1.0,"a":[ ],"a":-0.0} , "seed":7 ,\n "logit_bias":{}'
USAGE = b'"stream_options": {"include_usage":true, "x":1}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"able-1","messages":' + MESSAGES + b"}",
        b' { "messages" : ' + MESSAGES + b', "model":"able-1" , ' + ODD + b" }\n",
        b'{"model":"able-1","messages":' + MESSAGES + b',"stream" :true ,' + USAGE + b"}",
        b'{"model":"able-1","messages":[],"stream":false,"stream_options":null}',
    ],
    ids=["plain", "odd", "stream", "null"],
)
def test_a_request_that_needs_no_change_arrives_byte_for_byte(
    world: World, upstream: Upstream, body: bytes
) -> None:
    assert world.ask(body).status_code == 200
    assert upstream.requests[0].body == body


CHANGES: list[tuple[str, bytes, dict[str, bytes]]] = [
    ("model", b'{"model":"smart","messages":%b,%b}', {"model": b'"able-1"'}),
    (
        "model and effort",
        b'{"model":"reasoning","messages":%b,%b}',
        {"model": b'"deep-1"', "reasoning_effort": b'"high"'},
    ),
    (
        "usage in a stream",
        b'{"messages":%b,"stream": true,%b,"model":"able-1"}',
        {"stream_options": b'{"include_usage":true}'},
    ),
    (
        "usage beside other options",
        b'{"messages":%b,"stream":true,%b,"model":"able-1","stream_options":{"include_obfuscation":false}}',
        {"stream_options": b'{"include_obfuscation":false,"include_usage":true}'},
    ),
]


@pytest.mark.parametrize(("body", "changes"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])  # fmt: skip
def test_the_gateway_changes_only_the_members_that_it_must(
    world: World, upstream: Upstream, body: bytes, changes: dict[str, bytes]
) -> None:
    request_body = body % (MESSAGES, ODD)
    assert world.ask(request_body).status_code == 200
    expected = {
        name: bytes(memoryview(raw)) for name, raw in jsonio.read_members(request_body).items()
    } | changes
    arrived_members = jsonio.read_members(upstream.requests[0].body)
    assert {name: bytes(memoryview(raw)) for name, raw in arrived_members.items()} == expected
    assert list(arrived_members)[: len(jsonio.read_members(request_body))] == list(
        jsonio.read_members(request_body)
    )


def test_the_last_of_two_equal_members_is_read_and_sent(world: World, upstream: Upstream) -> None:
    """The last one counts, so that gateway and provider cannot read two different requests."""
    body = b'{"model":"deep-1","messages":[],"user":"a","model":"able-1","user":"b"}'
    assert world.ask(body).headers["x-tiergate-model"] == "able-1"
    body_at_provider = upstream.requests[0].body
    assert body_at_provider.count(b'"model"') == body_at_provider.count(b'"user"') == 1
    assert upstream.requests[0].json == {"model": "able-1", "messages": [], "user": "b"}


def test_whole_native_answers_come_back_byte_for_byte(world: World, upstream: Upstream) -> None:
    answer = whole("\u2028 \U0001f600 </script>")
    upstream.on("/acme", answer)
    reply = world.ask(b'{"model":"smart","messages":[]}')
    assert reply.content == answer.pieces[0]
    assert reply.headers["content-type"] == "application/json"


COMMENTS = (b": OPENROUTER PROCESSING\n\n", b"event: x\nid: 1\ndata: {}\n\n", b"\n\n")


@pytest.mark.parametrize("size", [1, 3, 7, 64, 10_000])
def test_native_streams_come_back_byte_for_byte(
    world: World, upstream: Upstream, size: int
) -> None:
    """Every cut by the network, comments and unknown members pass unchanged."""
    first, *rest = frames(["a\u2028b", "\r", "[DONE]"], counts=(1, 1))
    data = b"".join([COMMENTS[0], first, COMMENTS[1], *rest[:-1], COMMENTS[0], DONE])
    pieces = tuple(data[at : at + size] for at in range(0, len(data), size))
    upstream.on("/acme", Answer(pieces=pieces, headers=SSE))
    body = b'{"model":"smart","messages":[],"stream":true,"stream_options":{"include_usage":true}}'
    assert world.ask(body).content == data


def test_a_last_frame_without_its_end_is_passed_on(world: World, upstream: Upstream) -> None:
    """A host may close right after the marker."""
    data = ROLE + chunk({"content": "Hi"}) + chunk({}, "stop") + DONE.rstrip()
    upstream.on("/acme", stream(data))
    assert world.ask(b'{"model":"smart","messages":[],"stream":true}').content == data


def test_a_client_that_requests_no_usage_gets_no_usage_chunk(
    world: World, upstream: Upstream
) -> None:
    stream_frames = frames()
    upstream.on("/acme", stream(*stream_frames))
    reply = world.ask(b'{"model":"smart","messages":[],"stream":true}')
    assert reply.content == b"".join(stream_frames[:-2]) + DONE


def test_a_client_gets_the_usage_chunk_that_a_provider_always_sends(
    make: Make, upstream: Upstream
) -> None:
    """The chunk passes from provider and cache; one that the gateway asked for does not."""

    def unasked(value: Config) -> None:
        value["cache"] = {"default": "on", "ttl": "1h"}
        value["providers"]["acme"]["stream_usage"] = "always"

    world, stream_frames = make(unasked), frames()
    upstream.on("/acme", stream(*stream_frames))
    for cache in ("miss", "hit"):
        reply = world.ask(b'{"model":"smart","messages":[],"stream":true}')
        assert reply.headers["x-tiergate-cache"] == cache
        assert reply.content == b"".join(stream_frames)
    assert "stream_options" not in upstream.requests[0].json


def test_a_providers_error_in_a_stream_comes_back_once(world: World, upstream: Upstream) -> None:
    """The client gets the error in its own bytes, and without the marker behind it."""
    hello = chunk({"content": "Hello"})
    error = b'data: {"error": {"message":"It broke.", "code": null, "x": 1.50}}\n\n'
    upstream.on("/acme", stream(ROLE, hello, error, DONE))
    assert (
        world.ask(b'{"model":"smart","messages":[],"stream":true}').content == ROLE + hello + error
    )


def test_only_listed_request_headers_reach_the_provider(world: World, upstream: Upstream) -> None:
    """The gateway keeps keys, cookies and its own headers from the provider."""
    world.ask(
        b'{"model":"smart","messages":[]}', authorization="Bearer client-key", cookie="a=b",
        x_api_key="client-key", x_forwarded_for="10.0.0.1", x_tiergate_tags="a", accept="text/x",
        accept_encoding="br", user_agent="mine", openai_organization="org", x_stainless_lang="py",
        openai_beta="assistants=v2", idempotency_key="k-1", traceparent="00-1-2-01",
    )  # fmt: skip
    names = [name.lower() for name, _ in upstream.requests[0].headers]
    assert sorted(names) == sorted(
        [
            b"host", b"content-type", b"accept-encoding", b"user-agent", b"authorization",
            b"content-length", b"x-tiergate-hop", b"openai-beta", b"idempotency-key", b"traceparent",
        ]
    )  # fmt: skip
    request = upstream.requests[0]
    assert request.header("authorization") == "Bearer sk-acme-0123456789-never-shown"
    assert request.header("accept-encoding") == "identity"
    assert request.header("user-agent") == "tiergate"
    assert request.header("host") == upstream.url.removeprefix("http://")
