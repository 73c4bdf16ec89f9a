"""Members of a usage object beside tokens: tools that are billed one by one, and money.

Hosts of one dialect copy the members of others, so the gateway looks for all of them in each.

Sources: the API references of Anthropic (`server_tool_use`), OpenRouter
(`server_tool_use_details`, `cost`, `is_byok`), Mistral (`prompt_audio_seconds`), xAI
(`server_side_tool_usage_details`, `num_sources_used`, `cost_in_usd_ticks`) and Perplexity
(`search_context_size`, `num_search_queries`, `citation_tokens`, `cost.total_cost`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal

from gateway.core.jsonio import Json
from gateway.core.usage import parse_count, parse_usd

_REQUEST_COUNT_MEMBERS = ("server_tool_use", "server_tool_use_details")
_CALL_COUNT_MEMBER = "server_side_tool_usage_details"
_TOOL_BY_MEMBER = {
    "num_search_queries": "web_search",
    "num_sources_used": "sources",
    "citation_tokens": "citation_tokens",
    "prompt_audio_seconds": "audio_seconds",
}
_MEMBERS = frozenset(
    {
        *_TOOL_BY_MEMBER, *_REQUEST_COUNT_MEMBERS, _CALL_COUNT_MEMBER, "search_context_size",
        "cost", "cost_in_usd_ticks",
    }
)  # fmt: skip
_FREE_TOOLS = frozenset({"web_fetch", "mcp"})
"""Tools whose requests cost nothing: what they bring is in the tokens."""
_USD_PER_TICK = Decimal("1e-10")
_SEARCH_SIZES = frozenset({"low", "medium", "high"})


def read_billing(usage: dict[str, Json]) -> tuple[dict[str, int], Decimal | None]:
    """Return the counts of tools and the USD that a usage object has beside tokens."""
    if _MEMBERS.isdisjoint(usage):  # as nearly always
        return {}, None
    return _read_tool_counts(usage), _read_billed_usd(usage)


def _read_tool_counts(usage: dict[str, Json]) -> dict[str, int]:
    """Requests of hosted tools that are billed one by one, by tool; those not used are left out."""
    counts: Counter[str] = Counter()
    for name, tool in _TOOL_BY_MEMBER.items():
        counts[tool] = parse_count(usage.get(name)) or 0
    for name in _REQUEST_COUNT_MEMBERS:
        counts |= _read_counts(usage.get(name), "_requests")
    counts |= _read_counts(usage.get(_CALL_COUNT_MEMBER), "_calls")
    size = usage.get("search_context_size")
    if isinstance(size, str) and size in _SEARCH_SIZES:
        counts[f"search_{size}"] = 1  # of each request, whatever was searched
    return {tool: uses for tool, uses in counts.items() if uses}


def _read_counts(value: Json, suffix: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, uses in value.items() if isinstance(value, dict) else ():
        tool = name.removesuffix(suffix)
        if tool != name and tool not in _FREE_TOOLS:
            counts[tool] = parse_count(uses) or 0
    return counts


def count_model_tokens(model: str, tokens_by_class: Mapping[str, int | None]) -> Counter[str]:
    """Return the tokens of another model that works as a tool, as `Usage.tools` names them.

    A provider bills them at the rates of that model, not by the request.
    """
    return Counter(
        {f"{model}:{name}": tokens for name, tokens in tokens_by_class.items() if tokens}
    )


def count_tool_uses(uses: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Count the uses of each tool, by pairs of a tool and a mark of one use."""
    return dict(Counter(tool for tool, _ in set(uses)))


def _read_billed_usd(usage: dict[str, Json]) -> Decimal | None:
    """USD that were billed for an answer.

    With a key of the caller's own at OpenRouter, `cost` is OpenRouter's fee alone, and the provider
    behind it bills the rest. Azure passes on xAI's member of ticks, and always as 0.
    """
    cost = usage.get("cost")
    if isinstance(cost, dict):
        return parse_usd(cost.get("total_cost"))
    cost_usd = parse_usd(cost)
    if cost_usd is not None:
        return _add_upstream_cost(usage, cost_usd) if usage.get("is_byok") is True else cost_usd
    ticks = parse_count(usage.get("cost_in_usd_ticks"))
    return ticks * _USD_PER_TICK if ticks else None


def _add_upstream_cost(usage: dict[str, Json], fee: Decimal) -> Decimal | None:
    details = usage.get("cost_details")
    upstream_cost = (
        parse_usd(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
    )
    return None if upstream_cost is None else fee + upstream_cost
