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
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train as usual, but with the small settings of these tests."""
    monkeypatch.setattr(fit, "SHIPPED", lesson.SMALL)


def written(folder: Path, labels: list[Label]) -> Path:
    file = folder / "labels.csv"
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["prompt", "fast", "smart", "reasoning", "source"])
        for one in labels:
            table.writerow([one.prompt, *(one.scores.get(tier, "") for tier in ("fast", "smart", "reasoning")), one.source])  # fmt: skip
    return file


def noise() -> list[Label]:
    chance, known = Random(1), lesson.labels()
    scores = [label.scores for label in known]
    chance.shuffle(scores)
    return [
        msgspec.structs.replace(label, scores=own) for label, own in zip(known, scores, strict=True)
    ]


def test_an_artefact_and_its_card_are_written_and_can_be_used(tmp_path: Path) -> None:
    out = tmp_path / "mine.tiergate"
    result = run(
        "train", written(tmp_path, lesson.labels()), "--out", out, "--date", "2026-11-26",
        "--licence", "MIT", "--data", "made up", "--limit", "knows no German",
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    found = files.read(out.read_bytes())
    assert result.stdout.splitlines()[-1] == (
        f"{found.id} is in {out}: {out.stat().st_size:,} bytes, hash {found.hash}."
    )
    card = json.loads(out.with_suffix(".json").read_text())
    assert card == found.card
    assert card["licence"] == "MIT"
    assert card["date"] == "2026-11-26"
    assert card["limits"] == ["knows no German"]
    assert card["held_out"]["better"] is True
    assert card["rows"] == {"chat": 160, "code": 160, "exam": 160}
    own = config(tmp_path, GOOD + "routing: {classifier: ./mine.tiergate}\n")
    told = run("--config", own, "explain", " ".join(lesson.HARD), environ=ON)
    assert told.exit_code == 0
    assert "its words say" in told.stdout


def test_the_same_labels_and_seed_write_the_same_bytes(tmp_path: Path) -> None:
    file = written(tmp_path, lesson.labels())
    outs = [tmp_path / name for name in ("a.tiergate", "b.tiergate")]
    for out in outs:
        assert run("train", file, "--out", out, "--date", "2026-11-26").exit_code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_what_is_no_better_than_chance_is_not_written(tmp_path: Path) -> None:
    """With --force it is written; the exit status is the same in both cases."""
    out, file = tmp_path / "mine.tiergate", written(tmp_path, noise())
    result = run("train", file, "--out", out)
    assert result.exit_code == 3
    assert "no better than chance" in result.stderr
    assert not out.exists()
    assert run("train", file, "--out", out, "--force").exit_code == 3
    assert files.read(out.read_bytes()).card["held_out"]["better"] is False


def test_thorough_judges_five_parts_and_unseen_sources(tmp_path: Path) -> None:
    out = tmp_path / "mine.tiergate"
    result = run("train", written(tmp_path, lesson.labels()), "--out", out, "--thorough")
    assert result.exit_code == 0
    card = json.loads(out.with_suffix(".json").read_text())
    for name in ("five_parts", "unseen_sources"):
        assert card[name]["rows"] == 480
        assert set(card[name]["sources"]) == {"chat", "code", "exam"}
        assert f"{name.replace('_', ' ')}: APGR " in result.stdout
    alone = [msgspec.structs.replace(label, source="") for label in lesson.labels()]
    assert run("train", written(tmp_path, alone), "--out", out, "--thorough").exit_code == 0
    assert "unseen_sources" not in json.loads(out.with_suffix(".json").read_text())


def test_too_few_labels_are_told(tmp_path: Path) -> None:
    result = run("train", written(tmp_path, lesson.labels(10)), "--out", tmp_path / "x")
    assert result.exit_code == 1
    assert "10 labels have scores of fast and smart; 100 are needed." in result.stderr


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    out = tmp_path / "none" / "x.tiergate"
    result = run("train", written(tmp_path, lesson.labels()), "--out", out)
    assert result.exit_code == 1
    assert "cannot be written: no such file or directory." in result.stderr


def test_a_judgement_without_a_figure_is_told(tmp_path: Path) -> None:
    """If smart is never better on the held-out prompts, no figure can be computed."""
    known = lesson.labels()
    rare = [
        msgspec.structs.replace(label, scores={"fast": 0.0, "smart": float(at == 7)}, source="")
        for at, label in enumerate(known)
    ]
    result = run("train", written(tmp_path, rare), "--out", tmp_path / "x")
    assert result.exit_code == 3
    assert "held out: APGR unknown, shuffled unknown" in result.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: no such file or directory."), (b"{}", "cannot be used: it is no art")],
)
def test_a_configuration_without_its_artefact_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "mine.tiergate").write_bytes(content)
    file = config(tmp_path, GOOD + "routing: {classifier: mine.tiergate}\n")
    result = run("--config", file, "check", environ=ON)
    assert result.exit_code == 1
    assert message in result.output
    assert "routing.classifier" in result.output
