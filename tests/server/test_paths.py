"""Test the paths that clients make of a base URL: every usual one leads to its endpoint."""

from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from gateway.core import jsonio
from gateway.dialects import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, Dialect
from gateway.server.paths import ALIASES, fill_model, find_dialect, resolve, suggest_path
from tests.docs.pages import ROOT
from tests.e2e.upstream import Upstream
from tests.server.gate import CHAT, CLIENT_KEY, RESPONSES, Gate, chat, check_refusal, valid_body

MODELS = "/v1/models"
COUNT = "/v1/messages/count_tokens"
MEANT = {
    "/chat/completions": CHAT,
    "/v1/v1/chat/completions": CHAT,
    "/openai/chat/completions": CHAT,
    "/openai/v1/chat/completions": CHAT,
    "/v1beta/openai/chat/completions": CHAT,
    "/responses": RESPONSES,
    "/v1/v1/responses": RESPONSES,
    "/openai/responses": RESPONSES,
    "/openai/v1/responses": RESPONSES,
    "/responses/resp_1": "/v1/responses/resp_1",
    "/embeddings": "/v1/embeddings",
    "/openai/v1/embeddings": "/v1/embeddings",
    "/v1beta/openai/embeddings": "/v1/embeddings",
    "/messages": "/v1/messages",
    "/v1/v1/messages": "/v1/messages",
    "/messages/count_tokens": COUNT,
    "/v1/v1/messages/count_tokens": COUNT,
    "/models": MODELS,
    "/models/acme/fast": "/v1/models/acme/fast",
    "/v1/v1/models": MODELS,
    "/openai/models": MODELS,
    "/openai/v1/models": MODELS,
    "/v1beta/openai/models": MODELS,
    "/v1beta/openai/models/able-1": "/v1/models/able-1",
    "/models/gem-9:generateContent": "/v1/models/gem-9:generateContent",
    "/v1/v1beta/models": "/v1beta/models",
    "/v1/v1beta/models/gem-9:countTokens": "/v1beta/models/gem-9:countTokens",
    "/v1beta/v1beta/models/gem-9:generateContent": "/v1beta/models/gem-9:generateContent",
    "/v1alpha/models/gem-9:generateContent": "/v1beta/models/gem-9:generateContent",
}
STAY = [
    "/", "/health", "/v1/route", "/route", "/v1/v1/route", "/admin/entries", "/openai/admin/entries", "/v1/admin",
    "/v1/v1/v1/messages", "/openai/health", "/v1/chat/completions/", "//chat/completions", "/chat/completions/more",
    "/openai/deployments/chat/completions", "/deployments//embeddings", "/openai/deployments/a/images", "/v2/models",
    "/messages/batches", "/v1beta/openai/", "/openai/v1", "",
]  # fmt: skip


@pytest.mark.parametrize("path", MEANT)
def test_an_alias_leads_to_the_endpoint_that_its_client_means(path: str) -> None:
    """Each alias leads to the endpoint that its client means, and has that endpoint's dialect."""
    resolved = resolve(path)
    assert resolved == (MEANT[path], "")
    assert resolve(resolved.path) == resolved
    assert find_dialect(path) is find_dialect(resolved.path)


def test_every_alias_has_a_path_in_these_tests() -> None:
    """Each row of the alias table has a path above that no earlier row takes."""
    for prefix, target in ALIASES:
        assert any(
            path.startswith(prefix) and endpoint == target + path[len(prefix) :]
            for path, endpoint in MEANT.items()
        ), prefix


def test_every_alias_is_documented() -> None:
    """The table of docs/applications.md lists each alias with its target."""
    text = (ROOT / "docs/applications.md").read_text()
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `/")]
    for prefix, target in ALIASES:
        if prefix == "/":
            assert rows[0][0].count("`/") == 5
        else:
            (row,) = [row for row in rows if f"`{prefix}...`" in row[0]]
            assert row[1].strip() == f"`{target}...`"


@pytest.mark.parametrize("path", [*STAY, *set(MEANT.values())])
def test_other_paths_are_not_aliases(path: str) -> None:
    """An alias reaches client endpoints only, and an endpoint is no alias."""
    assert resolve(path) == (path, "")


@pytest.mark.parametrize("prefix", ["/openai/deployments", "/deployments"])
@pytest.mark.parametrize("model", ["able-1", "acme/fast", "a b", "deployments"])
def test_a_deployment_in_the_path_is_the_model(prefix: str, model: str) -> None:
    """Azure's older paths name the model, also one with a slash."""
    for rest in ("chat/completions", "embeddings", "responses"):
        assert resolve(f"{prefix}/{model}/{rest}") == (f"/v1/{rest}", model)


