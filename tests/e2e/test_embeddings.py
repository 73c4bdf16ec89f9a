"""Embeddings over real sockets: two official SDKs, two dialects of providers, and the ledger."""

import base64
import struct
from decimal import Decimal
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors, types

from gateway.core import jsonio
from tests.e2e.upstream import Answer, Request, failing
from tests.e2e.world import Change, Config, Make, World

VECTORS = [[0.5, -0.25, 1.0], [0.0, 2.0, -1.5]]
"""Exact in float32."""
PACKED = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in VECTORS]


def two_labs(value: Config) -> None:
    """Configure lab acme in OpenAI's shape, with a spare host of the same model, and lab google."""
    base = value["providers"]["acme"]["base_url"].removesuffix("/acme")
    value["providers"]["google"] = {
        "base_url": base,
        "dialects": {"gemini": "/google/v1beta"},
        "auth": "x-goog-api-key",
        "accounts": {"main": "google-secret"},
    }
    value["labs"]["acme"]["embeddings"] = [
        {"model": "vec-1"},
        {"model": "makers/vec-1", "provider": "spare"},
        {"model": "vec-2"},
    ]
    value["labs"]["google"] = {"embeddings": [{"model": "gem-vec"}]}
    rates = {"price": {"input": 0.02, "output": 0, "as_of": "2026-11-24"}}
    value["models"] |= {"vec-1": rates, "gem-vec": rates, "vec-2": {"refuses": ["dimensions"]}}


def cached(value: Config) -> None:
    two_labs(value)
    value["cache"] = {"default": "embeddings"}


def answer(body: bytes, tokens: int = 7) -> Answer:
    return Answer(pieces=(body,), length=len(body), bill=(tokens, 0))


def openai_answer(request: Request) -> Answer:
    """Return a vector for each input, packed if the request asks so, in a spacing of its own."""
    body = request.json
    vectors = PACKED if body.get("encoding_format") == "base64" else VECTORS
    many = len(body["input"]) if isinstance(body["input"], list) else 1
    data = [{"object": "embedding", "index": at, "embedding": vectors[at]} for at in range(many)]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    value = {"object": "list", "data": data, "model": "served-vec", "usage": usage}
    return answer(jsonio.dumps(value).replace(b'"data":', b'"data" :  '))


def gemini_answer(request: Request) -> Answer:
    vectors = [{"values": vector} for vector in VECTORS]
    value: dict[str, Any] = {"embeddings": vectors[: len(request.json.get("requests", []))]}
    if request.path.endswith(":embedContent"):
        value = {"embedding": vectors[0]}
    return answer(jsonio.dumps({**value, "usageMetadata": {"promptTokenCount": 7}}))


@pytest.fixture
def world(make: Make) -> World:
    return started(make, two_labs)


def started(make: Make, change: Change) -> World:
    world = make(change)
    world.upstream.on("/acme", openai_answer)
    world.upstream.on("/spare", openai_answer)
    world.upstream.on("/google", gemini_answer)
    return world


def sdk(world: World) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{world.url}/v1", api_key="k", max_retries=0)


def google(world: World) -> genai.Client:
    return genai.Client(api_key="k", http_options=types.HttpOptions(base_url=world.url))


def test_the_openai_sdk_gets_base64_vectors_from_an_openai_provider(world: World) -> None:
    with sdk(world) as client:
        reply = client.embeddings.create(model="vec-1", input=["one", "two"])
    assert [item.embedding for item in reply.data] == VECTORS
    assert reply.usage.prompt_tokens == 7
    request = world.upstream.arrived()
    assert request.path == "/acme/embeddings"
    assert request.json["encoding_format"] == "base64"
    entry = world.entry()
    assert (entry.lab, entry.tier, entry.source, entry.model) == ("acme", None, "pin", "vec-1")
    assert (entry.dialect, entry.state, entry.status) == ("openai-chat", "settled", 200)
    assert (entry.input, entry.output, entry.served) == (7, 0, "served-vec")
    assert entry.cost == Decimal("0.00000014")


def test_native_embeddings_pass_unchanged_except_for_the_model(world: World) -> None:
    body = b'{ "input" : ["a", "\\u00e9"],\n"model":"auto", "x_own": 1.50, "user":"u" }'
    reply = world.client.post("/v1/embeddings", content=body)
    request = world.upstream.arrived()
    assert request.body == b'{"input":["a", "\\u00e9"],"model":"vec-1","x_own":1.50,"user":"u"}'
    assert b'"data" :  [' in reply.content
    assert reply.headers["x-tiergate-lab"] == "acme"
    assert reply.headers["x-tiergate-model"] == "vec-1"
    assert reply.headers["x-tiergate-cost"] == "0.00000014"
    assert reply.headers["x-tiergate-decision"].startswith("default; ")
    assert "x-tiergate-tier" not in reply.headers
    same = b'{ "input" : [[1, 2], [3]], "model" : "vec-1" }'
    world.client.post("/v1/embeddings", content=same)
    assert world.upstream.arrived().body == same


