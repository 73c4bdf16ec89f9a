"""A scripted decision model in both forms: its probabilities, its latency, and its faults."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from gateway.core import jsonio
from tests.e2e.upstream import Answer, Request
from tests.e2e.world import Change, Config

FORMS = {"openai-decisions": "/decisions", "systemone": "/systemone"}
SURE_OF_REASONING = (0.02, 0.08, 0.9)


def judged_by_model(form: str = "openai-decisions", **judge: Any) -> Change:
    """Ask a decision model at a provider that no lab uses, about every turn."""

    def change(value: Config) -> None:
        value["providers"]["decider"] = {
            "base_url": value["providers"]["acme"]["base_url"].replace("/acme", "/decider"),
            "endpoints": {form: ""},
            "auth": "none",
        }
        value["models"]["decide-1"] = {"price": {"input": 0.1, "output": 0, "as_of": "2026-11-24"}}
        value["routing"] = {
            "classifier": "prior",
            "judge": {
                "kind": "decision",
                "model": "decider/decide-1",
                "ask": "always",
                "timeout": "10s",
                **judge,
            },
        }

    return change


def read_text(request: Request) -> str:
    """Return the text that a request is about."""
    body = request.json
    return str(body["state"] if "state" in body else body["input"])


def decides(
    *probabilities: float, tokens: int = 90, delay: float = 0.0
) -> Callable[[Request], Answer]:
    """Answer with the probabilities of fast, smart and reasoning, in the form of the request."""
    by_tier = dict(zip(("fast", "smart", "reasoning"), probabilities, strict=True))

    def answer(request: Request) -> Answer:
        is_system_one = request.path.endswith("/systemone")
        return dataclasses.replace(
            _whole(
                make_system_one(by_tier, tokens)
                if is_system_one
                else make_decision(by_tier, tokens)
            ),
            delay=delay,
        )

    return answer


def make_decision(by_tier: Mapping[str, float], tokens: int = 90) -> dict[str, Any]:
    """Return an answer in OpenAI's form."""
    rows = [{"value": tier, "probability": value} for tier, value in by_tier.items()]
    choice = max(by_tier, key=lambda tier: by_tier[tier])
    answer = {
        "type": "choice",
        "name": "tier",
        "choice": choice,
        "confidence": 0.5,
        "probabilities": rows,
    }
    details = {
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    usage = {"input_tokens": tokens, "output_tokens": 3, "total_tokens": tokens + 3, **details}
    return {"model": "decide-1", "answers": [answer], "usage": usage}


def make_system_one(by_tier: Mapping[str, float], tokens: int = 90) -> dict[str, Any]:
    """Return an answer in TypeSafe's form."""
    choice = max(by_tier, key=lambda tier: by_tier[tier])
    answer = {"type": "choice", "choice": choice, "confidence": 0.5, "probabilities": dict(by_tier)}
    usage = {"input_tokens": tokens, "output_tokens": 3}
    return {"model": "decide-1", "answers": {"tier": answer}, "usage": usage}


def _whole(value: object) -> Answer:
    body = jsonio.dumps(value)
    return Answer(pieces=(body,), length=len(body))


def answers_with(value: object) -> Answer:
    """Answer with a JSON value, or with bytes as they are."""
    return Answer(pieces=(value,), length=len(value)) if isinstance(value, bytes) else _whole(value)
