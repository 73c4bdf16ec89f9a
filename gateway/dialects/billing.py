"""What a usage object says beside tokens, whoever's it is: tools billed one by one, and money.

Hosts of one dialect copy the members of others, so all of them are looked for in all. Sources: the
API references of Anthropic (`server_tool_use`), OpenRouter (`server_tool_use_details`, `cost`,
`is_byok`), Mistral (`prompt_audio_seconds`), xAI (`server_side_tool_usage_details`,
`num_sources_used`, `cost_in_usd_ticks`) and Perplexity (`search_context_size`,
`num_search_queries`, `citation_tokens`, `cost.total_cost`).
"""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from gateway.core.jsonio import Json
from gateway.core.usage import count, money

_BY_REQUEST = ("server_tool_use", "server_tool_use_details")
_BY_CALL = "server_side_tool_usage_details"
_COUNTS = {
    "num_search_queries": "web_search",
    "num_sources_used": "sources",
    "citation_tokens": "citation_tokens",
    "prompt_audio_seconds": "audio_seconds",
}
_PLACES = frozenset({*_COUNTS, *_BY_REQUEST, _BY_CALL, "search_context_size"})
_MONEY = frozenset({"cost", "cost_in_usd_ticks"})
_FREE = frozenset({"web_fetch", "mcp"})
"""Tools whose requests cost nothing: what they bring is in the tokens."""
_TICK = Decimal("1e-10")
_SIZES = frozenset({"low", "medium", "high"})


def tools(usage: dict[str, Json]) -> dict[str, int]:
    """Requests of hosted tools that are billed one by one, by tool; those not used are left out."""
    if _PLACES.isdisjoint(usage):  # as nearly always
        return {}
    found: Counter[str] = Counter()
    for name, tool in _COUNTS.items():
        found[tool] = count(usage.get(name)) or 0
    for name in _BY_REQUEST:
        found |= _named(usage.get(name), "_requests")
    found |= _named(usage.get(_BY_CALL), "_calls")
    size = usage.get("search_context_size")
    if isinstance(size, str) and size in _SIZES:
        found[f"search_{size}"] = 1  # of each request, whatever was searched
    return {tool: number for tool, number in found.items() if number}


def _named(value: Json, ending: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, number in value.items() if isinstance(value, dict) else ():
        tool = name.removesuffix(ending)
        if tool != name and tool not in _FREE:
            found[tool] = count(number) or 0
    return found


def counted(used: Iterable[tuple[str, str]]) -> dict[str, int]:
    """How often tools were used, of pairs of a tool and what tells one use from another."""
    return dict(Counter(tool for tool, _ in set(used)))


def billed(usage: dict[str, Json]) -> Decimal | None:
    """USD that were billed for an answer.

    With a key of the caller's own at OpenRouter, `cost` is OpenRouter's fee alone, and the provider
    behind it bills the rest. Azure passes on xAI's member of ticks, and always as 0.
    """
    if _MONEY.isdisjoint(usage):  # as nearly always
        return None
    cost = usage.get("cost")
    if isinstance(cost, dict):
        return money(cost.get("total_cost"))
    found = money(cost)
    if found is not None:
        return _with_own_key(usage, found) if usage.get("is_byok") is True else found
    ticks = count(usage.get("cost_in_usd_ticks"))
    return ticks * _TICK if ticks else None


def _with_own_key(usage: dict[str, Json], fee: Decimal) -> Decimal | None:
    details = usage.get("cost_details")
    rest = money(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
    return None if rest is None else fee + rest
