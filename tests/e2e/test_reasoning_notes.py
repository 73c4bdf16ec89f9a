"""Tool loops of thinking models, through a plain chat SDK that sends no reasoning back."""

from hashlib import sha256
from typing import Any

import openai
import pytest

from gateway.core import jsonio
from tests.e2e.four_labs import CHAT, ENDPOINTS, GEMINI, MESSAGES, QUESTION, answer
from tests.e2e.reasoning_labs import (
    BACK,
    LABS,
    NONE,
    STATE,
    STREAMS,
    THOUGHT,
    TOOLS,
    Json,
    reasoning,
    thinking,
    thinking_answer,
)
from tests.e2e.upstream import Upstream, failing
from tests.e2e.world import Config, Make, World


def start_tool_loop(world: World, lab: str, *, stream: bool = False, key: str = "k") -> list[Any]:
    """Make the first request of a tool loop, and return the messages of the second.

    The application knows nothing of reasoning.
    """
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    options: Json = {"model": f"{lab}/smart", "tools": TOOLS}
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0) as sdk:
        if stream:
            with sdk.chat.completions.stream(messages=messages, **options) as events:
                message: Any = events.get_final_completion().choices[0].message
        else:
            message = sdk.chat.completions.create(messages=messages, **options).choices[0].message
        return [*messages, *without_reasoning(message)]


def without_reasoning(message: Any) -> list[Any]:
    """The model's turn as most applications keep it, and the tool's result."""
    (call,) = message.tool_calls
    function = {"name": call.function.name, "arguments": call.function.arguments}
    calls = [{"id": call.id, "type": "function", "function": function}]
    return [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": call.id, "content": "Rain."},
    ]


def continue_tool_loop(world: World, lab: str, messages: list[Any], **more: str) -> Any:
    body = {"model": f"{lab}/smart", "messages": messages, "tools": TOOLS}
    return world.ask(body, **more)


@pytest.mark.parametrize("lab", LABS)
def test_the_gateway_returns_reasoning_to_the_lab_that_wrote_it(
    world: World, upstream: Upstream, lab: str
) -> None:
    """The gateway puts the reasoning back before the call, though the client has dropped it."""
    upstream.on(ENDPOINTS[lab], thinking_answer(lab), answer(lab))
    reply = continue_tool_loop(world, lab, start_tool_loop(world, lab))
    assert reply.status_code == 200, reply.text
    assert reasoning(upstream.requests[1], lab) == BACK[lab]
    assert "x-tiergate-dropped" not in reply.headers


@pytest.mark.parametrize("lab", STREAMS)
def test_the_gateway_returns_reasoning_of_a_stream_too(
    world: World, upstream: Upstream, lab: str
) -> None:
    """The gateway stores the note before the client has the end of the stream."""
    upstream.on(ENDPOINTS[lab], thinking_answer(lab, stream=True), answer(lab))
    reply = continue_tool_loop(world, lab, start_tool_loop(world, lab, stream=True))
    assert reply.status_code == 200, reply.text
    assert reasoning(upstream.requests[1], lab) == BACK[lab]


def test_the_gateway_rewrites_only_the_message_that_lacks_its_reasoning(
    world: World, upstream: Upstream
) -> None:
    """In a native request all other bytes are the client's own."""
    upstream.on(ENDPOINTS[CHAT], thinking_answer(CHAT), answer(CHAT))
    messages = start_tool_loop(world, CHAT)
    tail = b'{"role": "tool",  "tool_call_id": "call_1", "content": "1.50"}'
    head, turn = map(jsonio.dumps, messages[:2])
    body = b'{"model": "%b/smart", "messages": [%b, %b, %b], "x": 1.50}' % (
        CHAT.encode(), head, turn, tail,
    )  # fmt: skip
    assert world.ask(body).status_code == 200
    body_at_provider = upstream.requests[1].body
    assert tail in body_at_provider
    assert b'"x":1.50' in body_at_provider
    assert b'"reasoning_content":' + jsonio.dumps(THOUGHT) in body_at_provider


@pytest.mark.parametrize("lab", LABS)
def test_a_lost_reasoning_note_fails_no_request(world: World, upstream: Upstream, lab: str) -> None:
    """A host that requires reasoning gets an empty one."""
    upstream.on(ENDPOINTS[lab], thinking_answer(lab), answer(lab))
    messages = start_tool_loop(world, lab)
    world.loop.run(world.gateway._state_store.close())
    assert continue_tool_loop(world, lab, messages).status_code == 200
    assert reasoning(upstream.requests[1], lab) == NONE[lab]


@pytest.mark.parametrize("lab", [MESSAGES, CHAT])
def test_no_client_key_gets_the_reasoning_of_another(
    make: Make, upstream: Upstream, lab: str
) -> None:
    keys = ",".join(f"{name}={sha256(name.encode()).hexdigest()}" for name in ("one", "two"))
    world = make(thinking, TIERGATE_KEYS=keys)
    upstream.on(ENDPOINTS[lab], thinking_answer(lab), answer(lab))
    messages = start_tool_loop(world, lab, key="one")
    assert continue_tool_loop(world, lab, messages, authorization="Bearer two").status_code == 200
    assert reasoning(upstream.requests[1], lab) == NONE[lab]
    assert continue_tool_loop(world, lab, messages, authorization="Bearer one").status_code == 200
    assert reasoning(upstream.requests[2], lab) == BACK[lab]


