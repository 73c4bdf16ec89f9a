"""Test which account has what a call continues."""

from typing import Any

import msgspec

from gateway.cache.response_store import ResponseChain
from gateway.core.decision import Plan
from gateway.core.decision_context import Session
from gateway.core.owned_object import ObjectPlace
from gateway.core.target import Target, TargetGroup
from gateway.dialects import OPENAI_CHAT
from gateway.dialects.tool_reasoning import ReasoningNote
from gateway.pipeline.pinned_account import find_pinned_account
from gateway.upstream.retry import PinnedAccount
from tests.routing import world

BODY = OPENAI_CHAT.read(b'{"model":"auto","messages":[]}')
CHAIN = ResponseChain(body=BODY, translatable_body=BODY)
SESSION = Session(lab="openai", tier="fast", target="openai/luna", account="second", at=1, calls=2)


def grouped(target: Target) -> Target:
    return msgspec.structs.replace(
        target, group=TargetGroup(lab="openai", tier="fast", label="equals")
    )


def plan_of(*targets: Target) -> Plan:
    return Plan(targets=targets, dialects=("openai-chat",) * len(targets))


def find(
    object_place: ObjectPlace | None = None, account: str | None = None, **found: Any
) -> PinnedAccount | None:
    """Find the account of a call that continues what is given."""
    features = world.call("hello")
    decision, plan = world.decided(world.router(), features)
    features.object_place = object_place
    return find_pinned_account(
        features,
        found.get("chain", CHAIN),
        found.get("notes"),
        found.get("session"),
        msgspec.structs.replace(decision, account=account),
        found.get("plan", plan),
    )


def test_a_call_that_continues_nothing_has_no_pinned_account() -> None:
    assert find() is None
    assert find(notes={}, session=msgspec.structs.replace(SESSION, account=None)) is None


def test_what_fewest_accounts_have_decides() -> None:
    """Objects come before reasoning, an earlier answer, and a prompt in a provider's cache."""
    plan = plan_of(world.LUNA, world.LITE)
    notes = {
        name: ReasoningNote(maker="", provider="zeta", model="able-1", account=name, calls={})
        for name in ("first", "last")
    }
    steps: list[tuple[dict[str, Any], PinnedAccount]] = [
        (
            {"object_place": ObjectPlace("acme", "main")},
            PinnedAccount("acme", "main", is_only=True),
        ),
        ({"notes": notes}, PinnedAccount("zeta", "last", "able-1")),
        (
            {"chain": msgspec.structs.replace(CHAIN, provider="zeta", account="spare")},
            PinnedAccount("zeta", "spare"),
        ),
        ({"account": "third"}, PinnedAccount("openai", "third", "luna", is_session=True)),
        ({"session": SESSION}, PinnedAccount("openai", "second", "luna", is_session=True)),
    ]
    for index, (_, pinned_account) in enumerate(steps):
        given = {name: value for step, _ in steps[index:] for name, value in step.items()}
        assert find(plan=plan, **given) == pinned_account


def test_the_account_of_a_pinned_call_is_of_the_first_target_or_of_an_equal_one() -> None:
    luna, lite = grouped(world.LUNA), grouped(world.LITE)
    for targets in ((luna, lite), (lite, luna), (world.LUNA, lite)):
        assert find(session=SESSION, plan=plan_of(*targets)) == PinnedAccount(
            "openai", "second", "luna", is_session=True
        )
    assert find(session=SESSION, plan=plan_of(lite, world.LUNA)) is None
