"""No recorded answer cost more than a hard budget reserves for its request.

The exceptions are known; docs/keys.md names their kinds.
"""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from gateway.core.price import Price, compute_cost, compute_reservation
from gateway.core.prompt import Prompt
from gateway.core.prompt_bound import bound_prompt_tokens
from gateway.core.rates import Rates
from gateway.core.target import ModelFacts, Provider, Target
from tests.corpus import oracle
from tests.corpus.conftest import Say
from tests.corpus.test_money import RecordedAccount, find_price, read_account
from tests.corpus.translated_requests import read_recorded

type Call = tuple[RecordedAccount, Prompt, int]
"""An exchange, its request, and the bytes of that."""

_AGENT = "a system of models and tools, of which the request says nothing"
_UNCAPPED = "the provider did not count reasoning against the cap"
LONG_PROMPTS: Mapping[str, str] = {
    "1d133bbac972d2cf": _AGENT,
    "bd168a6a5b334d69": "ten searches, each of which reads the prompt again",
    "fbd35a0cd761b36f": _AGENT,
}
LONG_ANSWERS: Mapping[str, str] = {
    "014eb6e067aa710b": _UNCAPPED,
    "17f114041be60b0f": _UNCAPPED,
    "311fe0f7a6619ad7": _UNCAPPED,
    "3dfa130e6dc41371": _AGENT,
    "431bbc52f24a4f43": _UNCAPPED,
    "dd01dfb97528d8a3": _UNCAPPED,
}
WINDOW = 200_000
"""The window of today's smaller models; it bounds what a request does not show."""
PLAIN = Price(rates=Rates(input=Decimal(1), output=Decimal(4)), version="plain")
"""The price of answers whose own is not known."""


@pytest.fixture(scope="module")
def calls(corpus: Path) -> list[Call]:
    """Read each exchange that has usage and a request."""
    return [
        (account, body.prompt, len(body.raw))
        for row in oracle.read(corpus)
        if row.status == 200
        and row.request is not None
        and (account := read_account(row)) is not None
        and (body := read_recorded(row)) is not None
    ]


def find_bounds(account: RecordedAccount, prompt: Prompt, size: int) -> tuple[int, int]:
    """Return the most tokens of prompt and answer."""
    name = account.row.provider
    target = Target(
        provider=Provider(name=name, urls={}, caps_reasoning=name != "dashscope"),
        model="m",
        facts=ModelFacts(context=WINDOW, max_output=64_000),
    )
    most_input = target.compute_max_input(bound_prompt_tokens(prompt, size))
    most_output = target.compute_max_output(prompt.max_output, prompt.choices)
    assert most_input is not None
    assert most_output is not None
    return most_input, most_output


def test_prompts_and_answers_have_no_more_tokens_than_their_bounds(
    calls: list[Call], say: Say
) -> None:
    long_prompts, long_answers, shares = set(), set(), list[float]()
    for account, prompt, size in calls:
        most_input, most_output = find_bounds(account, prompt, size)
        usage, id = account.usage, account.row.id
        if (usage.prompt or 0) > most_input:
            long_prompts.add(id)
        if (usage.completion or 0) > most_output:
            long_answers.add(id)
        shares.append((usage.prompt or 0) / most_input)
    unsized = sum(prompt.is_unsized for _, prompt, _ in calls)
    half = sorted(shares)[len(shares) // 2]
    say(f"{len(calls)} prompts, {unsized} of unknown size; half use {half:.0%} of their bound")
    assert (long_prompts, long_answers) == (set(LONG_PROMPTS), set(LONG_ANSWERS))
    assert len(calls) > 1_000


def test_an_answer_costs_no_more_than_its_call_reserves(calls: list[Call], say: Say) -> None:
    """The price is the recorded one where it is known; fees of hosted tools are left out."""
    above = set[str]()
    for account, prompt, size in calls:
        usage = msgspec.structs.replace(account.usage, tools={}, media={}, service=None)
        price = find_price(account) or PLAIN
        cost = compute_cost(usage, price)
        reservation = compute_reservation(price, *find_bounds(account, prompt, size))
        assert reservation is not None
        if cost is not None and cost > reservation:
            above.add(account.row.id)
    say(f"{len(calls)} answers, {len(above)} of them cost more than was reserved")
    assert above < {*LONG_PROMPTS, *LONG_ANSWERS}
    assert len(above) <= 2
