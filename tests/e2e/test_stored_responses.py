"""Requests of the Responses API that continue an earlier answer, through the official SDK."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import openai
import pytest

from gateway.core import jsonio
from tests.e2e.four_labs import (
    CHAT,
    DIALECTS,
    ENDPOINTS,
    MESSAGES,
    RESPONSES,
    SCHEMA,
    TEXT,
    answer,
    four,
)
from tests.e2e.reasoning_labs import BACK, NONE, reasoning, thinking, thinking_answer
from tests.e2e.upstream import Answer, Request, Upstream, failing
from tests.e2e.world import Config, Make, World

FIRST, SECOND = "My name is Zoë.", "What is my name?"
ID = "resp_1"
"""The id that the provider of Responses gives its answer."""


def stored(value: Config) -> None:
    """Configure four labs; the one of Responses keeps answers, and has two accounts."""
    four(value)
    value["providers"][RESPONSES] |= {
        "keeps_responses": True,
        "accounts": {"main": "key-1", "spare": "key-2"},
    }


@pytest.fixture
def world(make: Make) -> World:
    return make(four)


@contextmanager
def sdk(world: World, key: str = "k") -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def ask(world: World, lab: str, text: Any, *, stream: bool = False, key: str = "k", **more: Any) -> Any:  # fmt: skip
    """Ask for one answer, and return it."""
    body: dict[str, Any] = {"model": f"{lab}/smart", "input": text, **more}
    with sdk(world, key) as client:
        if stream:
            with client.responses.stream(**body) as events:
                return events.get_final_response()
        return client.responses.create(**body)


def conversation_of(request: Request, lab: str) -> list[tuple[str, str]]:
    """Return the roles and texts of a request to a provider."""
    body = request.json
    if lab == RESPONSES:
        turns = [(turn["role"], turn["content"]) for turn in body["input"]]
    elif lab in (CHAT, MESSAGES):
        turns = [(turn["role"], turn["content"]) for turn in body["messages"]]
    else:
        turns = [(turn.get("role", "user"), turn["parts"]) for turn in body["contents"]]
    return [(role.replace("model", "assistant"), text(content)) for role, content in turns]


def text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


WHOLE = [("user", FIRST), ("assistant", TEXT), ("user", SECOND)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("lab", DIALECTS)
def test_a_second_turn_continues_the_first(
    world: World, upstream: Upstream, lab: str, stream: bool
) -> None:
    """A lab that keeps nothing gets all of the conversation, and no id."""
    upstream.on(ENDPOINTS[lab], answer(lab, stream=stream))
    first = ask(world, lab, FIRST, stream=stream)
    ask(world, lab, SECOND, stream=stream, previous_response_id=first.id)
    request = upstream.requests[1]
    assert conversation_of(request, lab) == WHOLE
    assert "previous_response_id" not in request.json
    assert [entry.state for entry in world.entries()] == ["settled", "settled"]


def renamed(id: str, *, stream: bool = False) -> Answer:
    """Return an answer of the Responses lab under another id."""
    original = answer(RESPONSES, stream=stream)
    pieces = tuple(
        (piece or b"").replace(b'"resp_1"', f'"{id}"'.encode()) for piece in original.pieces
    )
    return Answer(pieces=pieces, headers=original.headers)


def test_a_chain_of_three_may_change_labs(world: World, upstream: Upstream) -> None:
    """Each answer holds all that came before it."""
    for lab in DIALECTS:
        upstream.on(ENDPOINTS[lab], answer(lab))
    first = ask(world, MESSAGES, FIRST)
    second = ask(world, CHAT, SECOND, previous_response_id=first.id)
    ask(world, RESPONSES, "And yours?", previous_response_id=second.id)
    assert conversation_of(upstream.requests[2], RESPONSES) == [
        *WHOLE, ("assistant", TEXT), ("user", "And yours?"),
    ]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_provider_that_keeps_answers_gets_the_previous_response_id(
    make: Make, upstream: Upstream, stream: bool
) -> None:
    """The provider gets the client's own bytes, on the account that has the answer."""
    world = make(stored)
    upstream.on(ENDPOINTS[RESPONSES], failing(429), answer(RESPONSES, stream=stream))
    first = ask(world, RESPONSES, FIRST, stream=stream)
    assert first.id == ID
    ask(world, RESPONSES, SECOND, stream=stream, previous_response_id=ID)
    last_request = upstream.requests[2]
    assert (last_request.json["previous_response_id"], last_request.json["input"]) == (ID, SECOND)
    assert [request.header("authorization") for request in upstream.requests] == [
        "Bearer key-1", "Bearer key-2", "Bearer key-2",
    ]  # fmt: skip


