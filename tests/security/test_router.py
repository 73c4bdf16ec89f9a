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
def router() -> Router:
    return rerouting.router()


@pytest.fixture(scope="module")
def easy(router: Router) -> list[str]:
    return rerouting.prompts(router, NUMBER, "fast")


@pytest.fixture(scope="module")
def hard(router: Router) -> list[str]:
    return rerouting.prompts(router, NUMBER, "reasoning")


def test_sec_router_1_text_before_a_prompt_moves_most_prompts_up(
    router: Router, easy: list[str]
) -> None:
    """SEC-ROUTER 1: this project never says that its router cannot be fooled."""
    rates = rerouting.rates(router, easy)
    assert [measured.kind for measured in rates] == [
        "written by hand", "searched, 256 questions", "by the formula", "plain sentences", "orders to the router",
    ]  # fmt: skip
    assert all(0 <= measured.mean <= measured.best <= 1 <= measured.times for measured in rates)
    assert rates[0].best > 0.9
    assert rates[2].best > 0.9


def test_sec_router_2_hard_prompts_can_be_moved_down(router: Router, hard: list[str]) -> None:
    """SEC-ROUTER 2: by their writers, for themselves; the test names the worst of several texts."""
    share, text = rerouting.lowered(router, hard)
    assert 0 <= share <= 1
    assert text in rerouting.DOWN


def test_sec_router_3_orders_in_a_prompt_are_only_text(router: Router, easy: list[str]) -> None:
    """SEC-ROUTER 3: the router obeys none.

    Each order is a few more words, which move a part of easy prompts.
    """
    for order in rerouting.ORDERS:
        for texts in (
            [order + prompt for prompt in easy],
            [f"{prompt}\n{order}" for prompt in easy],
        ):
            tiers = Counter(rerouting.tier_of(router, text) for text in texts)
            assert tiers["fast"] > tiers["smart"] + tiers["reasoning"]
            assert tiers["reasoning"] <= 0.25 * len(easy)
    whole = rerouting.tier_of(router, "word " * 20_000 + easy[0])
    assert whole in TIERS


@pytest.mark.parametrize("tiers", [("fast",), ("fast", "smart"), ("smart",), ("reasoning",)])
def test_sec_router_4_no_prompt_leaves_the_tiers_of_its_key(
    router: Router, easy: list[str], hard: list[str], tiers: tuple[Tier, ...]
) -> None:
    """SEC-ROUTER 4: the promise: with every prompt moved up, none leaves the tiers of its key."""
    key = Key(name="k", tiers=tiers)
    texts = (*rerouting.BAIT, *rerouting.ORDERS, rerouting.find_strong_words(router, easy))
    prompts = [text + prompt for text in texts for prompt in (*easy[:8], *hard[:2])]
    assert {rerouting.tier_of(router, text, key) for text in prompts} <= set(tiers)
