"""An older version refuses the data of a newer one in one sentence, and changes nothing.

Each test makes data with this version, marks it as made by a newer one, and starts this one again.
"""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from gateway.core import jsonio
from gateway.ledger.journal import FORM_FILE
from tests.docs.pages import ROOT
from tests.e2e.child import GatewayChild
from tests.e2e.world import Config, config
from tests.ledger import postgres

KEYS = {"store": "sqlite:///keys.db"}
HINT = (
    "made by a newer version of tiergate: update this one, or restore the data of before the update"
)


class Installation:
    """A data folder that this version has made, with one key, and a configuration."""

    def __init__(self, folder: Path, **settings: Config | str) -> None:
        self.data = folder / "data"
        self.file = folder / "gateway.yaml"
        self.file.write_bytes(jsonio.dumps({**config("http://127.0.0.1:9"), **settings}))
        assert self.run("keys", "add", "web").returncode == 0
        child = GatewayChild(self.file)
        assert child.port
        child.stop()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", "--config", str(self.file), *words],
            env={"PYTHONPATH": str(ROOT), "TIERGATE_DATA": str(self.data), "PATH": "/usr/bin:/bin"},
            cwd=self.file.parent, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def hash_files(self) -> dict[str, str]:
        """Return the hashes of journals and databases; locks and the log of SQLite may differ."""
        return {
            str(file.relative_to(self.data)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(self.data.rglob("*"))
            if file.suffix in {".db", ".jsonl"} and file.stat().st_size
        }

    def ask(self, name: str, sql: str) -> None:
        """Change a SQLite file of the data folder."""
        with closing(sqlite3.connect(self.data / name)) as base, base:
            base.execute(sql)
            base.commit()
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def make_newer_store(place: Installation) -> None:
    place.ask("ledger.db", "PRAGMA user_version = 999")


def make_newer_journal(place: Installation) -> None:
    (place.data / "ledger" / FORM_FILE).write_text("2\n")


def make_newer_keys(place: Installation) -> None:
    place.ask("keys.db", "UPDATE client_key_store SET version = 99")


@pytest.mark.parametrize(
    ("make_newer", "commands"),
    [
        (make_newer_store, ["serve --port 0", "costs", "ledger rebuild"]),
        (make_newer_journal, ["serve --port 0", "costs", "ledger verify", "ledger rebuild"]),
        (make_newer_keys, ["serve --port 0", "keys list", "keys add other"]),
    ],
    ids=["store", "journal", "keys"],
)
def test_commands_refuse_newer_data_with_a_sentence_and_leave_it_as_it_is(
    tmp_path: Path, make_newer: Callable[[Installation], None], commands: list[str]
) -> None:
    place = Installation(tmp_path, keys=KEYS)
    make_newer(place)
    before = place.hash_files()
    assert {"keys.db", "ledger.db"} <= before.keys()
    for command in commands:
        done = place.run(*command.split())
        printed = " ".join((done.stdout + done.stderr).split())
        assert done.returncode != 0, (command, printed)
        assert HINT in printed, (command, printed)
        assert "Traceback" not in printed
    assert place.hash_files() == before


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of an empty PostgreSQL."""
    with postgres.server() as running:
        yield running.url()


@pytest.mark.parametrize(
    ("sql", "commands"),
    [
        ("UPDATE ledger SET version = 999", ["costs", "ledger rebuild"]),
        ("UPDATE client_key_store SET version = 99", ["serve --port 0", "keys list"]),
    ],
)
def test_newer_data_in_postgresql_is_refused_too(
    server: str, tmp_path: Path, sql: str, commands: list[str]
) -> None:
    """A gateway still serves before a newer ledger there: its rows wait while others upgrade."""
    place = Installation(tmp_path, keys={"store": server}, ledger={"store": server})
    assert place.run("costs").returncode == 0
    with psycopg.connect(server, autocommit=True) as base:
        base.execute(sql.encode())
    for words in commands:
        done = place.run(*words.split())
        printed = " ".join((done.stdout + done.stderr).split())
        assert done.returncode != 0, (words, printed)
        assert HINT in printed, (words, printed)
        assert "Traceback" not in printed


def test_a_copy_of_keys_by_a_newer_version_is_no_copy(tmp_path: Path) -> None:
    """A gateway that finds such a file asks its database, and writes the copy anew."""
    place = Installation(tmp_path, keys=KEYS)
    copy = place.data / "known_keys.jsonl"
    if not copy.exists():
        copy.touch()
    copy.write_bytes(b'{"version":9,"database":"x","confirmed":0,"digest":"","more":1}\n{}')
    child = GatewayChild(place.file)
    try:
        assert child.port
    finally:
        child.stop()


def test_a_journal_that_names_this_form_is_read(tmp_path: Path) -> None:
    place = Installation(tmp_path, keys=KEYS)
    (place.data / "ledger" / FORM_FILE).write_text("1\n")
    assert place.run("ledger", "verify").returncode == 0