def test_another_account_gets_the_whole_conversation_when_the_keeper_fails(
    make: Make, upstream: Upstream
) -> None:
    """The request has no ids of the first account's items, which mean nothing there."""
    world = make(stored)
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES), failing(503), renamed("resp_2"))
    ask(world, RESPONSES, FIRST)
    ask(world, RESPONSES, SECOND, previous_response_id=ID)
    assert "previous_response_id" in upstream.requests[1].json
    last = upstream.requests[2]
    assert last.header("authorization") == "Bearer key-2"
    assert "previous_response_id" not in last.json
    assert conversation_of(last, RESPONSES) == WHOLE
    assert "msg_1" not in last.body.decode()


@pytest.mark.parametrize("status", [400, 404])
def test_a_provider_that_lost_the_answer_gets_the_whole_conversation(
    make: Make, upstream: Upstream, status: int
) -> None:
    """An organisation without retention keeps nothing, whatever the request asks for."""
    world = make(stored)
    error = {
        "message": "Previous response with id 'resp_1' not found.", "type": "invalid_request_error",
        "param": "previous_response_id", "code": "previous_response_not_found",
    }  # fmt: skip
    gone = failing(status, jsonio.dumps({"error": error}))
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES), gone, renamed("resp_2"))
    ask(world, RESPONSES, FIRST)
    assert ask(world, RESPONSES, SECOND, previous_response_id=ID).id == "resp_2"
    first_try, last = upstream.requests[1:]
    assert first_try.json["previous_response_id"] == ID
    assert conversation_of(last, RESPONSES) == WHOLE
    assert last.header("authorization") == "Bearer key-1"


def test_a_conversation_with_a_stored_prompt_stays_with_its_provider(
    make: Make, upstream: Upstream
) -> None:
    """A stored prompt has content that the gateway has not seen, so the chain goes on there."""
    world = make(stored)
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    upstream.on(ENDPOINTS[CHAT], answer(CHAT))
    ask(world, RESPONSES, FIRST, prompt={"id": "pmpt_1"})
    ask(world, RESPONSES, SECOND, previous_response_id=ID)
    assert upstream.requests[1].json["previous_response_id"] == ID
    with pytest.raises(openai.NotFoundError, match="previous_response_id"):
        ask(world, CHAT, SECOND, previous_response_id=ID)


def test_an_unknown_response_id_is_not_found(make: Make, upstream: Upstream) -> None:
    """The error has OpenAI's shape; the gateway asks nobody, and the call is on the ledger."""

    def refusing(value: Config) -> None:
        four(value)
        value["responses"] = {"foreign": "refuse"}

    world = make(refusing)
    with pytest.raises(openai.NotFoundError) as raised:
        ask(world, CHAT, SECOND, previous_response_id="resp_none")
    assert raised.value.body == {
        "message": "Previous response with id 'resp_none' not found. "
        "Send the whole conversation as `input`, without `previous_response_id`.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }
    assert not upstream.requests
    entry = world.entry()
    assert (entry.state, entry.status, entry.problem) == ("refused", 404, "not_found")


def test_the_store_member_is_no_loss_where_the_gateway_stores(
    world: World, upstream: Upstream
) -> None:
    upstream.on(ENDPOINTS[CHAT], answer(CHAT))
    body = {"model": f"{CHAT}/smart", "input": FIRST, "store": True}
    reply = world.client.post("/v1/responses", json=body)
    assert reply.status_code == 200
    assert "x-tiergate-dropped" not in reply.headers


def test_a_client_retrieves_and_deletes_an_answer(world: World, upstream: Upstream) -> None:
    """The answer comes back as it was given; answers that continue it stay."""
    upstream.on(ENDPOINTS[CHAT], answer(CHAT))
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    first = ask(world, CHAT, FIRST)
    second = ask(world, RESPONSES, SECOND, previous_response_id=first.id)
    with sdk(world) as client:
        assert client.responses.retrieve(first.id) == first
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError, match="not found"):
            client.responses.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        ask(world, CHAT, SECOND, previous_response_id=first.id)
    ask(world, CHAT, "And yours?", previous_response_id=second.id)
    assert conversation_of(upstream.requests[-1], CHAT)[:3] == WHOLE


