"""Near answers over real sockets: what the cache serves, its names and costs, and who gets it."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from gateway.core import jsonio
from gateway.state.memory import MemoryStore
from tests.e2e.four_labs import CHAT, DIALECTS, ENDPOINTS, MESSAGES, four, host, make_request
from tests.e2e.redis_port import Place
from tests.e2e.test_cache import keyed
from tests.e2e.upstream import Answer, Request, Upstream, failing, whole
from tests.e2e.world import Body, Change, Config, Make, World, chat

QUESTION, NEAR_QUESTION, THIRD_QUESTION = (
    "How do I reset my password?",
    "What's the way to reset my password?",
    "Please tell me how to reset my password.",
)
FAR_QUESTION = "How do I reset my phone?"


MODEL = {"timeout": "10s", "embed": "vec-1"}


def near(**more: Any) -> Change:
    """Configure near answers with the embedding model of a lab; the model has a price."""

    def change(value: Config) -> None:
        host = {**value["providers"].get("acme", next(iter(value["providers"].values())))}
        host["base_url"] = f"{host['base_url'].removesuffix('/acme')}/vectors"
        host["dialects"] = {CHAT: "/chat/completions"}
        value["providers"]["vectors"] = {**host, "auth": "none", "accounts": {}}
        value["labs"]["vectors"] = {"embeddings": [{"model": "vec-1"}]}
        value["models"]["vec-1"] = {"price": {"input": 0.02, "output": 0, "as_of": "2026-11-24"}}
        value["cache"] = {"default": "on", "ttl": "1h", "near": MODEL, **more}

    return change


def vector(*numbers: float) -> Answer:
    data = [{"object": "embedding", "index": 0, "embedding": list(numbers)}]
    used = {"prompt_tokens": 7, "total_tokens": 7}
    body = jsonio.dumps({"object": "list", "data": data, "model": "vec-1", "usage": used})
    return Answer(pieces=(body,), length=len(body), bill=(7, 0))


def embedding(request: Request) -> Answer:
    """Return the vector of a text: those of ONE and of any other text have a cosine of 0.9."""
    return vector(1.0, 0.0) if request.json["input"] == QUESTION else vector(0.9, 0.19**0.5)


@pytest.fixture
def upstream(upstream: Upstream) -> Upstream:
    upstream.on("/vectors", embedding)
    return upstream


@pytest.fixture
def world(make: Make) -> World:
    return make(near())


def ask(world: World, body: Body | str, **headers: str) -> str:
    """Ask, wait until the answer is stored, and return what the reply says of the cache."""
    reply = world.ask(chat(body) if isinstance(body, str) else body, **headers)
    assert reply.status_code == 200, reply.text
    world.loop.run(world.gateway.engine.drain())
    return str(reply.headers["x-tiergate-cache"])


@pytest.mark.parametrize("first_streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_near_answer_equals_the_stored_answer_byte_for_byte(
    world: World, upstream: Upstream, first_streamed: bool, streamed: bool
) -> None:
    """A near answer equals the answer to an equal request, byte for byte, whole or streamed.

    Its headers say `near`, and how near it is.
    """
    first = world.ask(chat(QUESTION, stream=first_streamed))
    world.loop.run(world.gateway.engine.drain())
    equal = world.ask(chat(QUESTION, stream=streamed))
    other = world.ask(chat(NEAR_QUESTION, stream=streamed))
    assert (first.headers["x-tiergate-cache"], equal.headers["x-tiergate-cache"]) == ("miss", "hit")
    assert other.headers["x-tiergate-cache"] == "near"
    assert other.headers["x-tiergate-near"] == "0.900"
    assert "x-tiergate-near" not in equal.headers
    assert other.content == equal.content
    assert other.headers["content-type"] == equal.headers["content-type"]
    assert other.headers.get("x-tiergate-cost") == (None if streamed else "0")
    assert upstream.called == ["acme", "vectors", "vectors"]


def test_the_row_of_a_near_answer_has_no_cost_and_shows_the_saving(make: Make) -> None:
    """The row equals the row of an equal request; metrics count near answers apart."""

    def compared(value: Config) -> None:
        near()(value)
        value["ledger"] = {**value.get("ledger", {}), "baseline": "reasoning"}

    world = make(compared)
    for text in (QUESTION, QUESTION, NEAR_QUESTION):
        ask(world, text)
    figures = world.client.get("/metrics").text
    assert 'cache="near",state="cache_hit"' in figures
    _, equal, near_row = [row for row in world.entries() if not row.tags]
    assert (near_row.cache, near_row.state, near_row.cost, near_row.attempts) == ("hit", "cache_hit", Decimal(0), 0)  # fmt: skip
    assert near_row.near == pytest.approx(0.9, abs=0.001)
    assert equal.near is None
    assert near_row.baseline == equal.baseline
    assert near_row.baseline
    assert (near_row.usage, near_row.input, near_row.output) == (
        equal.usage,
        equal.input,
        equal.output,
    )


def test_near_answers_are_off_by_default(make: Make, upstream: Upstream) -> None:
    world = make()
    assert [ask(world, text) for text in (QUESTION, NEAR_QUESTION)] == ["off", "off"]
    plain = make(lambda value: value.update(cache={"default": "on", "ttl": "1h"}))
    assert [ask(plain, text) for text in (QUESTION, NEAR_QUESTION)] == ["miss", "miss"]
    assert len(upstream.requests) == 4


def test_calls_of_other_tiers_prompts_caps_or_tools_share_no_near_answer(world: World) -> None:
    """Calls also share nothing across system prompts, output caps or tools."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    ask(world, chat(QUESTION, model="smart"))
    system = {"role": "system", "content": "Be brief."}
    for body in (
        chat(NEAR_QUESTION, model="fast"),
        chat(NEAR_QUESTION, model="smart", max_tokens=10),
        chat(NEAR_QUESTION, model="smart", tools=[tool]),
        {"model": "smart", "messages": [system, {"role": "user", "content": NEAR_QUESTION}]},
    ):
        assert ask(world, body) == "miss"
    assert ask(world, chat(THIRD_QUESTION, model="smart")) == "near"


