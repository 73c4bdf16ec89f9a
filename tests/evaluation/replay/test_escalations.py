"""A replay tells how many answers would be asked of the tier above, and what that would cost."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.replay_report import print_report
from gateway.core.ledger_rows import ReplayRow
from gateway.evaluation.replay import report
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.errors import MissingFeatureError
from gateway.routing.quality_dial import MIN_OWN_CALLS
from gateway.routing.router import Router
from tests.evaluation.replay.test_replay import replay_rows, row
from tests.evaluation.replay.traffic import router

CHECKED = {"routing": {"classifier": "off", "escalate": "checked"}}
PRICE_ABOVE = Decimal(10_000) * 5 / 1_000_000
"""USD of the rows' prompt at deep-1, without a cache."""


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Router:
    return router(tmp_path_factory.mktemp("checking"), **CHECKED)


def describe(router: Router, *rows: ReplayRow) -> Any:
    totals = replay_rows(router, *rows).totals
    assert totals.total.changed == 0
    return report.describe_totals(totals, "new")["escalation"]


def test_faults_are_counted_with_the_price_of_the_tier_above(checking: Router) -> None:
    """An answer of the reasoning tier has usually 2,000 tokens, at 20 USD a million."""
    assert describe(
        checking, row(1, checked="empty", output=0), row(2, checked="passed"), row(3)
    ) == {
        "answers": 3,
        "escalated": 1,
        "already": 0,
        "unknown": 1,
        "usd": f"{PRICE_ABOVE + Decimal('0.04'):f}",
        "unpriced": 0,
    }


def test_the_lengths_of_the_log_count_once_it_has_enough(checking: Router) -> None:
    answers = [
        row(number, tier="reasoning", output=100, checked="passed", asked="reasoning",
            basis={"target": "acme/deep-1"})
        for number in range(MIN_OWN_CALLS)
    ]  # fmt: skip
    described = describe(checking, *answers, row(1_000, checked="schema"))
    assert described["usd"] == f"{PRICE_ABOVE + Decimal('0.002'):f}"
    assert described["answers"] == 1


def test_a_call_that_was_escalated_decides_the_same_and_adds_nothing(checking: Router) -> None:
    """Its cost has both answers already, whichever was served."""
    second = row(
        1, checked="refused", escalated="smart", tier="reasoning", model="deep-1",
        basis={"target": "acme/able-1"},
    )  # fmt: skip
    first = row(2, checked="refused", escalated="smart")
    walk = replay_rows(checking, second, first)
    assert walk.totals.total.changed == 0
    assert walk.totals.total.usd_after == Decimal("0.0078")
    described = describe(checking, second, first)
    assert (described["escalated"], described["already"], described["usd"]) == (2, 2, "0")


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": True},
        {"asked": "smart"},
        {"cache": "hit", "state": "cache_hit"},
        {"basis": {"tool_loop": True}},
    ],
    ids=["stream", "pin", "cache", "tool loop"],
)
def test_calls_whose_answers_are_not_checked_do_not_count(
    checking: Router, changes: dict[str, Any]
) -> None:
    assert describe(checking, row(1, **changes)) is None


def test_a_call_that_moves_has_an_unknown_finding(tmp_path: Path) -> None:
    """The finding is that of another tier's answer."""
    moving = router(tmp_path, **CHECKED, choices=[{"name": "all", "tier": "fast"}])
    totals = replay_rows(moving, row(1, checked="empty")).totals.escalations
    assert (totals.answers, totals.unknown, totals.escalated) == (1, 1, 0)


def test_a_tier_above_without_a_price_or_a_target_is_told(tmp_path: Path) -> None:
    effort = {"style": "reasoning_effort", "accepts": ["none", "high"], "default": "none"}
    models = {"deep-1": {"effort": effort}, "able-1": {}}
    unpriced = router(tmp_path / "a", **CHECKED, models=models)
    assert describe(unpriced, row(1, checked="empty"))["unpriced"] == 1
    labs = {"acme": {"smart": [{"model": "able-1"}]}, "other": {"smart": [{"model": "else-1"}]}}
    alone = router(tmp_path / "b", **CHECKED, labs=labs)
    assert describe(alone, row(1, checked="empty"))["escalated"] == 0


def test_a_row_without_the_facts_for_the_tier_above_is_unknown(
    checking: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: DecisionRecorder) -> None:
        raise MissingFeatureError("the media at URLs")

    monkeypatch.setattr(DecisionRecorder, "decide_above", fail)
    assert describe(checking, row(1, checked="empty"))["unknown"] == 1


def test_the_report_says_it_in_words(checking: Router, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        row(1, checked="empty"),
        row(2, checked="refused", escalated="smart"),
        row(3),
    ]
    totals = replay_rows(checking, *rows).totals
    print_report(report.describe_totals(totals, "new"), "UTC")
    told = capsys.readouterr().out
    assert (
        "Of 2 answers that were checked, 2 would be asked of the tier above too"
        " (1 already; the sums have that cost): 0.090000 more."
        " Unknown: 1 answer that nobody checked." in told
    )
    totals.escalations.unpriced, totals.escalations.unknown = 2, 0
    totals.escalations.already = 0
    print_report(report.describe_totals(totals, "new"), "UTC")
    told = capsys.readouterr().out
    assert "tier above too: 0.090000 more. 2 answers at a cost that is not known." in told
    assert "nobody checked" not in told
