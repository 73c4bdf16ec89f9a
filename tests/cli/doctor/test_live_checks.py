"""Checks of `doctor --live` that need no provider."""

import asyncio
from decimal import Decimal

import pytest

from gateway.cli.doctor.live.checks import is_same_model
from gateway.cli.doctor.live.redaction import RecordingRedactor
from gateway.cli.spending import RunBudget
from gateway.core.target import Account, Provider


@pytest.mark.parametrize(
    ("requested", "served"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("claude-haiku-4.5", "anthropic/claude-4.5-haiku-20251001"),
        ("anthropic.claude-haiku-5-5-v1:0", "claude-haiku-5-5"),
        ("moonshotai/Kimi-K2-Instruct-0905:groq", "moonshotai/kimi-k2-instruct-0905"),
        ("mistral-large-latest", "mistral-large-2512"),
        ("Qwen3-1.7B-Q4_K_M", "/models/Qwen3-1.7B-Q4_K_M.gguf"),
    ],
)
def test_names_of_one_model_are_the_same(requested: str, served: str) -> None:
    assert is_same_model(requested, served)


@pytest.mark.parametrize(
    ("requested", "served"),
    [
        ("gpt-4o", "gpt-4o-mini-2024-07-18"),
        ("gpt-6-luna", "gpt-6.1-luna"),
        ("llama3.1:8b", "llama3.1:70b"),
        ("deepseek-chat", "deepseek-v4-flash"),
        ("grok-4-fast", "grok-4-fast-reasoning"),
    ],
)
def test_another_model_is_told(requested: str, served: str) -> None:
    assert not is_same_model(requested, served)


async def test_a_probe_waits_for_what_others_leave() -> None:
    """A probe that does not fit now may fit once another has cost less than it could."""
    budget = RunBudget(Decimal(10))
    assert await budget.reserve(Decimal(6))
    waiting = asyncio.ensure_future(budget.reserve(Decimal(5)))
    await asyncio.sleep(0)
    assert not waiting.done()
    await budget.settle(Decimal(6), Decimal(1))
    assert await waiting
    assert budget.charged == 6
    late = asyncio.ensure_future(budget.reserve(Decimal(5)))
    await budget.settle(Decimal(5), Decimal(9))  # more than it could: nothing more is sent
    assert not await late
    assert not await budget.reserve(Decimal("0.01"))


def test_a_recording_does_not_quote_the_address_of_a_provider() -> None:
    """A cloud's resource has the name of its owner, and providers quote it in errors."""
    urls = {"openai-chat": "https://planted.openai.azure.example/openai/v1/chat/completions"}
    redactor = RecordingRedactor([Provider(name="cloud", urls=urls), Provider(name="off", urls={})])
    quoted = b'{"error":"no deployment at https://Planted.openai.azure.example:443/planted/x?y=1"}'
    assert redactor.mask_error(quoted) == b'{"error":"no deployment at ***"}'
    assert redactor.mask(b'{"host":"planted.openai.azure.example"}') == b'{"host":"***"}'
    assert RecordingRedactor([]).mask(quoted) == quoted
    replica = Account("a", "", "https://planted.openai.azure.example/v1")
    own = Provider(name="own", urls={"openai-chat": "/chat"}, accounts=(replica,))
    assert RecordingRedactor([own]).mask(b'{"host":"planted.openai.azure.example"}') == (
        b'{"host":"***"}'
    )
