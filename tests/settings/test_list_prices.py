"""List prices of the real package: spot values, long-context steps, times of day, unknowns."""

import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import metadata
from typing import Any

import genai_prices
import msgspec
import pytest

from gateway.core.price import compute_cost, list_prompt_classes
from gateway.core.rates import Rates
from gateway.core.usage import MODALITIES, Usage
from gateway.dialects.openai_chat import usage as openai_chat_usage
from gateway.settings import list_prices

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
D = Decimal


@pytest.mark.parametrize(
    ("provider", "model", "rates"),
    [
        ("openai", "gpt-4o", ("2.5", "1.25", None, "10")),
        ("openai", "gpt-4o-mini", ("0.15", "0.075", None, "0.6")),
        ("anthropic", "claude-sonnet-4-5", ("3", "0.3", "3.75", "15")),
        ("google", "gemini-2.5-flash", ("0.3", "0.03", None, "2.5")),
    ],
)
def test_a_price_is_usd_per_million_tokens(
    provider: str, model: str, rates: tuple[str | None, ...]
) -> None:
    price = list_prices.find_price(provider, model, NOON)
    assert price is not None
    listed = price.rates
    actual = (listed.input, listed.cache_read, listed.cache_write, listed.output)
    assert actual == tuple(None if rate is None else Decimal(rate) for rate in rates)
    assert all(rate is None or isinstance(rate, Decimal) for rate in actual)
    assert price.version == f"genai-prices {metadata.version('genai-prices')}"


def test_a_long_prompt_has_the_rates_of_its_step() -> None:
    price = list_prices.find_price("google", "gemini-2.5-pro", NOON)
    assert price is not None
    assert [step.above for step in price.steps] == [200_000]
    assert (price.find_rates(200_000).input, price.find_rates(200_001).input) == (
        Decimal("1.25"),
        Decimal("2.5"),
    )
    assert (price.find_rates(200_000).output, price.find_rates(200_001).output) == (
        Decimal(10),
        Decimal(15),
    )
    assert compute_cost(Usage(input=300_000, output=1_000), price) == Decimal("0.765")


@pytest.mark.parametrize(
    ("hour", "minute", "rate"),
    [(0, 29, "0.135"), (0, 30, "0.27"), (12, 0, "0.27"), (16, 29, "0.27"), (17, 0, "0.135")],
)
def test_a_price_can_depend_on_the_time_of_day(hour: int, minute: int, rate: str) -> None:
    """Whenever the price was looked up, the moment of the call decides."""
    for looked_up in (NOON, NOON.replace(hour=3)):
        price = list_prices.find_price("deepseek", "deepseek-chat", looked_up)
        assert price is not None
        at = price.find_in_force(NOON.replace(hour=hour, minute=minute).timestamp())
        assert at.rates.input == Decimal(rate)
        assert (at.version == price.version) == (rate == "0.135")


def test_a_price_can_depend_on_the_day() -> None:
    """A price that was found before a step knows the step; later there is nothing to come."""
    price = list_prices.find_price("google", "gemini-4-argon", NOON)
    after = list_prices.find_price("google", "gemini-4-argon", datetime(2026, 12, 1, tzinfo=UTC))
    assert price is not None
    assert after is not None
    moments = [datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)]
    inputs = [price.find_in_force(moment.timestamp()).rates.input for moment in moments]
    assert inputs == [Decimal(2), Decimal(4)]
    assert price.find_in_force(moments[1].timestamp()).version == f"{price.version} from 2026-12-01"
    assert (after.rates.input, after.later) == (Decimal(4), ())


