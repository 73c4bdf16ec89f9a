"""Bodies that are wrong: refused at once, in the dialect of their door; what is odd goes on as it is."""

import re
import time

import pytest

from gateway.core import jsonio
from tests.e2e.upstream import Upstream
from tests.http.gate import CHAT, COUNT, DOORS, MESSAGES, Gate, chat, messages, plain, shaped

SOON = 1.0
"""Seconds on a busy machine; alone it is less than a tenth of that."""

HI = b'"max_tokens":9,"messages":[{"role":"user","content":"hi"}]'
WITH = b'{"model":"auto",' + HI + b",%b}"
SAYS = b'{"model":"auto","max_tokens":9,"messages":[{"role":"user","content":"%b"}]}'

NOT_JSON: list[tuple[str, bytes]] = [
    ("C-07 deep", WITH % (b'"x":' + b"[" * 100_000 + b"]" * 100_000)),
    ("C-07 deep objects", WITH % (b'"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
    ("C-07 deep without an end", WITH[:-4] + b',"x":' + b"[" * 1_000_000),
    ("C-07 5,000 digits", WITH % (b'"seed":' + b"1" * 5000)),
    ("C-08 Latin-1", SAYS % b"caf\xe9"),
    ("C-08 overlong", SAYS % b"\xc0\xaf"),
    ("C-08 surrogate bytes", SAYS % b"\xed\xa0\x80"),
    ("C-08 lone surrogate", SAYS % b"\\ud800"),
    ("C-08 lone low surrogate", SAYS % b"\\udc00\\ud800"),
    ("C-08 UTF-16", SAYS.replace(b"%b", b"hi").decode().encode("utf-16")),
    ("C-08 UTF-16 without a mark", SAYS.replace(b"%b", b"hi").decode().encode("utf-16-le")),
    ("C-08 UTF-32", SAYS.replace(b"%b", b"hi").decode().encode("utf-32")),
    ("C-08 BOM", b"\xef\xbb\xbf" + SAYS % b"hi"),
    ("C-08 NUL", SAYS % b"\0"),
    ("C-08 NUL behind", SAYS % b"hi" + b"\0"),
    ("C-08 raw newline", SAYS % b"\n"),
    ("C-10 NaN", WITH % b'"temperature":NaN'),
    ("C-10 Infinity", WITH % b'"temperature":Infinity'),
    ("C-10 -Infinity", WITH % b'"x":{"y":[-Infinity]}'),
    ("C-10 1e400", WITH % b'"temperature":1e400'),
    ("C-10 nested 1e400", WITH % b'"x":[{"y":-1e999}]'),
    ("C-10 hexadecimal", WITH % b'"seed":0x10'),
    ("C-10 octal", WITH % b'"seed":010'),
    ("empty", b""),
    ("half", b'{"model":"auto","messages":['),
    ("two", SAYS % b"hi" + b"{}"),
    ("comment", b"{/* */}"),
    ("comma", b'{"model":"auto",}'),
    ("single quotes", b"{'model':'auto'}"),
    ("form", b"model=auto&messages=hi"),
]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("body", [row[1] for row in NOT_JSON], ids=[row[0] for row in NOT_JSON])
def test_c_07_c_08_c_10_what_is_no_json(
    gate: Gate, provider: Upstream, path: str, body: bytes
) -> None:
    """C-07, C-08, C-10: 400 with the place, never a fault, and nothing is sent on."""
    since = time.monotonic()
    message = shaped(gate.ask(path, body), path, 400)
    assert time.monotonic() - since < SOON
    assert message.startswith("The request body is not valid JSON: ")
    assert re.search(r"byte \d+", message) or "nested" in message or "depth" in message.lower()
    assert not provider.requests


NOT_A_REQUEST: list[tuple[str, bytes, str]] = [
    ("a list", b"[]", "object"),
    ("a string", b'"auto"', "object"),
    ("null", b"null", "object"),
    ("no model", b"{%b}" % HI, '"model"'),
    ("an empty model", b'{"model":"",%b}' % HI, '"model"'),
    ("a number for a model", b'{"model":1,%b}' % HI, '"model"'),
    ("no messages", b'{"model":"auto","max_tokens":9}', '"messages"'),
    ("an object for messages", b'{"model":"auto","max_tokens":9,"messages":{}}', '"messages"'),
    ("null for a message", b'{"model":"auto","max_tokens":9,"messages":[null]}', '"messages[0]"'),
    ("text for stream", WITH % b'"stream":"yes"', '"stream"'),
]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(("body", "word"), [row[1:] for row in NOT_A_REQUEST], ids=[row[0] for row in NOT_A_REQUEST])  # fmt: skip
def test_c_16_what_is_no_request(
    gate: Gate, provider: Upstream, path: str, body: bytes, word: str
) -> None:
    """C-16: the member that is wrong is named, and what it should be."""
    assert word in shaped(gate.ask(path, body), path, 400)
    assert not provider.requests


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(
    "name", ["gpt-9", "acne/fast", "x" * 1_000_000, "../../etc/passwd", "\0", "{{7*7}}"]
)
def test_models_that_are_none(gate: Gate, provider: Upstream, path: str, name: str) -> None:
    """404 in the dialect, short whatever the name is, and told literally."""
    message = shaped(gate.ask(path, plain(path, model=name)), path, 404)
    assert len(name) > 100 or repr(name)[1:-1] in message
    assert not provider.requests


LARGE = [
    (
        "1e6 messages",
        '"messages":[' + ",".join(['{"role":"user","content":"a"}'] * 1_000_000) + "]",
    ),
    ("1e5 members", ",".join(f'"x{at}":1' for at in range(100_000))),
    ("a name of 1e5", f'"{"x" * 100_000}":1'),
    ("1e6 empty lists", '"x":[' + ",".join(["[]"] * 1_000_000) + "]"),
]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("more", [row[1] for row in LARGE], ids=[row[0] for row in LARGE])
def test_c_07_many_of_a_thing_pass(gate: Gate, provider: Upstream, path: str, more: str) -> None:
    """C-07: the size of a body and the depth of its JSON are limits, counts are none."""
    model = "able-1" if path == CHAT else "claude-haiku-9"
    known = "" if '"messages"' in more else ',"messages":[{"role":"user","content":"a"}]'
    body = f'{{"model":"{model}","max_tokens":9{known},{more}}}'.encode()
    told = gate.ask(path, body)
    assert told.status == 200, told.body[:300]
    assert provider.requests[-1].body == body


@pytest.mark.parametrize("path", DOORS)
def test_c_07_a_million_messages_are_read(gate: Gate, provider: Upstream, path: str) -> None:
    """C-07: what is refused of them is the name of the model, behind them."""
    body = b'{"max_tokens":9,"messages":[%b],"model":"gpt-9"}' % b",".join(
        [b'{"role":"user"}'] * 1_000_000
    )
    since = time.monotonic()
    assert "'gpt-9'" in shaped(gate.ask(path, body), path, 404)
    assert time.monotonic() - since < 20 * SOON
    assert not provider.requests


@pytest.mark.parametrize("path", DOORS)
def test_c_09_a_member_that_is_named_twice(gate: Gate, provider: Upstream, path: str) -> None:
    """C-09: at the top the last is read and the only one sent; inside, bytes pass."""
    first, last = ("deep-1", "able-1") if path == CHAT else ("claude-opus-9", "claude-haiku-9")
    inside = b'[{"role":"user","content":"a","content":"b"}]'
    body = b'{"model":"%b","mod\\u0065l":"%b","max_tokens":9,"messages":[],"messages":%b}'
    told = gate.ask(path, body % (first.encode(), last.encode(), inside))
    assert told.headers["x-tiergate-model"] == last
    sent = provider.requests[-1].body
    members = jsonio.members(sent)
    assert sent.count(b'"messages"') == sent.count(b'"model"') == 1
    assert bytes(memoryview(members["messages"])) == inside
    assert provider.requests[-1].json["model"] == last


TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("more", "word"),
    [({"system": "Be brief."}, "system"), ({"system": []}, "system"), ({"tools": [TOOL]}, "tools")],
)
def test_c_16_a_messages_request_at_the_door_of_chat(
    gate: Gate, provider: Upstream, more: dict[str, object], word: str
) -> None:
    """C-16: refused with the right door: passed on, its system prompt would be lost without a word."""
    told = gate.ask(CHAT, chat(max_tokens=9, **more))
    assert "send it to POST /v1/messages" in shaped(told, CHAT, 400)
    assert told.json["error"]["param"] == word
    assert not provider.requests


@pytest.mark.parametrize("name", ["input", "prompt"])
def test_c_16_requests_of_its_sisters_at_the_door_of_chat(gate: Gate, name: str) -> None:
    """C-16: what to write instead is told."""
    body = jsonio.dumps({"model": "auto", name: "Hello."})
    assert f'takes no "{name}": write it as messages' in shaped(gate.ask(CHAT, body), CHAT, 400)


def test_c_16_a_chat_request_at_the_door_of_messages(gate: Gate, provider: Upstream) -> None:
    """C-16: refused in the dialect of the door: it lacks what that dialect requires."""
    message = shaped(gate.ask(MESSAGES, chat()), MESSAGES, 400)
    assert message.startswith('"max_tokens" is required')
    assert "goes to POST /v1/chat/completions" in message
    tools = [{"type": "function", "function": {"name": "f"}}]
    message = shaped(gate.ask(MESSAGES, chat(max_tokens=9, tools=tools)), MESSAGES, 400)
    assert "goes to POST /v1/chat/completions" in message
    assert not provider.requests


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("stream", [False, True])
def test_wrong_numbers_are_never_a_fault(gate: Gate, path: str, stream: bool) -> None:
    """No number of a client's makes a 5xx or a negative cost: 200 or 400."""
    for number in (
        "-1", "0", "1", "2147483648", "9007199254740993", "9223372036854775808", "18446744073709551616",
        "1e308", '"5"', "true", "null", "1.5", "[]", "{}",
    ):  # fmt: skip
        for name in ("max_tokens", "max_completion_tokens", "n", "temperature", "top_p", "seed"):
            told = gate.ask(
                path, plain(path, stream=stream)[:-1] + f',"{name}":{number}}}'.encode()
            )
            assert told.status in (200, 400), (name, number, told.body)
            assert not told.headers.get("x-tiergate-cost", "").startswith("-")


def test_count_tokens_needs_no_cap(gate: Gate) -> None:
    body = jsonio.dumps({"model": "claude-haiku-9", "messages": []})
    assert gate.ask(COUNT, body).json == {"input_tokens": 12}
    assert gate.ask(COUNT, messages()).status == 200
