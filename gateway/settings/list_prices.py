"""List prices from genai-prices, for models that the configuration does not price itself.

This is the only module that uses genai-prices, the extra `prices`. Without the extra, it knows no
price. The import takes about 0.3 s, so it happens only if such a model is configured. The list
never updates itself: the gateway makes no request that the configuration does not name.
"""

import functools
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import msgspec

from gateway.core.price import LaterPrice, Price, PriceHours, PriceStep, list_prompt_classes
from gateway.core.rates import NO_RATES, Rates
from gateway.core.usage import MODALITIES


def is_installed() -> bool:
    """Return True if the price list is installed."""
    return find_spec("genai_prices") is not None


@functools.cache
def find_version() -> str:
    """Return the version of the installed price list; reading it takes milliseconds."""
    return metadata.version("genai-prices")


def find_price(provider: str, model: str, now: datetime) -> Price | None:
    """Return a model's price from `now` on; `provider` and `model` are the names in the list.

    None if the list lacks the model, or a fee of its requests: without the fee the price would be
    too low.
    """
    if not is_installed():
        return None
    entry = _find_entry(provider, model)
    if entry is None:
        return None
    seller, model_info = entry
    price_rows = (
        [item.prices for item in model_info.prices]
        if isinstance(model_info.prices, list)
        else [model_info.prices]
    )
    if any(_lacks_fee(model_info.id, prices) for prices in price_rows):
        return None
    today = now.astimezone(UTC).date()
    constraints = (
        [item.constraint for item in model_info.prices]
        if isinstance(model_info.prices, list)
        else []
    )
    days = sorted(
        {constraint.start_date for constraint in constraints if hasattr(constraint, "start_date")}
    )
    times_of_day = [
        getattr(constraint, name, None)
        for constraint in constraints
        for name in ("start_time", "end_time")
    ]
    edges = sorted(
        {
            0,
            *(
                _to_utc_second(time_of_day, today)
                for time_of_day in times_of_day
                if time_of_day is not None
            ),
        }
    )
    version = f"genai-prices {find_version()}"
    later = tuple(
        LaterPrice(
            _to_datetime(day, 0).timestamp(),
            _build_day_price(seller.id, model_info, day, edges, f"{version} from {day}"),
        )
        for day in days
        if day > today
    )
    return msgspec.structs.replace(
        _build_day_price(seller.id, model_info, today, edges, version), later=later
    )


def list_names(provider: str) -> tuple[str, ...]:
    """Return the names of a provider's models in the list; `provider` is its name there."""
    sellers = _load_snapshot().providers if is_installed() else ()
    return tuple(
        model_info.id for seller in sellers if seller.id == provider for model_info in seller.models
    )


def find_list_date(today: date) -> date | None:
    """Return the day of the newest price in the list that is in force; None if none has a day.

    The list does not say when it was made. It is at least as new as that.
    """
    days = [
        constraint.start_date
        for seller in (_load_snapshot().providers if is_installed() else ())
        for model_info in seller.models
        if isinstance(model_info.prices, list)
        for item in model_info.prices
        if hasattr(constraint := item.constraint, "start_date") and constraint.start_date <= today
    ]
    return max(days, default=None)


def is_deprecated(provider: str, model: str) -> bool:
    """Return True if the list calls a model deprecated."""
    entry = _find_entry(provider, model) if is_installed() else None
    return entry is not None and bool(entry[1].deprecated)


def _find_entry(provider: str, model: str) -> tuple[Any, Any] | None:
    """Return the list's provider and model of a name; None if it lacks the model.

    The list finds a fine-tune by its whole name only, so the names of its models are tried too.
    """
    snapshot = _load_snapshot()
    try:
        # Not `find_provider_model`: it keeps each name for ever, and clients make up names.
        seller = snapshot.find_provider(None, provider, None)
    except LookupError:
        return None
    model_info = seller.find_model(model.lower(), all_providers=snapshot.providers)
    if model_info is None and model.startswith("ft:"):
        model_info = next((item for item in seller.models if item.id == model), None)
    return None if model_info is None else (seller, model_info)


