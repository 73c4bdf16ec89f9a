"""The log: JSON lines that hold no prompt, no answer and no key."""

import io
import logging

import pytest

from gateway.core import jsonio
from gateway.telemetry import log


def test_one_line_an_event() -> None:
    stream = io.StringIO()
    write = log.to(stream, lambda: 12.34567)
    write("bug", call="tg-1", error="a\nb")
    write("ready")
    lines = stream.getvalue().splitlines()
    assert [jsonio.loads(line.encode()) for line in lines] == [
        {"at": 12.346, "event": "bug", "call": "tg-1", "error": "a\nb"},
        {"at": 12.346, "event": "ready"},
    ]
    assert stream.getvalue().endswith("\n")


def test_each_line_is_there_at_once() -> None:
    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed = len(self.getvalue())

    stream = Stream()
    log.to(stream, lambda: 0.0)("x")
    assert stream.flushed == len(stream.getvalue()) > 0


def test_the_gateways_log_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.stderr(lambda: 1.0)("x", n=1)
    out, err = capsys.readouterr()
    assert (out, err) == ("", '{"at":1.0,"event":"x","n":1}\n')


def test_silence() -> None:
    log.silent("x", anything="goes")


def test_where_an_error_came_from() -> None:
    """Type and place; its text may quote a prompt."""
    with pytest.raises(ValueError) as caught:
        int("my secret prompt")
    line = caught.traceback[-1].lineno + 1
    assert log.where(caught.value) == f"ValueError at test_log.py:{line}"
    assert log.where(KeyError("my secret")) == "KeyError at ?"


def test_libraries_are_brought_in_without_their_arguments() -> None:
    rows: list[dict[str, object]] = []
    handler = log.Library(lambda event, **fields: rows.append({"event": event, **fields}))
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


def test_sec_log_nothing_in_a_line_steers_a_terminal_or_breaks_it() -> None:
    """SEC-LOG: what JSON may leave as it is, too, and it still reads as it was."""
    stream = io.StringIO()
    text = "\r\n\x1b[2J\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200b\ufeff\xad caf\xe9 \U0001f600"
    log.to(stream, lambda: 1.0)("x", text=text)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert jsonio.loads(line.encode())["text"] == text
    assert "caf\xe9 \U0001f600" in line
