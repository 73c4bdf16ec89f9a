"""Judge what a client got: its kind in a few words, and mistakes that no row allows.

answer           the provider's own bytes, all of them (translated: a good answer, client dialect)
error            no answer, an error in the client's dialect
N + error        the first N frames of the answer, then an error in the client's dialect
status, error    a stream that had begun without content, then an error in the client's dialect
silence          a stream that ends as if it were whole, and is not
cut              HTTP itself breaks off
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core import jsonio
from tests.chaos.client import Reply
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES, TEXT

_LONGEST = 3600
"""Seconds: the longest Retry-After of a provider in the matrix; the gateway passes it on."""
_ADDRESSES = (b"127.", b"localhost", b".test")
"""Signs of a provider's address, which a client must not see: it is the operator's business."""
_SIGNS = re.compile(rb"\A(?:: [^\n]*\n\n|event: ping\ndata: \{[^\n]*\}\n\n|\r?\n)+")
"""Keep-alive frames before an answer."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on what a client got, the word of its error, and what is wrong with it."""

    outcome: str
    word: str = ""
    wrong: tuple[str, ...] = ()


def whole(dialect: str, reply: Reply, sent: bytes | None) -> Verdict:
    """Judge a whole answer;

    `sent` is the provider's, None if the provider speaks another dialect.
    """
    if reply.end != "clean":
        return Verdict(reply.end)
    if reply.status == 200:
        same = reply.body == sent if sent is not None else TEXT.encode() in reply.body
        return Verdict("answer" if same else "another answer")
    return _error(dialect, reply)


def _error(dialect: str, reply: Reply) -> Verdict:
    wrong = []
    if reply.headers.get("content-type") != "application/json":
        wrong.append(f"an error as {reply.headers.get('content-type')}")
    if any(word in reply.body for word in _ADDRESSES):
        wrong.append(f"an address: {reply.body[:200]!r}")
    if not reply.headers.get("x-request-id") == reply.headers.get("request-id") != "":
        wrong.append("an error without its id")
    after = reply.headers.get("retry-after")
    if after is not None and not (after.isdigit() and int(after) <= _LONGEST):
        wrong.append(f"retry-after {after}")
    try:
        value = jsonio.loads(reply.body)
        word = _word(dialect, value, reply.status)
    except (jsonio.JsonError, KeyError, TypeError, AttributeError, AssertionError) as error:
        return Verdict("no error of its dialect", wrong=(repr(reply.body[:200]), repr(error)))
    return Verdict("error", word, tuple(wrong))


def _word(dialect: str, value: jsonio.Json, status: int | None) -> str:
    """Return the word of an error in its dialect; raise if the value is no such error."""
    assert isinstance(value, dict)
    error = value["error"]
    assert isinstance(error, dict)
    assert isinstance(error["message"], str)
    if dialect == MESSAGES:
        assert value["type"] == "error"
        return str(error["type"])
    if dialect == GEMINI:
        code = error["code"]
        assert isinstance(code, int)
        assert status in (None, code)
        return str(error["status"])
    return str(error["code"] or error["type"])


def stream(dialect: str, reply: Reply, sent: Sequence[bytes] | None) -> Verdict:
    """Judge a stream; `sent` are the provider's frames, None if it speaks another dialect."""
    if reply.status != 200:
        return Verdict(reply.end) if reply.end != "clean" else _error(dialect, reply)
    body, count = _SIGNS.sub(b"", reply.body), 0
    for frame in sent or ():
        if not body.startswith(frame):
            break
        body, count = body[len(frame) :], count + 1
    if reply.end != "clean":
        return Verdict(f"{count} + {reply.end}")
    broken = _in_band(dialect, body) if body else None
    done = _ended(dialect, body) if sent is None else not body and count == len(sent)
    if broken is None:
        return Verdict("answer") if done else Verdict("silence", wrong=(repr(reply.body[-200:]),))
    if sent is None:
        return _judge_translated(dialect, body, broken)
    return _judge_native(body, broken, count, whole=count == len(sent))


def _judge_translated(dialect: str, body: bytes, word: str) -> Verdict:
    if _ended(dialect, body):
        return Verdict("error with an end", wrong=(repr(body[-200:]),))
    return Verdict("some + error" if _content(body) else "200, error", word)


def _judge_native(body: bytes, word: str, count: int, *, whole: bool) -> Verdict:
    if body.count(b"data:") != 1:
        return Verdict("something else + error", wrong=(repr(body[:200]),))
    if whole:
        return Verdict("answer + error", word)
    return Verdict(f"{count} + error" if count else "200, error", word)


def _in_band(dialect: str, body: bytes) -> str | None:
    """Return the word of the error at the end of a stream; None if there is none."""
    frame = body.replace(b"\r\n", b"\n").rstrip(b"\n").rpartition(b"\n\n")[2]
    lines = frame.split(b"\n")
    data = next((line[5:].strip() for line in lines if line.startswith(b"data:")), b"")
    named = b"event: error" in lines
    if named is (dialect in (CHAT, GEMINI)):
        return None
    try:
        value = jsonio.loads(data)
        return _word(dialect, value, None)
    except (jsonio.JsonError, KeyError, TypeError, AssertionError):
        return None


def _ended(dialect: str, body: bytes) -> bool:
    """True if a stream says that it is whole."""
    marks = {
        CHAT: b"data: [DONE]", RESPONSES: b"event: response.completed",
        MESSAGES: b"event: message_stop", GEMINI: b'"finishReason":"STOP"',
    }  # fmt: skip
    return marks[dialect] in body


def _content(body: bytes) -> bool:
    return TEXT[:4].encode() in body
