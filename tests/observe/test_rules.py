"""Promtool runs rules and alerts over made-up figures: each alert fires when it should, and only then."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.core import jsonio
from tests.docs import pages
from tests.e2e.prometheus import program
from tests.observe import board
from tests.observe.board import ALERTS, RULES
from tests.observe.test_dashboard import documented_metrics

JOB = 'job="tiergate"'
AT = f'{JOB}, instance="here:1"'
LABELS = {"job": "tiergate", "instance": "here:1"}
DAY = 24 * 60


def promtool(*words: str) -> str:
    process = subprocess.run(
        [program("promtool"), *words], check=False, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in YAML(typ="safe").load(path.read_text())["groups"] for rule in group["rules"]]  # fmt: skip


def series(name: str, values: str) -> dict[str, str]:
    return {"series": name, "values": values}


def cost(part: str) -> str:
    return f'tiergate_{part}{{{JOB}, lab="acme", tier="smart", model="able-1"}}'


BUDGET = f'{{{JOB}, budget="team"}}'
SHARE = f"tiergate:upgrade_share:1h{{{JOB}}}"
TARGET = f'{{{JOB}, provider="p", model="m", lab="l", tier="fast"}}'
BILLED_MORE = f"tiergate_billed_more_usd_total{TARGET}"
BILLED_LESS = f"tiergate_billed_less_usd_total{TARGET}"
COST = f"tiergate_cost_usd_total{TARGET}"
MANY = f"tiergate:decisions:increase1h{{{JOB}}}"
WEEK = [
    series(f"tiergate:upgrade_share:mean7d{{{JOB}}}", f"0.2x{DAY + 120}"),
    series(f"tiergate:upgrade_share:sigma7d{{{JOB}}}", f"0.02x{DAY + 120}"),
]

CASES: dict[str, tuple[list[dict[str, str]], str, list[dict[str, str]], str]] = {
    "TiergateBudgetBurn": (
        [series(f"tiergate:budget:projected_ratio{BUDGET}", "1.5x40"), series(f"tiergate_budget_used_ratio{BUDGET}", "0.3x40")], "20m",
        [series(f"tiergate:budget:projected_ratio{BUDGET}", "1.5x40"), series(f"tiergate_budget_used_ratio{BUDGET}", "0.1x40")], "20m",
    ),
    "TiergateBudgetBurnsFast": (
        [series(f"tiergate:budget:burn1h{BUDGET}", "20x10"), series(f"tiergate:budget:burn5m{BUDGET}", "16x10")], "5m",
        [series(f"tiergate:budget:burn1h{BUDGET}", "20x10"), series(f"tiergate:budget:burn5m{BUDGET}", "0x10")], "5m",
    ),
    "TiergateBudgetBurnsSteadily": (
        [series(f"tiergate:budget:burn6h{BUDGET}", "7x10"), series(f"tiergate:budget:burn30m{BUDGET}", "9x10")], "5m",
        [series(f"tiergate:budget:burn6h{BUDGET}", "5x10"), series(f"tiergate:budget:burn30m{BUDGET}", "9x10")], "5m",
    ),
    "TiergateBudgetUsedUp": (
        [series(f"tiergate_budget_used_ratio{BUDGET}", "0.97x10")], "5m",
        [series(f"tiergate_budget_used_ratio{BUDGET}", "0.94x10")], "5m",
    ),
    "TiergateBudgetRefuses": (
        [series(f'tiergate_problems_total{{{AT}, problem="budget"}}', "_x5 1x20")], "8m",
        [series(f'tiergate_problems_total{{{AT}, problem="budget"}}', "7x40")], "30m",
    ),
    "TiergateUnknownPrice": (
        [series(f'tiergate_calls_unpriced_total{{{AT}, provider="p", model="m"}}', "0x20 3x20")], "25m",
        [series(f'tiergate_calls_unpriced_total{{{AT}, provider="p", model="m"}}', "3x120")], "100m",
    ),
    "TiergateBillDiffers": (
        [series(BILLED_MORE, "0+1x120"), series(BILLED_LESS, "0x120"), series(COST, "0+10x120")], "100m",
        [series(BILLED_MORE, "0+1x120"), series(BILLED_LESS, "0x120"), series(COST, "0+90x120")], "100m",
    ),
    "TiergateUpgradeShare": (
        [*WEEK, series(SHARE, f"0.2x{DAY} 0.27x120"), series(MANY, f"200x{DAY + 120}")], f"{DAY + 30}m",
        [*WEEK, series(SHARE, f"0.2x{DAY} 0.25x120"), series(MANY, f"200x{DAY + 120}")], f"{DAY + 30}m",
    ),
    "TiergateAway": (
        [series(f"up{{{AT}}}", "1x5 0x10")], "8m",
        [series(f"up{{{AT}}}", "1x20")], "8m",
    ),
    "TiergateErrors": (
        [series(f"tiergate:errors:ratio5m{{{JOB}}}", "0.2x20"), series(f'tiergate_calls_total{{{AT}, state="failed"}}', "0+2x20")], "12m",
        [series(f"tiergate:errors:ratio5m{{{JOB}}}", "0.04x20"), series(f'tiergate_calls_total{{{AT}, state="failed"}}', "0+2x20")], "12m",
    ),
    "TiergateTargetOut": (
        [series(f"tiergate_targets_out{{{AT}}}", "1x20")], "10m",
        [series(f"tiergate_targets_out{{{AT}}}", "1x3 0 1x3 0 1x3 0x9")], "10m",
    ),
    "TiergateOverload": (
        [series(f"tiergate_pressure{{{AT}}}", "2x20")], "10m",
        [series(f"tiergate_pressure{{{AT}}}", "0x20")], "10m",
    ),
    "TiergateRedisAway": (
        [series(f"tiergate_redis_up{{{AT}}}", "1x3 0x10")], "8m",
        [series(f"tiergate_redis_up{{{AT}}}", "1x20")], "8m",
    ),
    "TiergateKeyDatabaseAway": (
        [series(f"tiergate_key_database_up{{{AT}}}", "1x3 0x10")], "8m",
        [series(f"tiergate_key_database_up{{{AT}}}", "1x20")], "8m",
    ),
    "TiergateLedgerLag": (
        [series(f"tiergate_ledger_feed_lag_seconds{{{AT}}}", "0+60x30")], "20m",
        [series(f"tiergate_ledger_feed_lag_seconds{{{AT}}}", "4x30")], "20m",
    ),
    "TiergateSinkLag": (
        [series(f'tiergate_ledger_sink_lag_seconds{{{AT}, sink="lake"}}', "0+60x30")], "28m",
        [series(f'tiergate_ledger_sink_lag_seconds{{{AT}, sink="lake"}}', "300x30")], "28m",
    ),
    "TiergateLedgerFails": (
        [series(f'tiergate_ledger_failures_total{{{AT}, what="write"}}', "0+3x20")], "10m",
        [series(f'tiergate_ledger_failures_total{{{AT}, what="write"}}', "9x20"), series(f"tiergate_ledger_late_rows{{{AT}}}", "0x20")], "10m",
    ),
    "TiergateLedgerLost": (
        [series(f"tiergate_ledger_lost_rows_total{{{AT}}}", "0x5 4x10")], "8m",
        [series(f"tiergate_ledger_lost_rows_total{{{AT}}}", "4x20")], "15m",
    ),
    "TiergateLedgerDamaged": (
        [series(f"tiergate_ledger_damaged_rows_total{{{AT}}}", "_x5 2x10")], "8m",  # of a new process
        [series(f"tiergate_ledger_damaged_rows_total{{{AT}}}", "2x120")], "110m",
    ),
    "TiergateConfigRefused": (
        [series(f"tiergate_config_refused{{{AT}}}", "1x20")], "10m",
        [series(f"tiergate_config_refused{{{AT}}}", "0x20")], "10m",
    ),
}  # fmt: skip
"""For each alert: one figure a minute that makes it fire, and when; and figures that do not, and when."""


def run(folder: Path, path: Path, tests: list[dict[str, Any]]) -> None:
    """Run promtool's tests of rules."""
    file = folder / "test.yml"
    document = {"rule_files": [str(path)], "evaluation_interval": "1m", "tests": tests}
    file.write_bytes(jsonio.dumps(document))
    promtool("test", "rules", str(file))


