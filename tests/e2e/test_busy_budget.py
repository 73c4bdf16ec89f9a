"""A budget that running calls reserve: the unmodified SDKs come back, and get their answer.

The waits of the SDKs between retries take no time here.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import anthropic
import openai
import pytest

from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES, make_request
from tests.e2e.test_limits import budgeted, used
from tests.e2e.test_messages import HELLO, claude
from tests.e2e.upstream import Answer, Upstream, whole
from tests.e2e.world import Config, Make, World, chat

TIGHT = {"name": "tight", "usd": 0.003, "every": "day"}
"""Room for one call: it reserves about $0.0022, and spends $0.000019 of it."""
WAITS = Answer(pieces=(None, *whole().pieces), length=whole().length)
"""An answer that waits until the test releases it."""


@contextmanager
def sleeping(
    monkeypatch: pytest.MonkeyPatch, replacement: Callable[[float], object]
) -> Iterator[None]:
    """Do something in place of each wait of an SDK."""
    clock = SimpleNamespace(**{**vars(time), "sleep": replacement})
    with monkeypatch.context() as patch:
        for module in (openai._base_client, anthropic._base_client):
            patch.setattr(module, "time", clock)
        yield


@contextmanager
def running_call(
    world: World, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[float]]:
    """Let a running call reserve the budget until an SDK waits; yield the seconds of waits."""
    upstream.on("/acme", WAITS, whole())
    waits: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.ask, chat(max_tokens=10))
        upstream.arrived()

        def wait(seconds: float) -> None:
            waits.append(seconds)
            world.release()
            assert running.result().status_code == 200
            world.loop.run(world.gateway.limiter.wait_settled())

        with sleeping(monkeypatch, wait):
            yield waits


def get_completion(world: World) -> openai.types.chat.ChatCompletion:
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="any") as sdk:
        return sdk.chat.completions.create(
            model="smart", messages=[{"role": "user", "content": "Hi"}], max_tokens=100
        )


def test_the_openai_sdk_retries_a_busy_budget_and_gets_its_answer(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(budgeted(TIGHT))
    with running_call(world, upstream, monkeypatch) as waits:
        assert get_completion(world).choices[0].message.content == "Hello you."
    assert waits == [1.0]
    assert used(world) == {"usd|tight|all": 38}
    assert sorted(row.problem or "" for row in world.entries()) == ["", "", "budget_busy"]


def test_the_openai_sdk_does_not_retry_a_spent_budget(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(budgeted({**TIGHT, "usd": "0.00249"}))
    upstream.on("/acme", whole())
    assert world.ask(chat(max_tokens=10)).status_code == 200
    waits: list[float] = []
    with (
        sleeping(monkeypatch, waits.append),
        pytest.raises(openai.RateLimitError, match="'tight' is spent") as caught,
    ):
        get_completion(world)
    assert (caught.value.code, waits) == ("insufficient_quota", [])
    assert len(world.entries()) == 2


def test_the_anthropic_sdk_retries_a_busy_budget_and_gets_its_answer(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(value: Config) -> None:
        claude(value)
        budgeted(TIGHT)(value)

    world = make(change)
    with (
        running_call(world, upstream, monkeypatch) as waits,
        anthropic.Anthropic(base_url=world.url, api_key="any") as sdk,
    ):
        answer = sdk.messages.create(model="acme/smart", max_tokens=5, messages=HELLO)
    assert (answer.stop_reason, waits) == ("end_turn", [1.0])


@pytest.mark.parametrize(
    ("client", "cap", "words"),
    [
        (CHAT, {"max_tokens": 9}, ['"budget_busy"', '"rate_limit_error"']),
        (RESPONSES, {"max_output_tokens": 16}, ['"budget_busy"']),
        (MESSAGES, {}, ['"rate_limit_error"']),
        (GEMINI, {"generationConfig": {"maxOutputTokens": 9}}, ['"RESOURCE_EXHAUSTED"', '"retryDelay":"1s"']),
    ],
)  # fmt: skip
def test_each_dialect_has_its_error_for_a_busy_budget(
    make: Make, upstream: Upstream, client: str, cap: Config, words: list[str]
) -> None:
    """The gateway sends 429 with a retry-after of a second, and lets SDKs retry."""
    world = make(budgeted(TIGHT))
    upstream.on("/acme", WAITS)
    path, body = make_request(client, "smart", **cap)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.ask, chat(max_tokens=10))
        upstream.arrived()
        reply = world.client.post(path, json=body)
        world.release()
        running.result()
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
    assert "x-should-retry" not in reply.headers
    assert "has no room now" in reply.text
    assert [word for word in words if word not in reply.text.replace(": ", ":")] == []