@pytest.mark.parametrize("shared", [False, True], ids=["memory", "redis"])
def test_no_client_key_continues_the_answer_of_another(
    make: Make, upstream: Upstream, request: pytest.FixtureRequest, shared: bool
) -> None:
    """To other keys the answer does not exist."""
    keys = ",".join(f"{name}={sha256(name.encode()).hexdigest()}" for name in ("one", "two"))
    url = {"REDIS_URL": request.getfixturevalue("redis_url")} if shared else {}
    world = make(four, TIERGATE_KEYS=keys, **url)
    upstream.on(ENDPOINTS[CHAT], answer(CHAT))
    first = ask(world, CHAT, FIRST, key="one")
    with pytest.raises(openai.NotFoundError):
        ask(world, CHAT, SECOND, key="two", previous_response_id=first.id)
    with sdk(world, "two") as client:
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.delete(first.id)
    ask(world, CHAT, SECOND, key="one", previous_response_id=first.id)
    assert conversation_of(upstream.requests[1], CHAT) == WHOLE
    assert world.client.get(f"/v1/responses/{first.id}").status_code == 401


def test_another_gateway_continues_a_conversation_through_redis(
    make: Make, upstream: Upstream, redis_url: str
) -> None:
    shared = {"REDIS_URL": redis_url, "TIERGATE_SECRET": "one for all"}
    first, second = make(four, **shared), make(four, **shared)
    upstream.on(ENDPOINTS[MESSAGES], answer(MESSAGES))
    first_answer = ask(first, MESSAGES, FIRST)
    ask(second, MESSAGES, SECOND, previous_response_id=first_answer.id)
    assert conversation_of(upstream.requests[1], MESSAGES) == WHOLE


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_lost_store_fails_no_new_call(world: World, upstream: Upstream, stream: bool) -> None:
    """The gateway refuses only a request that continues a lost answer."""
    upstream.on(ENDPOINTS[CHAT], answer(CHAT, stream=stream))
    first = ask(world, CHAT, FIRST, stream=stream)
    world.loop.run(world.gateway._state_store.close())
    assert ask(world, CHAT, FIRST, stream=stream).output_text == TEXT
    with pytest.raises(openai.NotFoundError):
        ask(world, CHAT, SECOND, stream=stream, previous_response_id=first.id)


def test_without_a_store_the_id_goes_to_a_provider_that_keeps_answers(
    make: Make, upstream: Upstream
) -> None:
    """The gateway refuses it where no provider keeps answers; no answer can be retrieved."""

    def off(value: Config) -> None:
        stored(value)
        value["responses"] = {"ttl": "0s"}

    world = make(off)
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    ask(world, RESPONSES, SECOND, previous_response_id="resp_theirs")
    assert upstream.requests[0].json["previous_response_id"] == "resp_theirs"
    with pytest.raises(openai.NotFoundError, match="previous_response_id"):
        ask(world, CHAT, SECOND, previous_response_id="resp_theirs")
    with sdk(world) as client, pytest.raises(openai.NotFoundError, match=r"responses\.ttl"):
        client.responses.retrieve(ID)


FUNCTION: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]


def test_reasoning_in_a_conversation_returns_only_to_its_maker(
    make: Make, upstream: Upstream
) -> None:
    """The maker gets its reasoning back as it wrote it, once.

    Where the maker refuses it, the call goes on without.
    """
    world = make(thinking)
    message = "messages.1.content.0: Invalid `signature` in `thinking` block"
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    refused = failing(400, jsonio.dumps(error))
    upstream.on(ENDPOINTS[MESSAGES], thinking_answer(MESSAGES), refused, answer(MESSAGES))
    first = ask(world, MESSAGES, FIRST, tools=FUNCTION)
    result: Any = [{"type": "function_call_output", "call_id": "toolu_1", "output": "Rain."}]
    body = {"model": f"{MESSAGES}/smart", "input": result, "tools": FUNCTION, "previous_response_id": first.id}  # fmt: skip
    reply = world.client.post("/v1/responses", json=body)
    assert reply.status_code == 200, reply.text
    reasoning_by_request = [reasoning(request, MESSAGES) for request in upstream.requests[1:]]
    assert reasoning_by_request == [BACK[MESSAGES], NONE[MESSAGES]]
    assert reply.headers["x-tiergate-dropped"] == "input.reasoning"


