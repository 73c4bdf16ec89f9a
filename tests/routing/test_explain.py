"""A decision and a plan as JSON: equal keys on every interface, money as text, unknown as null."""

from decimal import Decimal

import msgspec

from gateway.core import jsonio
from gateway.core.call import RequestOptions
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.dialects import OPENAI_CHAT, TranslatableRequest
from gateway.routing import explain, features
from tests.routing import world


def test_the_explanation_contains_the_whole_decision() -> None:
    price = Price(rates=Rates(input=Decimal("0.10"), output=None), version="config 2026-11-24")
    luna = msgspec.structs.replace(world.LUNA, price=price)
    catalogue = world.catalogue([world.lab("openai", [luna, world.SPARE], [world.SOL])])
    clockless = msgspec.structs.replace(
        world.router(
            [{"when": {"tag": "t"}, "no_cache": True}], [{"tier": "fast"}], known=catalogue
        ),
        clock=lambda: 0.0,
    )
    decision, plan = world.decided(
        clockless, world.call("a", steer=RequestOptions(tags=("t", "s")))
    )
    assert explain.describe(decision, plan, [()], 1e9) == {
        "lab": "openai",
        "tier": "fast",
        "model": "luna",
        "source": "rule",
        "rule": "choice 0",
        "confidence": None,
        "switch": None,
        "thresholds": None,
        "tags": ["s", "t"],
        "complete": "off",
        "escalate": "off",
        "trace": [
            {
                "step": "pin",
                "matched": False,
                "effect": "lab openai",
                "why": "'auto' leaves the tier open",
                "ms": 0.0,
            },
            {"step": "guard", "matched": True, "effect": "no cache", "why": "guard 0", "ms": 0.0},
            {"step": "rule", "matched": True, "effect": "fast", "why": "choice 0", "ms": 0.0},
            {
                "step": "plan",
                "matched": True,
                "effect": "1 of 2 targets",
                "why": "host/luna is off",
                "ms": 0.0,
            },
        ],
        "plan": [
            {
                "lab": "openai",
                "target": "openai/luna",
                "provider": "openai",
                "model": "luna",
                "effort": "none",
                "price": {"input": "0.10", "output": None, "version": "config 2026-11-24"},
                "dialect": "openai-chat",
                "losses": [],
            }
        ],
        "skipped": [{"target": "host/luna", "tier": "fast", "reason": "is off"}],
    }


def test_the_explanation_contains_no_secret_and_no_prompt_text() -> None:
    router = world.router(choices=[{"when": {"keywords": "canary"}, "tier": "fast"}])
    decision, plan = world.decided(router, world.call("a canary sings"))
    text = jsonio.dumps(explain.describe(decision, plan, [()], 1e9))
    assert b"secret" not in text
    assert b"sings" not in text
    assert jsonio.loads(text)["plan"][0]["price"] is None


def test_token_counts_are_a_quarter_of_the_bytes_rounded_up() -> None:
    call = world.call("12345", chars=9)
    assert (call.user_tokens, call.prompt_tokens) == (2, 3)
    assert (world.call("").user_tokens, world.call("").prompt_tokens) == (0, 0)
    assert world.call("\ud800").user_tokens == 1
    assert isinstance(call, features.Features)


def test_a_request_that_loses_nothing_is_not_refused() -> None:
    body = OPENAI_CHAT.read(jsonio.dumps({"model": "auto", "messages": []}))
    _, plan = world.decided(world.router(), world.call("a"))
    explain.refuse_losses(OPENAI_CHAT, body, TranslatableRequest(OPENAI_CHAT, body), plan)
