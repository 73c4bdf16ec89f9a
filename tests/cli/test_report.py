"""The command `report`: what routing saved, and what it cost in quality."""

import json
import time
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import Result

from gateway.core.ledger_rows import FinalRow
from gateway.ledger.journal import Journal
from tests.cli.run import GOOD, config, run
from tests.ledger.rows import entry

ROUTED = GOOD.replace("tier: reasoning", "tier: smart") + (
    "routing: {classifier: 'off'}\nledger: {baseline: smart}\n"
)


class ReportScene:
    """A ledger of calls of which half are hard, and labels of their prompts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = ROUTED.replace("default: {lab: acme}", "default: {lab: acme, tier: fast}")
        self.labels = folder / "labels.jsonl"

    def write(self, *rows: FinalRow) -> None:
        journal = Journal(self.folder / "data" / "ledger")
        for row in rows:
            journal.write(row)
        journal.close()

    def write_labels(self, count: int, *, fails: float = 0.0, **changes: Any) -> None:
        rng = Random(1)
        rows = []
        for number in range(count):
            is_hard = number % 2
            fast = 0.0 if is_hard or rng.random() < fails else 1.0
            prompt = f"{'prove' if is_hard else 'say'} {number}"
            rows.append({"prompt": prompt, "fast": fast, "smart": 1.0, **changes})
        self.labels.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def run(self, *words: str | Path) -> Result:
        environ = {"TIERGATE_DATA": str(self.folder / "data"), "ACME_API_KEY": "sk-acme-0123456789"}
        return run("--config", config(self.folder, self.text), "report", *words, environ=environ)


def month(conversations: int = 60) -> list[FinalRow]:
    rng, now = Random(2), time.time()
    return [
        entry(
            f"{number}-{turn}", at=now - number, conversation=f"c{number}", source="rule",
            wasted=Decimal(0), baseline=baseline,
            cost=baseline if number % 2 else baseline / 4,
        )
        for number in range(conversations)
        for turn in range(rng.randint(1, 4))
        for baseline in (Decimal(rng.randint(20, 90)) / 10_000,)
    ]  # fmt: skip


@pytest.fixture
def scene(tmp_path: Path) -> ReportScene:
    return ReportScene(tmp_path)


def test_a_saving_with_its_quality_is_claimed(scene: ReportScene) -> None:
    rows = month()
    scene.write(*rows, entry("own", at=time.time(), tags=("label",), cost=Decimal("0.125")))
    scene.write_labels(80, fails=0.1)
    result = scene.run("--labels", scene.labels)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    cost, baseline = (sum(getattr(row, name) for row in rows) for name in ("cost", "baseline"))
    assert lines[0] == (
        f"{len(rows)} calls that the router decided: {cost:.6f} USD. On smart: {baseline:.6f} USD."
    )
    assert lines[1] == "Labels cost 0.125000 USD beside that."
    assert lines[2] == "80 labels; routing picks fast 50%, smart 50%."
    assert lines[-1].startswith(f"Routing saved {1 - cost / baseline:.1%} (")
    assert lines[-1].endswith(" lower. The same tiers shuffled keep less.")
    value = json.loads(scene.run("--labels", scene.labels, "--json").output)
    assert value["claimed"] is True
    assert value["money"]["saved"] == f"{baseline - cost:f}"
    assert value["quality"]["gain"]["low"] > 0


def test_without_labels_nothing_is_claimed_and_it_says_why(scene: ReportScene) -> None:
    scene.write(*month())
    result = scene.run()
    assert result.exit_code == 3
    assert "saved, of always smart" in result.output
    last = result.output.splitlines()[-1]
    assert last.startswith("Nothing can be claimed: no label has scores of smart")


def test_without_a_ledger_nothing_is_claimed(scene: ReportScene) -> None:
    result = scene.run()
    assert result.exit_code == 3
    assert "Nothing can be claimed: the router has decided no call" in result.output
    assert not (scene.folder / "data" / "ledger.db").exists()


def test_calls_are_chosen_by_time_lab_and_tenant(scene: ReportScene) -> None:
    now = time.time()
    plain: dict[str, Any] = {"source": "rule", "baseline": Decimal(1), "wasted": Decimal(0)}
    scene.write(
        entry("a", at=now - 10, lab="acme", **plain),
        entry("b", at=now - 10, lab="other", **plain),
        entry("c", at=now - 10, lab="acme", tenant="web", **plain),
        entry("d", at=now - 9_000, lab="acme", **plain),
        entry("e", at=now - 40 * 86_400, lab="acme", **plain),
    )

    def count(*words: str) -> int:
        return int(json.loads(scene.run("--json", *words).output)["money"]["calls"])

    assert count() == 4
    assert count("--since", "60d") == 5
    assert count("--since", "1h", "--lab", "acme") == 2
    assert count("--lab", "acme", "--tenant", "default") == 2


def test_what_is_unknown_or_refused_is_counted(scene: ReportScene) -> None:
    scene.text += "budgets: []\n"
    scene.text = scene.text.replace(
        "guards:\n", "guards:\n- {name: none, when: {keywords: say}, refuse: No.}\n"
    )
    rows = month()
    judge = entry("j", at=time.time(), tags=("judge",), source="pin", cost=Decimal("0.01"), wasted=Decimal(0))  # fmt: skip
    unknown = entry("u", at=time.time(), source="rule", cost=None)
    scene.write(*rows, judge, unknown)
    scene.write_labels(10)
    result = scene.run("--labels", scene.labels)
    assert "0.010000 USD of that are of models that help to decide." in result.output
    assert "1 more have an unknown cost or no baseline." in result.output
    assert "5 labels are left out: their call is refused." in result.output


def test_a_tier_without_scores_is_noted(scene: ReportScene) -> None:
    scene.text = scene.text.replace("tier: smart}", "tier: reasoning}")
    scene.write(*month())
    scene.write_labels(60, key="app")
    result = scene.run("--labels", scene.labels)
    assert "30 picked a tier without a score: the nearest stands in." in result.output


def test_wrong_labels_are_named(scene: ReportScene) -> None:
    scene.labels.write_text('{"prompt": "Hello"}\n')
    result = scene.run("--labels", scene.labels)
    assert result.exit_code == 1
    assert "labels.jsonl:1: error: no score of fast, smart or reasoning" in result.output
    assert scene.run("--since", "soon").exit_code == 2
