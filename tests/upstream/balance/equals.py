"""Targets that are equal, and the candidates and sets that plans have of them."""

from gateway.core.decision import Plan
from gateway.core.target import Account, Balance, Provider, Target, TargetGroup
from gateway.upstream.balance.member_sets import MemberSet, build_member_sets
from gateway.upstream.retry import Candidate, list_candidates


def make_target(
    name: str,
    *accounts: str,
    balance: Balance = "order",
    group: TargetGroup | None = None,
    weight: float = 1.0,
    replicas: bool = False,
) -> Target:
    """Make a target "provider/model" with accounts, or with replicas of these names."""
    provider, _, model = name.partition("/")
    return Target(
        provider=Provider(
            name=provider,
            urls={"openai-chat": "/chat/completions"},
            accounts=tuple(
                Account(item, "", f"http://{item}" if replicas else "")
                for item in accounts or ("main",)
            ),
            balance=balance,
        ),
        model=model,
        group=group,
        weight=weight,
    )


def make_group(label: str = "g", balance: Balance = "hash") -> TargetGroup:
    return TargetGroup(lab="mine", tier="smart", label=label, balance=balance)


def make_candidates(*targets: Target) -> list[Candidate]:
    return list_candidates(Plan(targets=targets, dialects=("openai-chat",) * len(targets)))


def make_sets(*targets: Target) -> tuple[MemberSet, ...]:
    return build_member_sets(make_candidates(*targets))


def list_places(candidates: list[Candidate]) -> list[str]:
    """Return candidates as "provider account"."""
    return [f"{item.key[0]} {item.key[1]}" for item in candidates]
