"""The sets of equals in a plan: groups of targets, and the accounts or replicas of each provider.

A group is a set of targets, and each of them a set of accounts. So a call first goes to a target
of the group, and then to one of its accounts.
"""

import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import groupby

import msgspec

from gateway.core.target import Balance, Target
from gateway.upstream.retry import Candidate

_POINT_BITS = 52
"""The bits of a hash that make a point: a float holds each such point, also the one next to 1."""


class BalancedMember(msgspec.Struct, frozen=True, kw_only=True):
    """One of several equals: a target of a group, or an account of a target."""

    name: str
    candidates: tuple[Candidate, ...]
    """The candidates that it stands for: one for each account."""
    weight: float = 1.0
    accounts: "MemberSet | None" = None
    """The accounts of a target of a group; None if it has one."""


class MemberSet(msgspec.Struct, frozen=True, kw_only=True):
    """Equals, and the way to choose among them."""

    name: str
    """The name of the group, as "mine/smart/qwen", or of the provider."""
    balance: Balance
    members: tuple[BalancedMember, ...]


def build_member_sets(candidates: Sequence[Candidate]) -> tuple[MemberSet, ...]:
    """Return the sets of a plan's candidates, in the order of the plan.

    Return none if the plan has no equals: its candidates are in order as they are.
    """
    if not any(candidate.is_balanced for candidate in candidates):
        return ()
    return tuple(_build_sets(candidates))


def _build_sets(candidates: Sequence[Candidate]) -> Iterator[MemberSet]:
    for _, run in groupby(candidates, key=_get_set_name):
        targets = [tuple(items) for _, items in groupby(run, key=_get_target_name)]
        group = targets[0][0].target.group
        if group is None:
            for items in targets:
                yield _build_account_set(items)
            continue
        members = tuple(
            BalancedMember(
                name=items[0].target.name,
                weight=items[0].target.weight,
                candidates=items,
                accounts=_build_account_set(items) if len(items) > 1 else None,
            )
            for items in targets
        )
        yield MemberSet(name=group.name, balance=group.balance, members=members)


def _get_set_name(candidate: Candidate) -> str:
    group = candidate.target.group
    return "" if group is None else group.name


def _get_target_name(candidate: Candidate) -> str:
    return candidate.target.name


def _build_account_set(candidates: tuple[Candidate, ...]) -> MemberSet:
    target: Target = candidates[0].target
    return MemberSet(
        name=target.provider.name,
        balance=target.provider.balance,
        members=tuple(
            BalancedMember(name=candidate.account.name, candidates=(candidate,))
            for candidate in candidates
        ),
    )


def rank_members(member_set: MemberSet, conversation: str) -> list[BalancedMember]:
    """Return the members in the order in which a conversation prefers them.

    The order is random, but the same in each process: it depends on names and weights alone. If a
    member leaves or joins, the order of the others stays as it is, so that no conversation moves
    between them. Source: weighted rendezvous hashing (Thaler and Ravishankar 1998; Schindelhauer
    and Schomaker 2005).
    """

    def score(member: BalancedMember) -> float:
        text = f"{member.name}\n{conversation}"
        digest = blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
        point = (int.from_bytes(digest) >> 64 - _POINT_BITS) + 0.5
        return -member.weight / math.log(point / 2**_POINT_BITS)

    return sorted(member_set.members, key=score, reverse=True)
