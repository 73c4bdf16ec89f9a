"""A target with a lowered cap: every dialect sends it, native and translated, and names it."""

import json
from typing import Any

import msgspec
import pytest

from gateway.core.loss import Loss
from gateway.core.target import ModelFacts, Target
from gateway.dialects import DIALECTS, OPERATIONS, TranslatableRequest, translation
from tests.dialects.cases import Object, target

TURN = {"role": "user", "content": "hi"}
BODIES: dict[str, Object] = {
    "openai-chat": {"model": "m", "messages": [TURN]},
    "openai-responses": {"model": "m", "input": [TURN]},
    "anthropic-messages": {"model": "m", "max_tokens": 9000, "messages": [TURN]},
    "gemini": {"model": "m", "contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
CAPS = {
    "openai-chat": ("max_tokens",),
    "openai-responses": ("max_output_tokens",),
    "anthropic-messages": ("max_tokens",),
    "gemini": ("generationConfig", "maxOutputTokens"),
}
"""The path of each dialect's cap."""
WHY = "the budget 'b' has no more left than for 700 tokens"


def lowered(**more: Any) -> Target:
    return target(lowered_output=700, lowered_reason=WHY, **more)


def with_cap(dialect: str, value: object) -> bytes:
    body: Any = json.loads(json.dumps(BODIES[dialect]))
    *folder, name = CAPS[dialect]
    place = body
    for part in folder:
        place = place.setdefault(part, {})
    place[name] = value
    return json.dumps(body).encode()


def find_caps(value: object) -> list[object]:
    """Return each cap of a request, whatever its name."""
    caps: list[object] = []
    for name, inner in value.items() if isinstance(value, dict) else ():
        if name.lower() in (
            "max_tokens",
            "max_completion_tokens",
            "max_output_tokens",
            "maxoutputtokens",
        ):
            caps.append(inner)
        caps += find_caps(inner)
    return caps


REQUESTS = [
    (dialect, body)
    for dialect in BODIES
    for body in (
        json.dumps(BODIES[dialect]).encode(),
        *(with_cap(dialect, value) for value in (9001, 701)),
        *(
            with_cap(dialect, value)
            for value in (None, "9000", 1e4, True)
            if dialect != "anthropic-messages"  # it must be a whole number there
        ),
    )
]


@pytest.mark.parametrize(("dialect", "body"), REQUESTS)
@pytest.mark.parametrize("facts", [ModelFacts(), ModelFacts(max_output=5_000)])
@pytest.mark.parametrize("tier_cap", [None, 5_000])
def test_a_native_request_gets_the_lowered_cap_and_names_it(
    dialect: str, body: bytes, facts: ModelFacts, tier_cap: int | None
) -> None:
    written = DIALECTS[dialect].write(
        DIALECTS[dialect].read(body), lowered(facts=facts, max_output=tier_cap)
    )
    assert find_caps(json.loads(written.body)) == [700]
    assert written.losses == (Loss(".".join(CAPS[dialect]), "clamped", WHY),)


@pytest.mark.parametrize(("dialect", "body"), REQUESTS)
@pytest.mark.parametrize("target_dialect", BODIES)
def test_a_translated_request_gets_the_lowered_cap_and_names_it(
    dialect: str, body: bytes, target_dialect: str
) -> None:
    client = DIALECTS[dialect]
    request = TranslatableRequest(client, client.read(body)).request
    written = translation.write_request(request, OPERATIONS[target_dialect, "generate"], lowered())
    assert find_caps(json.loads(written.body)) == [700]
    assert [loss.reason for loss in written.losses if loss.action == "clamped"] == [WHY]


@pytest.mark.parametrize("dialect", BODIES)
def test_a_cap_below_the_lowered_one_stays(dialect: str) -> None:
    """Such targets have no lowered cap; a client's smaller cap would hold all the same."""
    written = DIALECTS[dialect].write(DIALECTS[dialect].read(with_cap(dialect, 600)), lowered())
    assert find_caps(json.loads(written.body)) == [600]
    assert written.losses == ()


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_lowered_cap_has_the_name_that_the_provider_takes(name: Any) -> None:
    for body in (BODIES["openai-chat"], {**BODIES["openai-chat"], "max_tokens": 9000}):
        read = DIALECTS["openai-chat"].read(json.dumps(body).encode())
        written = DIALECTS["openai-chat"].write(read, lowered(provider_max_tokens=name))
        assert {key: value for key, value in json.loads(written.body).items() if "max" in key} == {
            name: 700
        }


@pytest.mark.parametrize(
    ("cap", "thinking"), [(1_024, None), (1_025, 1_024), (1_500, 1_024), (3_000, 1_976)]
)
def test_a_lowered_cap_leaves_room_for_thinking_or_drops_it(cap: int, thinking: int | None) -> None:
    """Anthropic's API refuses a budget that is not below `max_tokens`; the smallest is 1,024."""
    body = {**BODIES["anthropic-messages"], "thinking": {"type": "enabled", "budget_tokens": 8000}}
    dialect = DIALECTS["anthropic-messages"]
    facts = ModelFacts(effort_style="anthropic-budget")
    lowered_target = msgspec.structs.replace(lowered(facts=facts), lowered_output=cap)
    written = dialect.write(dialect.read(json.dumps(body).encode()), lowered_target)
    sent = json.loads(written.body)
    assert sent["max_tokens"] == cap
    assert sent.get("thinking", {}).get("budget_tokens") == thinking
    lost = "thinking.budget_tokens" if thinking else "thinking"
    assert [loss.field for loss in written.losses] == ["max_tokens", lost]
