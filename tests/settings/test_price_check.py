"""A second opinion on prices: a warning, with its line, where a price is far from the list."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.price import Price, PriceStep
from gateway.core.rates import Rates
from gateway.settings.errors import Mistake
from gateway.settings.price_check import compare_prices, find_doubtful_prices
from tests.settings import world

TEXT = """\
version: 1
providers:
  own:
    base_url: https://own.example/v1
    dialects: {openai-chat: /chat/completions}
    auth: none
    prices: openai
  off:
    base_url: https://off.example/v1
    dialects: {openai-chat: /chat/completions}
    accounts: {main: "${OFF_KEY}"}
    prices: openai
labs:
  own:
    smart: [{model: gpt-4o}, {model: gpt-4o}, {model: gpt-4o-mini}, {model: unheard-of}]
    reasoning: [{provider: off, model: gpt-4o}]
    embeddings: [{model: text-embedding-3-small}]
models:
  gpt-4o: {price: %s}
  off/gpt-4o: {price: {input: 9999, output: 9999}}
  text-embedding-3-small: {price: %s}
  unheard-of: {price: {input: 9999, output: 9999}}
"""
SMALL = "{input: 0.02, output: 0}"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


PRICES: list[tuple[str, list[str]]] = [
    ("{input: 2.5, cache_read: 1.25, output: 10}", []),
    # a list may lag, and a host may differ
    ("{input: 7.5, output: 30}", []),
    ("{input: 7.6, output: 10}", ["input of own/gpt-4o is 7.6, and 2.5 in genai-prices"]),
    ("{input: 0.83, output: 10}", ["input of own/gpt-4o is 0.83, and 2.5 in genai-prices"]),
    ("{input: 250, output: 0.1}", ["input of own/gpt-4o is 250, and 2.5 in genai-prices",
                                   "output of own/gpt-4o is 0.1, and 10 in genai-prices"]),
    # a price of 0 is meant so, as for an engine of one's own
    ("{input: 0, cache_read: 0, output: 0}", []),
    ("{input: 2.5, output: 10, above: [{tokens: 9, input: 25, output: 10}]}",
     ["input above 9 tokens of own/gpt-4o is 25, and 2.5 in genai-prices"]),
    ("{input: 2.5, output: 10, from: {2026-11-01: {input: 250, output: 10}}}",
     ["input of own/gpt-4o is 250, and 2.5 in genai-prices"]),
]  # fmt: skip


def check_prices(folder: Path, text: str, shipped_folder: Path = Path("/nothing")) -> list[Mistake]:
    source, built = world.loaded(folder, text, {}), world.built(folder, text, {})
    return list(find_doubtful_prices(source, built, NOW, shipped_folder=shipped_folder))


@pytest.mark.parametrize(("price", "expected"), PRICES)
def test_a_price_far_from_the_list_is_a_warning(
    tmp_path: Path, price: str, expected: list[str]
) -> None:
    """The warning comes once, for targets that are on and have their own price."""
    text = TEXT % (price, SMALL)
    warnings = check_prices(tmp_path, text)
    assert [item.message.rpartition(" ")[0] for item in warnings] == expected
    assert all(item.path == "models.gpt-4o.price" and item.line == 19 for item in warnings)
    assert all(item.level == "warning" for item in warnings)


def test_the_price_of_an_embedding_model_is_checked_too(tmp_path: Path) -> None:
    """Their output price makes no difference: they have no output."""
    text = TEXT % ("{input: 2.5, output: 10}", "{input: 2, output: 9}")
    (warning,) = check_prices(tmp_path, text)
    assert warning.message.startswith("input of own/text-embedding-3-small is 2, and 0.02 in")


def test_only_prices_that_the_operator_wrote_are_checked(tmp_path: Path) -> None:
    """A file that equals the shipped one is not compared again; one changed byte brings it back."""
    mine, shipped = tmp_path / "mine", tmp_path / "shipped"
    mine.mkdir()
    shipped.mkdir()
    text = TEXT % ("{input: 250, output: 10}", SMALL)
    (shipped / world.write(mine, text).name).write_text(text)
    assert check_prices(mine, text, shipped) == []
    assert len(check_prices(mine, text + "# mine\n", shipped)) == 1


def rates(usd: int, hour: int = 9) -> Rates:
    return Rates(input=Decimal(usd), cache_write_by={"1h": Decimal(hour)}, output=Decimal(1))


def test_every_rate_in_both_prices_is_compared() -> None:
    ours = Price(
        rates=rates(1), steps=(PriceStep(100, rates(2)),), version="a",
        tools={"web_search": Decimal(1), "x_search": Decimal(1), "file_search": Decimal(1)},
        units={"image": Decimal(1), "page": Decimal(1)},
    )  # fmt: skip
    theirs = Price(
        rates=rates(1, 8), version="b",
        tools={"web_search": Decimal(3), "file_search": Decimal(1)},
        units={"image": Decimal(5), "second": Decimal(1)},
    )  # fmt: skip
    assert compare_prices(ours, theirs) == [
        ("cache_write 1h", Decimal(9), Decimal(8)),
        ("input above 100 tokens", Decimal(2), Decimal(1)),
        ("cache_write 1h above 100 tokens", Decimal(9), Decimal(8)),
        ("web_search", Decimal(1), Decimal(3)),
        ("image", Decimal(1), Decimal(5)),
    ]
    assert compare_prices(ours, ours) == []
