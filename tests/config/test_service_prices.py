"""Shipped prices of service tiers, tools and cache lifetimes: samples, as their sources say."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway.core.price import Price, compute_cost, explain_unknown_cost
from gateway.core.usage import Usage
from tests.config import shipped

PRICES = {
    target.name: target.price
    for lab in shipped.built(shipped.ALL_SET).catalogue.labs.values()
    for row in (*lab.tiers.values(), lab.embeddings)
    for target in row
    if target.price is not None
}
TODAY = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()

SERVICES: list[tuple[str, str, tuple[str, str | None, str]]] = [
    # input, cached read, output
    ("openai/gpt-6-luna", "flex", ("0.05", "0.005", "0.25")),
    ("openai/gpt-6-luna", "fast", ("0.2", "0.02", "1")),
    ("openai/gpt-6-luna", "priority", ("0.2", "0.02", "1")),
    ("openai/gpt-6.1-sol", "ultrafast", ("12", "0.6", "60")),
    ("openai/gpt-6-astra", "ultrafast", ("60", "6", "300")),
    ("openai/gpt-6.2-sol", "fast", ("4", "0.2", "20")),
    ("openai/gpt-6.2-sol", "ultrafast", ("6", "0.3", "30")),
    ("azure-openai/gpt-6-luna", "flex", ("0.05", "0.005", "0.25")),
    ("azure-openai/gpt-6-sol", "priority", ("4", "0.4", "20")),
    ("anthropic/claude-sonnet-5-5", "us", ("2.2", "0.11", "11")),
    ("anthropic/claude-opus-5-5", "fast", ("8", "0.4", "40")),
    ("anthropic/claude-opus-5-5", "fast+us", ("8.8", "0.44", "44")),
    ("anthropic/claude-opus-5", "fast", ("10", "1", "50")),
    ("anthropic/claude-fable-5-2", "fast", ("16", "0.4", "80")),
    ("gemini/gemini-3.5-flash-lite", "flex", ("0.15", "0.02", "1.25")),
    ("gemini/gemini-3.5-flash-lite", "priority", ("0.54", "0.05", "4.5")),
    ("gemini/gemini-4-argon", "priority", ("3.6", "0.18", "18")),
    ("gemini/gemini-3.1-pro-preview", "flex", ("1", "0.2", "6")),
    ("xai/grok-4.7", "priority", ("4", "1", "12")),
    ("groq/openai/gpt-oss-120b", "flex", ("0.15", "0.075", "0.6")),
    ("bedrock/openai.gpt-oss-120b-1:0", "priority", ("0.2625", None, "1.05")),
    ("bedrock-converse/global.amazon.nova-2-lite-v1:0", "priority", ("0.525", "0.13125", "4.375")),
]


@pytest.mark.parametrize(("name", "word", "expected"), SERVICES)
def test_a_service_tier_has_the_price_of_its_source(
    name: str, word: str, expected: tuple[str, str | None, str]
) -> None:
    price = PRICES[name].find_in_force(TODAY).find_service(word)
    assert price is not None
    rates = price.rates
    actual = (rates.input, rates.cache_read, rates.output)
    assert actual == tuple(None if text is None else Decimal(text) for text in expected)
    assert price.version.endswith(f", {word}")


STEPS = [
    ("openai/gpt-6-luna", "fast", 272_000, ("0.4", "1.5")),
    ("gemini/gemini-3.1-pro-preview", "flex", 200_000, ("2", "9")),
    ("gemini/gemini-3.1-pro-preview", "priority", 200_000, ("7.2", "32.4")),
    ("anthropic/claude-haiku-5-5", "us", 100_000, ("0.55", "2.75")),
    ("xai/grok-4.7", "priority", 199_999, ("8", "24")),
]


@pytest.mark.parametrize(("name", "word", "above", "expected"), STEPS)
def test_a_service_tier_has_long_context_steps_too(
    name: str, word: str, above: int, expected: tuple[str, str]
) -> None:
    price = PRICES[name].services[word]
    assert price.find_rates(above) == price.rates
    rates = price.find_rates(above + 1)
    assert (rates.input, rates.output) == tuple(Decimal(text) for text in expected)


DATES = [
    ("openai/gpt-6.2-sol", "ultrafast", "2027-02-28", "6"),
    ("openai/gpt-6.2-sol", "ultrafast", "2027-03-01", "12"),
    ("gemini/gemini-4-argon", "flex", "2026-11-30", "1"),
    ("gemini/gemini-4-argon", "flex", "2026-12-01", "2"),
    ("gemini/gemini-3.8-flash", "flex", "2026-12-31", "0.375"),
    ("gemini/gemini-3.8-flash", "flex", "2027-01-01", None),
]


@pytest.mark.parametrize(("name", "word", "day", "usd"), DATES)
def test_the_price_of_a_service_tier_follows_the_date(
    name: str, word: str, day: str, usd: str | None
) -> None:
    at = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    price = PRICES[name].find_in_force(at).find_service(word)
    assert price is not None
    assert price.rates.input == (None if usd is None else Decimal(usd))


TOOLS = [
    ("openai/gpt-6.2-sol", {"web_search": 2, "file_search": 4}, "0.03"),
    ("azure-openai/gpt-6-sol", {"web_search": 1}, "0.014"),
    ("anthropic/claude-haiku-4-5", {"web_search": 3}, "0.03"),
    ("bedrock-claude/anthropic.claude-opus-5-5", {"web_search": 1}, "0.01"),
    # three searches cost three times, and the grounded prompt is free beside them
    ("gemini/gemini-4-hydrogen", {"web_search": 3, "grounding": 1, "google_maps": 1}, "0.056"),
    ("xai/grok-4.5", {"web_search": 1, "x_search": 1, "code_interpreter": 1}, "0.015"),
    ("xai/grok-4.3", {"file_search": 1, "attachment_search": 1}, "0.0125"),
    ("meta/muse-wonder-1.0", {"web_search": 2}, "0.005"),
]


@pytest.mark.parametrize(("name", "tools", "usd"), TOOLS)
def test_tool_requests_have_the_price_of_their_source(
    name: str, tools: dict[str, int], usd: str
) -> None:
    assert compute_cost(Usage(input=0, output=0, tools=tools), PRICES[name]) == Decimal(usd)


LIVES = [
    ("openai/gpt-6-luna", 272_000, {"30m": "0.125", "12h": "0.25"}),
    ("openai/gpt-6-luna", 272_001, {"30m": "0.25", "12h": "0.5"}),
    ("openai/gpt-6.2-sol", 1, {"30m": "2.5", "12h": "5"}),
    ("anthropic/claude-haiku-5-5", 100_000, {"5m": "0.125", "1h": "0.2", "": "0.125"}),
    ("anthropic/claude-haiku-5-5", 100_001, {"5m": "0.625", "1h": "1", "": "0.625"}),
    ("bedrock-claude/anthropic.claude-haiku-5-5", 100_001, {"5m": "0.6875", "1h": "1.1"}),
    ("moonshot/kimi-k3.1-pro", 1, {"5m": "2", "1h": "4"}),
]


@pytest.mark.parametrize(("name", "prompt", "by"), LIVES)
def test_a_cache_write_costs_by_its_lifetime(name: str, prompt: int, by: dict[str, str]) -> None:
    """In short and long prompts an hour costs more than five minutes, above a price step too."""
    for life, usd in by.items():
        usage = Usage(input=0, cache_write={life: prompt}, output=0)
        assert compute_cost(usage, PRICES[name]) == prompt * Decimal(usd) / 1_000_000


def test_every_price_step_has_the_cache_lifetimes_of_its_price() -> None:
    """Otherwise a long prompt would be billed at a short one's price, or at none."""
    for name, price in PRICES.items():
        for priced in (price, *price.services.values(), *(item.price for item in price.later)):
            lives = [set(step.rates.cache_write_by) for step in priced.steps]
            assert all(lifetimes == set(priced.rates.cache_write_by) for lifetimes in lives), name


