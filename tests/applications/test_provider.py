"""The scripted provider refuses misdirected requests, bills by its prompt cache, and stores conversations."""

from typing import Any

import orjson
import pytest

from tests.applications.process import CONFIG
from tests.applications.provider.hosts import CREDENTIALS
from tests.applications.provider.prices import PriceList
from tests.applications.provider.provider import Provider
from tests.clients.model_turns import Tokens
from tests.e2e.upstream import Answer, Request

BEARER = (b"authorization", b"Bearer " + CREDENTIALS["openai"].encode())
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi (ref chat1.1)"}]}
EMBEDDINGS = {"model": "text-embedding-3-small", "input": "Hi (ref rag1.1)"}
CLAUDE = [
    (b"x-api-key", CREDENTIALS["anthropic"].encode()),
    (b"anthropic-version", b"2023-06-01"),
]


def ask(provider: Provider, path: str, body: Any, *headers: tuple[bytes, bytes]) -> Answer:
    line = f"POST {path} HTTP/1.1".encode()
    return provider.answer(Request(line, list(headers or (BEARER,)), orjson.dumps(body)))


def parse_answer(answer: Answer) -> Any:
    return orjson.loads(answer.pieces[0] or b"")


@pytest.fixture
def provider() -> Provider:
    return Provider(PriceList(CONFIG), lambda: 1_795_700_000.0)


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        ("/openai/v1/chat/completions", EMBEDDINGS, "a body without ['messages']"),
        ("/openai/v1/embeddings", CHAT, "a body without ['input']"),
        ("/openai/v1/chat/completions", {**CHAT, "system": "Be brief."}, "a body with ['system']"),
        ("/openai/v1/chat/completions", {**CHAT, "model": "claude-opus-5"}, "model 'claude-opus-5'"),
        ("/openai/v1/chat/completions", {**CHAT, "model": "text-embedding-3-small"}, "asked to generate"),
        ("/openai/v1/completions", CHAT, "no such URL"),
        ("/deepseek/chat/completions", {**CHAT, "model": "deepseek-flash"}, "another credential"),
        ("/nobody/v1/chat/completions", CHAT, "no such host"),
    ],
)  # fmt: skip
def test_the_provider_refuses_misdirected_requests(
    provider: Provider, path: str, body: Any, wrong: str
) -> None:
    assert ask(provider, path, body).status == 404
    (failure,) = provider.failures
    assert wrong in failure
    assert not provider.charges


def test_a_request_at_its_place_is_answered_and_billed(provider: Provider) -> None:
    answer = ask(provider, "/openai/v1/chat/completions", CHAT)
    (charge,) = provider.charges
    assert charge.text == parse_answer(answer)["choices"][0]["message"]["content"]
    assert (charge.ref, charge.model, charge.host) == ("chat1.1", "gpt-4o", "openai")
    assert charge.usd == PriceList(CONFIG).usd("openai", "gpt-4o", charge.tokens or Tokens(), 0)
    assert not provider.failures


def test_a_prompt_that_begins_alike_is_read_from_the_cache(provider: Provider) -> None:
    """OpenAI caches by itself, Anthropic where the client marks the prompt."""
    system = "Be kind. " * 1000
    chat = {**CHAT, "messages": [{"role": "system", "content": system}, *CHAT["messages"]]}
    block = {"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}
    claude = {"model": "claude-opus-5", "max_tokens": 9, "system": [block], "messages": CHAT["messages"]}  # fmt: skip
    for _ in range(2):
        ask(provider, "/openai/v1/chat/completions", chat)
        ask(provider, "/anthropic/v1/messages", claude, *CLAUDE)
    assert not provider.failures
    reads = [charge.tokens.read for charge in provider.charges if charge.tokens]
    assert reads[:2] == [0, 0]
    assert min(reads[2:]) > 1024


def test_conversations_are_kept(provider: Provider) -> None:
    """A thread of Anthropic, and a response of OpenAI, continue from their ids."""
    tools = [{"name": "tides", "input_schema": {"properties": {"city": {"type": "string"}}}}]
    first = {"model": "claude-opus-5", "max_tokens": 9, "tools": tools, "thread": {"type": "create"}, "messages": CHAT["messages"]}  # fmt: skip
    use = parse_answer(ask(provider, "/anthropic/v1/messages", first, *CLAUDE))
    result = {"type": "tool_result", "tool_use_id": use["content"][0]["id"], "content": "res-00001"}
    more = {
        "model": "claude-opus-5", "max_tokens": 9, "messages": [{"role": "user", "content": [result]}],
        "thread": {"type": "continue", "previous_message_id": use["id"]},
    }  # fmt: skip
    again = parse_answer(ask(provider, "/anthropic/v1/messages", more, *CLAUDE))
    assert [block["type"] for block in again["content"]] == ["tool_use", "tool_use"]
    begun = parse_answer(ask(provider, "/openai/v1/responses", {"model": "gpt-4o", "input": "Hi (ref a1.1)"}))  # fmt: skip
    then = {"model": "gpt-4o", "input": "And? (ref a1.2)", "previous_response_id": begun["id"]}
    before = provider.charges[-1].tokens
    ask(provider, "/openai/v1/responses", then)
    after = provider.charges[-1].tokens
    assert not provider.failures
    assert before is not None
    assert after is not None
    assert after.prompt > before.prompt + before.output


def test_the_provider_refuses_a_reasoning_state_of_another_model(provider: Provider) -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": "c2lnLTE="}
    messages = [*CHAT["messages"], {"role": "assistant", "content": [thinking]}, *CHAT["messages"]]
    ask(provider, "/anthropic/v1/messages", {"model": "claude-opus-5", "max_tokens": 9, "messages": messages}, *CLAUDE)  # fmt: skip
    assert "a reasoning state of somebody else" in provider.failures[0]
