"""Redaction: no secret of a usual shape is kept, however it is written, and JSON stays JSON."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.core import jsonio
from gateway.ledger.redaction import is_luhn_valid, redact, redact_text

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"

STRUCK = [
    ("sk-proj-abcDEF0123456789_-xyz", "[key]"),
    ("sk-ant-api03-0123456789abcdef", "[key]"),
    ("rk_live_0123456789abcdefghij", "[key]"),
    ("AIzaSyA0123456789abcdefghijklmnopqrstuv", "[key]"),
    ("ya29.a0AfB_byC0123456789-abcdef", "[key]"),
    ("ghp_0123456789abcdefghijklmnopqrstuvwxyz", "[key]"),
    ("github_pat_11ABCDEFG0123456789_abcdef", "[key]"),
    ("glpat-0123456789abcdefghij", "[key]"),
    ("xoxb-0123456789-abcdef", "[key]"),
    ("AKIAIOSFODNN7EXAMPLE", "[key]"),
    ("hf_0123456789abcdefghijklmn", "[key]"),
    ("gsk_0123456789abcdefghijklmn", "[key]"),
    ("xai-0123456789abcdefghijklmn", "[key]"),
    (f"tg-{'0123456789abcdef' * 4}", "[key]"),  # a client key of the gateway itself
    ("csk-0123456789abcdefghij", "[key]"),
    ("AQ.Ab8RN6I0123456789abcdefghijklmnopq", "[key]"),
    ("GOCSPX-0123456789abcdefghij", "[key]"),
    ("glrt-0123456789abcdefghij", "[key]"),
    ("xapp-1-A0123456789-abcdef", "[key]"),
    (f"ABSK{'QmVkcm9ja0FQSUtleS'[:16]}{'ab12' * 8}", "[key]"),
    ("whsec_0123456789abcdefghij", "[key]"),
    ("tgp_v1_0123456789abcdefghij", "[key]"),
    (f"dapi{'0123456789abcdef' * 2}", "[key]"),
    ("SG.0123456789abcdef.0123456789abcdef", "[key]"),
    ("hvs.0123456789abcdefghij", "[key]"),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2Q", "[key]"),
    ("Bearer abc.def-123456", "Bearer [token]"),
    ("authorization: basic dXNlcjpwYXNz", "authorization: basic [token]"),
    (PEM, "[PEM]"),
    ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE, and no end", "[PEM]"),
    ("ann.lee+x@mail.example.org", "[e-mail]"),
    ("müller@bücher.example", "[e-mail]"),
    ("4111 1111 1111 1111", "[card]"),
    ("4111-1111-1111-1111", "[card]"),
    ("378282246310005", "[card]"),
    ("DE89 3704 0044 0532 0130 00", "[IBAN]"),
    ("gb33bukb20201555555555", "[IBAN]"),
    ("NO9386011117947", "[IBAN]"),
]
KEPT = [
    "task-force of sk-8 and pk_1",
    "an AIza, a ghp_ and a hf_x",
    "bearer of bad news",
    "you@here, @user, a@b and 5@7.9",
    "4111 1111 1111 1112",  # wrong check digit
    "1793000000500",  # a time in milliseconds
    "3.14159265358979323846",
    "DE89 3704 0044 0532 0100 00",
    "XY12 ABCD EFGH IJKL MNOP",  # of no country
    "AB12 and so on, NO MORE 99 TO BE 12345678901234567890",
    "-----BEGINNING-----",
    "a risk-assessment-of-long-names, a desk_of_0123456789abcdef",
    "https://example.com:80/a and http://[::1]:8484/v1?at=@you",
    "tg-19a4b5c6d7e0123456789ab is a call, a tag-of-things",
    "x" * 1023,
]


@pytest.mark.parametrize(("secret", "word"), STRUCK, ids=[row[0][:24] for row in STRUCK])
def test_secrets_are_redacted_and_nothing_else_is(secret: str, word: str) -> None:
    assert redact_text(secret) == word
    assert redact_text(f"({secret})") in (f"({word})", f"({word}")  # a PEM block may have no end
    assert redact_text(f"It is:\n{secret}") == f"It is:\n{word}"
    body = {"messages": [{"content": f'"{secret}"'}], "tools": {secret: 1}}
    data, cut = redact(json.dumps(body).encode())
    assert not cut
    assert secret not in jsonio.loads(data)["messages"][0]["content"]
    assert list(jsonio.loads(data)["tools"]) == [word]


@pytest.mark.parametrize("text", KEPT, ids=[text[:24] for text in KEPT])
def test_text_that_only_looks_like_a_secret_stays(text: str) -> None:
    assert redact_text(text) == text
    data, cut = redact(jsonio.dumps({"content": text}))
    assert (jsonio.loads(data), cut) == ({"content": text}, False)


def test_numbers_beside_a_secret_do_not_hide_it() -> None:
    text = "no99 DE89370400440532013000 22 4111111111111111 12, 23 4111 1111 1111 1111 9"
    assert redact_text(text) == "no99 [IBAN] 22 [card] 12, 23 [card] 9"


def test_a_card_number_is_redacted_as_a_json_number_too() -> None:
    data, _ = redact(b'{"card":4111111111111111,"at":1793000000500,"n":12,"f":1.5,"b":true}')
    assert data == b'{"card":"[card]","at":1793000000500,"n":12,"f":1.5,"b":true}'


def test_json_escapes_hide_no_secret() -> None:
    data, _ = redact(
        rb'{"a":"ann\u0040example.org","b":"-----BEGIN KEY-----\nMII\n-----END KEY-----"}'
    )
    assert data == b'{"a":"[e-mail]","b":"[PEM]"}'


KEY = "sk-proj-abcDEF0123456789_-xyz"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps({"a": f"KEYS\n{KEY}\n{KEY}"}), r'{"a": "KEYS\n[key]\n[key]"}'),
        (json.dumps({"a": "x\nBearer 0123456789ab"}), r'{"a": "x\nBearer [token]"}'),
        (json.dumps({"a": "x\nDE89370400440532013000"}), r'{"a": "x\n[IBAN]"}'),
        (json.dumps({"a": "x\tnancy@example.org"}), r'{"a": "x\t[e-mail]"}'),
        (r"C:\nancy@example.org", r"C:\n[e-mail]"),
        (r"C:\example@example.org", r"C:\[e-mail]"),
        (r"{\"a\":\"key\u003d" + KEY, r"{\"a\":\"key\u003d[key]"),
        (f"/?q=key%3D{KEY}%26x", "/?q=key%3D[key]%26x"),
        (f"\x1b[0m{KEY}\x1b[1;32m{KEY}", "\x1b[0m[key]\x1b[1;32m[key]"),
        (f"TOKEN_{KEY}", "TOKEN_[key]"),
        ("postgresql://ann:hunter2@db/x", "postgresql://ann:[password]@db/x"),
        ("https://:hunter2@db.example.org/x", "https://:[password]@db.example.org/x"),
    ],
)
def test_text_directly_before_a_secret_does_not_hide_it(text: str, expected: str) -> None:
    """JSON inside JSON, such as tool arguments, counts as text here, and stays JSON."""
    assert redact_text(text) == expected
    data, _ = redact(jsonio.dumps({"arguments": text}))
    assert jsonio.loads(data) == {"arguments": expected}


def test_configured_redactors_are_applied_too() -> None:
    def names(data: bytes) -> bytes:
        return re.sub(b"Ann Lee|(?:\xc3\xbc)+", b"[name]", data)

    data, _ = redact('{"a":"Ann Lee, üü","b":["",1]}'.encode(), [names])
    assert data == b'{"a":"[name], [name]","b":["",1]}'
    assert redact(b"by Ann Lee", [names]) == (b"by [name]", False)


IMAGE = "iVBORw0KGgoA" * 200


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"url": f"data:image/png;base64,{IMAGE}"}, {"url": "[1,800 bytes of image/png]"}),
        ({"url": f"data:text/x;charset=utf-8;base64,{IMAGE}="}, {"url": "[1,800 bytes of text/x]"}),
        ({"url": f"data:;base64,{IMAGE}"}, {"url": "[1,800 bytes of text/plain]"}),
        ({"text": f"see data:image/png;base64,{IMAGE} here"}, {"text": "see [1,800 bytes of image/png] here"}),
        ({"media_type": "image/png", "data": IMAGE}, {"media_type": "image/png", "data": "[1,800 bytes of image/png]"}),
        ({"mimeType": "audio/wav", "data": IMAGE}, {"mimeType": "audio/wav", "data": "[1,800 bytes of audio/wav]"}),
        ({"format": "wav", "data": IMAGE}, {"format": "wav", "data": "[1,800 bytes of wav]"}),
        ({"format": "wav", "data": "short"}, {"format": "wav", "data": "short"}),
        ({"signature": IMAGE}, {"signature": "[1,800 bytes of base64]"}),
    ],
)  # fmt: skip
def test_media_are_replaced_by_their_size(part: Any, expected: Any) -> None:
    data, cut = redact(jsonio.dumps([part]))
    assert (jsonio.loads(data), cut) == ([expected], False)


def chunks(*texts: str) -> bytes:
    frames = [
        {"id": "c-1", "choices": [{"index": 0, "delta": {"content": text}}]} for text in texts
    ]
    lines = [b"event: x\n: ping\ndata: " + jsonio.dumps(frame) for frame in frames]
    return b"\n\n".join([*lines, b"data: [DONE]", b""])


def test_a_secret_that_spans_two_frames_is_redacted() -> None:
    whole = chunks("Hi ", "there, ", "ann@ex", "ample.o", "rg is it.")
    data, cut = redact(whole)
    assert data.splitlines() == chunks("Hi there, [e-mail] is it.", "", "", "", "").splitlines()
    assert not cut
    plain = chunks("Hi ", "there, ", "Ann.")
    assert redact(plain)[0].splitlines() == plain.splitlines()


@pytest.mark.parametrize(
    "path",
    [
        ["choices", "delta", "tool_calls", "custom", "input"], ["choices", "delta", "reasoning_details", "summary"],
        ["delta", "citation", "cited_text"], ["candidates", "content", "parts", "executableCode", "code"],
        ["candidates", "content", "parts", "functionCall", "partialArgs", "stringValue"],
    ],
    ids=lambda path: path[-1],
)  # fmt: skip
def test_every_text_that_is_streamed_in_parts_is_redacted_as_one(path: list[str]) -> None:
    """Also inputs of custom tools, summaries, citations, code, arguments that Gemini streams."""

    def frame(value: Any) -> bytes:
        for name in reversed(path):
            value = {name: value}
        return b"data: " + jsonio.dumps(value) + b"\n\n"

    data, _ = redact(frame(KEY[:9]) + frame(KEY[9:]))
    assert data.splitlines() == (frame("[key]") + frame("")).splitlines()


def test_texts_of_parallel_tool_calls_are_not_joined() -> None:
    """Parts of two tool calls in one stream are never joined into one text."""
    parts = [
        {"type": "delta", "index": index, "delta": {"partial_json": text}}
        for index, text in [(0, "ann@ex"), (1, "cat@"), (0, "ample.org"), (1, " dog")]
    ]
    data, _ = redact(b"".join(b"data: " + jsonio.dumps(part) + b"\n\n" for part in parts))
    frames = [jsonio.loads(line[6:]) for line in data.splitlines() if line]
    assert [part["delta"]["partial_json"] for part in frames] == ["[e-mail]", "cat@", "", " dog"]


def test_values_that_every_frame_repeats_stay() -> None:
    plain = b'data: {"type":"content_block_delta","index":0,"delta":{"text":"Word"}}\n\n' * 200
    assert redact(plain)[0].splitlines() == plain.splitlines()


def test_long_json_is_shortened_in_its_long_texts_and_stays_json() -> None:
    body = {"model": "m", "messages": [{"content": "so much " * 90_000}, {"content": "Hi."}]}
    data, cut = redact(jsonio.dumps(body))
    shortened = jsonio.loads(data)
    assert cut
    assert len(data) <= 262_144
    assert (shortened["model"], shortened["messages"][1]) == ("m", {"content": "Hi."})
    assert shortened["messages"][0]["content"].endswith("…[654,464 characters more]")
    many = jsonio.dumps(["word " * 900] * 500)
    data, cut = redact(many)
    assert cut
    assert len(jsonio.loads(data)) == 500


def test_long_json_without_long_texts_is_cut_as_text() -> None:
    data, cut = redact(jsonio.dumps(["ü"] * 90_000))
    assert cut
    assert 262_140 < len(data) <= 262_144
    assert data.decode()
    data, cut = redact(b"plain " * 90_000, max_bytes=600)
    assert cut
    assert data == (b"plain " * 100)
    data, cut = redact(chunks(*["word "] * 900), max_bytes=5_000)
    assert cut
    assert len(data) <= 5_000


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"{", b"no json", b"data: {", b'"just text"', b"null"]
)
def test_text_that_is_not_json_is_kept(data: bytes) -> None:
    redacted, cut = redact(data)
    assert (redacted.strip(), cut) == (data.decode(errors="replace").encode(), False)


def test_json_that_is_nested_too_deeply_is_cut() -> None:
    assert redact(b"[" * 900 + b"]" * 900)[1] in (True, False)
    assert redact(b'{"a":' * 1_000 + b"1" + b"}" * 1_000)[1] is True


def test_no_secret_survives_between_the_pieces_of_a_long_text() -> None:
    filler = "word " * 780
    secrets = "4111 1111 1111 1111 ann@example.org GB33 BUKB 2020 1555 5555 55 Bearer abcdef-12345"
    struck = "[card] [e-mail] [IBAN] Bearer [token]"
    for at in range(90, 200):
        text = filler + "x" * at + f" {secrets} " + filler
        assert redact_text(text) == filler + "x" * at + f" {struck} " + filler, at
    lines = ("line\n" * 819)[:-1] + " 4111 1111 1111 1111\n" + "line\n" * 9
    assert redact_text(lines).count("[card]") == 1
    assert redact_text("4" * 9_000) == "4" * 9_000


@given(some.lists(some.integers(0, 9), min_size=12, max_size=18))
def test_luhn_has_one_check_digit_for_each_number(digits: list[int]) -> None:
    assert sum(is_luhn_valid([*digits, check]) for check in range(10)) == 1


@given(
    some.recursive(
        some.none() | some.booleans() | some.integers(-(2**53), 2**53) | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
        lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    )
)  # fmt: skip
def test_redacted_json_stays_json(value: Any) -> None:
    data = jsonio.dumps(value)
    if b"\\ud" not in data:
        redacted, _ = redact(data)
        jsonio.loads(redacted)


def test_media_in_a_long_text_are_replaced_wherever_it_is_cut() -> None:
    """The gateway searches a long text in slices; no slice begins in the middle of media."""
    media = "data:image/png;base64," + "QUJD" * 500
    for pad in range(0, 131_000, 13_100):
        text = "see " + "word. " * (pad // 6) + media + " and " + "x, " * 40_000 + media + " end"
        kept, _ = redact(text.encode(), max_bytes=10_000_000)
        assert kept.count(b"[1,500 bytes of image/png]") == 2
        assert b"QUJD" not in kept


@pytest.mark.parametrize("tail", ["", "==", " end", "\u8a9e"])
@pytest.mark.parametrize("head", ["", "see ", "\u8a9e "])
def test_media_that_are_longer_than_a_slice_are_one_note(head: str, tail: str) -> None:
    """The gateway does not search all of them at once: that would hold the event loop."""
    pad = "word. " * 50_000
    for media, kind in (
        ("data:image/png;base64," + "QUJD" * 250_000, "image/png"),
        ("QUJD" * 250_000, "base64"),
    ):
        kept, _ = redact(f"{pad}{head}{media}{tail}".encode(), max_bytes=10_000_000)
        note = f"[750,000 bytes of {kind}]{tail.strip('=')}"
        assert kept.decode() == f"{pad}{head}{note}"


@pytest.mark.parametrize("mark", [".", ";", "QUJD", "data:", ":,"])
def test_a_long_text_without_a_gap_is_searched_too(mark: str) -> None:
    text = "see " + mark * (400_000 // len(mark))
    kept, _ = redact(text.encode(), max_bytes=10_000_000)
    assert kept == (b"see [300,000 bytes of base64]" if mark == "QUJD" else text.encode())
