"""Judge the usage on a ledger row by the names in a recording: modalities, and the provider's bill."""

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal

from gateway.core.usage import Usage
from tests.corpus.exceptions import list_usages, list_values
from tests.corpus.oracle import Object, Row
from tests.corpus.verdict import Difference

_MODALITIES = ("audio", "image", "video")
_DETAILS = {
    "prompt_tokens_details": "input",
    "input_tokens_details": "input",
    "completion_tokens_details": "output",
    "output_tokens_details": "output",
    "promptTokensDetails": "input",
    "toolUsePromptTokensDetails": "input",
    "candidatesTokensDetails": "output",
}
_NUMBERS = {2: "image", 3: "video", 4: "audio"}
"""Modalities that Google writes as numbers."""


def judge_account(row: Row, usage: Usage | None) -> Iterator[Difference]:
    """Find modalities that usage lacks or makes up, and a bill that is not the provider's."""
    modalities, billed = read_modalities(row), read_bill(row)
    media = {name: count for name, count in (usage.media if usage else {}).items() if count}
    media = {name: count for name, count in media.items() if name.partition("_")[2] in _MODALITIES}
    if media != modalities:
        yield Difference("media", f"{media}, not {modalities}")
    billed_read = usage.billed if usage else None
    if billed is not None and billed_read != billed:
        yield Difference("billed", f"{billed_read}, not {billed}")


def read_modalities(row: Row) -> dict[str, int]:
    """Read the tokens that are not text, by direction and modality, from the last such usage."""
    tokens: dict[str, int] = {}
    for usage in list_usages(row):
        counts: Counter[str] = Counter()
        for name, direction in _DETAILS.items():
            for modality, count in _list_counts(usage.get(name)):
                counts[f"{direction}_{modality}"] += count
        if not counts["input_image"]:  # Cerebras counts them outside the details
            counts["input_image"] += usage.get("image_tokens") or 0
        tokens |= {name: count for name, count in counts.items() if count}
    return tokens


def _list_counts(details: object) -> Iterator[tuple[str, int]]:
    if isinstance(details, dict):
        for modality in _MODALITIES:
            yield modality, details.get(f"{modality}_tokens") or 0
    elif isinstance(details, list):
        for detail in details:
            word = detail.get("modality")
            modality = _NUMBERS.get(word, str(word)).lower()
            if modality in _MODALITIES:
                yield modality, detail.get("tokenCount") or 0


def read_bill(row: Row) -> Decimal | None:
    """Read the USD that the provider says it billed; None if it does not."""
    bills = [bill for usage in list_usages(row) if (bill := _read_usd(usage)) is not None]
    if bills:
        return bills[-1]
    costs = [
        value["cost"].get("usd")
        for value in list_values(row)
        if isinstance(value.get("cost"), dict)
    ]
    costs_in_usd = [cost for cost in costs if cost is not None]
    return Decimal(str(costs_in_usd[-1])) if costs_in_usd else None


def _read_usd(usage: Object) -> Decimal | None:
    cost, ticks = usage.get("cost"), usage.get("cost_in_usd_ticks")
    if isinstance(cost, Mapping):
        cost = cost.get("total_cost")
    if isinstance(cost, int | float):
        upstream = (usage.get("cost_details") or {}).get("upstream_inference_cost")
        more = upstream if usage.get("is_byok") is True and upstream else 0
        return Decimal(str(cost)) + Decimal(str(more))
    return Decimal(ticks) * Decimal("1e-10") if ticks else None
