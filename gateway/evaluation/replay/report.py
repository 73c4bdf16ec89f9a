"""The report of a replay as plain values. Money is exact text, and None is unknown."""

from collections.abc import Mapping
from decimal import Decimal

from gateway.core.jsonio import Json
from gateway.core.target import TIERS
from gateway.evaluation.metrics.figure import describe_money, describe_number
from gateway.evaluation.replay.escalations import EscalationTotals
from gateway.evaluation.replay.intervals import ReplaySample
from gateway.evaluation.replay.totals import (
    REFUSED_COLUMN,
    UNTIERED_COLUMN,
    ReplayedOutcome,
    ReplayGroup,
    ReplayTotals,
)

TIER_COLUMNS = (*TIERS, UNTIERED_COLUMN, REFUSED_COLUMN)
"""The columns of a table of tiers, in order: the tiers, then calls without one."""
_SIDES = ("before", "after", "change")


def describe_totals(totals: ReplayTotals, config_version: str) -> dict[str, Json]:
    """Return the totals as JSON. `config_version` is that of the configuration that replays."""
    total = totals.total
    return {
        "config": config_version,
        **_describe_group(total),
        **_describe_sample(totals.sample),
        "apart": totals.refused_early,
        "assumed": totals.assumed_translations,
        "cache": {
            "lost": _format_usd(totals.cache_lost_usd),
            "gained": _format_usd(totals.cache_gained_usd),
        },
        "escalation": _describe_escalations(totals.escalations),
        "unread": dict(totals.missing_data.most_common()),
        "by": {
            name: {"before": totals.deciders_before[name], "after": totals.deciders_after[name]}
            for name in sorted({*totals.deciders_before, *totals.deciders_after})
        },
        "guards": dict(totals.guards.most_common()),
        "keys": _describe_groups(totals.keys),
        "tags": _describe_groups(totals.tags),
        "list": [
            {
                "id": changed_call.id,
                "at": changed_call.timestamp,
                "key": changed_call.key,
                "before": _describe_outcome(changed_call.outcome_before),
                "after": _describe_outcome(changed_call.outcome_after),
                "usd": None
                if changed_call.usd_change is None
                else _format_usd(changed_call.usd_change),
            }
            for changed_call in totals.changed
        ],
    }


def list_columns(group: ReplayGroup) -> list[str]:
    """Return the columns of a group: all tiers, and the other columns that have calls."""
    calls_by_column = group.tiers_before | group.tiers_after
    return [name for name in TIER_COLUMNS if name in TIERS or calls_by_column[name]]


def _describe_groups(groups: Mapping[str, ReplayGroup]) -> dict[str, Json]:
    return {name: _describe_group(groups[name]) for name in sorted(groups)}


def _describe_group(group: ReplayGroup) -> dict[str, Json]:
    return {
        "calls": group.calls,
        "undecided": group.undecided,
        "changed": group.changed,
        "tiers": {
            name: {"before": group.tiers_before[name], "after": group.tiers_after[name]}
            for name in list_columns(group)
        },
        "usd": {
            "before": _format_usd(group.usd_before),
            "after": _format_usd(group.usd_after),
            "unknown": group.unknown_cost_calls,
        },
    }


def _describe_sample(sample: ReplaySample) -> dict[str, Json]:
    """Return money and expected quality with their intervals, and the counts behind them."""
    figures = sample.compute_figures()
    money = {side: describe_money(figures.get(f"usd {side}")) for side in _SIDES}
    quality = {side: describe_number(figures.get(f"quality {side}"), digits=4) for side in _SIDES}
    return {
        "money": {**money, "usual_lengths": sample.count_usual_lengths()},
        "quality": {**quality, "calls": sample.scored_calls, "unscored": sample.unscored_calls},
    }


def _describe_escalations(escalations: EscalationTotals) -> dict[str, Json] | None:
    """Return what escalation would add; None if this configuration would check no answer."""
    if not escalations.answers:
        return None
    return {
        "answers": escalations.answers,
        "escalated": escalations.escalated,
        "already": escalations.already,
        "unknown": escalations.unknown,
        "usd": _format_usd(escalations.added_usd),
        "unpriced": escalations.unpriced,
    }


def _describe_outcome(outcome: ReplayedOutcome) -> dict[str, Json]:
    return {
        "lab": outcome.lab,
        "tier": outcome.tier,
        "target": outcome.target,
        "by": outcome.decider,
    }


def _format_usd(usd: Decimal) -> str:
    return f"{usd:f}"
