"""`tiergate train --base`: refits an artefact with an owner's labels, if they teach something."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.evaluation.training import refit_trial
from gateway.routing.classifier import model_file as files
from gateway.runtime.build import SHIPPED_MODEL
from gateway.runtime.tenant_classifiers import TenantModelFolder
from tests.cli.run import GOOD, ON, config, run
from tests.evaluation.training import lesson
from tests.evaluation.training.test_refit_trial import HARD, make_judged_texts


@pytest.fixture(autouse=True)
def few_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffle the labels twice in place of nine times: it takes less time."""
    monkeypatch.setattr(refit_trial, "CONTROLS", 2)


def write_own_labels(
    folder: Path, count: int = 120, *, noise: float = 0.05, **members: object
) -> Path:
    """Write labels as `tiergate label` does, with members that training does not know."""
    file = folder / "own.jsonl"
    rows = [
        {
            "prompt": text, "fast": feedback.fast, "smart": 1, "how": {"by": "person"},
            "draw": {"probability": 0.5, "stratum": "short"}, **members,
        }
        for text, feedback in make_judged_texts(count, noise=noise).items()
    ]  # fmt: skip
    file.write_bytes(b"".join(jsonio.dumps(row) + b"\n" for row in rows))
    return file


def refit(folder: Path, *words: str | Path) -> Any:
    return run("train", "--base", "shipped", *words, environ={"TIERGATE_DATA": str(folder)})


