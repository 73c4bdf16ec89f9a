"""The log: JSON lines that hold no prompt, no answer and no key."""

import io
import logging
from decimal import Decimal
from typing import Literal

import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import Row
from gateway.telemetry import log
from tests.telemetry.rows import CANARY, ID, attempt, entry, hit, intent, refused


def test_each_event_is_one_json_line() -> None:
    stream = io.StringIO()
    write = log.make_log(stream, lambda: 12.34567)
    write("bug", call="tg-1", error="a\nb")
    write("ready")
    lines = stream.getvalue().splitlines()
    assert [jsonio.loads(line.encode()) for line in lines] == [
        {"at": 12.346, "event": "bug", "call": "tg-1", "error": "a\nb"},
        {"at": 12.346, "event": "ready"},
    ]
    assert stream.getvalue().endswith("\n")


def test_each_line_is_flushed_at_once() -> None:
    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed = len(self.getvalue())

    stream = Stream()
    log.make_log(stream, lambda: 0.0)("x")
    assert stream.flushed == len(stream.getvalue()) > 0


def test_the_log_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.make_stderr_log(lambda: 1.0)("x", n=1)
    out, err = capsys.readouterr()
    assert (out, err) == ("", '{"at":1.0,"event":"x","n":1}\n')


def test_ignore_event_writes_nothing() -> None:
    log.ignore_event("x", anything="goes")


def test_an_error_is_logged_by_type_and_place_only() -> None:
    """The log has type and place of an error; its text may quote a prompt."""
    with pytest.raises(ValueError) as caught:
        int("my secret prompt")
    line = caught.traceback[-1].lineno + 1
    assert log.locate_error(caught.value) == f"ValueError at test_log.py:{line}"
    assert log.locate_error(KeyError("my secret")) == "KeyError at ?"


def test_log_records_of_libraries_come_without_their_arguments() -> None:
    rows: list[dict[str, object]] = []
    handler = log.LibraryLogHandler(lambda event, **fields: rows.append({"event": event, **fields}))
    logger = logging.getLogger("tests.some.library")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        logger.warning("request %s failed", "my secret prompt")
        logger.info("not this")
    finally:
        logger.removeHandler(handler)
    assert rows == [
        {
            "event": "library", "name": "tests.some.library", "level": "WARNING",
            "text": "request %s failed",
        }
    ]  # fmt: skip


def test_sec_log_no_character_in_a_line_controls_a_terminal_or_ends_the_line() -> None:
    """SEC-LOG: signs that JSON may leave unescaped are escaped too, and the text reads back."""
    stream = io.StringIO()
    text = "\r\n\x1b[2J\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200b\ufeff\xad caf\xe9 \U0001f600"
    log.make_log(stream, lambda: 1.0)("x", text=text)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert jsonio.loads(line.encode())["text"] == text
    assert "caf\xe9 \U0001f600" in line


def log_lines(which: Literal["off", "failed", "all"], *rows: Row) -> list[dict[str, object]]:
    events: list[dict[str, object]] = []
    sink = log.make_call_sink(
        lambda event, **fields: events.append({"event": event, **fields}), which
    )
    for row in rows:
        sink(row)
    return events


def test_the_log_line_of_a_call() -> None:
    """Money is an exact string without powers of ten; unknown values are null."""
    assert log_lines("all", entry(cost=Decimal("1.2E-7"), reasoning=None)) == [
        {
            "event": "call", "id": ID, "key": "website", "lab": "acme", "tier": "smart",
            "provider": "acme", "model": "able-1", "status": 200, "state": "settled",
            "problem": None, "aborted_by": None, "attempts": 1, "cache": "miss", "input": 100,
            "cache_read": 40, "cache_write": 10, "output": 20, "reasoning": None,
            "cost": "0.00000012", "first_content": 0.4, "duration": 1.5,
        }
    ]  # fmt: skip
    assert log_lines("all", entry(cost=None))[0]["cost"] is None


def test_only_final_rows_have_a_log_line() -> None:
    assert log_lines("all", intent(), attempt()) == []


def test_the_setting_chooses_which_calls_have_a_line() -> None:
    """A client that leaves is no failure; a provider that breaks off is one."""
    rows = [
        entry(), hit(), entry(state="estimated"), refused(), entry(state="failed"),
        entry(state="aborted", aborted_by="client"), entry(state="aborted", aborted_by="upstream"),
        entry(state="aborted"), entry(state="unknown_crash", status=None),
    ]  # fmt: skip
    assert log_lines("off", *rows) == []
    assert len(log_lines("all", *rows)) == len(rows)
    assert [(event["state"], event["aborted_by"]) for event in log_lines("failed", *rows)] == [
        ("refused", None), ("failed", None), ("aborted", "upstream"), ("aborted", None),
        ("unknown_crash", None),
    ]  # fmt: skip


def test_a_log_line_has_no_text_of_a_client() -> None:
    row = entry(asked=CANARY, tags=(CANARY,), served=CANARY, upstream_id=CANARY, dropped=(CANARY,))
    assert CANARY not in str(log_lines("all", row))
