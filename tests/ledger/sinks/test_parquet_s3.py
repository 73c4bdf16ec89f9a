"""Test the Parquet sink on a real S3 server, over HTTP."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import URLError

import pytest

from bench.free_port import find_free_port
from gateway.ledger.errors import SinkError
from gateway.ledger.sinks.feeder import SinkFeeder
from tests.ledger.rows import entry
from tests.ledger.sinks.test_base import Clock
from tests.ledger.sinks.test_parquet import (
    EagerSink,
    ask,
    count_rows,
    many_rows,
    sum_store,
    write_segment,
)

pytest.importorskip("moto.server", reason="no S3 server: make engines")
pytest.importorskip("pyarrow", reason="no pyarrow: make engines")

from pyarrow import fs

_START_TRIES, _START_WAIT_SECONDS = 600, 0.1


class S3Server:
    """A server of S3, with an empty bucket `lake`."""

    def __init__(self) -> None:
        self.port = find_free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        bucket = urllib.request.Request(f"http://127.0.0.1:{self.port}/lake", method="PUT")
        for _ in range(_START_TRIES):
            try:
                urllib.request.urlopen(bucket, timeout=5).close()  # noqa: S310 - of this machine
            except URLError:
                time.sleep(_START_WAIT_SECONDS)  # another process sets no event
            else:
                return
        raise AssertionError("the S3 server does not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def make_sink(self, place: str) -> EagerSink:
        url = f"s3://{place}?endpoint=http://127.0.0.1:{self.port}&region=eu-central-1"
        return EagerSink("lake", url)

    def download(self, place: str, folder: Path) -> None:
        """Copy the objects at a place to a folder, as `lake`."""
        source = fs.S3FileSystem(scheme="http", endpoint_override=f"127.0.0.1:{self.port}")
        (folder / "lake").mkdir(exist_ok=True)
        fs.copy_files(place, str(folder / "lake"), source_filesystem=source)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = S3Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


def test_rows_in_a_bucket_have_the_sums_of_the_store(
    tmp_path: Path, journal: Path, server: S3Server
) -> None:
    write_segment(journal, "1", many_rows()[:50])
    server.make_sink("lake/sums").feed(journal)
    (journal / "sinks" / "lake.json").unlink()  # so all rows come again
    write_segment(journal, "1", many_rows())
    server.make_sink("lake/sums").feed(journal)
    server.download("lake/sums", tmp_path)
    total = sum_store(journal)
    assert count_rows(tmp_path) == total.calls
    assert ask(tmp_path, "SELECT count(*) AS calls, sum(cost) AS usd FROM costs") == [
        {"calls": total.calls, "usd": total.cost}
    ]


def test_a_server_that_was_away_gets_all_rows(tmp_path: Path, journal: Path) -> None:
    server, clock, events = S3Server(), Clock(), list[dict[str, object]]()

    def log(event: str, **fields: object) -> None:
        events.append({"event": event, **fields})

    feeder = SinkFeeder("lake", server.make_sink("lake"), journal, log, clock)
    write_segment(journal, "1", many_rows())
    feeder.feed()
    write_segment(journal, "2", [entry("later")])
    feeder.feed()
    server.start()
    feeder.feed()
    server.download("lake", tmp_path)
    server.stop()
    assert feeder.failures == 2
    assert count_rows(tmp_path) == sum_store(journal).calls
    assert [event.get("text") for event in events] == [None, "takes rows again"]
    assert "NETWORK_CONNECTION" in str(events[0]["error"])
    assert "a-secret" not in str(events)


def test_a_missing_bucket_is_an_error_of_the_sink(server: S3Server) -> None:
    with pytest.raises(SinkError, match=r"none/x: .*The specified bucket does not exist"):
        server.make_sink("none/x").check()


class OldServerHandler(BaseHTTPRequestHandler):
    """Answers as OpenStack Swift does."""

    def do_PUT(self) -> None:
        while size := int(self.rfile.readline(), 16):  # of a chunk
            self.rfile.read(size + len("\r\n"))
        self.rfile.readline()
        message = "The x-amz-checksum-crc64nvme algorithm is not supported."
        body = f"<Error><Code>NotImplemented</Code><Message>{message}</Message></Error>".encode()
        self.send_response(501)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


def test_a_server_that_knows_no_newer_checksum_is_told_with_the_setting() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OldServerHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    sink = EagerSink("lake", f"s3://lake?endpoint=http://127.0.0.1:{server.server_port}&region=x")
    with pytest.raises(SinkError, match="set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"):
        sink.check()
    server.shutdown()
    server.server_close()


def test_an_erased_user_is_in_no_object_of_the_bucket(
    tmp_path: Path, journal: Path, server: S3Server
) -> None:
    write_segment(journal, "1", [entry("a", end_user="u" * 32), entry("b", end_user="v" * 32)])
    sink = server.make_sink("lake/erased")
    sink.feed(journal)
    sink.erase_user(journal, "u" * 32)
    sink.close()
    server.download("lake/erased", tmp_path)
    users = ask(tmp_path, "SELECT id, end_user FROM costs ORDER BY id")
    assert users == [{"id": "a", "end_user": None}, {"id": "b", "end_user": "v" * 32}]
