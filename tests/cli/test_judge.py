"""`tiergate judge calibrate`: asks a scripted decision model, and says what its answers mean."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.routing.judge_calibration import ProbabilityLine
from tests.cli.run import config, run
from tests.e2e.decision_model import decides, read_text
from tests.e2e.upstream import Answer, Request, Upstream, failing
from tests.e2e.world import Loop

CONFIG = """\
version: 1
default: {{lab: acme}}
routing: {{judge: {judge}}}
providers:
  acme:
    base_url: {url}/acme
    dialects: {{openai-chat: /chat/completions}}
    endpoints: {{{form}: ""}}
    accounts: {{main: sk-acme-0123456789}}
labs:
  acme: {{fast: [{{model: small}}], smart: [{{model: large}}]}}
models:
  small: {{price: {{input: 1, output: 2}}}}
  large: {{price: {{input: 3, output: 4}}}}
  {priced}: {{price: {{input: 0.1, output: 0}}}}
ledger: {{redact: ['PRJ-\\d+']}}
"""
JUDGE = "{kind: decision, model: acme/decide-1}"
TRUTH = ProbabilityLine(0.4, -0.3)
"""What a prompt's own probability means: the model is too sure."""


class Place:
    """A folder with a configuration, before a decision model."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.folder = folder
        self.upstream = upstream

    def write_labels(self, count: int, *, is_dealt: bool = False) -> Path:
        """Write labels; if `is_dealt`, they have nothing to do with their prompts."""
        rng, rows, tiers = Random(4), [], []
        for number in range(count):
            fast = round(rng.random(), 3)
            is_fast = rng.random() < TRUTH.apply(fast)
            tiers.append(
                "fast" if is_fast else "smart" if rng.random() < TRUTH.apply(fast) else "reasoning"
            )
            rows.append(f"{fast} PRJ-{number}")
        if is_dealt:
            rng.shuffle(tiers)
        file = self.folder / "labels.jsonl"
        file.write_text(
            "\n".join(
                json.dumps({"prompt": row, "tier": tier})
                for row, tier in zip(rows, tiers, strict=True)
            )
        )
        return file

    def run(
        self,
        *words: str | Path,
        form: str = "openai-decisions",
        judge: str = JUDGE,
        priced: str = "decide-1",
    ) -> Any:
        text = CONFIG.format(url=self.upstream.url, form=form, judge=judge, priced=priced)
        return run(
            "--config", config(self.folder, text), "judge", "calibrate", *words,
            environ={"TIERGATE_DATA": str(self.folder / "data")},
        )  # fmt: skip


def answer_by_prompt(request: Request) -> Answer:
    """Answer with the probability that stands in the prompt."""
    fast = float(read_text(request).partition(" ")[0])
    return decides(fast, (1 - fast) / 2, (1 - fast) / 2)(request)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    loop, upstream = Loop(), Upstream()
    loop.run(upstream.start())
    upstream.on("/acme", answer_by_prompt)
    yield Place(tmp_path, upstream)
    loop.run(upstream.stop())
    loop.close()


@pytest.mark.parametrize("form", ["openai-decisions", "systemone"])
def test_the_judge_is_asked_and_its_calibration_is_printed(place: Place, form: str) -> None:
    result = place.run(place.write_labels(400), "--json", form=form)
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert (report["asked"], len(place.upstream.requests)) == (400, 400)
    assert float(report["usd"]) == pytest.approx(400 * 90 * 0.1 / 1e6)
    fast = report["fast"]
    assert fast["labels"] == 400
    assert fast["before"]["ece"] > 0.1 > fast["after"]["ece"]
    assert fast["after"]["brier"] < fast["shuffled_brier"]
    assert report["calibration"]["fast"][0] == pytest.approx(0.4, abs=0.15)
    assert {request.json["model"] for request in place.upstream.requests} == {"decide-1"}
    assert {read_text(request).partition(" ")[2] for request in place.upstream.requests} == {
        "[struck out]"
    }


def test_the_printed_lines_are_configuration(place: Place) -> None:
    result = place.run(place.write_labels(200))
    assert result.exit_code == 0
    assert "200 questions cost 0.001800 USD; 0 have no verdict" in result.stdout
    line = next(row.strip() for row in result.stdout.splitlines() if "calibration:" in row)
    judge = JUDGE.replace("}", f", {line}}}", 1)
    assert "{" in judge
    again = place.run(place.folder / "labels.jsonl", judge=judge)
    assert (again.exit_code, again.stdout) == (
        0,
        result.stdout,
    )  # it calibrates what the model says


def test_labels_that_have_nothing_to_do_with_the_answers_give_no_calibration(place: Place) -> None:
    result = place.run(place.write_labels(200, is_dealt=True))
    assert result.exit_code == 3
    assert "tells no more than chance" in result.stdout
    assert "routing:" not in result.stdout


def test_the_budget_is_never_exceeded(place: Place) -> None:
    file = place.write_labels(100)
    report = json.loads(place.run(file, "--json", "--budget", "0.0005").stdout)
    asked = len(place.upstream.requests)
    assert 0 < asked < 100
    assert report["asked"] == asked
    assert float(report["usd"]) <= 0.0005
    assert place.run(file, "--budget", "x").exit_code == 2


def test_a_model_that_fails_gives_no_verdicts(place: Place) -> None:
    place.upstream.on("/acme", failing(500))
    result = place.run(place.write_labels(60))
    assert result.exit_code == 3
    assert "60 have no verdict" in result.stdout
    assert "0 outcomes tell if fast suffices; 50 are needed" in result.stdout


@pytest.mark.parametrize(
    ("words", "more", "status", "expected"),
    [
        ((), {}, 2, "Name LABELS, or --from-ledger."),
        (("labels.jsonl", "--from-ledger"), {}, 2, "Name LABELS, or --from-ledger."),
        (("labels.jsonl",), {"judge": "{model: fast}"}, 1, "Only a decision model gives probabilities"),
        (("labels.jsonl",), {"priced": "other"}, 1, "The price of decide-1 is unknown"),
    ],
)  # fmt: skip
def test_what_cannot_be_calibrated_is_an_error(
    place: Place, words: tuple[str, ...], more: dict[str, str], status: int, expected: str
) -> None:
    place.write_labels(60)
    result = place.run(*(place.folder / word if "." in word else word for word in words), **more)
    assert (result.exit_code, expected in result.stderr) == (status, True), result.output
    assert not place.upstream.requests


def test_without_judged_calls_the_ledger_tells_nothing(place: Place) -> None:
    result = place.run("--from-ledger")
    assert result.exit_code == 3
    assert "0 outcomes tell if smart suffices; 50 are needed" in result.stdout
