"""The classes of every recorded account add up to the provider's totals, and to its bill."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from gateway.core import sse
from gateway.core.price import Price, compute_bill_difference, compute_cost
from gateway.core.rates import Rates
from gateway.core.target import Provider, Target
from gateway.core.token_estimate import fill_usage
from gateway.core.usage import Usage
from gateway.dialects import DIALECTS
from tests.core.test_call_accounting import close_account, open_account
from tests.corpus import oracle, translated_requests
from tests.corpus.conftest import Say
from tests.corpus.oracle import Row

_VERCEL = "its total leaves out reasoning, which it bills"
UNLIKE_THE_TOTAL: Mapping[str, str] = {
    "0749ab25072e1340": "a total of five tokens more than both sides, of which it says nothing",
    "25f16f22c3859bac": "a total of five tokens more than both sides, of which it says nothing",
    "4d04700dbd39f922": "a made-up total, of fewer tokens than its own output",
    **dict.fromkeys(
        (
            "331b940b7ad64656", "681e198b619aa760", "845a965f6fe6cdad", "9424536a378e81b9",
            "9431825526c67949", "a6974826e5c64d20", "f13e750beaa39ea7",
        ),
        _VERCEL,
    ),
}  # fmt: skip
UNKNOWN_SIDE = {"24350c506937b288": "tells -9 tokens of output"}

RATES: Mapping[str, str] = {
    # USD per million tokens: input, output, cache read, cache write. The recorded figures of each
    # model imply them, and published lists agree if they name the model.
    "avian moonshotai/kimi-k2.5": "0.45 2.2 0.225",
    "openai moonshotai/kimi-k2": "0.57 2.3",
    "openrouter anthropic/claude-3.7-sonnet": "3 15",
    "openrouter anthropic/claude-4.5-haiku-20251001": "1 5",
    "openrouter anthropic/claude-4.5-sonnet-20250929": "3 15",
    "openrouter anthropic/claude-4.6-sonnet-20260217": "3 15",
    "openrouter anthropic/claude-haiku-4.5": "1 5",
    "openrouter anthropic/claude-opus-4": "15 75",
    "openrouter deepseek/deepseek-chat": "0.2574 1.0287",
    "openrouter deepseek/deepseek-chat-v3.1": "0.27 1",
    "openrouter deepseek/deepseek-r1-0528": "0.5 2.15",
    "openrouter deepseek/deepseek-v3.1-terminus": "0.27 1",
    "openrouter deepseek/deepseek-v3.2-20251201": "0.26 0.38 0.13",
    "openrouter google/gemini-2.0-flash-001": "0.1 0.4",
    "openrouter google/gemini-2.5-flash": "0.3 2.5",
    "openrouter google/gemini-2.5-flash-lite": "0.1 0.4",
    "openrouter google/gemini-2.5-flash-lite-preview-09-2025": "0.1 0.4",
    "openrouter google/gemini-2.5-pro": "1.25 10",
    "openrouter google/gemini-3-flash-preview-20251217": "0.5 3",
    "openrouter google/gemini-3.1-flash-lite-preview-20260303": "0.25 1.5",
    "openrouter google/gemini-3.6-flash": "1.5 7.5",
    "openrouter google/gemma-3n-e4b-it": "0.02 0.04",
    "openrouter meta-llama/llama-3.2-3b-instruct:free": "0 0",
    "openrouter meta-llama/llama-4-scout:free": "0 0",
    "openrouter mistralai/devstral-medium": "0.4 2",
    "openrouter mistralai/devstral-small": "0.1 0.3",
    "openrouter moonshotai/kimi-k2.5-0127": "0.44 2",
    "openrouter nousresearch/deephermes-3-llama-3-8b-preview": "0.03 0.11",
    "openrouter openai/gpt-4.1": "2 8",
    "openrouter openai/gpt-4.1-mini": "0.4 1.6",
    "openrouter openai/gpt-4o": "2.5 10",
    "openrouter openai/gpt-4o-mini-2024-07-18": "0.15 0.6",
    "openrouter openai/gpt-5": "1.25 10",
    "openrouter openai/gpt-5-codex": "1.25 10",
    "openrouter openai/gpt-5-mini": "0.25 2",
    "openrouter openai/gpt-5.4-nano-20260317": "0.2 1.25",
    "openrouter openai/gpt-5.6-sol": "5 30 0.5 6.25",
    "openrouter openai/gpt-oss-120b": "0.03 0.15",
    "openrouter openai/gpt-oss-20b": "0.03 0.14",
    "openrouter openai/o1": "15 60",
    "openrouter perplexity/sonar": "1 1",
    "openrouter qwen/qwen-2.5-coder-32b-instruct": "0.2 0.2",
    "openrouter qwen/qwen3-235b-a22b-2507": "0.2 0.8",
    "openrouter qwen/qwen3-30b-a3b-instruct-2507": "0.1 0.3",
    "openrouter qwen/qwen3-coder": "0.25 1",
    "openrouter qwen/qwen3-next-80b-a3b-instruct": "0.15 1.5",
    "openrouter qwen/qwen3.5-35b-a3b-20260224": "0.14 1",
    "openrouter qwen/qwen3.5-397b-a17b-20260216": "0.39 2.34",
    "openrouter x-ai/grok-3": "3 15 0.75",
    "perplexity sonar": "1 1",
    "perplexity sonar-pro": "3 15",
    "perplexity sonar-reasoning": "1 5",
    "perplexity sonar-reasoning-pro": "2 8",
    "venice mistral-small-3-2-24b-instruct": "0.09375 0.25",
    "venice qwen3-5-9b": "0.1 0.15 0.1",
    "vercel_gateway anthropic/claude-sonnet-4": "3 15",
    "vercel_gateway google/gemini-2.5-flash": "0.3 2.5",
    "vercel_gateway google/gemini-3-pro-preview": "2 12",
    "vercel_gateway openai/gpt-5": "1.25 10",
    "xai grok-3-mini": "0.3 0.5 0.075",
    "xai grok-3-mini-high": "0.3 0.5 0.075",
    "xai grok-4-fast-reasoning": "0.2 0.5 0.05",
    "xai grok-4.3": "1.25 2.5 0.2",
    "xai grok-code-fast-1": "0.2 1.5 0.02",
}
ELSEWHERE: Mapping[str, str] = {
    "798994887b0abb13": "0.6 2.5",
    "c6cdb572f42bfefb": "0.05 0.2",
}
"""Answers that another host served behind the same endpoint, at another price."""
TOOLS: Mapping[str, str] = {
    "openrouter web_search": "0.007",
    "perplexity/sonar search_low": "0.005",
    "perplexity/sonar-pro search_low": "0.006",
    "perplexity/sonar-reasoning search_low": "0.005",
    "perplexity/sonar-reasoning-pro search_low": "0.006",
    "xai web_search": "0.005",
}
"""USD for one use of a tool, by provider or by model."""
UNLIKE_THE_BILL: Mapping[str, str] = {
    "673e68e5e3dd43c8": "a fee of 0.005 for the request, of which the usage says nothing",
}


@dataclass(frozen=True)
class RecordedAccount:
    """The account of one exchange."""

    row: Row
    usage: Usage
    served: str
    heard: int
    complete: bool


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    return [row for row in oracle.read(corpus) if row.status == 200]


@pytest.fixture(scope="module")
def accounts(rows: list[Row]) -> list[RecordedAccount]:
    """Read every exchange that has usage."""
    return [account for row in rows if (account := read_account(row)) is not None]


def read_account(row: Row) -> RecordedAccount | None:
    dialect = DIALECTS[row.dialect]
    if not row.stream:
        summary = dialect.summarize(row.body)
        if summary.usage is None or summary.problem is not None:
            return None
        return RecordedAccount(
            row, summary.usage, summary.served_model or "", summary.content_bytes, complete=True
        )
    inspector = dialect.inspect_stream(translated_requests.make_client_request(row, dialect)[0])
    for piece in row.pieces:
        inspector.feed(piece)
    inspector.end()
    if inspector.usage is None or inspector.problem is not None:
        return None
    return RecordedAccount(
        row,
        inspector.usage,
        inspector.served_model or "",
        inspector.content_bytes,
        inspector.complete,
    )


def list_totals(row: Row) -> Iterator[int]:
    """Return the provider's total, each time that it writes one."""
    if row.stream:
        values = oracle.payloads(row.body)
    else:
        value = json.loads(row.body)
        values = value if isinstance(value, list) else [value]
    for value in values:
        inner = value.get("response")
        places = [value, inner, value.get("x_groq"), *(value.get("choices") or ())]
        for place in places:
            if not isinstance(place, dict):
                continue
            counts = place.get("usage") or place.get("usageMetadata")
            if isinstance(counts, dict):
                total = counts.get("total_tokens", counts.get("totalTokenCount"))
                if total is not None:
                    yield total