def test_a_refit_of_the_shipped_artefact_goes_to_a_file_that_the_gateway_can_use(
    tmp_path: Path,
) -> None:
    out = tmp_path / "mine.tiergate"
    own = write_own_labels(tmp_path)
    result = refit(
        tmp_path, "--labels", own, "--out", out, "--date", "2026-12-01", "--licence", "ours"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    shipped, fitted = files.read(SHIPPED_MODEL.read_bytes()), files.read(out.read_bytes())
    first, *_, last = result.stdout.splitlines()
    assert first == f"base {shipped.id}: 120 labels (120 outcome)"
    assert last == (f"{fitted.id} is in {out}: {out.stat().st_size:,} bytes, hash {fitted.hash}.")
    assert "  before   0." in result.stdout
    assert "  after    0." in result.stdout
    assert "  gain     0." in result.stdout
    assert "  shuffled labels gain " in result.stdout
    assert out.stat().st_size < 250_000
    assert (fitted.table, fitted.own_labels) == (shipped.table, 120)
    assert not any(word.encode() in out.read_bytes() for word in HARD)

    card = json.loads(out.with_suffix(".json").read_text())
    assert card == fitted.card
    assert card["base"] == {"id": shipped.id, "hash": shipped.hash}
    assert (card["licence"], card["date"], card["seed"]) == ("ours", "2026-12-01", 1)
    assert card["gain"][1] > max(card["shuffled"]["most"], 0)
    config_file = config(tmp_path, GOOD + "routing: {classifier: ./mine.tiergate}\n")
    explained = run("--config", config_file, "explain", " ".join(HARD), environ=ON)
    assert explained.exit_code == 0
    assert "its own labels say harder" in explained.stdout

    again = run("train", "--base", out, "--labels", own, "--out", tmp_path / "b.tiergate", "--json")
    assert again.exit_code == 0
    report = jsonio.loads(again.stdout.encode())
    assert (report["base"], report["id"], report["taken"]) == (fitted.id, fitted.id, True)
    assert report["file"] == str(tmp_path / "b.tiergate")


def test_a_dry_run_reports_and_writes_nothing(tmp_path: Path) -> None:
    own = write_own_labels(tmp_path)
    result = refit(tmp_path, "--labels", own, "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith(" would be taken; nothing was written.")
    result = refit(tmp_path, "--labels", own, "--tenant", "acme", "--dry-run", "--json")
    report = jsonio.loads(result.stdout.encode())
    assert (report["tenant"], report["file"], report["taken"]) == ("acme", None, False)
    assert report["origins"] == {"outcome": 120}
    assert report["gain"]["low"] > report["control"] >= report["control_mean"]
    assert [path.name for path in tmp_path.iterdir()] == ["own.jsonl"]


def test_a_refit_serves_a_tenant_only_where_it_is_named(tmp_path: Path) -> None:
    own = write_own_labels(tmp_path, source="own:acme")
    other = refit(tmp_path, "--labels", own, "--tenant", "other")
    assert other.exit_code == 1
    assert "These labels are of other tenants' calls: acme." in other.stderr
    result = refit(tmp_path, "--labels", own, "--labels", own, "--tenant", "acme")
    assert result.exit_code == 0
    model = TenantModelFolder(tmp_path, "acme").read_model()
    assert model is not None
    assert model.own_labels == 240
    assert f"{model.id} is in force for the tenant acme." in result.stdout
    assert TenantModelFolder(tmp_path, "other").read_model() is None


def test_labels_that_tell_nothing_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    own = write_own_labels(tmp_path, 100, noise=0.5)
    result = refit(tmp_path, "--labels", own, "--out", tmp_path / "mine.tiergate")
    assert result.exit_code == 3
    assert "Not taken: " in result.stdout
    few = write_own_labels(tmp_path, 20)
    opinions = tmp_path / "opinions.jsonl"
    opinions.write_text('{"prompt": "Hi.", "tier": "fast"}\n')
    result = refit(
        tmp_path, "--labels", few, "--labels", opinions, "--out", tmp_path / "mine.tiergate"
    )
    assert result.exit_code == 3
    assert "1 more labels have no scores of both fast and smart." in result.stdout
    assert "Not taken: 20 labels can be used; 50 are needed." in result.stdout
    assert not (tmp_path / "mine.tiergate").exists()


@pytest.mark.parametrize(
    ("base", "message"),
    [("none.tiergate", "cannot be read: no such file"), ("own.jsonl", "cannot be used: its head")],
)
def test_a_base_that_cannot_be_used_is_named(tmp_path: Path, base: str, message: str) -> None:
    own = write_own_labels(tmp_path, 10)
    result = run("train", "--base", tmp_path / base, "--labels", own, "--dry-run")
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_tenant_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    own = write_own_labels(tmp_path)
    folder = TenantModelFolder(tmp_path, "acme").folder
    folder.parent.mkdir()
    folder.write_text("a file in its place")
    result = refit(tmp_path, "--labels", own, "--tenant", "acme")
    assert result.exit_code == 1
    assert "cannot be used: not a directory." in result.stderr
    folder.unlink()
    (folder / "now.json.new").mkdir(parents=True)
    result = refit(tmp_path, "--labels", own, "--tenant", "acme")
    assert result.exit_code == 1
    assert "cannot be written: is a directory." in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--base", "shipped"), "Name the labels of the refit"),
        (("--base", "shipped", "--labels", "a"), "Name --out or --tenant"),
        (("--base", "shipped", "--labels", "a", "--out", "b", "--tenant", "c"), "not both"),
        (("--base", "shipped", "--labels", "a", "--force"), "go with LABELS alone"),
        (("--base", "shipped", "labels.jsonl"), "Name one of LABELS, --base"),
        (("--labels", "a", "--from-ledger"), "--labels goes with --base"),
        (("labels.jsonl", "--out", "b", "--tenant", "c"), "no --tenant"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words: tuple[str, ...], message: str) -> None:
    result = run("train", *words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_an_artefact_of_own_labels_from_scratch_can_be_a_base(tmp_path: Path) -> None:
    base = tmp_path / "base.tiergate"
    base.write_bytes(files.write(lesson.learnt().model))
    result = run(
        "train", "--base", base, "--labels", write_own_labels(tmp_path), "--dry-run", "--json"
    )
    assert result.exit_code == 0
    assert jsonio.loads(result.stdout.encode())["base"] == lesson.learnt().model.id
