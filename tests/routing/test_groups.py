"""Groups of equal targets in a plan: their order beside a session, and what the trace says."""

import msgspec
import pytest

from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.target import Account, Balance, Target, TargetGroup
from gateway.dialects import OPENAI_CHAT
from gateway.routing.affinity_verdict import prefer_session_target
from gateway.routing.router import decide
from tests.routing import world

GROUP = TargetGroup(lab="openai", tier="smart", label="equals")
NOW = 1_000_000.0


def grouped(target: Target, **more: str) -> Target:
    return msgspec.structs.replace(target, group=msgspec.structs.replace(GROUP, **more))


A, B, C = world.SOL, grouped(world.TERRA), grouped(world.HYDROGEN)
FAST = grouped(world.LITE, tier="fast", label="other")


@pytest.mark.parametrize(
    ("targets", "session", "order"),
    [
        ([A, B, C], "openai/sol", [A, B, C]),
        ([A, B, C], "gemini/hydrogen", [C, B, A]),
        ([A, B, C], "openai/terra", [B, C, A]),
        ([B, C, A], "openai/sol", [A, B, C]),
        ([B, C, A], "gone/model", [B, C, A]),
        ([A, world.LITE, world.ARGON], "gemini/argon", [world.ARGON, A, world.LITE]),
        ([B, C, FAST], "gemini/lite", [FAST, B, C]),
    ],
)
@pytest.mark.parametrize("has_labs", [False, True])
def test_the_equals_of_a_sessions_target_come_right_after_it(
    targets: list[Target], session: str, order: list[Target], has_labs: bool
) -> None:
    labs = tuple(target.provider.name for target in targets) if has_labs else ()
    plan = Plan(
        targets=tuple(targets), dialects=tuple(target.model for target in targets), labs=labs
    )
    seat = Session(lab="openai", tier="smart", target=session)
    ordered = prefer_session_target(plan, seat)
    assert list(ordered.targets) == order
    assert list(ordered.dialects) == [target.model for target in order]
    assert list(ordered.labs) == ([target.provider.name for target in order] if has_labs else [])


def decided(*targets: Target, session: str = "") -> tuple[Decision, Plan]:
    known = world.catalogue((world.lab("openai", [world.LUNA], targets),))
    seat = Session(lab="openai", tier="smart", target=session, account="main", at=NOW - 9)
    call = world.call("hello", user_turns=2)
    context = DecisionContext(at=NOW, seat=seat if session else None)
    return decide(world.router(known=known), call, OPENAI_CHAT, context)


def balance_lines(decision: Decision) -> list[tuple[str, str]]:
    return [(line.reason, line.effect) for line in decision.trace if line.step == "balance"]


def test_the_trace_names_the_group_and_its_balance() -> None:
    decision, plan = decided(B, C, A)
    assert world.names(plan) == ["openai/terra", "gemini/hydrogen", "openai/sol"]
    reason = "the group openai/smart/equals: openai/terra, gemini/hydrogen"
    assert balance_lines(decision) == [(reason, "hash")]
    decision, plan = decided(B, C, A, session="openai/sol")
    assert world.names(plan)[0] == "openai/sol"
    assert balance_lines(decision) == []


def several(target: Target, balance: Balance, base_url: str = "") -> Target:
    accounts = tuple(Account(name, "s", base_url) for name in ("one", "two", "three"))
    provider = msgspec.structs.replace(target.provider, accounts=accounts, balance=balance)
    return msgspec.structs.replace(target, provider=provider)


def test_the_trace_names_the_balance_of_accounts_and_replicas() -> None:
    assert balance_lines(decided(several(A, "order"))[0]) == []
    assert balance_lines(decided(several(A, "p2c"))[0]) == [("openai has 3 accounts", "p2c")]
    decision, _ = decided(several(B, "hash", "http://x"), C)
    assert balance_lines(decision) == [
        ("the group openai/smart/equals: openai/terra, gemini/hydrogen", "hash"),
        ("openai has 3 replicas", "hash"),
    ]


def test_a_session_in_a_group_has_not_moved_if_its_target_is_equal() -> None:
    decision, plan = decided(B, C, session="gemini/hydrogen")
    assert world.names(plan) == ["gemini/hydrogen", "openai/terra"]
    assert (decision.switch, decision.account) == (None, "main")
