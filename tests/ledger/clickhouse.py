"""ClickHouse for tests: the engine of chDB in a process of its own, behind HTTP.

The process answers as much of ClickHouse's HTTP interface as its official client needs, so that
tests drive that client over a real connection, from several processes, and can stop the engine.
"""

import gzip
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from bench.free_port import find_free_port

PASSWORD = "pa55/word"
ENCODED_PASSWORD = "pa55%2Fword"
_NUMBERS = count(1)
_OWN_PARAMETERS = frozenset({"query", "database", "enable_http_compression", "session_id"})


class ClickHouseServer:
    """A server that tests may stop and start again; it keeps its tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = find_free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, password: str = ENCODED_PASSWORD) -> str:
        return f"clickhouse://tiergate:{password}@127.0.0.1:{self.port}/{database}?secure=false"

    def make_database(self) -> str:
        """Return the URL of an empty database."""
        name = f"run{next(_NUMBERS)}"
        self.ask(f"CREATE DATABASE {name}")
        return self.url(name)

    def ask(self, sql: str, database: str = "default") -> list[tuple[Any, ...]]:
        import clickhouse_connect  # noqa: PLC0415 - slow

        with clickhouse_connect.get_client(
            host="127.0.0.1",
            port=self.port,
            username="tiergate",
            password=PASSWORD,
            database=database,
            autogenerate_session_id=False,
        ) as client:
            if not sql.lstrip().startswith(("SELECT", "EXISTS")):
                client.command(sql)
                return []
            return [tuple(row) for row in client.query(sql).result_rows]

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.clickhouse", str(self.folder), str(self.port)],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self.process.poll() is None, "the engine ended"
                assert time.monotonic() < deadline
                time.sleep(0.05)  # a real process starts
            else:
                return

    def stop(self) -> None:
        if self.process is not None:
            self.process.communicate(timeout=60)  # its standard input ends
            self.process = None


@contextmanager
def clickhouse_server(folder: Path) -> Iterator[ClickHouseServer]:
    """Start ClickHouse; skip the test where it is not installed."""
    if find_spec("chdb") is None:
        pytest.skip("ClickHouse is not installed: make engines")
    server = ClickHouseServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def read_database(url: str) -> str:
    """Return the database of a URL."""
    return url.rpartition("/")[2].partition("?")[0]


class _Handler(BaseHTTPRequestHandler):
    """Answers one request with the engine."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece
    client: Any
    lock = threading.Lock()

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        import base64  # noqa: PLC0415 - of this process

        login = base64.b64encode(f"tiergate:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {login}":
            self._send(403, b"Code: 516. DB::Exception: tiergate: Authentication failed", 516)
            return
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        try:
            with self.lock:
                data = self._ask(parameters, body)
        except Exception as error:  # noqa: BLE001 - the client gets it
            code = re.search(r"Code: (\d+)", str(error))
            self._send(500, str(error).encode(), int(code[1]) if code else 1)
        else:
            self._send(200, data)

    def _ask(self, parameters: dict[str, str], body: bytes) -> bytes:
        client = self.client
        client.database = parameters.get("database", "default")
        settings = {
            name: value
            for name, value in parameters.items()
            if name not in _OWN_PARAMETERS and not name.startswith("param_")
        }
        sql = parameters.get("query", "")
        if match := re.match(r"\s*INSERT INTO (\S+)(?: \((.*)\))?\s+FORMAT (\w+)", sql):
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            settings["async_insert"] = "0"  # it would take the rows from memory, not from the file
            client.raw_insert(match[1], insert_block=body, fmt=match[3], settings=settings)
            return b""
        return bytes(client.raw_query(sql or body.decode(), settings=settings))

    def _send(self, status: int, data: bytes, code: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-ClickHouse-Timezone", "UTC")
        self.send_header("X-ClickHouse-Summary", json.dumps({"written_rows": "0"}))
        if code:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.end_headers()
        self.wfile.write(data)


def _serve(folder: str, port: int) -> None:
    import clickhouse_connect  # noqa: PLC0415 - slow

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the tests, whose end stops it
    _Handler.client = clickhouse_connect.get_client(interface="chdb", path=folder)
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()
    server.shutdown()
    _Handler.client.close()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