def test_promtool_accepts_the_shipped_files(tmp_path: Path) -> None:
    """The key's file is there, as compose writes it."""
    assert f"SUCCESS: {len(rules(RULES))} rules found" in promtool("check", "rules", str(RULES))
    assert f"SUCCESS: {len(rules(ALERTS))} rules found" in promtool("check", "rules", str(ALERTS))
    shutil.copytree(RULES.parent, tmp_path, dirs_exist_ok=True)
    key, file = tmp_path / "key", tmp_path / "prometheus.yml"
    key.write_text("chosen")
    file.write_text(file.read_text().replace("/tmp/metrics-key", str(key)))  # noqa: S108
    promtool("check", "config", str(file))


def test_every_alert_has_a_case() -> None:
    assert [rule["alert"] for rule in rules(ALERTS)] == list(CASES)


def test_rules_and_alerts_use_only_metrics_and_figures_that_exist() -> None:
    recorded = {rule["record"] for rule in rules(RULES)}
    for rule in rules(RULES) + rules(ALERTS):
        assert board.metrics(rule["expr"]) <= documented_metrics(), rule
        assert board.recorded_names(rule["expr"]) <= recorded, rule


def alert(name: str, at: str, figures: list[dict[str, str]], *, raised: bool) -> dict[str, Any]:
    """Make a promtool test: the alert fires once, with its words filled in, or not at all."""
    (rule,) = [candidate for candidate in rules(ALERTS) if candidate["alert"] == name]
    query = f'count(ALERTS{{alertname="{name}", alertstate="firing", severity="{rule["labels"]["severity"]}"}}) or vector(0)'  # fmt: skip
    return {
        "interval": "1m",
        "input_series": figures,
        "promql_expr_test": [
            {"expr": query, "eval_time": at, "exp_samples": [{"labels": "{}", "value": int(raised)}]}
        ],
    }  # fmt: skip


