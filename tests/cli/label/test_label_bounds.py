"""The bounds of the command `label`: its budget, and where prompts may go."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.label.scene import CAP, LabelScene, mixed, open_scene, user
from tests.e2e.upstream import PATIENCE, Answer, Request, whole

ROOT = Path(__file__).parents[3]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[LabelScene]:
    with open_scene(tmp_path) as made:
        yield made


class HostileProvider:
    """A provider that bills all that a request allows, whatever it answers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.billed = Decimal(0)
        self.requests = 0

    def __call__(self, request: Request) -> Answer:
        body = request.json
        low, high = {"swift-1": ("0.1", "0.4"), "able-1": ("1", "4"), "else-1": ("2", "8")}[
            body["model"]
        ]
        prompt, answer = len(request.body) + 1_900, body["max_completion_tokens"]
        with self.lock:
            self.requests += 1
            self.billed += (Decimal(low) * prompt + Decimal(high) * answer) / 1_000_000
        text = '{"better": "same"}' if body["model"] == "else-1" else "right"
        return whole(text, counts=(prompt, answer))


@pytest.mark.parametrize("budget", ["0.01", "0.1", "0.3"])
@pytest.mark.parametrize("parallel", ["1", "8"])
def test_a_provider_that_bills_all_it_may_never_passes_the_budget(
    scene: LabelScene, budget: str, parallel: str
) -> None:
    scene.serve(mixed(30))
    hostile = HostileProvider()
    scene.upstream.on("/", hostile)
    result = scene.label("--sample", "30", "--parallel", parallel, budget=budget)
    assert result.exit_code == 3
    assert "the budget has less left than one more prompt may cost" in result.output
    assert hostile.billed <= Decimal(budget)
    assert sum(row.cost or 0 for row in scene.own_rows) == hostile.billed
    assert hostile.requests == 4 * len(scene.labels)  # no prompt is paid for in part
    if budget == "0.3":
        assert len(scene.labels) > 2
        assert hostile.billed > Decimal("0.2")