UNKNOWN = [
    ("openai/gpt-6.2-astra", Usage(input=1, output=1, service="fast")),
    ("openai/gpt-6.2-sol", Usage(input=1, output=1, service="flex")),
    ("openai/gpt-6-luna", Usage(input=1, output=1, tools={"code_interpreter": 1})),
    ("azure-openai/gpt-6-luna", Usage(input=1, output=1, service="priority")),
    ("anthropic/claude-opus-5-5", Usage(input=1, output=1, service="priority")),
    ("anthropic/claude-sonnet-5-5", Usage(input=1, output=1, service="fast")),
    ("anthropic/claude-haiku-4-5", Usage(input=1, output=1, service="us")),
    ("anthropic/claude-opus-5-5", Usage(input=1, output=1, tools={"advisor": 1})),
    ("groq/openai/gpt-oss-120b", Usage(input=1, output=1, service="performance")),
    ("deepseek/deepseek-flash", Usage(input=1, output=1, service="priority")),
]
"""Prices that no source gives: contracts, missing service tiers, containers by size and minute."""


@pytest.mark.parametrize(("name", "usage"), UNKNOWN)
def test_a_price_that_no_source_gives_is_unknown_and_never_the_standard_price(
    name: str, usage: Usage
) -> None:
    price: Price = PRICES[name]
    assert compute_cost(usage, price) is None
    why = explain_unknown_cost(usage, price)
    assert why is not None
    assert (usage.service or next(iter(usage.tools))) in why