def test_each_alert_fires_on_its_figures_and_not_on_usual_ones(tmp_path: Path) -> None:
    tests = []
    for name, (firing, firing_at, quiet, quiet_at) in CASES.items():
        tests += [
            alert(name, firing_at, firing, raised=True),
            alert(name, quiet_at, quiet, raised=False),
        ]
    run(tmp_path, ALERTS, tests)


def test_an_alert_does_not_fire_before_its_time(tmp_path: Path) -> None:
    """Three alerts wait: a target out for four minutes, and a share that jumps in few calls or is new."""
    few_calls = [*WEEK, series(SHARE, f"0.2x{DAY} 0.9x120"), series(MANY, f"40x{DAY + 120}")]
    new_share = [*WEEK, series(SHARE, f"_x{DAY - 60} 0.9x180"), series(MANY, f"200x{DAY + 120}")]
    target_out = [series(f"tiergate_targets_out{{{AT}}}", "0x5 1x20")]
    run(
        tmp_path,
        ALERTS,
        [
            alert("TiergateTargetOut", "9m", target_out, raised=False),
            alert("TiergateTargetOut", "11m", target_out, raised=True),
            alert("TiergateUpgradeShare", f"{DAY + 30}m", few_calls, raised=False),
            alert("TiergateUpgradeShare", f"{DAY + 30}m", new_share, raised=False),
        ],
    )


def test_an_alert_fires_if_no_gateway_is_left_to_scrape(tmp_path: Path) -> None:
    """The alert also fires if Prometheus has no gateway left to scrape."""
    run(tmp_path, ALERTS, [alert("TiergateAway", "5m", [], raised=True)])


def test_an_alert_names_the_budget_and_the_amount(tmp_path: Path) -> None:
    figures, at, _, _ = CASES["TiergateBudgetUsedUp"]
    expected = {
        "eval_time": at,
        "alertname": "TiergateBudgetUsedUp",
        "exp_alerts": [
            {
                "exp_labels": {"job": "tiergate", "budget": "team", "severity": "page"},
                "exp_annotations": {
                    "summary": "Budget team is used up",
                    "description": "97% of it is spent or held: calls are refused, or go to a cheaper tier.",
                },
            }
        ],
    }
    run(
        tmp_path,
        ALERTS,
        [{"interval": "1m", "input_series": figures, "alert_rule_test": [expected]}],
    )


