"""The condition `traffic`: the part of the traffic that a rule takes, the same in every process."""

import re
from collections.abc import Mapping
from hashlib import blake2b

from gateway.routing.features import Features
from gateway.routing.rules.context import RuleContext, Test

_FRACTION_BITS = 53
"""The number of bits of a float's fraction, so that a place is always below 1."""

_ARM_PATTERN = re.compile(r"(.+?):(in|out)(?:, |$)", re.DOTALL)


def compile_traffic(part: float, rule: str) -> Test:
    """Return the test of a part of the traffic; it records the call's side in the context."""

    def test(context: RuleContext) -> bool:
        is_in = place_call(rule, context.call) < part
        context.arms[rule] = is_in
        return is_in

    return test


def place_call(rule: str, call: Features) -> float:
    """Return the place of a call in a rule's traffic, evenly distributed from 0 up to 1.

    All calls of a conversation have one place. So have all calls of a key outside conversations.
    Two rules place calls independently of each other.
    """
    owner = call.turn.conversation or f"{call.key.tenant}\0{call.key.name}"
    digest = blake2b(f"{rule}\0{owner}".encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest) >> (64 - _FRACTION_BITS)) / (1 << _FRACTION_BITS)


def format_arms(arms: Mapping[str, bool]) -> str | None:
    """Return the arms of a call as its row keeps them, `canary:in`; None if it has none."""
    if not arms:
        return None
    return ", ".join(f"{rule}:{'in' if is_in else 'out'}" for rule, is_in in arms.items())


def parse_arms(text: str) -> dict[str, bool]:
    """Return the arms of a call from its row: True for each rule that the call is in."""
    return {rule: side == "in" for rule, side in _ARM_PATTERN.findall(text)}