def _lacks_fee(model: str, prices: Any) -> bool:
    """Return True if a model bills more than tokens, and the list does not have all of it.

    Perplexity bills each request by the size of its search. The list has the fee of the largest
    size (`requests_kcount`), or none. Its models that bill each search are listed with that price.
    OpenAI's models that search in Chat Completions bill it too, and no answer counts it.
    """
    if getattr(prices, "requests_kcount", None) is not None:
        return True
    is_searching = any(word in model for word in _SEARCHING_MODELS)
    return is_searching and getattr(prices, "web_searches_kcount", None) is None


def _build_day_price(
    seller: str, model_info: Any, day: date, edges: list[int], version: str
) -> Price:
    """Return the price of a day. `edges` are the seconds of the day at which it may change."""
    ends = [*edges[1:], 24 * 3600]
    first_span, *later_spans = [
        (start, end, model_info.get_prices(_to_datetime(day, start)))
        for start, end in zip(edges, ends, strict=True)
    ]
    hours = tuple(
        PriceHours(
            ((start, end),),
            _ALL_DAYS,
            _build_price(seller, prices, f"{version} at {_format_time(start)}-{_format_time(end)}"),
        )
        for start, end, prices in later_spans
        if prices is not first_span[2]
    )
    return msgspec.structs.replace(_build_price(seller, first_span[2], version), hours=hours)


def _build_price(seller: str, prices: Any, version: str) -> Price:
    above = sorted(
        {tier.start for name in _RATE_FIELDS for tier in _list_tiers(getattr(prices, name, None))}
    )
    steps = tuple(PriceStep(start, _build_rates(prices, start + 1)) for start in above)
    tools = _build_tool_prices(seller, prices)
    return Price(
        rates=_build_rates(prices, 0),
        steps=steps,
        version=version,
        tools=tools,
        units=_build_unit_prices(prices),
        as_text=_list_text_billed(seller, prices),
    )


def _list_text_billed(seller: str, prices: Any) -> frozenset[str]:
    """Return the media in a prompt that are billed as text: images without a rate of their own.

    For a prompt, Google has one rate for text, images and video unless it lists another. Audio
    nearly always has its own rate, and the list lacks it for some hosts: its cost is unknown there.
    """
    modalities = {"image", "video"} if seller == _GOOGLE else {"image"}
    return list_prompt_classes(
        modality
        for modality in modalities
        if getattr(prices, f"input_{modality}_mtok", None) is None
        and getattr(prices, f"cache_{modality}_read_mtok", None) is None
    )


def _build_tool_prices(seller: str, prices: Any) -> dict[str, Decimal]:
    """Return the USD of one unit of each tool."""
    prices_by_tool = {
        tool: price / units
        for name, (tool, units) in _TOOL_FIELDS.items()
        if (price := _find_rate(prices, name, 0)) is not None
    }
    if seller == _GOOGLE and _SEARCH_TOOL in prices_by_tool:
        search_price = prices_by_tool[_SEARCH_TOOL]
        is_per_prompt = search_price == _PER_PROMPT_USD
        prices_by_tool[_SEARCH_TOOL] = Decimal(0) if is_per_prompt else search_price
        prices_by_tool["grounding"] = search_price if is_per_prompt else Decimal(0)
    return prices_by_tool


def _build_unit_prices(prices: Any) -> dict[str, Decimal]:
    """Return the USD of one unit beside tokens. Seconds are rounded: the list has hours."""
    return {
        unit: (price / units).quantize(_UNIT_STEP).normalize()
        for name, (unit, units) in _UNIT_FIELDS.items()
        if (price := _find_rate(prices, name, 0)) is not None
    }