def test_every_price_equals_that_of_the_list_at_any_hour() -> None:
    """The models have prices that depend on the time; the test compares each hour of three days."""
    checks = 0
    for provider in list_prices._load_snapshot().providers:
        for model in provider.models:
            if not isinstance(model.prices, list) or len(model.prices) < 2:
                continue
            price = list_prices.find_price(provider.id, model.id, NOON)
            if price is None:
                continue  # the model answers to other names only
            _, info = list_prices._load_snapshot().find_provider_model(
                model.id, None, provider.id, None
            )
            for day in (NOON, NOON + timedelta(days=7), NOON + timedelta(days=400)):
                for hour in range(24):
                    moment = day.replace(hour=hour, minute=30)
                    expected = list_prices._build_rates(info.get_prices(moment), 0)
                    assert price.find_in_force(moment.timestamp()).rates == expected, model.id
                    checks += 1
    assert checks > 1000


def test_each_cache_lifetime_has_its_own_price_and_steps() -> None:
    price = list_prices.find_price("anthropic", "claude-haiku-5-5", NOON)
    assert price is not None
    by_lifetime = [price.find_rates(length).cache_write_by for length in (100_000, 100_001)]
    assert by_lifetime == [{"1h": Decimal("0.2")}, {"1h": Decimal(1)}]


@pytest.mark.parametrize(
    ("provider", "model", "tools"),
    [
        ("anthropic", "claude-haiku-5-5", {"web_search": "0.01"}),
        ("openai", "gpt-6-luna", {"web_search": "0.01", "file_search": "0.0025"}),
        ("meta", "muse-spark-1.3", {"web_search": "0.0025"}),
        ("openai", "text-embedding-3-small", {}),
    ],
)
def test_each_tool_request_has_a_price(provider: str, model: str, tools: dict[str, str]) -> None:
    """The list has the price of a thousand requests."""
    price = list_prices.find_price(provider, model, NOON)
    assert price is not None
    assert price.tools == {name: Decimal(usd) for name, usd in tools.items()}


@pytest.mark.parametrize(
    ("provider", "model", "units"),
    [
        ("openai", "whisper-1", {"second": "0.0001"}),
        ("groq", "whisper-large-v3-turbo", {"second": "0.000011111111111"}),
        ("openai", "tts-1-hd", {"character": "0.00003"}),
        ("mistral", "mistral-ocr-latest", {"page": "0.004", "page annotated": "0.005"}),
        ("openai", "gpt-6-luna", {}),
    ],
)
def test_each_unit_beside_tokens_has_a_price(
    provider: str, model: str, units: dict[str, str]
) -> None:
    """The list has the price of an hour, of a thousand pages and of a million characters."""
    price = list_prices.find_price(provider, model, NOON)
    assert price is not None
    assert price.units == {name: Decimal(usd) for name, usd in units.items()}


@pytest.mark.parametrize("model", ["gemini-3.1-flash-lite", "gemini-2.5-pro"])
def test_google_bills_each_search_or_each_grounded_prompt(model: str) -> None:
    """From Gemini 3 on Google bills each search, before that a prompt whatever it searched."""
    price = list_prices.find_price("google", model, NOON)
    assert price is not None
    is_per_search = model.startswith("gemini-3")
    assert price.tools == {
        "web_search": Decimal("0.014") if is_per_search else Decimal(0),
        "grounding": Decimal(0) if is_per_search else Decimal("0.035"),
    }


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("perplexity", "sonar"),
        ("perplexity", "sonar-pro"),
        ("perplexity", "sonar-pro-search"),
        ("openrouter", "perplexity/sonar"),
        ("openrouter", "perplexity/sonar-deep-research"),
        ("openai", "gpt-4o-search-preview"),
        ("openai", "gpt-5-search-api"),
    ],
)
def test_a_price_without_all_fees_of_a_request_is_unknown(provider: str, model: str) -> None:
    """Perplexity bills each request by the size of its search; the list has one size, or none.

    Of OpenAI's models that search, it has no fee, and their usage tells no search.
    """
    assert list_prices._load_snapshot().find_provider_model(model, None, provider, None)
    assert list_prices.find_price(provider, model, NOON) is None


RESEARCH = [
    # Usage and bills that Perplexity has stated; it rounds each part to the fifth digit.
    ((33, 11_395, 193_947, 19_028, 21), "0.816123"),
    ((911, 7_279, 190_044, 25_884, 80), "1.08195"),
]