def test_the_same_model_at_another_provider_takes_over(world: World) -> None:
    world.upstream.on("/acme", failing(503))
    with sdk(world) as client:
        reply = client.embeddings.create(model="vec-1", input="one")
    assert reply.data[0].embedding == VECTORS[0]
    requests = [world.upstream.arrived() for _ in range(3)]
    paths = [request.path for request in requests]
    assert paths == ["/acme/embeddings", "/acme/embeddings", "/spare/embeddings"]
    assert requests[2].json["model"] == "makers/vec-1"
    assert world.entry().attempts == 3


def test_gemini_embeds_for_the_openai_sdk(world: World) -> None:
    with sdk(world) as client:
        batch_reply = client.embeddings.create(
            model="google/gem-vec", input=["one", "two"], dimensions=3, user="u"
        )
        single_reply = client.embeddings.create(
            model="gem-vec", input="one", encoding_format="float"
        )
    assert [item.embedding for item in batch_reply.data] == VECTORS
    assert batch_reply.usage.total_tokens == 7
    assert batch_reply.model == "gem-vec"
    assert single_reply.data[0].embedding == VECTORS[0]
    many, single = (world.upstream.arrived() for _ in range(2))
    assert many.path == "/google/v1beta/models/gem-vec:batchEmbedContents"
    assert many.header("x-goog-api-key") == "google-secret"
    common = {"model": "models/gem-vec", "outputDimensionality": 3}
    assert many.json == {
        "requests": [
            {**common, "content": {"parts": [{"text": "one"}]}},
            {**common, "content": {"parts": [{"text": "two"}]}},
        ]
    }
    assert single.path == "/google/v1beta/models/gem-vec:embedContent"
    assert single.json == {"model": "models/gem-vec", "content": {"parts": [{"text": "one"}]}}
    first = world.entries()[0]
    assert (first.dropped, first.input, first.output) == (("user",), 7, 0)


def test_native_and_translated_providers_embed_for_the_google_sdk(world: World) -> None:
    client = google(world)
    config = types.EmbedContentConfig(output_dimensionality=3, task_type="RETRIEVAL_QUERY")
    native = client.models.embed_content(model="gem-vec", contents=["one", "two"], config=config)
    translated = client.models.embed_content(model="vec-1", contents=["one", "two"], config=config)
    client.close()
    for reply in (native, translated):
        assert reply.embeddings is not None
        assert [vector.values for vector in reply.embeddings] == VECTORS
    native_request, translated_request = (world.upstream.arrived() for _ in range(2))
    assert native_request.json["requests"][1]["taskType"] == "RETRIEVAL_QUERY"
    assert native_request.json["requests"][1]["model"] == "models/gem-vec"
    assert translated_request.path == "/acme/embeddings"
    assert translated_request.json == {"model": "vec-1", "input": ["one", "two"], "dimensions": 3}
    entries = world.entries()
    assert [(vector.dialect, vector.model, vector.dropped) for vector in entries] == [
        ("gemini", "gem-vec", ()),
        ("gemini", "vec-1", ("taskType",)),
    ]


@pytest.mark.parametrize("lab", ["acme", "google"])
@pytest.mark.parametrize("model", ["gem-vec", "vec-1"])
def test_the_model_of_a_google_call_overrides_its_lab_header(
    world: World, lab: str, model: str
) -> None:
    """A client sets the lab for generation; for embeddings the model's name decides."""
    options = types.HttpOptions(base_url=world.url, headers={"x-tiergate-lab": lab})
    with genai.Client(api_key="k", http_options=options) as client:
        reply = client.models.embed_content(model=model, contents=["one", "two"])
    assert reply.embeddings is not None
    assert [vector.values for vector in reply.embeddings] == VECTORS
    entry = world.entry()
    assert (entry.model, entry.lab) == (model, {"gem-vec": "google", "vec-1": "acme"}[model])


def test_one_content_is_embedded_natively_byte_for_byte_and_translated(world: World) -> None:
    body = b'{ "content": {"parts":[{"text": "one"}]}, "taskType":"SEMANTIC_SIMILARITY" }'
    native = world.client.post("/v1/models/gem-vec:embedContent", content=body)
    assert world.upstream.arrived().body == body
    assert jsonio.loads(native.content)["embedding"]["values"] == VECTORS[0]
    translated = world.client.post("/v1beta/models/vec-1:embedContent", content=body)
    assert jsonio.loads(translated.content) == {
        "embedding": {"values": VECTORS[0]},
        "usageMetadata": {"promptTokenCount": 7},
    }


def test_equal_embedding_requests_are_answered_from_the_cache(make: Make) -> None:
    world = started(make, cached)
    with sdk(world) as client:
        first = client.embeddings.create(model="vec-1", input=["one", "two"])
        again = client.embeddings.create(model="vec-1", input=["one", "two"])
        other = client.embeddings.create(model="vec-1", input=["one", "too"])
    assert first.data == again.data == other.data
    assert len(world.upstream.requests) == 2
    entries = world.entries()
    assert [row.state for row in entries] == ["settled", "cache_hit", "settled"]
    assert entries[1].cost == 0
    assert [row.cache for row in entries] == ["miss", "hit", "miss"]