def test_the_limiter_alone_holds_the_budget(
    scene: LabelScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget holds also if the command itself would ask more than it may."""

    async def reserve(*_: object) -> bool:
        return True

    monkeypatch.setattr("gateway.cli.spending.RunBudget.reserve", reserve)
    scene.serve(mixed(20))
    hostile = HostileProvider()
    scene.upstream.on("/", hostile)
    result = scene.label("--sample", "20", budget="0.05")
    assert "(an answer with status 429)" in result.output
    assert 0 < hostile.billed <= Decimal("0.05")


def test_answers_of_unknown_cost_stay_charged_with_the_most(scene: LabelScene) -> None:
    scene.serve(mixed(20))
    scene.upstream.on("/", lambda _: whole("right", counts=None))
    result = scene.label("--sample", "20", budget="0.05", judge=None)
    assert result.exit_code == 3
    assert "the budget has less left" in result.output
    reserved = sum((row.cost or 0) + (row.reserved or 0) for row in scene.own_rows)
    assert reserved <= Decimal("0.05")


def test_a_target_of_unknown_price_is_not_asked(scene: LabelScene) -> None:
    scene.serve(mixed(2))
    del scene.value["models"]["able-1"]
    result = scene.label("--sample", "2")
    assert result.exit_code == 3
    assert "2 (the most that acme/able-1 may cost is unknown)" in result.output
    assert scene.provider.asked == []


def test_a_lab_that_a_guard_denies_gets_neither_prompt_nor_comparison(scene: LabelScene) -> None:
    scene.serve([user("Prove that our secret plan is odd."), *mixed(4)])
    scene.value["guards"] = [
        {"name": "plans stay", "when": {"keywords": "secret plan"}, "deny": ["other"]}
    ]
    result = scene.label("--sample", "9")
    assert "1 (the gateway refuses it: not_allowed)" in result.output, result.output
    assert len(scene.labels) == 4
    assert not any("secret plan" in text for _, text in scene.provider.asked)


def test_a_judge_of_an_allowed_lab_sees_what_another_may_not(scene: LabelScene) -> None:
    scene.serve([user("Prove that our secret plan is odd.")])
    scene.value["guards"] = [
        {"name": "plans stay", "when": {"keywords": "secret plan"}, "deny": ["other"]}
    ]
    scene.label("--sample", "1", judge="acme/reasoning")
    assert {model for model, _ in scene.provider.asked} == {"swift-1", "able-1", "deep-1"}


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        ({"judge": "off"}, "a guard keeps it from judges"),
        ({"refuse": "No."}, "a guard refuses it"),
        ({"max_tier": "fast"}, "a guard keeps it from smart"),
        ({"min_tier": "smart"}, "a guard keeps it from fast"),
        ({"deny": ["acme"]}, "the gateway refuses it: no_target"),
    ],
)
def test_guards_keep_prompts_from_being_asked(
    scene: LabelScene, effect: dict[str, Any], reason: str
) -> None:
    scene.serve([user("Prove that our secret plan is odd.")])
    scene.value["guards"] = [{"name": "plans", "when": {"keywords": "secret plan"}, **effect}]
    result = scene.label("--sample", "1")
    assert f"1 ({reason})" in result.output, result.output
    assert scene.provider.asked == []


def test_the_scope_of_a_key_holds_for_its_prompts(scene: LabelScene) -> None:
    secret = "key-of-app-0123456789"
    keys = scene.folder / "keys.yaml"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    keys.write_text(json.dumps({"app": {"sha256": digest}}))
    keys.chmod(0o600)
    scene.value["keys"] = "keys.yaml"
    scene.serve(mixed(2), authorization=f"Bearer {secret}")
    keys.write_text(json.dumps({"app": {"sha256": digest, "labs": ["acme"]}}))
    result = scene.label("--sample", "2")
    assert "2 (the gateway refuses it: " in result.output, result.output
    assert scene.provider.asked == []
    assert scene.label("--sample", "2", judge="acme/reasoning").exit_code == 0
    assert {row.key for row in scene.own_rows} == {"app"}
    assert scene.labels[0]["key"] == "app"
    keys.write_text(json.dumps({"other": {"sha256": digest}}))
    scene.out.unlink()
    gone = scene.label("--sample", "2", judge="acme/reasoning")
    assert "2 (its key is gone)" in gone.output


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_what_is_paid_stays_when_the_command_is_interrupted(
    scene: LabelScene, ending: signal.Signals
) -> None:
    scene.serve(mixed(12))
    scene.write()
    answered = threading.Event()
    honest = scene.provider

    def answer(request: Request) -> Answer:
        if sum(model == "else-1" for model, _ in honest.asked) >= 8:
            answered.set()
            return Answer(status=0, end="stall")
        return honest(request)

    scene.upstream.on("/", answer)
    words = ["--config", str(scene.file), "label", "--sample", "12", "--budget", "1",
             "--max-output", str(CAP), "--judge", "other/smart", "--parallel", "1",
             "--out", str(scene.out)]  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-m", "gateway", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **scene.environ},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert answered.wait(PATIENCE * 3)
    until = time.monotonic() + PATIENCE
    while len(scene.labels) < 4 and time.monotonic() < until:
        pass
    child.send_signal(ending)
    output, _ = child.communicate(timeout=PATIENCE * 2)
    assert child.returncode == (130 if ending is signal.SIGINT else -signal.SIGKILL), output
    assert "Traceback" not in output
    kept = scene.labels
    assert len(kept) == 4
    scene.upstream.on("/", honest)
    honest.asked.clear()
    assert scene.label("--sample", "12").exit_code == 0
    assert scene.labels[:4] == kept
    assert len({row["digest"] for row in scene.labels}) == len(scene.labels) == 12
    assert sum(model == "swift-1" for model, _ in honest.asked) == 8


def test_two_commands_do_not_write_one_file(scene: LabelScene) -> None:
    from gateway.cli.label.label_file import LabelFile  # noqa: PLC0415

    scene.serve(mixed(1))
    with LabelFile(scene.out):
        result = scene.label("--sample", "1")
    assert result.exit_code == 1
    assert "is being written by another command" in result.output
