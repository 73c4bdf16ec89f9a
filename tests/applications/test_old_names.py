"""Model names that code of the last years has, with the official SDKs: only the base URL changed."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.applications.process import Gateway, running
from tests.e2e.conftest import loop
from tests.e2e.world import Loop

__all__ = ["loop"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The model 'claude-:DeprecationWarning"),
]

TUNED = "ft:gpt-4o-mini-2024-07-18:org::id"
OPENAI_NAMES = ("gpt-4o", "gpt-4o-2024-08-06", TUNED, "o3-mini")
CLAUDE_NAMES = ("claude-sonnet-4-5-20250929", "claude-3-5-haiku-latest")
GEMINI_NAMES = ("gemini-2.5-pro", "gemini-2.5-flash")
TEXT = "Say hello."


@pytest.fixture(scope="module")
def gateway(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(loop, tmp_path_factory.mktemp("names")) as made:
        yield made


def arrived(gateway: Gateway, host: str, model: str) -> Any:
    """Return the row of the last call, after a look at what its provider got."""
    charge = gateway.provider.charges[-1]
    assert (charge.host, charge.model, charge.status) == (host, model, 200)
    rows = gateway.rows(len(gateway.exchanges()))
    row = [*rows.values()][-1]
    assert (row["provider"], row["model"], row["source"], row["tier"]) == (host, model, "pin", None)
    return row


@pytest.mark.parametrize("model", OPENAI_NAMES)
@pytest.mark.parametrize("api", ["chat", "responses", "stream"])
def test_the_openai_sdk_reaches_openai(gateway: Gateway, model: str, api: str) -> None:
    """Each call has the price of the list. A fine-tune costs more than the model it is of."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as sdk:
        messages: Any = [{"role": "user", "content": TEXT}]
        if api == "responses":
            assert sdk.responses.create(model=model, input=TEXT, store=False).output_text
        elif api == "chat":
            reply = sdk.chat.completions.create(model=model, messages=messages)
            assert reply.choices[0].message.content
        else:
            with sdk.chat.completions.create(model=model, messages=messages, stream=True) as stream:
                assert [chunk for chunk in stream if chunk.choices]
    row = arrived(gateway, "openai", model)
    assert row["price"].startswith("genai-prices")
    assert float(row["cost"]) > 0


@pytest.mark.parametrize("model", CLAUDE_NAMES)
def test_the_anthropic_sdk_reaches_anthropic(gateway: Gateway, model: str) -> None:
    sdk = anthropic.Anthropic(base_url=gateway.url, api_key="none", max_retries=0)
    with sdk:
        turns: Any = [{"role": "user", "content": TEXT}]
        assert sdk.messages.create(model=model, messages=turns, max_tokens=99).content
        assert sdk.messages.count_tokens(model=model, messages=turns).input_tokens
        assert sdk.messages.create(model=model, messages=turns, max_tokens=99).content
    assert arrived(gateway, "anthropic", model)["cost"]


@pytest.mark.parametrize("model", GEMINI_NAMES)
def test_the_google_sdk_reaches_google(gateway: Gateway, model: str) -> None:
    options = types.HttpOptions(base_url=gateway.url)
    sdk = genai.Client(api_key="none", http_options=options)
    assert sdk.models.generate_content(model=model, contents=TEXT).text
    assert arrived(gateway, "gemini", model)["cost"]


@pytest.mark.parametrize(
    ("name", "host", "model"),
    [
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("google/gemini-2.5-pro", "gemini", "gemini-2.5-pro"),
        ("gemini-chat/gemini-2.5-pro", "gemini-chat", "gemini-2.5-pro"),
        ("qwen3:8b", "ollama", "qwen3:8b"),
        ("ollama/mymodel", "ollama", "mymodel"),
    ],
)
def test_one_client_reaches_every_provider(
    gateway: Gateway, name: str, host: str, model: str
) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as sdk:
        turns: Any = [{"role": "user", "content": TEXT}]
        reply = sdk.chat.completions.with_raw_response.create(model=name, messages=turns)
    arrived(gateway, host, model)
    assert reply.headers["x-tiergate-model"] == model
    # No list has a price of models on the operator's own machine: their cost is unknown, never 0.
    is_priced = host != "ollama"
    assert ("x-tiergate-cost" in reply.headers) is is_priced
    assert reply.headers.get("x-tiergate-price") == (None if is_priced else "unknown")
