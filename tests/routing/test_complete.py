"""Which setting of `complete` applies to an answer that breaks off, and how the trace names it."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import OPEN_KEY, CompleteMode, RequestOptions
from tests.routing import world

type Json = dict[str, object]

ROWS: list[tuple[list[Json], CompleteMode | None, CompleteMode | None, CompleteMode, CompleteMode, str]] = [
    # guards, the header, the key, the configuration; the mode, and who set it
    ([], None, None, "off", "off", ""),
    ([], None, None, "hold", "hold", "routing.complete"),
    ([], None, "hold", "off", "hold", "key open"),
    ([], None, "off", "hold", "off", ""),
    ([], "hold", "off", "off", "hold", "x-tiergate-complete"),
    ([], "off", "hold", "hold", "off", ""),
    ([{"complete": "hold"}], "off", "off", "off", "hold", "guard 0"),
    ([{"complete": "off"}], "hold", "hold", "hold", "off", ""),
    ([{"no_cache": True}, {"complete": "hold"}, {"complete": "off"}], None, None, "off", "hold", "guard 1"),
    ([{"when": {"tag": "x"}, "complete": "off"}], "hold", None, "off", "hold", "x-tiergate-complete"),
]  # fmt: skip


@pytest.mark.parametrize("model", ["auto", "sol"])
@pytest.mark.parametrize("row", ROWS)
def test_the_most_specific_complete_setting_applies(
    row: tuple[
        list[Json], CompleteMode | None, CompleteMode | None, CompleteMode, CompleteMode, str
    ],
    model: str,
) -> None:
    """A guard comes before the caller, the caller before its key, and all before the default."""
    guards, header, key, default, expected, source = row
    router = msgspec.structs.replace(world.router(guards), complete=default)
    call = world.call(
        "a", model,
        key=msgspec.structs.replace(OPEN_KEY, complete=key), steer=RequestOptions(complete=header),
    )  # fmt: skip
    decision, _ = world.decided(router, call)
    assert decision.complete == expected
    steps = [(step.effect, step.reason) for step in decision.trace if step.step == "complete"]
    assert steps == ([] if expected == "off" else [(expected, source)])


def test_the_complete_setting_of_a_choice_applies_to_the_calls_it_decides() -> None:
    """The choice comes before the key and after the caller.

    It does not apply to calls that name a tier, or that another choice decides.
    """
    choices: list[Json] = [
        {"when": {"keywords": "prove"}, "tier": "reasoning", "complete": "hold"},
        {"when": {"keywords": "hello"}, "lab": "openai", "complete": "off"},
        {"tier": "fast"},
    ]
    router, key = world.router((), choices), msgspec.structs.replace(OPEN_KEY, complete="hold")
    off_key = msgspec.structs.replace(OPEN_KEY, complete="off")

    def decide(text: str, model: str = "auto", **more: Any) -> tuple[str, list[str]]:
        decision, _ = world.decided(router, world.call(text, model, **more))
        reasons = [step.reason for step in decision.trace if step.step == "complete"]
        return decision.complete, reasons

    assert decide("prove it", key=off_key) == ("hold", ["choice 0"])
    assert decide("prove it", steer=RequestOptions(complete="off")) == ("off", [])
    assert decide("hello", key=key) == ("off", [])
    assert decide("a song") == ("off", [])
    assert decide("a song", key=key) == ("hold", ["key open"])
    assert decide("prove it", "fast") == ("off", [])
