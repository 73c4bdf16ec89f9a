"""Separately billed tools, and billed amounts, as every host reports them."""

from decimal import Decimal
from typing import Any

import pytest

from gateway.core.usage import parse_service_tier, parse_usd
from gateway.dialects import billing

TOOLS = [
    ({}, {}),
    ({"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 2}}, {"web_search": 3}),
    ({"server_tool_use": {"web_search_requests": 0}}, {}),
    ({"server_tool_use": None}, {}),
    ({"server_tool_use": {"code_execution_requests": 1, "note": 4}}, {"code_execution": 1}),
    (
        {"server_tool_use_details": {"web_search_requests": 1, "tool_calls_executed": 1}},
        {"web_search": 1},
    ),
    # A count in two places counts once.
    (
        {"server_tool_use": {"web_search_requests": 2}, "server_tool_use_details": {"web_search_requests": 2}},
        {"web_search": 2},
    ),
    (
        {"server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 1, "mcp_calls": 7, "file_search_calls": 0}},
        {"web_search": 2, "x_search": 1},
    ),
    ({"num_sources_used": 9}, {"sources": 9}),
    ({"num_sources_used": 0}, {}),
    ({"search_context_size": "low"}, {"search_low": 1}),
    ({"search_context_size": "high", "num_search_queries": 4, "citation_tokens": 500}, {"search_high": 1, "web_search": 4, "citation_tokens": 500}),
    ({"search_context_size": ["low"]}, {}),
    ({"search_context_size": "vast"}, {}),
    ({"num_sources_used": "9"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "tools"), TOOLS)
def test_the_gateway_counts_tools_that_are_billed_by_the_request(
    usage: Any, tools: dict[str, int]
) -> None:
    """Anthropic, OpenRouter, xAI and Perplexity report such counts; free tools are left out."""
    assert billing.read_billing(usage)[0] == tools


BILLS = [
    ({}, None),
    ({"cost": 0.95, "is_byok": False}, "0.95"),
    ({"cost": 9.0e-7}, "9E-7"),
    ({"cost": 0}, "0"),
    # With the customer's own key, the provider bills the rest.
    ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.19}}, "0.20"),
    ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
    ({"cost": 0.01, "is_byok": True}, None),
    ({"cost_in_usd_ticks": 37756000}, "0.0037756000"),
    ({"cost_in_usd_ticks": 0}, None),
    ({"cost": {"input_tokens_cost": 0.00008, "request_cost": 0.005, "total_cost": 0.00508}}, "0.00508"),
    ({"cost": {"currency": "USD"}}, None),
    ({"cost": -1}, None),
    ({"cost": True}, None),
    ({"cost": "0.95"}, None),
    ({"cost": 10**9}, None),
    ({"cost": None, "cost_in_usd_ticks": 10**10}, "1"),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "billed"), BILLS)
def test_the_gateway_reads_the_amount_that_a_provider_billed(
    usage: Any, billed: str | None
) -> None:
    """OpenRouter, xAI (ten thousand million ticks a dollar) and Perplexity report exact amounts."""
    _, amount = billing.read_billing(usage)
    assert amount == (None if billed is None else Decimal(billed))


def test_amounts_keep_the_digits_that_the_provider_wrote() -> None:
    assert str(parse_usd(0.1)) == "0.1"
    assert parse_usd(float("nan")) is None


@pytest.mark.parametrize(
    ("words", "tier"),
    [
        ((), None), ((None,), None), (("",), None), (("default",), None), (("auto",), None), (("standard",), None),
        (("standard_only",), None), (("on_demand",), None), (("ON_DEMAND",), None), (("not_available",), None),
        (("priority",), "priority"), ((" Flex ",), "flex"), (("batch", "standard", "global"), "batch"),
        (("standard", "fast", "us"), "fast+us"), (("flex", "flex"), "flex"), ((7, ["flex"]), None),
        (("x" * 99,), "x" * 40),
    ],
)  # fmt: skip
def test_the_gateway_names_a_service_tier_other_than_the_standard_one(
    words: tuple[Any, ...], tier: str | None
) -> None:
    assert parse_service_tier(*words) == tier