@pytest.mark.parametrize(
    ("body", "filled"),
    [
        (b"{}", b'{"model":"m"}'),
        (b'{"input":"a"}', b'{"input":"a","model":"m"}'),
        (b'{"model":null,"input":[1.50]}', b'{"model":"m","input":[1.50]}'),
        (b'{"model":"","n":1}', b'{"model":"m","n":1}'),
        (b'{ "model" : "own" }', b'{ "model" : "own" }'),
        (b'{"model":7}', b'{"model":7}'),
        (b"[]", b"[]"),
        (b"{", b"{"),
    ],
)
def test_a_deployment_fills_in_a_missing_model(body: bytes, filled: bytes) -> None:
    """If the body names a model, that one counts; all other bytes stay."""
    assert fill_model(body, "m") == filled


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completion", OPENAI_CHAT), ("/v1/message", ANTHROPIC_MESSAGES), ("/v1/messages/", ANTHROPIC_MESSAGES),
        ("/v2/responses", OPENAI_RESPONSES), ("/v1beta/openai/chat", OPENAI_CHAT), ("/v1beta/chat", GEMINI),
        ("/v1alpha/what", GEMINI), ("/openai/deployments/a/completions", OPENAI_CHAT),
        ("/v1/models/a:generate", GEMINI),
    ],
)  # fmt: skip
def test_a_wrong_path_is_answered_in_the_nearest_dialect(path: str, dialect: Dialect) -> None:
    assert find_dialect(path) is dialect


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/v1/chat/completion", CHAT), ("/v1/completions", CHAT), ("/v1/message", "/v1/messages"),
        ("/v1/messages/", "/v1/messages"), ("/v1/response", RESPONSES), ("/v1/embedding", "/v1/embeddings"),
        ("/v1/model", MODELS), ("/v1beta/models/gem-9:generate", "/v1beta/models/gem-9:generateContent"),
        ("/v1beta/models/a/b:embed", "/v1beta/models/a/b:embedContent"), ("/v1beta/models/a:zzz", ""),
        ("/zzz", ""), ("/v1/message/count_tokens", COUNT), ("/Health", "/health"),
    ],
)  # fmt: skip
def test_a_404_suggests_the_nearest_path(gate: Gate, path: str, near: str) -> None:
    """The gateway answers a wrong path with 404, and names the nearest right one."""
    message = check_refusal(gate.ask(path, chat()), path, 404)
    assert message.startswith(f"The gateway has no endpoint {path}. ")
    assert (f"Did you mean {near}? " in message) if near else ("Did you mean" not in message)


def test_without_endpoints_there_is_no_suggestion() -> None:
    assert suggest_path("/v1/chat", ()) == ""


@pytest.mark.parametrize("path", MEANT)
def test_the_gateway_answers_an_alias_like_its_endpoint(gate: Gate, path: str) -> None:
    """The gateway answers an alias as it answers the endpoint itself."""
    endpoint = MEANT[path]
    if ("/models" in endpoint and ":" not in endpoint) or "resp_1" in endpoint:
        direct, alias = (gate.ask(url, method="GET") for url in (endpoint, path))
        assert alias.status == direct.status
        assert set(alias.json) == set(direct.json)
        return
    body = b'{"model":"none","input":"a"}' if "embed" in path else valid_body(endpoint)
    answer = gate.ask(path, body)
    assert answer.status == (404 if "embed" in path else 200), answer.body
    assert gate.ask(path, b"{").status == 400
    refusal = gate.ask(path, b"", "PUT")
    assert (refusal.status, refusal.headers["allow"]) == (405, "POST")


def test_an_alias_needs_the_same_key_as_its_endpoint(gate_with_keys: Gate) -> None:
    """An alias needs the same key as its endpoint."""
    for path in ("/chat/completions", "/openai/deployments/able-1/chat/completions", "/messages"):
        assert gate_with_keys.ask(path, chat()).status == 401
    answer = gate_with_keys.ask(
        "/openai/deployments/able-1/chat/completions", chat(), api_key=CLIENT_KEY
    )
    assert answer.status == 200


def test_an_alias_refuses_web_pages_from_elsewhere_too(gate: Gate) -> None:
    """While keys are open, the gateway answers no page from elsewhere, under any name of an
    endpoint.
    """
    answer = gate.ask("/chat/completions", chat(), origin="https://evil.test")
    assert "no web page of another origin" in check_refusal(answer, CHAT, 403)


