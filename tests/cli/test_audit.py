"""The command `audit`: who changed what, as a table and as JSON."""

import json
from pathlib import Path

from click.testing import Result

from gateway.state.audit import AuditLog
from tests.cli.run import GOOD, ON, config, run
from tests.cli.test_keys import DATABASE, run_on_database


def run_audit(folder: Path, *words: str, file_text: str = GOOD) -> Result:
    environ = {**ON, "TIERGATE_DATA": str(folder / "data")}
    return run("--config", config(folder, file_text), "audit", *words, environ=environ)


def test_commands_leave_rows_that_audit_shows(tmp_path: Path) -> None:
    run_on_database(tmp_path, "add", "me", "--tags", "a")
    run_on_database(tmp_path, "change", "me", "--budget", "5/month", "--models", "x" * 80)
    run_on_database(tmp_path, "revoke", "me")
    result = run_audit(tmp_path, "--since", "1h", file_text=DATABASE)
    assert result.exit_code == 0, result.output
    acts = [word for word in result.stdout.split() if word.startswith("key.")]
    assert acts == ["key.revoke", "key.change", "key.create"]
    assert "..." in result.stdout
    row, *_ = json.loads(run_audit(tmp_path, "--json", file_text=DATABASE).stdout)
    assert (row["act"], row["subject"], row["via"]) == ("key.revoke", "me", "cli")
    assert row["who"].startswith("cli")
    created = run_audit(tmp_path, "--act", "key.create", "--json", file_text=DATABASE)
    assert len(json.loads(created.stdout)) == 1
    shortened = run_audit(tmp_path, "--limit", "1", "--until", "2999-01-01", file_text=DATABASE)
    assert "There are older rows" in shortened.stderr


def test_a_failed_act_is_shown_as_such(tmp_path: Path) -> None:
    AuditLog(tmp_path / "data").append("key.revoke", who="ann", via="api", error="KeyStoreError")
    assert "key.revoke (failed: KeyStoreError)" in run_audit(tmp_path).stdout


def test_a_command_makes_no_data_folder(tmp_path: Path) -> None:
    assert run_audit(tmp_path).exit_code == 0
    assert not (tmp_path / "data").exists()


def test_what_cannot_be_read_is_one_line_of_error(tmp_path: Path) -> None:
    (tmp_path / "data" / "audit.jsonl").mkdir(parents=True)
    result = run_audit(tmp_path)
    assert (result.exit_code, "audit.jsonl cannot be read: is a directory" in result.stderr) == (1, True)  # fmt: skip
    url = "postgresql://me:hunter2@127.0.0.1:1/x"
    (tmp_path / "data" / "audit.jsonl").rmdir()
    away = run_audit(tmp_path, file_text=DATABASE.replace("sqlite:///keys.db", url))
    assert (away.exit_code, away.stderr.count("\n")) == (1, 1)
    assert "the key database: connection failed" in away.stderr
    result = run_audit(tmp_path, "--since", "soon")
    assert (result.exit_code, "is no time: write 24h" in result.stderr) == (2, True)
