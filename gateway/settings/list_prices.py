"""The one door to genai-prices: list prices of models that the configuration does not price itself.

It is the extra `prices`: where it is not installed, no model is known here. Importing it takes
about 0.3 s, so it is imported only where such a model is configured. It is never asked to update
itself: the gateway makes no request that the configuration does not name.
"""

import functools
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import msgspec

from gateway.core.price import LaterPrice, Price, PriceHours, PriceStep, Rates


def there() -> bool:
    """Whether the list is installed."""
    return find_spec("genai_prices") is not None


def find(provider: str, model: str, now: datetime) -> Price | None:
    """A model's price from a time on, by provider and model as named there; None if unknown.

    So is one with a fee that no answer counts: a price without it would be too low.
    """
    if not there():
        return None
    try:
        seller, info = _snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    rows = [item.prices for item in info.prices] if isinstance(info.prices, list) else [info.prices]
    if any(getattr(prices, name, None) is not None for prices in rows for name in _UNCOUNTED):
        return None
    today = now.astimezone(UTC).date()
    bounds = [item.constraint for item in info.prices] if isinstance(info.prices, list) else []
    days = sorted({bound.start_date for bound in bounds if hasattr(bound, "start_date")})
    times = [getattr(bound, name, None) for bound in bounds for name in ("start_time", "end_time")]
    edges = sorted({0, *(_second(at, today) for at in times if at is not None)})
    version = f"genai-prices {metadata.version('genai-prices')}"
    later = tuple(
        LaterPrice(
            _moment(day, 0).timestamp(), _on(seller.id, info, day, edges, f"{version} from {day}")
        )
        for day in days
        if day > today
    )
    return msgspec.structs.replace(_on(seller.id, info, today, edges, version), later=later)


def _on(seller: str, info: Any, day: date, edges: list[int], version: str) -> Price:
    """The price of a day: between two edges it does not change."""
    ends = [*edges[1:], 24 * 3600]
    first, *others = [
        (start, end, info.get_prices(_moment(day, start)))
        for start, end in zip(edges, ends, strict=True)
    ]
    hours = tuple(
        PriceHours(
            ((start, end),),
            _DAILY,
            _price(seller, prices, f"{version} at {_told(start)}-{_told(end)}"),
        )
        for start, end, prices in others
        if prices is not first[2]
    )
    return msgspec.structs.replace(_price(seller, first[2], version), hours=hours)


def _price(seller: str, prices: Any, version: str) -> Price:
    above = sorted({tier.start for name in _NAMES for tier in _tiers(getattr(prices, name, None))})
    steps = tuple(PriceStep(start, _rates(prices, start + 1)) for start in above)
    tools = _tools(seller, prices)
    return Price(
        rates=_rates(prices, 0),
        steps=steps,
        version=version,
        tools=tools,
        as_text=_as_text(seller, prices),
    )


def _as_text(seller: str, prices: Any) -> frozenset[str]:
    """Return what of a prompt is billed as text: images without a rate of their own.

    Google has one rate for text, images and video of a prompt, but where it lists another. Audio
    has nearly always a rate of its own, and the list lacks it for some hosts.
    """
    found = {"image", "video"} if seller == _GOOGLE else {"image"}
    return frozenset(
        f"input_{it}"
        for it in found
        if getattr(prices, f"input_{it}_mtok", None) is None
        and getattr(prices, f"cache_{it}_read_mtok", None) is None
    )


def _tools(seller: str, prices: Any) -> dict[str, Decimal]:
    """USD of one request of each tool that is billed so."""
    listed = {tool: _at(prices, name, 0) for name, tool in _TOOLS.items()}
    found = {tool: price / _THOUSAND for tool, price in listed.items() if price is not None}
    if seller == _GOOGLE and _SEARCH in found:
        each = found[_SEARCH]
        by_prompt = each == _BY_PROMPT
        found[_SEARCH] = Decimal(0) if by_prompt else each
        found["grounding"] = each if by_prompt else Decimal(0)
    return found


def _moment(day: date, second: int) -> datetime:
    return datetime(day.year, day.month, day.day, second // 3600, second // 60 % 60, tzinfo=UTC)


def _second(at: time, day: date) -> int:
    """The second of the day, in UTC, of a time; one without a zone is in UTC."""
    moment = datetime.combine(day, at, tzinfo=at.tzinfo or UTC).astimezone(UTC)
    return moment.hour * 3600 + moment.minute * 60


def _told(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}"


_DAILY = frozenset(range(7))
_LIFETIMES = {"5m": "cache_write_5m_mtok", "1h": "cache_write_1h_mtok"}
_NAMES = (
    "input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok", *_LIFETIMES.values(),
)  # fmt: skip
_SEARCH, _GOOGLE = "web_search", "google"
_BY_PROMPT = Decimal("0.035")
"""What Google bills for a grounded prompt before Gemini 3, whatever it searched."""
_TOOLS = {"web_searches_kcount": _SEARCH, "storage_searches_kcount": "file_search"}
_THOUSAND = Decimal(1000)
_UNCOUNTED = ("requests_kcount", "output_citation_mtok", "output_reasoning_mtok")
"""Fees of each request, and of classes of tokens that are counted as output here."""


@functools.cache
def _snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - slow to import

    return get_snapshot()


def _tiers(price: Any) -> list[Any]:
    return list(getattr(price, "tiers", ()))


def _rates(prices: Any, tokens: int) -> Rates:
    by = {life: _at(prices, name, tokens) for life, name in _LIFETIMES.items()}
    return Rates(
        cache_write_by={life: rate for life, rate in by.items() if rate is not None},
        input=_at(prices, "input_mtok", tokens),
        cache_read=_at(prices, "cache_read_mtok", tokens),
        cache_write=_at(prices, "cache_write_mtok", tokens),
        output=_at(prices, "output_mtok", tokens),
    )


def _at(prices: Any, name: str, tokens: int) -> Decimal | None:
    price = getattr(prices, name, None)
    if price is None or isinstance(price, Decimal):
        return price
    value = price.base
    for tier in _tiers(price):
        if tokens > tier.start:
            value = tier.price
    return Decimal(value)