@pytest.mark.parametrize("more", [{"conversation": "conv_1"}, {"background": True}])
def test_the_gateway_refuses_provider_state_in_a_translated_call(
    make: Make, upstream: Upstream, more: dict[str, Any]
) -> None:
    def change(value: Config) -> None:
        four(value)
        value["passthrough"] = {"foreign": "pass"}

    (name,) = more
    with pytest.raises(openai.BadRequestError, match=name):
        ask(make(change), CHAT, FIRST, **more)
    assert not upstream.requests


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_cached_answer_is_stored_for_the_next_turn(
    make: Make, upstream: Upstream, stream: bool
) -> None:
    """The answer is stored for the key that got it from the cache."""
    keys = ",".join(f"{name}={sha256(name.encode()).hexdigest()}" for name in ("one", "two"))

    def cached(value: Config) -> None:
        four(value)
        value["cache"] = {"default": "on", "ttl": "1h", "scope": "tenant"}

    world = make(cached, TIERGATE_KEYS=keys)
    upstream.on(ENDPOINTS[CHAT], answer(CHAT, stream=stream))
    ask(world, CHAT, FIRST, stream=stream, key="one")
    world.loop.run(world.gateway.engine.drain())
    cached_answer = ask(world, CHAT, FIRST, stream=stream, key="two")
    assert len(upstream.requests) == 1
    ask(world, CHAT, SECOND, stream=stream, key="two", previous_response_id=cached_answer.id)
    assert conversation_of(upstream.requests[1], CHAT) == WHOLE


def test_the_route_endpoint_decides_on_the_whole_conversation(
    world: World, upstream: Upstream
) -> None:
    upstream.on(ENDPOINTS[CHAT], answer(CHAT))
    first = ask(world, CHAT, FIRST)
    body = {"model": f"{CHAT}/smart", "input": SECOND, "previous_response_id": first.id}
    reply = world.client.post("/v1/route", json=body, params={"dialect": RESPONSES})
    assert reply.status_code == 200, reply.text
    assert jsonio.loads(reply.content)["plan"][0]["dialect"] == CHAT


def turns_with_item_reference(id: str) -> list[dict[str, str]]:
    """Return a second turn that only names the item of the first."""
    return [{"role": "user", "content": FIRST}, {"type": "item_reference", "id": id}, {"role": "user", "content": SECOND}]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("lab", DIALECTS)
def test_a_second_turn_may_name_items_of_the_first(
    world: World, upstream: Upstream, lab: str, stream: bool
) -> None:
    """A lab that keeps nothing gets the items; so does a lab that did not write them."""
    for each in (lab, CHAT):
        upstream.on(ENDPOINTS[each], answer(each, stream=stream))
    first = ask(world, lab, FIRST, stream=stream)
    for each in (lab, CHAT):
        ask(world, each, turns_with_item_reference(first.output[-1].id), stream=stream)
        assert conversation_of(upstream.requests[-1], each) == WHOLE
        assert "item_reference" not in upstream.requests[-1].body.decode()


@pytest.mark.parametrize("lab", [CHAT, RESPONSES])
def test_no_client_key_can_name_an_item_of_another(
    make: Make, upstream: Upstream, lab: str
) -> None:
    """The provider, which keeps the item and knows only one client, does not get the id either."""
    keys = ",".join(f"{name}={sha256(name.encode()).hexdigest()}" for name in ("one", "two"))
    world = make(stored, TIERGATE_KEYS=keys)
    upstream.on(ENDPOINTS[lab], answer(lab))
    id = ask(world, lab, FIRST, key="one").output[-1].id
    with pytest.raises(openai.BadRequestError, match=f"Item with id '{id}' not found"):
        ask(world, lab, turns_with_item_reference(id), key="two")
    assert len(upstream.requests) == 1
    ask(world, lab, turns_with_item_reference(id), key="one")


def test_without_a_store_named_items_go_to_a_provider_that_keeps_them(
    make: Make, upstream: Upstream
) -> None:
    def off(value: Config) -> None:
        stored(value)
        value["responses"] = {"ttl": "0s"}

    world = make(off)
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    ask(world, RESPONSES, turns_with_item_reference("msg_theirs"))
    assert upstream.requests[0].json["input"] == turns_with_item_reference("msg_theirs")
    for turns in (turns_with_item_reference("msg_theirs"), [{"id": "msg_theirs"}]):
        with pytest.raises(openai.BadRequestError, match=r"input\.item_reference"):
            ask(world, CHAT, turns)