@pytest.mark.parametrize("redis_too", [False, True], ids=["memory", "redis"])
@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("key", ["miss"] * 3),
        ("tenant", ["miss", "near", "miss"]),
        ("all", ["miss", "near", "near"]),
    ],
)
def test_the_cache_scope_decides_which_keys_share_a_near_answer(
    make: Make,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    scope: str,
    expected: list[str],
    redis_too: bool,
) -> None:
    """Keys a and b are of one tenant, c is of another; only a wider scope shares answers."""
    url: dict[str, str] = {}
    if redis_too:
        url = {"REDIS_URL": f"redis://127.0.0.1:{request.getfixturevalue('place').port}/0"}
    world = make(
        near(scope=scope),
        keyed(tmp_path),
        **url,
    )
    texts = {"a": QUESTION, "b": NEAR_QUESTION, "c": THIRD_QUESTION}
    cache_headers = [ask(world, text, authorization=f"Bearer {key}") for key, text in texts.items()]
    assert cache_headers == expected
    assert ask(world, NEAR_QUESTION, authorization="Bearer a") == "near"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_has_near_answers(make: Make, upstream: Upstream, dialect: str) -> None:
    """Native and translated, a near answer equals the answer to an equal request."""
    for name, endpoint in ENDPOINTS.items():
        upstream.on(endpoint, host(name))
    world = make(four, near())
    for lab in (dialect, CHAT if dialect != CHAT else MESSAGES):
        first = ask_in_dialect(world, dialect, lab, QUESTION)
        equal, other = (
            ask_in_dialect(world, dialect, lab, text) for text in (QUESTION, NEAR_QUESTION)
        )
        assert [reply.headers["x-tiergate-cache"] for reply in (first, equal, other)] == [
            "miss",
            "hit",
            "near",
        ]
        assert other.content == equal.content == first.content
        assert (
            ask_in_dialect(world, dialect, lab, FAR_QUESTION).headers["x-tiergate-cache"] == "miss"
        )