def test_the_token_classes_add_up_to_the_providers_total(
    accounts: list[RecordedAccount], say: Say
) -> None:
    """No token counts twice, and none is left out: row 5 of the users' complaints."""
    unlike, unknown, same = set(), set(), 0
    for account in accounts:
        totals_ = list(list_totals(account.row))
        if not totals_:
            continue
        prompt, completion = account.usage.prompt, account.usage.completion
        if prompt is None or completion is None:
            unknown.add(account.row.id)
        elif prompt + completion != totals_[-1]:
            unlike.add(account.row.id)
        else:
            same += 1
    say(f"{same} of {len(accounts)} accounts add up to their total, {len(unlike)} knowingly do not")
    assert unlike == set(UNLIKE_THE_TOTAL)
    assert unknown == set(UNKNOWN_SIDE)


def test_the_classes_of_a_message_are_its_own_members(
    accounts: list[RecordedAccount], say: Say
) -> None:
    """The prompt is input, cache reads and cache writes; the Messages API has no total."""
    count = 0
    for account in accounts:
        counts = account.row.oracle.get("usage") if account.row.dialect == oracle.MESSAGES else None
        if not counts or account.usage.tools or b'"compaction"' in account.row.body:
            continue
        count += 1
        members = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        assert account.usage.prompt == sum(counts.get(name) or 0 for name in members), (
            account.row.id
        )
        assert account.usage.completion == counts["output_tokens"], account.row.id
    say(f"{count} messages")
    assert count > 100


