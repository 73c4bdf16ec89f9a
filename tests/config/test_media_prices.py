"""Shipped prices of pass-through models: what typical answers cost."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway.core.price import compute_cost
from gateway.core.usage import Usage
from gateway.settings import list_prices
from gateway.settings.catalogue import find_model
from gateway.settings.pricing import build_price
from tests.config import shipped

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
PICTURE = Usage(input=50, output=1_000, media={"input_image": 40, "output_image": 1_000})


@pytest.mark.parametrize(
    ("provider", "model", "usage", "usd"),
    [
        ("openai", "omni-moderation-latest", Usage(units={"request": Decimal(1)}), "0"),
        ("openai", "whisper-1", Usage(units={"second": Decimal("8.5")}), "0.00085"),
        ("openai", "tts-1", Usage(units={"character": Decimal(1000)}), "0.015"),
        ("openai", "gpt-image-1", PICTURE, "0.04045"),
        ("openai", "gpt-image-1.5", PICTURE, "0.03237"),
        ("openai", "gpt-image-2.5-flare", PICTURE, "0.03037"),
        (
            "openai", "gpt-4o-transcribe",
            Usage(input=14, output=45, media={"input_audio": 10}), "0.00052",
        ),
        ("mistral", "mistral-ocr-latest", Usage(units={"page annotated": Decimal(3)}), "0.015"),
        # No price that the project can name a source of: unknown, never zero.
        ("openai", "dall-e-3", Usage(units={"image": Decimal(1)}), None),
        ("cohere", "rerank-v4.0-pro", Usage(units={"search": Decimal(1)}), None),
    ],
)  # fmt: skip
def test_an_answer_costs_its_units_or_its_tokens(
    provider: str, model: str, usage: Usage, usd: str | None
) -> None:
    models = shipped.source(shipped.ALL_SET).config.models
    part = find_model(models, provider, model)
    price = (
        build_price(part.price)
        if part is not None and part.price is not None
        else list_prices.find_price(provider, model, NOW)
    )
    assert compute_cost(usage, price) == (None if usd is None else Decimal(usd))