@pytest.mark.parametrize("lab", [MESSAGES, CHAT])
def test_an_equal_tool_call_in_another_conversation_gets_no_reasoning(
    world: World, upstream: Upstream, lab: str
) -> None:
    """Hosts may count the ids of calls anew in each conversation."""
    upstream.on(ENDPOINTS[lab], thinking_answer(lab), answer(lab))
    messages = start_tool_loop(world, lab)
    other = [{"role": "user", "content": "Of somebody else."}, *messages[1:]]
    assert continue_tool_loop(world, lab, other).status_code == 200
    assert reasoning(upstream.requests[1], lab) == NONE[lab]


@pytest.mark.parametrize("lab", [CHAT, GEMINI])
def test_another_model_does_not_get_the_reasoning(
    world: World, upstream: Upstream, lab: str
) -> None:
    """The gateway leaves the reasoning out, and names the loss."""
    upstream.on(ENDPOINTS[MESSAGES], thinking_answer(MESSAGES))
    upstream.on(ENDPOINTS[lab], answer(lab))
    reply = continue_tool_loop(world, lab, start_tool_loop(world, MESSAGES))
    assert reply.status_code == 200, reply.text
    assert reasoning(upstream.requests[1], lab) == NONE[lab]
    assert STATE not in upstream.requests[1].body.decode()
    assert reply.headers["x-tiergate-dropped"] == "messages.reasoning"


@pytest.mark.parametrize("lab", [MESSAGES, CHAT])
def test_the_gateway_retries_without_reasoning_that_the_provider_refuses(
    world: World, upstream: Upstream, lab: str
) -> None:
    """The gateway tries the same target once more without the reasoning, and names the loss."""
    message = "messages.1: Invalid `signature` in `thinking` block"
    no = failing(
        400, jsonio.dumps({"error": {"type": "invalid_request_error", "message": message}})
    )
    upstream.on(ENDPOINTS[lab], thinking_answer(lab), no, answer(lab))
    reply = continue_tool_loop(world, lab, start_tool_loop(world, lab))
    assert reply.status_code == 200, reply.text
    assert [reasoning(request, lab) for request in upstream.requests[1:]] == [BACK[lab], NONE[lab]]
    assert reply.headers["x-tiergate-dropped"] == "messages.reasoning"
    assert reply.headers["x-tiergate-attempts"] == "2"


def test_the_client_gets_other_refusals_without_a_retry(world: World, upstream: Upstream) -> None:
    """The gateway tries nothing again, whatever reasoning it has put back."""
    upstream.on(ENDPOINTS[MESSAGES], thinking_answer(MESSAGES), failing(400), answer(MESSAGES))
    assert continue_tool_loop(world, MESSAGES, start_tool_loop(world, MESSAGES)).status_code == 400
    assert len(upstream.requests) == 2


def test_a_tool_loop_keeps_its_account_and_its_target(make: Make, upstream: Upstream) -> None:
    """The account that has done the thinking goes on, though it is not the first of the plan."""

    def two(value: Config) -> None:
        thinking(value)
        value["providers"][MESSAGES]["accounts"] = {"main": "key-1", "spare": "key-2"}

    world = make(two)
    limited = failing(429)
    upstream.on(ENDPOINTS[MESSAGES], limited, thinking_answer(MESSAGES), answer(MESSAGES))
    assert continue_tool_loop(world, MESSAGES, start_tool_loop(world, MESSAGES)).status_code == 200
    used = [request.header("x-api-key") for request in upstream.requests]
    assert used == ["key-1", "key-2", "key-2"]


def test_the_gateway_reads_notes_only_in_a_tool_loop(world: World, upstream: Upstream) -> None:
    """Outside a tool loop the gateway reads no note from its store."""
    keys: list[str] = []
    real = world.gateway._state_store.get

    async def get(key: str) -> bytes | None:
        keys.append(key)
        return await real(key)

    world.gateway._state_store.get = get  # type: ignore[method-assign]  # a spy
    upstream.on(ENDPOINTS[MESSAGES], thinking_answer(MESSAGES), answer(MESSAGES))
    messages = start_tool_loop(world, MESSAGES)
    assert keys == []
    continue_tool_loop(world, MESSAGES, [*messages, {"role": "user", "content": "Thanks."}])
    assert keys == []
    continue_tool_loop(world, MESSAGES, messages)
    assert [key.partition(":")[0] for key in keys] == ["note"]


def test_gateways_share_reasoning_notes_through_redis(
    make: Make, upstream: Upstream, redis_url: str
) -> None:
    """A second process goes on with the loop; the notes in Redis are sealed and show no id."""
    shared = {"REDIS_URL": redis_url, "TIERGATE_SECRET": "one for all"}
    first, second = make(thinking, **shared), make(thinking, **shared)
    upstream.on(ENDPOINTS[MESSAGES], thinking_answer(MESSAGES), answer(MESSAGES))
    assert continue_tool_loop(second, MESSAGES, start_tool_loop(first, MESSAGES)).status_code == 200
    assert reasoning(upstream.requests[1], MESSAGES) == BACK[MESSAGES]


@pytest.fixture
def world(make: Make) -> World:
    return make(thinking)
