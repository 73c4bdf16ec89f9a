"""A client behind the gateway gets as many answers as its SDK alone gets from the provider."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.e2e.four_labs import CHAT, ENDPOINTS, GEMINI, MESSAGES, answer, four
from tests.e2e.upstream import Answer, Request, Upstream, failing
from tests.e2e.world import Make

CALLS = 40
_FREE = 10
"""Retries that a lab has saved up before its first call."""
_CALL = re.compile(rb"Call (\d+)\.")


class Blips:
    """A provider that fails the first requests of every second call, then answers it."""

    def __init__(self, lab: str, status: int, times: int, **headers: str) -> None:
        self.lab = lab
        self.fails = failing(status, None, **headers)
        self.times = times
        self.seen: Counter[int] = Counter()

    def __call__(self, request: Request) -> Answer:
        match = _CALL.search(request.body)
        assert match is not None
        call = int(match[1])
        self.seen[call] += 1
        streamed = b'"stream":true' in request.body.replace(b" ", b"")
        good = answer(self.lab, stream=streamed)
        return self.fails if call % 2 and self.seen[call] <= self.times else good


type Ask = Callable[[str], object]
"""A function that asks for an answer to a text."""
type Sdk = Callable[[str], AbstractContextManager[Ask]]
"""An unmodified SDK, by its base URL."""


@contextmanager
def openai_at(url: str) -> Iterator[Ask]:
    def ask(text: str) -> object:
        messages: list[Any] = [{"role": "user", "content": text}]
        return sdk.chat.completions.create(model=f"{CHAT}/smart", messages=messages)

    with openai.OpenAI(base_url=f"{url}/v1", api_key="any") as sdk:
        yield ask


@contextmanager
def streaming_openai_at(url: str) -> Iterator[Ask]:
    def ask(text: str) -> object:
        messages: list[Any] = [{"role": "user", "content": text}]
        return list(
            sdk.chat.completions.create(model=f"{CHAT}/smart", messages=messages, stream=True)
        )

    with openai.OpenAI(base_url=f"{url}/v1", api_key="any") as sdk:
        yield ask


@contextmanager
def anthropic_at(url: str) -> Iterator[Ask]:
    def ask(text: str) -> object:
        messages: list[Any] = [{"role": "user", "content": text}]
        return sdk.messages.create(model=f"{MESSAGES}/smart", max_tokens=5, messages=messages)

    with anthropic.Anthropic(base_url=url, api_key="any") as sdk:
        yield ask


@contextmanager
def google_at(url: str, retries: types.HttpRetryOptions | None = None) -> Iterator[Ask]:
    def ask(text: str) -> object:
        return sdk.models.generate_content(model=f"{GEMINI}/smart", contents=text)

    options = types.HttpOptions(base_url=url, retry_options=retries)
    with genai.Client(api_key="k", http_options=options) as sdk:
        yield ask


def retrying_google_at(url: str) -> AbstractContextManager[Ask]:
    """Open Google's SDK with retries: five attempts in all."""
    return google_at(url, types.HttpRetryOptions(max_delay=0.001, jitter=0.001))


SDKS: dict[str, tuple[Sdk, str]] = {
    "openai": (openai_at, CHAT),
    "openai that streams": (streaming_openai_at, CHAT),
    "anthropic": (anthropic_at, MESSAGES),
    "google that retries": (retrying_google_at, GEMINI),
}


def count_answers(ask: Ask, workers: int) -> int:
    """Return the number of calls that get an answer."""

    def is_answered(number: int) -> bool:
        try:
            ask(f"Call {number}.")
        except (openai.APIError, anthropic.APIError, errors.APIError):
            return False
        return True

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(is_answered, range(CALLS)))


FAULTS: list[tuple[str, int, dict[str, str]]] = [
    ("openai", 429, {"retry_after": "1"}),
    ("openai", 429, {}),
    ("openai", 500, {}),
    ("openai", 503, {"retry_after": "1"}),
    ("openai that streams", 429, {"retry_after": "1"}),
    ("openai that streams", 500, {}),
    ("anthropic", 429, {"retry_after": "1"}),
    ("anthropic", 529, {}),
    ("anthropic", 503, {}),
    ("anthropic", 500, {}),
    ("google that retries", 429, {}),
    ("google that retries", 503, {}),
]
_NAMES = [f"{name}, {status}{' later' if headers else ''}" for name, status, headers in FAULTS]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("workers", [1, 8], ids=["one by one", "eight at a time"])
@pytest.mark.parametrize(("name", "status", "headers"), FAULTS, ids=_NAMES)
def test_an_sdk_gets_every_answer_that_it_gets_without_the_gateway(
    make: Make,
    upstream: Upstream,
    name: str,
    status: int,
    headers: dict[str, str],
    workers: int,
    times: int,
) -> None:
    """The lab has one target and its defaults, and the provider gets no more requests."""
    sdk, lab = SDKS[name]
    world = make(four)
    upstream.on(ENDPOINTS[lab], Blips(lab, status, times, **headers))
    # The breaker's clock stands still: however busy the machine is, the provider was just well.
    world.gateway.upstream.health.clock = lambda: 1000.0
    with sdk(world.url) as ask:
        ask("Call 1000.")
        assert count_answers(ask, workers) == CALLS
    assert len(upstream.requests) == 1 + CALLS + times * CALLS // 2


def test_an_sdk_without_the_gateway_gets_every_answer(upstream: Upstream) -> None:
    """The SDK alone is what the test above compares with."""
    upstream.on("/v1", Blips(CHAT, 429, 2, retry_after="1"))
    with openai_at(upstream.url) as ask:
        assert count_answers(ask, 8) == CALLS
    assert len(upstream.requests) == 2 * CALLS


def test_the_gateway_retries_for_an_sdk_that_never_does(make: Make, upstream: Upstream) -> None:
    """By default Google's SDK does not retry: alone it loses every second call."""
    world = make(four)
    upstream.on(ENDPOINTS[GEMINI], Blips(GEMINI, 429, 1, retry_after="1"))
    with google_at(world.url) as ask:
        good = count_answers(ask, 1)
    assert good >= CALLS // 2 + _FREE
    assert len(upstream.requests) == CALLS + good - CALLS // 2


@pytest.mark.parametrize(
    ("name", "fails", "error"),
    [
        ("openai", failing(400), openai.BadRequestError),
        ("openai", failing(401), openai.InternalServerError),
        ("anthropic", failing(400), anthropic.BadRequestError),
        ("anthropic", failing(403), anthropic.InternalServerError),
    ],
)
def test_no_retry_follows_an_error_that_a_retry_cannot_cure(
    make: Make, upstream: Upstream, name: str, fails: Answer, error: type[Exception]
) -> None:
    sdk, lab = SDKS[name]
    world = make(four)
    upstream.on(ENDPOINTS[lab], fails)
    with sdk(world.url) as ask, pytest.raises(error):
        ask("Call 1.")
    assert len(upstream.requests) == 1
