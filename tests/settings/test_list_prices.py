"""List prices of the real package: spot values, long-context steps, times of day, unknowns."""

import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import metadata

import pytest

from gateway.core.price import compute_cost, list_prompt_classes
from gateway.core.rates import Rates
from gateway.core.usage import Usage
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


@pytest.mark.parametrize("model", ["sonar", "sonar-pro", "sonar-deep-research"])
def test_a_price_with_a_fee_that_the_gateway_cannot_count_is_unknown(model: str) -> None:
    """Perplexity bills each request beside its tokens, or citations and reasoning apart."""
    assert list_prices._load_snapshot().find_provider_model(model, None, "perplexity", None)
    assert list_prices.find_price("perplexity", model, NOON) is None


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
    price = list_prices.find_price("openrouter", "perplexity/sonar-deep-research", NOON)
    assert price is not None
    assert price.rates == Rates(input=D(2), output=D(8), reasoning=D(3))


def test_every_field_of_the_list_is_known_to_the_gateway() -> None:
    """A class of tokens that a newer list adds must not be priced as another one."""
    fields = {
        name
        for provider in list_prices._load_snapshot().providers
        for model in provider.models
        for prices in (
            [item.prices for item in model.prices]
            if isinstance(model.prices, list)
            else [model.prices]
        )
        for name, value in vars(prices).items()
        if value is not None
    }
    read = {*list_prices._RATE_FIELDS, *list_prices._TOOL_FIELDS, *list_prices._UNCOUNTED_FIELDS}
    # Units of models that neither chat nor embed: speech, transcription and pages of documents.
    of_other_models = {
        "audio_hours",
        "input_audio_hours",
        "input_annotated_document_kpages",
        "input_document_kpages",
        "input_mchars",
        "input_text_messages_kcount",
    }
    assert fields - read == of_other_models
