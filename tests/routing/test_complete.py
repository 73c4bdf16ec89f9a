"""What becomes of an answer that breaks off: whose word it is, and that the trace says so."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import OPEN, Complete, Steer
from tests.routing import world

type Json = dict[str, object]

ROWS: list[tuple[list[Json], Complete | None, Complete | None, Complete, Complete, str]] = [
    # guards, the header, the key, the configuration; what holds, and whose word it is
    ([], None, None, "off", "off", ""),
    ([], None, None, "live", "live", "routing.complete"),
    ([], None, "hold", "live", "hold", "key open"),
    ([], None, "off", "live", "off", ""),
    ([], "live", "hold", "hold", "live", "x-tiergate-complete"),
    ([], "off", "hold", "hold", "off", ""),
    ([{"complete": "hold"}], "live", "live", "live", "hold", "guard 0"),
    ([{"complete": "off"}], "live", "live", "live", "off", ""),
    ([{"no_cache": True}, {"complete": "live"}, {"complete": "hold"}], None, None, "off", "live", "guard 1"),
    ([{"when": {"tag": "x"}, "complete": "live"}], "hold", None, "off", "hold", "x-tiergate-complete"),
]  # fmt: skip


@pytest.mark.parametrize("model", ["auto", "sol"])
@pytest.mark.parametrize("row", ROWS)
def test_the_nearest_word_holds(
    row: tuple[list[Json], Complete | None, Complete | None, Complete, Complete, str], model: str
) -> None:
    """A guard's before the caller's, the caller's before its key's, and all before the default."""
    guards, header, key, default, holds, whose = row
    known = msgspec.structs.replace(world.router(guards), complete=default)
    seen = world.call(
        "a", model,
        key=msgspec.structs.replace(OPEN, complete=key), steer=Steer(complete=header),
    )  # fmt: skip
    decision, _ = world.decided(known, seen)
    assert decision.complete == holds
    said = [(step.effect, step.why) for step in decision.trace if step.step == "complete"]
    assert said == ([] if holds == "off" else [(holds, whose)])


def test_a_choice_says_it_for_what_it_decides() -> None:
    """Before the key, after the caller; not for calls that name a tier or that another decides."""
    choices: list[Json] = [
        {"when": {"keywords": "prove"}, "tier": "reasoning", "complete": "live"},
        {"when": {"keywords": "hello"}, "lab": "openai", "complete": "hold"},
        {"tier": "fast"},
    ]
    known, key = world.router((), choices), msgspec.structs.replace(OPEN, complete="hold")

    def holds(text: str, model: str = "auto", **more: Any) -> tuple[str, list[str]]:
        decision, _ = world.decided(known, world.call(text, model, **more))
        whose = [step.why for step in decision.trace if step.step == "complete"]
        return decision.complete, whose

    assert holds("prove it", key=key) == ("live", ["choice 0"])
    assert holds("prove it", steer=Steer(complete="off")) == ("off", [])
    assert holds("hello") == ("hold", ["choice 1"])
    assert holds("a song") == ("off", [])
    assert holds("a song", key=key) == ("hold", ["key open"])
    assert holds("prove it", "fast") == ("off", [])