def test_a_stream_costs_what_the_same_answer_costs_whole(rows: list[Row], say: Say) -> None:
    """The place of usage does not change the account.

    It comes in the last event, the first, or both, with or without choices.
    """
    count = 0
    for row in rows:
        account = read_account(row) if row.stream else None
        if account is not None:
            dialect = DIALECTS[row.dialect]
            assert dialect.summarize(dialect.fold(row.body)).usage == account.usage, row.id
            count += 1
    say(f"{count} streams")
    assert count > 400


def test_reported_usage_is_never_lost_in_later_frames(rows: list[Row], say: Say) -> None:
    """After each frame of every stream, a class that was known stays known."""
    frames = 0
    for row in rows:
        if not row.stream:
            continue
        dialect = DIALECTS[row.dialect]
        inspector = dialect.inspect_stream(translated_requests.make_client_request(row, dialect)[0])
        before = list_known_sides(inspector.usage)
        for frame in sse.split_frames(row.body):
            inspector.feed(frame)
            now = list_known_sides(inspector.usage)
            assert before <= now, row.id
            before = now
            frames += 1
    say(f"{frames} frames")


def list_known_sides(usage: Usage | None) -> set[str]:
    """Return the classes of which something is known."""
    reported = usage or Usage()
    sides = {
        "prompt": reported.prompt,
        "completion": reported.completion,
        "cached": reported.cache_read,
    }
    return {name for name, number in sides.items() if number is not None}


def find_price(account: RecordedAccount) -> Price | None:
    """Return the price at which a recorded answer was billed."""
    model = account.served or str((account.row.request or {}).get("model"))
    prices = ELSEWHERE.get(account.row.id) or RATES.get(f"{account.row.provider} {model}")
    if prices is None:
        return None
    into, out, *more = map(Decimal, prices.split())
    read, written = (more[0] if more else None, more[1] if more[1:] else None)
    names = (f"{account.row.provider}/{model} ", f"{account.row.provider} ")
    tools = {
        key.removeprefix(name): Decimal(usd)
        for key, usd in TOOLS.items()
        for name in names
        if key.startswith(name)
    }
    rates = Rates(input=into, output=out, cache_read=read, cache_write=written)
    plain = Price(rates=rates, tools=tools, version="recorded")
    # OpenRouter bills answers of its reserved capacity like all others.
    services = {"provisioned": plain} if account.row.provider == "openrouter" else {}
    return msgspec.structs.replace(plain, services=services)


def test_the_cost_is_what_the_provider_billed(accounts: list[RecordedAccount], say: Say) -> None:
    """Costs agree to the billionth of a dollar with the bill, if there is one;

    Perplexity rounds it.
    """
    same, unlike = 0, set()
    for account in accounts:
        billed = account.usage.billed
        if billed is None:
            continue
        price_ = find_price(account)
        assert price_ is not None, (account.row.id, account.row.provider, account.served)
        ours = compute_cost(account.usage, price_)
        assert ours is not None, (account.row.id, account.usage)
        rounded = account.row.provider == "perplexity" and ours.quantize(billed) == billed
        if rounded or abs(ours - billed) < Decimal("1e-9"):
            same += 1
        else:
            unlike.add(account.row.id)
    say(f"{same} answers cost what was billed")
    assert unlike == set(UNLIKE_THE_BILL)
    assert same > 125


