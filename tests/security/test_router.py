"""SEC-ROUTER: the tests measure how text moves prompts between tiers, and what limits that.

`make rerouting` prints the rates for 1,000 prompts; these tests use few, always the same ones.
"""

from collections import Counter

import pytest

from gateway.core.call import Key
from gateway.core.target import TIERS, Tier
from gateway.routing.router import Router
from tests.security import rerouting

NUMBER = 40


@pytest.fixture(scope="module")
def known() -> Router:
    return rerouting.router()


@pytest.fixture(scope="module")
def easy(known: Router) -> list[str]:
    return rerouting.prompts(known, NUMBER, "fast")


@pytest.fixture(scope="module")
def hard(known: Router) -> list[str]:
    return rerouting.prompts(known, NUMBER, "reasoning")


def test_sec_router_1_the_rate_is_measured_and_is_high(known: Router, easy: list[str]) -> None:
    """SEC-ROUTER 1: this project never says that its router cannot be fooled."""
    found = rerouting.rates(known, easy)
    assert [one.kind for one in found] == [
        "written by hand", "searched, 256 questions", "by the formula", "plain sentences", "orders to the router",
    ]  # fmt: skip
    assert all(0 <= one.mean <= one.best <= 1 <= one.times for one in found)
    assert found[0].best > 0.9
    assert found[2].best > 0.9


def test_sec_router_2_hard_prompts_can_be_moved_down(known: Router, hard: list[str]) -> None:
    """SEC-ROUTER 2: by their writers, for themselves; the test names the worst of several texts."""
    share, text = rerouting.lowered(known, hard)
    assert 0 <= share <= 1
    assert text in rerouting.DOWN


def test_sec_router_3_orders_in_a_prompt_are_text(known: Router, easy: list[str]) -> None:
    """SEC-ROUTER 3: the router obeys none.

    Each order is a few more words, which move a part of easy prompts.
    """
    for order in rerouting.ORDERS:
        for texts in ([order + one for one in easy], [f"{one}\n{order}" for one in easy]):
            tiers = Counter(rerouting.tier_of(known, text) for text in texts)
            assert tiers["fast"] > tiers["smart"] + tiers["reasoning"]
            assert tiers["reasoning"] <= 0.25 * len(easy)
    whole = rerouting.tier_of(known, "word " * 20_000 + easy[0])
    assert whole in TIERS


@pytest.mark.parametrize("tiers", [("fast",), ("fast", "smart"), ("smart",), ("reasoning",)])
def test_sec_router_4_a_keys_tiers_hold_whatever_is_asked(
    known: Router, easy: list[str], hard: list[str], tiers: tuple[Tier, ...]
) -> None:
    """SEC-ROUTER 4: the promise: with every prompt moved up, none leaves the tiers of its key."""
    key = Key(name="k", tiers=tiers)
    texts = (*rerouting.BAIT, *rerouting.ORDERS, rerouting.informed(known, easy))
    asked = [text + one for text in texts for one in (*easy[:8], *hard[:2])]
    assert {rerouting.tier_of(known, text, key) for text in asked} <= set(tiers)
