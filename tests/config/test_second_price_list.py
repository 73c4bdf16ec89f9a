"""Every shipped price beside that of another list: they agree, or the test says why not."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from gateway.core.price import Price
from gateway.core.rates import scale_rates
from gateway.settings.price_check import compare_prices, find_doubtful_prices, pair_prices
from tests.config import shipped

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

HOSTS_MOVE = "OpenRouter sends it to one of many hosts: its price moves by the week"
NO_STEP = "the list has no long-context price of xAI's models at OpenRouter"
BING = "Azure searches by Bing; the list has OpenAI's own search"
TENTH = "LiteLLM's list of 2026-11-20 has a tenth more at Azure; this list has OpenAI's own price"
DIFFERENT = {
    "openrouter/meta-llama/llama-3.1-8b-instruct": (HOSTS_MOVE, {"input", "output"}),
    "openrouter/meta-llama/llama-3.3-70b-instruct": (HOSTS_MOVE, {"input", "output"}),
    "openrouter/x-ai/grok-4.3": (NO_STEP, {"input", "cache_read", "output"}),
    "openrouter/x-ai/grok-4.7": (NO_STEP, {"input", "cache_read", "output"}),
    "azure-openai/text-embedding-3-small": (TENTH, {"input"}),
    "azure-openai/text-embedding-3-large": (TENTH, {"input"}),
    "azure-openai/gpt-6-luna": (BING, {"web_search"}),
    "azure-openai/gpt-6-sol": (BING, {"web_search"}),
    "azure-openai/gpt-6.1-sol": (BING, {"web_search"}),
}
"""Targets whose price differs from the list's, why, and in what."""


def test_shipped_prices_equal_those_of_a_second_list_or_have_a_reason() -> None:
    source, built = shipped.source(shipped.ALL_SET), shipped.built(shipped.ALL_SET)
    differences = {
        target.name: {
            classes.partition(" above ")[0] for classes, _, _ in compare_prices(ours, theirs)
        }
        for target, ours, theirs in pair_prices(source, built, NOW)
    }
    assert len(differences) > 90
    assert {name: classes for name, classes in differences.items() if classes} == {
        name: classes for name, (_, classes) in DIFFERENT.items()
    }


MISSING_RATES = {
    "openrouter/meta-llama/llama-3.1-8b-instruct": (HOSTS_MOVE, {"cache_read"}),
    "openrouter/meta-llama/llama-3.3-70b-instruct": (HOSTS_MOVE, {"cache_read"}),
    "mistral/codestral-embed-2505": ("vectors have no cache", {"cache_read"}),
}
"""Targets that lack a rate which the list has, why, and which."""


def test_no_rate_that_the_list_has_is_missing() -> None:
    """Tokens of a class without a rate make the cost of their call unknown."""
    source, built = shipped.source(shipped.ALL_SET), shipped.built(shipped.ALL_SET)
    differences = {
        target.name: {
            name
            for name in ("input", "cache_read", "cache_write", "output")
            if getattr(theirs.rates, name) and getattr(ours.rates, name) is None
        }
        for target, ours, theirs in pair_prices(source, built, NOW)
    }
    assert {name: classes for name, classes in differences.items() if classes} == {
        name: classes for name, (_, classes) in MISSING_RATES.items()
    }


def test_no_shipped_price_is_a_slip_of_the_decimal_point() -> None:
    source, built = shipped.source(shipped.ALL_SET), shipped.built(shipped.ALL_SET)
    nothing_shipped = Path("/nothing")
    assert list(find_doubtful_prices(source, built, NOW, shipped_folder=nothing_shipped)) == []


def test_a_price_a_hundred_times_too_high_would_fail_these_tests() -> None:
    """A gateway of another project once shipped such a price."""
    source, built = shipped.source(shipped.ALL_SET), shipped.built(shipped.ALL_SET)
    for target, ours, theirs in pair_prices(source, built, NOW):
        both_known = ours.rates.input and theirs.rates.input
        if both_known and target.name not in DIFFERENT:
            far = [
                our_rate / list_rate
                for classes, our_rate, list_rate in compare_prices(_times_hundred(ours), theirs)
            ]
            assert Decimal(100) in far, target.name


def _times_hundred(price: Price) -> Price:
    return msgspec.structs.replace(price, rates=scale_rates(price.rates, Decimal(100)), steps=())