HELLO: list[Any] = [{"role": "user", "content": "Hello."}]
BASES = ["", "/v1", "/openai/v1", "/v1beta/openai"]


@pytest.mark.parametrize("base", BASES)
def test_the_openai_sdk_works_with_every_base_url(gate: Gate, base: str) -> None:
    """The openai SDK works with and without /v1, and with the bases of Azure and Google."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{gate.port}{base}", api_key="any") as client:
        whole = client.chat.completions.create(model="able-1", messages=HELLO)
        assert whole.choices[0].message.content == "word0 "
        chunks = client.chat.completions.create(model="able-1", messages=HELLO, stream=True)
        texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(texts) == "word0 "
        assert client.responses.create(model="reply-9", input="Hello.").output_text == "Hello you."
        assert client.models.list().data[0].id == "auto"
        assert client.models.retrieve("able-1").id == "able-1"
        with pytest.raises(openai.NotFoundError, match="not-a-model"):
            client.embeddings.create(model="not-a-model", input="Hello.")


@pytest.mark.parametrize("base", ["", "/v1"])
def test_the_anthropic_sdk_works_with_every_base_url(gate: Gate, base: str) -> None:
    """The anthropic SDK works with and without /v1."""
    with anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{gate.port}{base}", api_key="any"
    ) as client:
        message = client.messages.create(model="claude-haiku-9", max_tokens=9, messages=HELLO)
        assert message.type == "message"
        count = client.messages.count_tokens(model="claude-haiku-9", messages=HELLO)
        assert count.input_tokens == 12
        assert client.models.list().data[0].id == "auto"


@pytest.mark.parametrize(
    ("base", "version"),
    [
        ("", "v1beta"), ("", "v1"), ("", "v1alpha"), ("", ""), ("/v1", "v1beta"), ("/v1", "v1"),
        ("/v1beta", "v1beta"),
    ],
)  # fmt: skip
def test_the_google_sdk_works_with_every_base_url_and_version(
    gate: Gate, base: str, version: str
) -> None:
    """The google-genai SDK works with and without a version in its base URL."""
    options = types.HttpOptions(base_url=f"http://127.0.0.1:{gate.port}{base}", api_version=version)
    with genai.Client(api_key="any", http_options=options) as client:
        reply = client.models.generate_content(model="gem-9", contents="Hello.")
        assert reply.text == "Hello you."
        assert client.models.count_tokens(model="gem-9", contents="Hello.").total_tokens == 12
        assert next(iter(client.models.list())).name == "models/auto"


@pytest.mark.parametrize("deployment", [None, "able-1"])
def test_the_azure_sdk_works_with_and_without_a_deployment(
    gate: Gate, deployment: str | None
) -> None:
    """AzureOpenAI works by its endpoint, with a deployment of its own or the model of each call."""
    with openai.AzureOpenAI(
        azure_endpoint=f"http://127.0.0.1:{gate.port}", api_key="any", api_version="2025-04-01-preview",
        azure_deployment=deployment,
    ) as client:  # fmt: skip
        whole = client.chat.completions.create(model="able-1", messages=HELLO)
        assert whole.choices[0].message.content == "word0 "
        assert client.responses.create(model="reply-9", input="Hello.").output_text == "Hello you."
        assert client.models.list().data[0].id == "auto"
        slashed = client.chat.completions.create(model="acme/smart", messages=HELLO)
        assert slashed.choices[0].message.content == "word0 "
        with pytest.raises(openai.NotFoundError, match="not-a-model"):
            client.embeddings.create(model="not-a-model", input="Hello.")


def test_the_model_of_the_body_replaces_the_deployment_of_the_path(
    gate: Gate, provider: Upstream
) -> None:
    """A body without a model asks for the deployment's; a body that names a model asks for that
    one.
    """
    body = jsonio.dumps({"messages": HELLO})
    path = "/openai/deployments/able-1/chat/completions?api-version=2024-10-21"
    answer = gate.ask(path, body, api_key="any")
    assert (answer.status, answer.headers["x-tiergate-model"]) == (200, "able-1")
    assert provider.requests[-1].json == {"messages": HELLO, "model": "able-1"}
    assert "api-version" not in provider.requests[-1].path
    answer = gate.ask(path, chat(model="swift-1"), api_key="any")
    assert answer.headers["x-tiergate-model"] == "swift-1"
    tier_path = "/openai/deployments/reasoning/chat/completions"
    assert gate.ask(tier_path, body).headers["x-tiergate-model"] == "deep-1"