@pytest.mark.parametrize(("counts", "billed"), RESEARCH)
def test_research_costs_what_perplexity_has_billed(counts: tuple[int, ...], billed: str) -> None:
    """Reasoning, citations and searches have prices of their own."""
    price = list_prices.find_price("perplexity", "sonar-deep-research", NOON)
    prompt, completion, reasoning, citations, searches = counts
    usage = openai_chat_usage.read(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "reasoning_tokens": reasoning,
            "citation_tokens": citations,
            "num_search_queries": searches,
        }
    )
    cost = compute_cost(usage, price)
    assert cost is not None
    assert abs(cost - D(billed)) < D("0.00001")


def test_without_the_installed_list_no_price_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is an extra; None in `sys.modules` tells Python that the module is not there."""
    assert list_prices.is_installed()
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert not list_prices.is_installed()
    assert list_prices.find_price("openai", "gpt-4o", NOON) is None


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("no-such-provider", "gpt-4o"), ("", "")]
)
def test_a_model_that_the_list_lacks_has_no_price(provider: str, model: str) -> None:
    assert list_prices.find_price(provider, model, NOON) is None


@pytest.mark.parametrize(
    ("provider", "model", "modalities"),
    [
        ("openai", "gpt-4o", {"image"}),
        ("anthropic", "claude-sonnet-4-5", {"image"}),
        ("google", "gemini-2.5-flash", {"image", "video"}),
        ("google", "gemini-embedding-2", set()),
        ("openai", "gpt-image-1", set()),
    ],
)
def test_tokens_with_their_own_rate_in_the_list_are_not_billed_as_text(
    provider: str, model: str, modalities: set[str]
) -> None:
    """The gateway never bills audio as text: the list lacks its rate for some hosts."""
    price = list_prices.find_price(provider, model, NOON)
    assert price is not None
    assert price.as_text == list_prompt_classes(modalities)


@pytest.mark.parametrize(
    ("provider", "model", "media"),
    [
        ("google", "gemini-2.5-flash", {"audio": Rates(input=D(1), cache_read=D("0.1"))}),
        ("openai", "gpt-audio", {"audio": Rates(input=D(32), output=D(64))}),
        ("google", "gemini-omni-1.1-flash", {"video": Rates(output=D("17.5"))}),
        ("openai", "gpt-image-1.5", {"image": Rates(input=D(8), cache_read=D(2), output=D(32))}),
        (
            "google",
            "gemini-embedding-2",
            {
                "audio": Rates(input=D("6.5")),
                "image": Rates(input=D("0.45")),
                "video": Rates(input=D(12)),
            },
        ),
        ("anthropic", "claude-haiku-5-5", {}),
    ],
)
def test_each_modality_has_the_rates_of_the_list(
    provider: str, model: str, media: dict[str, Rates]
) -> None:
    price = list_prices.find_price(provider, model, NOON)
    assert price is not None
    assert price.rates.media == media


def test_reasoning_with_a_price_of_its_own_is_not_output() -> None:
    price = list_prices.find_price("perplexity", "sonar-deep-research", NOON)
    assert price is not None
    assert price.rates == Rates(input=D(2), output=D(8), reasoning=D(3))
    assert price.tools == {"web_search": D("0.005"), "citation_tokens": D("0.000002")}


UNPRICED = {
    "audio_hours": "audio by time: no second of it has a price in whole digits",
    "input_audio_hours": "audio by time",
    "input_document_kpages": "pages, of models that read documents",
    "input_annotated_document_kpages": "pages, of models that read documents",
    "input_mchars": "letters, of models that speak",
    "input_text_messages_kcount": "messages, of models that speak",
}
"""Classes of the list that no answer of a dialect counts, so that it has no cost with them."""
FILL = 10
"""Tokens of text beside those of the class, on each side of an answer that has a price."""
UNITS = 1_000
TOOLS = {
    "web_searches_kcount": "web_search", "storage_searches_kcount": "file_search",
    "output_citation_mtok": "citation_tokens", "audio_hours": "audio_seconds",
    "input_audio_hours": "audio_seconds",
}  # fmt: skip
"""Classes that answers count as units of tools."""


def make_answer(prices: Any, field: str) -> tuple[Usage, dict[str, int]] | None:
    """Return an answer with units of one class, for the gateway and for genai-prices.

    None if no answer of a dialect counts the class.
    """
    name, side = field.rpartition("_")[0], "output" if field.startswith("output_") else "input"
    fill = {part: FILL if getattr(prices, f"{part}_mtok") else 0 for part in ("input", "output")}
    theirs = {f"{part}_tokens": tokens for part, tokens in fill.items()}
    usage = Usage(input=fill["input"], output=fill["output"])
    if field in TOOLS:
        theirs |= {"web_searches": UNITS} if name == "web_searches" else {}
        theirs |= {"storage_searches": UNITS} if name == "storage_searches" else {}
        if name == "output_citation":
            theirs |= {"output_tokens": fill["output"] + UNITS, f"{name}_tokens": UNITS}
        return msgspec.structs.replace(usage, tools={TOOLS[field]: UNITS}), theirs
    if not field.endswith("_mtok"):
        return None
    theirs[f"{side}_tokens"] += UNITS
    theirs |= {} if name in ("input", "output") else {f"{name}_tokens": UNITS}
    words = name.split("_")
    modality = next((word for word in words if word in MODALITIES), "")
    media = {f"{side}_{modality}": UNITS} if modality else {}
    if "write" in words:
        theirs["cache_write_tokens"] = UNITS
        lifetime = words[-1] if words[-1] != "write" else ""
        return msgspec.structs.replace(usage, cache_write={lifetime: UNITS}, media=media), theirs
    if "cache" in words:
        theirs |= (
            {f"input_{modality}_tokens": UNITS, "cache_read_tokens": UNITS} if modality else {}
        )
        media |= {f"cache_read_{modality}": UNITS} if modality else {}
        return msgspec.structs.replace(usage, cache_read=UNITS, media=media), theirs
    if "reasoning" in words:
        return msgspec.structs.replace(usage, reasoning=UNITS), theirs
    return msgspec.structs.replace(usage, **{side: fill[side] + UNITS}, media=media), theirs


def test_each_class_of_the_list_has_its_price_or_none() -> None:
    """The gateway's cost of every class of every model is that of genai-prices, or unknown."""
    priced: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    without_price = set()
    snapshot = list_prices._load_snapshot()
    for provider in snapshot.providers:
        for model in provider.models:
            try:
                _, info = snapshot.find_provider_model(model.id, None, provider.id, None)
            except LookupError:
                continue  # the model answers to other names only
            price = list_prices.find_price(provider.id, model.id, NOON)
            if price is None:
                without_price.add(model.id.rpartition("/")[2])
                continue
            prices = info.get_prices(NOON)
            for field in (name for name, value in vars(prices).items() if value is not None):
                answer = make_answer(prices, field)
                cost = None
                if answer is not None:
                    cost = compute_cost(answer[0], price.find_in_force(NOON.timestamp()))
                if answer is None or cost is None:
                    unknown[field] += 1
                elif (provider.id, field) != ("google", "web_searches_kcount"):
                    # See `test_google_bills_each_search_or_each_grounded_prompt`
                    theirs = prices.calc_price(genai_prices.Usage(**answer[1]))
                    assert cost == theirs["total_price"], (provider.id, model.id, field)
                    priced[field] += 1
    searching = {"gpt-4o-search-preview", "gpt-4o-mini-search-preview", "gpt-5-search-api"}
    assert {name for name in without_price if "sonar" not in name} == searching
    assert unknown.keys() == UNPRICED.keys(), unknown
    assert priced.total() > 5_000
    assert len(priced) == 17, priced