def test_vectors_of_another_encoding_or_length_are_cached_apart(make: Make) -> None:
    """The encoding and the number of dimensions are part of the request."""
    world = started(make, cached)
    bodies: list[dict[str, object]] = [
        {"model": "vec-1", "input": ["one", "two"], **more}
        for more in (
            {}, {"encoding_format": "float"}, {"encoding_format": "base64"}, {"dimensions": 2},
            {"input": ["one", "two "]}, {"input": "one"}, {"input": [[1, 2]]},
        )
    ]  # fmt: skip
    for expected in ("miss", "hit"):
        for body in bodies:
            reply = world.client.post("/v1/embeddings", json=body)
            world.loop.run(world.gateway.engine.drain())
            assert reply.headers["x-tiergate-cache"] == expected, body
    content = {"content": {"parts": [{"text": "one"}]}}
    for expected in ("miss", "hit"):
        reply = world.client.post("/v1beta/models/gem-vec:embedContent", json=content)
        world.loop.run(world.gateway.engine.drain())
        assert reply.headers["x-tiergate-cache"] == expected
    assert len(world.upstream.requests) == len(bodies) + 1


def test_a_cache_that_is_off_stores_vectors_only_on_request(make: Make) -> None:
    def off(value: Config) -> None:
        two_labs(value)
        value["cache"] = {"default": "off"}

    world = started(make, off)

    def ask(**headers: str) -> str:
        reply = world.client.post(
            "/v1/embeddings", json={"model": "vec-1", "input": "one"}, headers=headers
        )
        world.loop.run(world.gateway.engine.drain())
        return str(reply.headers["x-tiergate-cache"])

    assert [ask(), ask()] == ["off", "off"]
    on = {"x-tiergate-cache": "on"}
    assert [ask(**on), ask(**on)] == ["miss", "hit"]


def test_an_error_for_an_unknown_model_lists_the_embedding_models(world: World) -> None:
    with sdk(world) as client:
        with pytest.raises(openai.NotFoundError) as error:
            client.embeddings.create(model="vec-3", input="one")
        with pytest.raises(openai.NotFoundError, match="POST /v1/embeddings"):
            client.chat.completions.create(
                model="vec-1", messages=[{"role": "user", "content": "hi"}]
            )
        listed = {model.id: model.owned_by for model in client.models.list()}
    message = str(error.value)
    assert "Did you mean 'vec-2'?" in message
    assert "vec-1, makers/vec-1, vec-2, gem-vec" in message
    assert listed["gem-vec"] == "google"
    assert listed["vec-2"] == "acme"


def test_googles_model_list_marks_embedding_models(world: World) -> None:
    model = world.client.get("/v1beta/models/gem-vec").json()
    assert model["supportedGenerationMethods"] == ["embedContent", "batchEmbedContents"]
    assert "generateContent" in world.client.get("/v1beta/models/fast").json()[
        "supportedGenerationMethods"
    ]  # fmt: skip


def test_each_client_gets_a_providers_error_in_its_dialect(world: World) -> None:
    provider_error = b'{"error":{"message":"Too long.","type":"invalid_request_error","code":null}}'
    world.upstream.on("/acme", failing(400, provider_error))
    world.upstream.on("/spare", failing(400, provider_error))
    reply = world.client.post("/v1/embeddings", content=b'{"model":"vec-2","input":"a"}')
    assert (reply.status_code, reply.content) == (400, provider_error)
    client = google(world)
    with pytest.raises(errors.ClientError, match="Too long"):
        client.models.embed_content(model="vec-2", contents="one")
    client.close()


def test_the_gateway_refuses_dimensions_that_the_target_refuses(world: World) -> None:
    with sdk(world) as client, pytest.raises(openai.BadRequestError, match="refuses dimensions"):
        client.embeddings.create(model="vec-2", input="one", dimensions=2)
    assert world.upstream.requests == []


def test_the_cost_of_picture_embeddings_is_unknown(world: World) -> None:
    """Gemini reports one count; a host of OpenAI's shape gets pictures in a form of its own."""
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    body = {"content": {"parts": [{"text": "one"}, picture]}}
    world.client.post("/v1beta/models/gem-vec:embedContent", json=body)
    item = {"image": "data:image/png;base64,AAAA"}
    world.client.post("/v1/embeddings", json={"model": "vec-1", "input": [item]})
    world.client.post("/v1/embeddings", json={"model": "vec-1", "input": [{"text": "one"}]})
    rows = [(row.model, row.media, row.cost) for row in world.entries()]
    assert rows == [
        ("gem-vec", {"input_other": 7}, None),
        ("vec-1", {"input_other": 7}, None),
        ("vec-1", {}, Decimal("0.00000014")),
    ]
