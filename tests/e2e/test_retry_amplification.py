"""The unmodified SDKs in the loop: together with the gateway they make no outage worse.

The waits of the SDKs between retries take no time here, nor do those of the gateway.
"""

import random
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.test_messages import HELLO, claude
from tests.e2e.upstream import Answer, Upstream, failing, whole
from tests.e2e.world import Make, World


def fail_share(upstream: Upstream, share: float) -> None:
    """Make a provider that fails for this share of its requests."""
    rng = random.Random(7)

    def script(_: Any) -> Answer:
        return failing(503) if rng.random() < share else whole()

    upstream.on("/acme", script)


def advance_breaker_clock(world: World) -> None:
    """Let the clock of the circuit breakers go on by 20 ms with each reading."""
    now = [1000.0]

    def clock() -> float:
        now[0] += 0.02
        return now[0]

    world.gateway.upstream.health.clock = clock


@pytest.mark.parametrize(("calls", "share"), [(50, 1.0), (210, 0.5), (210, 0.1)])
def test_the_provider_gets_at_most_a_fifth_more_requests_than_from_the_sdk_alone(
    world: World, upstream: Upstream, calls: int, share: float
) -> None:
    """About as many calls succeed as by the SDK alone, or more: an SDK tries three times."""
    advance_breaker_clock(world)
    fail_share(upstream, share)
    good = 0
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="any") as sdk:
        for _ in range(calls):
            try:
                sdk.chat.completions.create(
                    model="smart", messages=[{"role": "user", "content": "Hi"}]
                )
                good += 1
            except openai.APIStatusError:
                continue
    assert len(upstream.requests) <= 1.2 * calls * (1 + share + share**2)
    assert good >= (1 - share**3 - 0.07) * calls


def test_anthropics_sdk_does_not_retry_a_call_that_the_gateway_gave_up(
    make: Make, upstream: Upstream
) -> None:
    world = make(claude)
    advance_breaker_clock(world)
    upstream.on("/claude", failing(529))
    with anthropic.Anthropic(base_url=world.url, api_key="any") as sdk:
        for _ in range(20):
            with pytest.raises(anthropic.APIStatusError):
                sdk.messages.create(model="claude-haiku-9", max_tokens=5, messages=HELLO)
    assert len(upstream.requests) <= 20


def test_either_the_gateway_or_the_sdk_waits_for_a_rate_limit(
    world: World, upstream: Upstream, slept: list[float]
) -> None:
    """The SDK does waits that are longer than the gateway's: it learns how long, and comes back."""
    asks = world.gateway.upstream
    asks._wall = asks._attempt_runner._wall = lambda: 1_795_000_000.0 + sum(slept)
    upstream.on("/acme", failing(429, None, retry_after="60"), whole())
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="any") as sdk:
        reply = sdk.chat.completions.create(
            model="smart", messages=[{"role": "user", "content": "Hi"}]
        )
    assert reply.choices[0].message.content
    assert slept == [60.0]
    assert (len(upstream.requests), world.waits) == (2, [])