def test_a_stated_bill_is_the_cost_of_the_row(accounts: list[RecordedAccount], say: Say) -> None:
    """The gateway's own sum stands beside it; few differ by more than a provider's rounding."""
    billed_rows, divergent = 0, set()
    for account in accounts:
        if account.usage.billed is None:
            continue
        target = Target(
            provider=Provider(name=account.row.provider, urls={}),
            model=account.served,
            price=find_price(account),
        )
        call_account = open_account(target=target)
        call_account.usage, call_account.is_complete = account.usage, account.complete
        row = close_account(call_account, "settled", 200, 51.0)
        assert (row.cost, row.estimate, row.price) == (
            account.usage.billed,
            Decimal(0),
            "provider",
        )
        assert row.billed == account.usage.billed
        assert row.computed_cost is not None
        billed_rows += 1
        if compute_bill_difference(account.usage.billed, row.computed_cost):
            divergent.add(account.row.id)
    say(f"{billed_rows} rows cost what the provider states; {len(divergent)} differ from the sum")
    assert divergent == set(UNLIKE_THE_BILL)
    assert billed_rows > 125


def test_recorded_modalities_have_a_cost_at_their_own_rates_alone(
    accounts: list[RecordedAccount], say: Say
) -> None:
    """Audio of a model with rates of text alone has no cost; with a rate of its own it has one."""
    text = Rates(input=Decimal(1), output=Decimal(2), cache_read=Decimal("0.1"))
    audio = Rates(input=Decimal(8), output=Decimal(16), cache_read=Decimal("0.8"))
    of_text = Price(rates=text, version="text")
    of_both = Price(rates=msgspec.structs.replace(text, media={"audio": audio}), version="both")
    counts: Counter[str] = Counter()
    for account in accounts:
        usage = msgspec.structs.replace(account.usage, service=None, tools={})
        if not usage.media:
            continue
        counts["media"] += 1
        plain = compute_cost(msgspec.structs.replace(usage, media={}), of_text)
        if any(name.endswith("audio") for name in usage.media):
            counts["audio"] += 1
            assert compute_cost(usage, of_text) is None
            cost = compute_cost(usage, of_both)
            counts["unknown split"] += cost is None
            assert cost is None or (plain is not None and cost > plain)
        else:
            assert compute_cost(usage, of_text) == plain
    say(", ".join(f"{count} {name}" for name, count in counts.items()))
    assert counts["media"] > 25
    assert counts["audio"] > 8
    assert counts["unknown split"] == 1


def test_complete_accounts_of_the_provider_are_not_estimated(
    accounts: list[RecordedAccount], say: Say
) -> None:
    """The gateway estimates nothing if the answer is complete and the provider gave both counts."""
    count = 0
    for account in accounts:
        filled, source = fill_usage(
            account.usage,
            prompt_tokens=7,
            content_bytes=account.heard,
            is_complete=account.complete,
        )
        if account.complete and account.row.id not in UNKNOWN_SIDE:
            assert (filled, source) == (account.usage, "provider"), account.row.id
            count += 1
        assert filled.prompt is not None
        assert filled.completion is not None
    say(f"{count} of {len(accounts)} accounts are all the provider's own")


def count_sdk_bytes(meanings: Mapping[int, oracle.Meaning]) -> int:
    """Count the bytes that the official SDK decoded."""
    texts = [
        text
        for meaning in meanings.values()
        for text in (
            meaning.text,
            meaning.reasoning,
            meaning.declined,
            *(part for call in meaning.calls for part in call),
        )
    ]
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def test_counted_content_is_close_to_what_the_sdk_decoded(rows: list[Row], say: Say) -> None:
    """The content bytes are never zero if there was content; nine streams of ten are within a tenth.

    The oracle leaves out the input of hosted tools, and writes arguments with other spaces.
    """
    for dialect in DIALECTS.values():
        ratios = []
        for row in rows:
            if row.dialect != dialect.name or not row.stream or row.raised:
                continue
            inspector = dialect.inspect_stream(
                translated_requests.make_client_request(row, dialect)[0]
            )
            for piece in row.pieces:
                inspector.feed(piece)
            inspector.end()
            expected_bytes = count_sdk_bytes(oracle.read_meanings(row))
            if expected_bytes and inspector.problem is None:
                ratios.append(inspector.content_bytes / expected_bytes)
                assert inspector.content_bytes > 0, row.id
        share = sum(0.9 <= ratio <= 1.1 for ratio in ratios) / len(ratios)
        say(f"{dialect.name}: {len(ratios)} streams, {share:.0%} within a tenth")
        assert share > (0.75 if dialect.name == oracle.RESPONSES else 0.9)
