"""`tiergate train`: a model file with its card from labels, if it beats chance."""

import csv
import json
from pathlib import Path
from random import Random

import msgspec
import pytest

from gateway.evaluation.labels import Label
from gateway.evaluation.training import fit
from gateway.routing.classifier import model_file as files
from tests.cli.run import GOOD, ON, config, run
from tests.evaluation.training import lesson


@pytest.fixture(autouse=True)
def small_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train as usual, but with the small settings of these tests."""
    monkeypatch.setattr(fit, "SHIPPED", lesson.SMALL)


def write_labels(folder: Path, labels: list[Label]) -> Path:
    file = folder / "labels.csv"
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["prompt", "fast", "smart", "reasoning", "source"])
        for label in labels:
            table.writerow([label.prompt, *(label.scores.get(tier, "") for tier in ("fast", "smart", "reasoning")), label.source])  # fmt: skip
    return file


def shuffled_labels() -> list[Label]:
    rng, labels = Random(1), lesson.labels()
    scores = [label.scores for label in labels]
    rng.shuffle(scores)
    return [
        msgspec.structs.replace(label, scores=shuffled)
        for label, shuffled in zip(labels, scores, strict=True)
    ]


def test_train_writes_a_model_with_its_card_that_the_gateway_can_use(tmp_path: Path) -> None:
    out = tmp_path / "mine.tiergate"
    result = run(
        "train", write_labels(tmp_path, lesson.labels()), "--out", out, "--date", "2026-11-26",
        "--licence", "MIT", "--data", "made up", "--limit", "knows no German",
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    artefact = files.read(out.read_bytes())
    assert result.stdout.splitlines()[-1] == (
        f"{artefact.id} is in {out}: {out.stat().st_size:,} bytes, hash {artefact.hash}."
    )
    card = json.loads(out.with_suffix(".json").read_text())
    assert card == artefact.card
    assert card["licence"] == "MIT"
    assert card["date"] == "2026-11-26"
    assert card["limits"] == ["knows no German"]
    assert card["held_out"]["better"] is True
    assert card["rows"] == {"chat": 160, "code": 160, "exam": 160}
    config_file = config(tmp_path, GOOD + "routing: {classifier: ./mine.tiergate}\n")
    explained = run("--config", config_file, "explain", " ".join(lesson.HARD), environ=ON)
    assert explained.exit_code == 0
    assert "its words say" in explained.stdout


def test_the_same_labels_and_seed_write_the_same_bytes(tmp_path: Path) -> None:
    file = write_labels(tmp_path, lesson.labels())
    outs = [tmp_path / name for name in ("a.tiergate", "b.tiergate")]
    for out in outs:
        assert run("train", file, "--out", out, "--date", "2026-11-26").exit_code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_train_writes_no_model_that_is_no_better_than_chance(tmp_path: Path) -> None:
    """With --force it is written; the exit status is the same in both cases."""
    out, file = tmp_path / "mine.tiergate", write_labels(tmp_path, shuffled_labels())
    result = run("train", file, "--out", out)
    assert result.exit_code == 3
    assert "no better than chance" in result.stderr
    assert not out.exists()
    assert run("train", file, "--out", out, "--force").exit_code == 3
    assert files.read(out.read_bytes()).card["held_out"]["better"] is False


def test_thorough_judges_five_parts_and_unseen_sources(tmp_path: Path) -> None:
    out = tmp_path / "mine.tiergate"
    result = run("train", write_labels(tmp_path, lesson.labels()), "--out", out, "--thorough")
    assert result.exit_code == 0
    card = json.loads(out.with_suffix(".json").read_text())
    for name in ("five_parts", "unseen_sources"):
        assert card[name]["rows"] == 480
        assert set(card[name]["sources"]) == {"chat", "code", "exam"}
        assert f"{name.replace('_', ' ')}: APGR " in result.stdout
    unnamed_sources = [msgspec.structs.replace(label, source="") for label in lesson.labels()]
    assert (
        run("train", write_labels(tmp_path, unnamed_sources), "--out", out, "--thorough").exit_code
        == 0
    )
    assert "unseen_sources" not in json.loads(out.with_suffix(".json").read_text())


def test_train_reports_too_few_labels(tmp_path: Path) -> None:
    result = run("train", write_labels(tmp_path, lesson.labels(10)), "--out", tmp_path / "x")
    assert result.exit_code == 1
    assert "10 labels have scores of fast and smart; 100 are needed." in result.stderr


def test_train_reports_a_path_that_it_cannot_write(tmp_path: Path) -> None:
    out = tmp_path / "none" / "x.tiergate"
    result = run("train", write_labels(tmp_path, lesson.labels()), "--out", out)
    assert result.exit_code == 1
    assert "cannot be written: no such file or directory." in result.stderr


def test_train_fails_when_the_held_out_labels_give_no_figure(tmp_path: Path) -> None:
    """If smart is never better on the held-out prompts, no figure can be computed."""
    labels = lesson.labels()
    rare = [
        msgspec.structs.replace(label, scores={"fast": 0.0, "smart": float(index == 7)}, source="")
        for index, label in enumerate(labels)
    ]
    result = run("train", write_labels(tmp_path, rare), "--out", tmp_path / "x")
    assert result.exit_code == 3
    assert "held out: APGR unknown, shuffled unknown" in result.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: no such file or directory."), (b"{}", "cannot be used: it is no art")],
)
def test_a_configuration_without_its_model_file_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "mine.tiergate").write_bytes(content)
    file = config(tmp_path, GOOD + "routing: {classifier: mine.tiergate}\n")
    result = run("--config", file, "check", environ=ON)
    assert result.exit_code == 1
    assert message in result.output
    assert "routing.classifier" in result.output