RECORDED: dict[str, tuple[list[dict[str, str]], str, str, float]] = {
    "USD in an hour": (
        [series(cost("cost_usd_total"), "0+0.5x120")], "90m",
        'tiergate:cost_usd:increase1h{lab="acme"}', 30,
    ),
    "saved": (
        [series(cost("compared_usd_total"), "0+1x120"), series(cost("baseline_usd_total"), "0+4x120")], "90m",
        "tiergate:saved_ratio:1d", 0.75,
    ),
    "failed": (
        [series(f'tiergate_calls_total{{{AT}, state="failed"}}', "0+1x20"), series(f'tiergate_calls_total{{{AT}, state="settled"}}', "0+3x20"),
         series(f'tiergate_calls_total{{{AT}, state="refused"}}', "0+50x20")], "15m",
        "tiergate:errors:ratio5m", 0.25,
    ),
    "attempts": (
        [series(f'tiergate_attempts_total{{{AT}, provider="p", model="m", problem="upstream_error"}}', "0+1x20"),
         series(f'tiergate_attempts_total{{{AT}, provider="p", model="m", problem=""}}', "0+1x20")], "15m",
        "tiergate:attempt_errors:ratio5m", 0.5,
    ),
    "fallbacks": (
        [series(f'tiergate_fallbacks_total{{{AT}, provider="p", model="m"}}', "0+1x20"),
         series(f'tiergate_calls_total{{{AT}, state="settled"}}', "0+10x20")], "15m",
        "tiergate:fallbacks:ratio5m", 0.1,
    ),
    "hits": (
        [series(f'tiergate_calls_total{{{AT}, cache="hit"}}', "0+1x20"), series(f'tiergate_calls_total{{{AT}, cache="near"}}', "0+1x20"), series(f'tiergate_calls_total{{{AT}, cache="miss"}}', "0+6x20"),
         series(f'tiergate_calls_total{{{AT}, cache="off"}}', "0+9x20")], "15m",
        "tiergate:cache_hits:ratio5m", 0.25,
    ),
    "first content": (
        [series(f'tiergate_first_content_seconds_bucket{{{AT}, tier="fast", le="0.5"}}', "0+90x20"),
         series(f'tiergate_first_content_seconds_bucket{{{AT}, tier="fast", le="1.5"}}', "0+100x20"),
         series(f'tiergate_first_content_seconds_bucket{{{AT}, tier="fast", le="+Inf"}}', "0+100x20")], "15m",
        "tiergate:first_content_seconds:p95_5m", 1.0,
    ),
    "a budget's end": (  # 0.3 after 30 minutes, 0.01 a minute, and an hour to go
        [series(f"tiergate_budget_used_ratio{BUDGET}", "0+0.01x120"), series(f"tiergate_budget_end_timestamp_seconds{BUDGET}", "5400x120")], "30m",
        "tiergate:budget:projected_ratio", 0.9,
    ),
    "how fast a budget burns": (  # 1% a minute of a window of 30 days: 432 times too fast
        [series(f"tiergate_budget_used_ratio{BUDGET}", "0+0.01x90"), series(f"tiergate_budget_end_timestamp_seconds{BUDGET}", "2592000x90"),
         series(f"tiergate_budget_start_timestamp_seconds{BUDGET}", "0x90")], "80m",
        "tiergate:budget:burn5m", 432.0,
    ),
    "how fast it burns in an hour": (
        [series(f"tiergate_budget_used_ratio{BUDGET}", "0+0.01x90"), series(f"tiergate_budget_end_timestamp_seconds{BUDGET}", "2592000x90"),
         series(f"tiergate_budget_start_timestamp_seconds{BUDGET}", "0x90")], "80m",
        "tiergate:budget:burn1h", 432.0,
    ),
    "upgrades": (
        [series(f'tiergate_decisions_total{{{AT}, tier="fast", source="classifier"}}', "0+6x120"),
         series(f'tiergate_decisions_total{{{AT}, tier="smart", source="rule"}}', "0+2x120"),
         series(f'tiergate_decisions_total{{{AT}, tier="reasoning", source="pin"}}', "0+90x120")], "90m",
        "tiergate:upgrade_share:1h", 0.25,
    ),
    "no upgrades": (
        [series(f'tiergate_decisions_total{{{AT}, tier="fast", source="classifier"}}', "0+6x120")], "90m",
        "tiergate:upgrade_share:1h", 0.0,
    ),
}  # fmt: skip
"""One figure a minute, the time of the check, the recorded figure, and its value."""


def recorded(at: str, figures: list[dict[str, str]], query: str, value: float) -> dict[str, Any]:
    """Make a promtool test of a recorded figure, to six decimal places."""
    sample = {"labels": "{}", "value": value}
    expr = f"round(sum({query}), 0.000001)"
    return {
        "interval": "1m",
        "input_series": figures,
        "promql_expr_test": [{"expr": expr, "eval_time": at, "exp_samples": [sample]}],
    }


def test_each_recorded_figure_has_the_value_of_its_name(tmp_path: Path) -> None:
    run(
        tmp_path,
        RULES,
        [recorded(at, figures, query, value) for figures, at, query, value in RECORDED.values()],
    )


def test_the_usual_deviation_is_by_chance_or_from_hour_to_hour(tmp_path: Path) -> None:
    """The larger one counts: even a share that never changes varies by chance in so few calls."""
    fast = f'tiergate_decisions_total{{{AT}, tier="fast", source="classifier"}}'
    smart = f'tiergate_decisions_total{{{AT}, tier="smart", source="classifier"}}'
    steady = [series(fast, "0+4x300"), series(smart, "0+1x300")]
    # For two hours all calls go to fast, then for two hours to smart: 0 and 1, and values between.
    changing = [series(fast, "0+5x120 600x120"), series(smart, "0x120 0+5x120")]
    run(
        tmp_path,
        RULES,
        [
            recorded("280m", steady, "tiergate:upgrade_share:mean7d", 0.2),
            recorded("280m", steady, "tiergate:upgrade_share:sigma7d", 0.023094),
            recorded("239m", changing, "tiergate:upgrade_share:sigma7d > bool 0.2", 1),
        ],
    )


@pytest.mark.parametrize("rule", rules(ALERTS), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_severity_and_a_description(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "description"}


def test_the_documentation_lists_each_alert_with_its_severity() -> None:
    """Each line has the alert's severity."""
    documented = {
        pages.codes(row[0])[0]: row[1] for row in pages.table("alert", "observing.md").rows
    }
    assert documented == {rule["alert"]: rule["labels"]["severity"] for rule in rules(ALERTS)}