def _to_datetime(day: date, second: int) -> datetime:
    return datetime(day.year, day.month, day.day, second // 3600, second // 60 % 60, tzinfo=UTC)


def _to_utc_second(time_of_day: time, day: date) -> int:
    """Return the second of the day, in UTC, of a time; a time without a zone is in UTC."""
    moment = datetime.combine(day, time_of_day, tzinfo=time_of_day.tzinfo or UTC).astimezone(UTC)
    return moment.hour * 3600 + moment.minute * 60


def _format_time(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}"


_ALL_DAYS = frozenset(range(7))
_LIFETIMES = ("5m", "1h")
_RATE_FIELDS = (
    "output_reasoning_mtok",
    *(
        name
        for part in ("", *(f"{modality}_" for modality in MODALITIES))
        for name in (
            f"input_{part}mtok",
            f"cache_{part}read_mtok",
            f"cache_{part}write_mtok",
            f"output_{part}mtok",
            *(f"cache_{part}write_{lifetime}_mtok" for lifetime in _LIFETIMES),
        )
    ),
)
_SEARCH_TOOL, _GOOGLE = "web_search", "google"
_PER_PROMPT_USD = Decimal("0.035")
"""USD that Google bills for a grounded prompt before Gemini 3, however many searches it makes."""
_SEARCHING_MODELS = ("sonar", "search-preview", "search-api")
"""Parts of the names of models that search for each request: Perplexity's, and OpenAI's."""
_TOOL_FIELDS = {
    "web_searches_kcount": (_SEARCH_TOOL, Decimal(1000)),
    "storage_searches_kcount": ("file_search", Decimal(1000)),
    "output_citation_mtok": ("citation_tokens", Decimal(1_000_000)),
}
"""Fields with prices of tools: the name of the tool in `Usage.tools`, and units for the price."""
_UNIT_FIELDS = {
    "audio_hours": ("second", Decimal(3600)),
    "input_document_kpages": ("page", Decimal(1000)),
    "input_annotated_document_kpages": ("page annotated", Decimal(1000)),
    "input_mchars": ("character", Decimal(1_000_000)),
}
"""Fields with prices of units: the name in `Usage.units`, and how many of them the price is for."""
_UNIT_STEP = Decimal("1E-15")
"""The digits of a unit's price: so the cost of any call has fewer than stores can add up."""


@functools.cache
def _load_snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - slow to import

    return get_snapshot()


def _list_tiers(price: Any) -> list[Any]:
    return list(getattr(price, "tiers", ()))


def _build_rates(prices: Any, tokens: int) -> Rates:
    media = {
        modality: rates
        for modality in MODALITIES
        if (rates := _build_media_rates(prices, tokens, f"{modality}_")) != NO_RATES
    }
    return msgspec.structs.replace(
        _build_media_rates(prices, tokens, ""),
        reasoning=_find_rate(prices, "output_reasoning_mtok", tokens),
        media=media,
    )


def _build_media_rates(prices: Any, tokens: int, part: str) -> Rates:
    """Return the rates of a modality; `part` is the word for it in the list's names."""
    by_lifetime = {
        lifetime: _find_rate(prices, f"cache_{part}write_{lifetime}_mtok", tokens)
        for lifetime in _LIFETIMES
    }
    return Rates(
        cache_write_by={
            lifetime: rate for lifetime, rate in by_lifetime.items() if rate is not None
        },
        input=_find_rate(prices, f"input_{part}mtok", tokens),
        cache_read=_find_rate(prices, f"cache_{part}read_mtok", tokens),
        cache_write=_find_rate(prices, f"cache_{part}write_mtok", tokens),
        output=_find_rate(prices, f"output_{part}mtok", tokens),
    )


def _find_rate(prices: Any, name: str, tokens: int) -> Decimal | None:
    listed_rate = getattr(prices, name, None)
    if listed_rate is None or isinstance(listed_rate, Decimal):
        return listed_rate
    rate = listed_rate.base
    for tier in _list_tiers(listed_rate):
        if tokens > tier.start:
            rate = tier.price
    return Decimal(rate)
