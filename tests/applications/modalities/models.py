"""The models that are called: what their answers may have, and what each of it costs.

The configuration is written from these prices. The bill multiplies them anew, in fractions: neither
its arithmetic nor its reading of usage is the gateway's.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import genai_prices

from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES

type Json = Any
type Part = tuple[str, str]
"""A part of an answer's tokens and its modality. Parts are input, cache_read, output, reasoning and
the lifetimes of cache writes."""

MEDIA = ("audio", "image", "video")
WRITES = frozenset({"5m", "1h", "30m", "12h"})
PROMPT = frozenset({"input", "cache_read", *WRITES})
_MILLION = 1_000_000


@dataclass(frozen=True)
class PricedModel:
    """A model at a provider of its own."""

    name: str
    dialect: str
    price: Json = None
    """The price as configured, with decimals as text; None for a model that genai-prices prices."""
    writes: tuple[str, ...] = ()
    """Lifetimes of cache writes."""
    read: tuple[str, ...] = ()
    """Modalities of prompts beside text."""
    made: tuple[str, ...] = ()
    """Modalities of answers beside text."""
    tools: tuple[str, ...] = ()
    """Units of tools, as a row of the ledger names them."""
    services: tuple[str, ...] = ()
    thinks: bool = True
    caches: bool = True
    states_bill: bool = False
    seller: str = ""
    """The name of the provider in genai-prices."""


@dataclass
class Answered:
    """What one answer consists of, no token in two parts."""

    tokens: Counter[Part] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    service: str | None = None

    def sum(self, *parts: str, modality: str | None = None) -> int:
        return sum(
            tokens
            for (part, kind), tokens in self.tokens.items()
            if part in parts and modality in (None, kind)
        )

    @property
    def prompt(self) -> int:
        return self.sum(*PROMPT)

    @property
    def completion(self) -> int:
        return self.sum("output", "reasoning")


_ADVISOR = {
    "claude-opus-5:input": "0.000005", "claude-opus-5:cache_read": "0.0000005",
    "claude-opus-5:cache_write_5m": "0.00000625", "claude-opus-5:output": "0.000025",
}  # fmt: skip
_PAINTER = {
    "gpt-image-2:input": "0.000005", "gpt-image-2:input_image": "0.000008",
    "gpt-image-2:output": "0.00001", "gpt-image-2:output_image": "0.00003",
}  # fmt: skip
MODELS = (
    PricedModel(
        "sound-1", CHAT, writes=("30m", "12h"), read=MEDIA, made=MEDIA,
        tools=("audio_seconds", "web_search", "search_low", "citation_tokens"),
        price={
            "input": "0.37", "cache_read": "0.037", "cache_write": "0.4625", "output": "1.91", "reasoning": "1.37",
            "cache_write_by": {"12h": "0.74"}, "as_text": [],
            "audio": {"input": "31.3", "cache_read": "0.4", "output": "63.7"},
            "image": {"input": "5.03", "cache_read": "0.503", "cache_write": "6.1", "output": "33"},
            "video": {"input": "11.9", "cache_read": "1.19", "output": "17.5"},
            "tools": {"audio_seconds": "0.0000667", "web_search": "0.005", "search_low": "0.006", "citation_tokens": "0.000002"},
        },
    ),
    PricedModel(
        "painter-1", RESPONSES, writes=("30m", "12h"), read=("image",),
        tools=("web_search", *_PAINTER), services=("flex", "priority"),
        price={
            "input": "2.3", "cache_read": "0.23", "cache_write": "2.875", "output": "11.1",
            "cache_write_by": {"30m": "2.875", "12h": "4.6"},
            "above": [{
                "tokens": 50_000, "input": "4.6", "cache_read": "0.46", "output": "16.65",
                "cache_write_by": {"30m": "5.75", "12h": "9.2"},
            }],
            "services": {"flex": {"factor": "0.5"}, "priority": {"input": "4.1", "cache_read": "0.41", "output": "19.9"}},
            "tools": {"web_search": "0.01", **_PAINTER},
        },
    ),
    PricedModel(
        "adviser-1", MESSAGES, writes=("5m", "1h"), tools=("web_search", *_ADVISOR),
        price={
            "input": "3.01", "cache_read": "0.301", "cache_write": "3.7625", "output": "15.05",
            "cache_write_by": {"1h": "6.02"}, "tools": {"web_search": "0.01", **_ADVISOR},
        },
    ),
    PricedModel(
        "watcher-1", GEMINI, read=MEDIA, made=("audio", "image"), tools=("web_search", "grounding"),
        price={
            "input": "0.31", "cache_read": "0.0775", "output": "2.53", "as_text": ["image", "video"],
            "audio": {"input": "1.07", "cache_read": "0.1", "output": "12.5"}, "image": {"output": "30.1"},
            "tools": {"web_search": "0.014", "grounding": "0"},
        },
    ),
    # Video, what is made and searches have no price: such answers have no cost.
    PricedModel(
        "partial-1", CHAT, read=("image", "video"), made=("audio",), tools=("web_search",),
        price={"input": "0.1", "cache_read": "0.01", "output": "0.41"},
    ),
    PricedModel(
        "broker-1", CHAT, read=("audio",), states_bill=True,
        price={"input": "0.8", "cache_read": "0.08", "output": "2.4", "audio": {"input": "8", "cache_read": "0.8"}},
    ),
    PricedModel("gemini-2.5-flash", GEMINI, seller="google", read=("audio",)),
    PricedModel("gpt-audio", CHAT, seller="openai", read=("audio",), made=("audio",), thinks=False, caches=False),
)  # fmt: skip
BY_NAME = {model.name: model for model in MODELS}


def bill(model: PricedModel, answered: Answered) -> Fraction | None:
    """Return the exact USD of an answer; None if a part of it has no price."""
    if model.seller:
        return _bill_by_list(model, answered)
    price = model.price
    rates, factor = price, Fraction(1)
    if answered.service:
        service = price["services"][answered.service]
        factor = Fraction(service.get("factor", 1))
        rates = price if "factor" in service else service
    for step in rates.get("above", ()):
        rates = step if answered.prompt > step["tokens"] else rates
    total = Fraction(0)
    for (part, modality), tokens in answered.tokens.items():
        rate = _rate(price, rates, part, modality)
        if tokens and rate is None:
            return None
        total += tokens * factor * Fraction(rate or 0) / _MILLION
    for tool, units in answered.tools.items():
        if units and tool not in price.get("tools", {}):
            return None
        total += units * Fraction(price["tools"][tool]) if units else 0
    return total


def _rate(price: Json, rates: Json, part: str, modality: str) -> str | None:
    """Return USD per million tokens of a part, as written."""
    own = rates.get(modality)
    own_in_prompt = own is not None and "input" in own
    if modality == "text" or (
        part in PROMPT and not own_in_prompt and modality in price.get("as_text", ["image"])
    ):
        own = rates
    if own is None:
        return None
    if part == "reasoning":
        return rates.get("reasoning", rates["output"])  # type: ignore[no-any-return]
    if part in WRITES:
        by_lifetime = own.get("cache_write_by", {})
        return by_lifetime.get(part) or own.get("cache_write") or own.get("input")  # type: ignore[no-any-return]
    return own.get(part)  # type: ignore[no-any-return]


def _bill_by_list(model: PricedModel, answered: Answered) -> Fraction:
    """Let genai-prices itself price an answer."""
    usage = genai_prices.Usage(
        input_tokens=answered.prompt,
        cache_read_tokens=answered.sum("cache_read"),
        output_tokens=answered.completion,
        input_audio_tokens=answered.sum(*PROMPT, modality="audio"),
        cache_audio_read_tokens=answered.sum("cache_read", modality="audio"),
        output_audio_tokens=answered.sum("output", modality="audio"),
    )
    price = genai_prices.calc_price(
        usage, model.name, provider_id=model.seller, genai_request_timestamp=datetime.now(UTC)
    )
    return Fraction(price.total_price)