def ask_in_dialect(world: World, dialect: str, lab: str, text: str) -> httpx.Response:
    """Call in a dialect, and return the reply once the answer is stored."""
    path, body = make_request(dialect, "smart", text)
    reply = world.client.post(path, json=body, headers={"x-tiergate-lab": lab})
    assert reply.status_code == 200, reply.text
    world.loop.run(world.gateway.engine.drain())
    return reply


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_tiergate_cache": "off"}, "off"),
        ({"x_tiergate_cache": "exact"}, "miss"),
        ({"x_tiergate_cache": "refresh"}, "miss"),
        ({"cache_control": "no-store"}, "off"),
        ({"cache_control": "max-age=0, No-Cache"}, "miss"),
        ({"cache_control": "no-store", "x_tiergate_cache": "exact"}, "miss"),
        ({"cache_control": "max-age=60"}, "near"),
    ],
)
def test_a_client_can_refuse_near_answers_by_header(
    world: World, headers: dict[str, str], expected: str
) -> None:
    ask(world, QUESTION)
    assert ask(world, NEAR_QUESTION, **headers) == expected


def test_only_calls_that_the_cache_serves_get_near_answers(make: Make) -> None:
    """By default the cache serves calls at temperature 0, or where the client asks for it."""
    world = make(near(default="deterministic"))
    assert [ask(world, text) for text in (QUESTION, NEAR_QUESTION)] == ["off", "off"]
    assert [ask(world, text, x_tiergate_cache="on") for text in (QUESTION, NEAR_QUESTION)] == [
        "miss",
        "near",
    ]
    replies = [world.ask(chat(QUESTION, temperature=0))]
    world.loop.run(world.gateway.engine.drain())
    replies.append(world.ask(chat(NEAR_QUESTION, temperature=0)))
    assert [reply.headers["x-tiergate-cache"] for reply in replies] == ["miss", "near"]


def test_an_answer_that_is_not_cached_is_no_near_answer(world: World, upstream: Upstream) -> None:
    """The cache stores no cut answer, no error, and no answer to a sampled request."""
    upstream.on("/acme", whole(finish="length"), failing(400), whole(), whole("new"))
    ask(world, QUESTION)
    world.ask(chat(THIRD_QUESTION))
    ask(world, chat(QUESTION, temperature=0.7))
    assert ask(world, NEAR_QUESTION) == "miss"


def test_a_near_answer_with_bad_feedback_is_not_served_again(world: World) -> None:
    """After bad feedback neither its question nor one near it gets the answer again.

    The equal request keeps its own answer.
    """
    ask(world, QUESTION)
    reply = world.ask(chat(NEAR_QUESTION))
    assert reply.headers["x-tiergate-cache"] == "near"
    world.loop.run(world.gateway.engine.drain())
    feedback = {"id": reply.headers["x-request-id"], "score": 0.2}
    assert world.client.post("/v1/feedback", json=feedback).status_code == 200
    assert [ask(world, text) for text in (THIRD_QUESTION, QUESTION, NEAR_QUESTION)] == [
        "miss",
        "hit",
        "miss",
    ]


@pytest.mark.parametrize("feedback", [{"verdict": "good"}, {"score": 0.5}, {"tier": "fast"}])
def test_other_feedback_changes_nothing(world: World, feedback: Body) -> None:
    ask(world, QUESTION)
    reply = world.ask(chat(NEAR_QUESTION))
    world.loop.run(world.gateway.engine.drain())
    id = reply.headers["x-request-id"]
    assert world.client.post("/v1/feedback", json={"id": id, **feedback}).status_code == 200
    assert ask(world, THIRD_QUESTION) == "near"


def test_a_call_whose_near_answer_was_dropped_calls_the_provider(world: World) -> None:
    """The cache has dropped the answer, while the index still holds its place."""
    ask(world, QUESTION)
    state = world.gateway._state_store
    assert isinstance(state, MemoryStore)
    state._items.clear()
    assert [ask(world, text) for text in (NEAR_QUESTION, THIRD_QUESTION)] == ["miss", "near"]


# The embedding model.


