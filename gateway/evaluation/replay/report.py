"""What a replay came to, as plain values: money is exact text, None is unknown."""

from collections.abc import Mapping
from decimal import Decimal

from gateway.core.jsonio import Json
from gateway.core.target import TIERS
from gateway.evaluation.replay.totals import (
    REFUSED,
    UNTIERED,
    ReplayedOutcome,
    ReplayGroup,
    ReplayTotals,
)

COLUMNS = (*TIERS, UNTIERED, REFUSED)
"""Tiers and what stands in their place, in this order."""


def view(sums: ReplayTotals, config: str) -> dict[str, Json]:
    """All of it as JSON; `config` is the version of the configuration that decided."""
    total = sums.total
    return {
        "config": config,
        **_group(total),
        "apart": sums.apart,
        "assumed": sums.assumed,
        "cache": {"lost": _text(sums.lost), "gained": _text(sums.gained)},
        "unread": dict(sums.unread.most_common()),
        "by": {
            name: {"before": sums.by_before[name], "after": sums.by_after[name]}
            for name in sorted({*sums.by_before, *sums.by_after})
        },
        "guards": dict(sums.guards.most_common()),
        "keys": _groups(sums.keys),
        "tags": _groups(sums.tags),
        "list": [
            {
                "id": one.id,
                "at": one.at,
                "key": one.key,
                "before": _outcome(one.before),
                "after": _outcome(one.after),
                "usd": None if one.usd is None else _text(one.usd),
            }
            for one in sums.changed
        ],
    }


def shown(group: ReplayGroup) -> list[str]:
    """The columns of which a group has any calls."""
    seen = group.tiers_before | group.tiers_after
    return [name for name in COLUMNS if name in TIERS or seen[name]]


def _groups(groups: Mapping[str, ReplayGroup]) -> dict[str, Json]:
    return {name: _group(groups[name]) for name in sorted(groups)}


def _group(group: ReplayGroup) -> dict[str, Json]:
    return {
        "calls": group.calls,
        "undecided": group.undecided,
        "changed": group.changed,
        "tiers": {
            name: {"before": group.tiers_before[name], "after": group.tiers_after[name]}
            for name in shown(group)
        },
        "usd": {
            "before": _text(group.before),
            "after": _text(group.after),
            "unknown": group.unknown,
        },
    }


def _outcome(one: ReplayedOutcome) -> dict[str, Json]:
    return {"lab": one.lab, "tier": one.tier, "target": one.target, "by": one.by}


def _text(usd: Decimal) -> str:
    return f"{usd:f}"