def test_calls_of_the_embedding_model_have_rows_and_costs(world: World, upstream: Upstream) -> None:
    """Calls of the embedding model are rows with costs.

    The gateway looks for near answers only after the first question of a form.
    """
    upstream.on("/vectors", vector(1.0, 0.0), vector(0.9, 0.1), vector(0.0, 1.0), vector(0.0, 1.0))
    assert [ask(world, text) for text in (QUESTION, NEAR_QUESTION, THIRD_QUESTION)] == [
        "miss",
        "near",
        "miss",
    ]
    assert upstream.called == [
        "acme",
        "vectors",
        "vectors",
        "vectors",
        "acme",
        "vectors",
    ]
    assert upstream.requests[1].json["input"] == QUESTION
    rows = world.entries()
    vector_rows = [row for row in rows if row.tags == ("near",)]
    assert [row.id.rpartition(".")[2] for row in vector_rows] == ["near"] * 4
    assert all(row.cost == Decimal("0.00000014") for row in vector_rows)
    (near_row,) = [row for row in rows if row.near is not None]
    assert near_row.near == pytest.approx(0.994, abs=0.001)
    assert f"{near_row.id}.near" in {row.id for row in vector_rows}


@pytest.mark.parametrize("script", [failing(500), whole("x"), vector()], ids=["500", "chat", "none"])  # fmt: skip
def test_a_failure_of_the_embedding_model_is_a_cache_miss(
    world: World, upstream: Upstream, script: Answer
) -> None:
    """After three failures in a row the gateway leaves the model alone."""
    upstream.on("/vectors", vector(1.0), script)
    assert [ask(world, text) for text in (QUESTION, NEAR_QUESTION, THIRD_QUESTION)] == ["miss"] * 3
    before = len(upstream.requests)
    assert ask(world, "How can I reset my password?") == "miss"
    assert len(upstream.requests) == before + 1
    assert "tiergate_near_failed_total" in world.client.get("/metrics").text
    assert [line["event"] for line in world.log].count("near") == 1


def test_a_refusal_by_the_embedding_model_is_a_cache_miss(world: World, upstream: Upstream) -> None:
    """A refusal of one call's vector says nothing about the model: other calls go on to ask it."""
    upstream.on("/vectors", vector(1.0), *[failing(400)] * 6, vector(1.0))
    assert [ask(world, text) for text in (QUESTION, NEAR_QUESTION, THIRD_QUESTION)] == ["miss"] * 3
    assert ask(world, "How can I reset my password?") == "miss"
    assert ask(world, "How should I reset my password?") == "near"
    assert "near" not in [line["event"] for line in world.log]


# Several gateways that share one Redis.


def has_vectors(place: Place) -> bool:
    """True if the server is a Redis 8: Valkey has no vector sets."""
    with redis.Redis(port=place.port) as admin:
        try:
            admin.execute_command("VCARD", "nothing")
        except redis.ResponseError:
            return False
        return True


def test_gateways_share_near_answers_through_one_redis(make: Make, place: Place) -> None:
    """Feedback on a bad answer counts for all gateways of one Redis.

    Where Redis has no vector sets, each gateway has its own near answers. Without Redis there are
    none.
    """
    url = {"REDIS_URL": f"redis://127.0.0.1:{place.port}/0", "TIERGATE_SECRET": "shared"}
    first, second = make(near(), **url), make(near(), **url)
    assert ask(first, QUESTION) == "miss"
    shares_vectors = has_vectors(place)
    assert ask(second, NEAR_QUESTION) == ("near" if shares_vectors else "miss")
    assert ask(first, THIRD_QUESTION) == "near"
    reply = first.ask(chat("How can I reset my password?"))
    first.loop.run(first.gateway.engine.drain())
    feedback = {"id": reply.headers["x-request-id"], "verdict": "bad"}
    assert first.client.post("/v1/feedback", json=feedback).status_code == 200
    assert ask(first, "Show me how to reset my password") == "miss"
    # Without vector sets the other gateway has its own answer, which nobody has called bad.
    assert ask(second, "How to reset my password") == ("miss" if shares_vectors else "near")
    with redis.Redis(port=place.port) as admin:
        names = b" ".join(admin.keys())
        values = [admin.dump(name) for name in admin.scan_iter()]
    assert b"password" not in names
    assert not any(b"password" in value for value in values if value)
    place.kill()
    assert ask(first, "Explain what rain is") == "miss"
