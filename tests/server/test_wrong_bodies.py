"""Test wrong bodies: refused at once, in the dialect of their endpoint; odd ones pass unchanged."""

import re
import time
from collections.abc import Iterator

import pytest

from gateway.core import jsonio
from tests.e2e.upstream import Upstream
from tests.pace import tried, within
from tests.server.gate import (
    CHAT,
    COUNT,
    ENDPOINTS,
    GENERATE,
    GOOGLE,
    INPUT,
    MESSAGES,
    RESPONSES,
    STREAM,
    TOKENS,
    Gate,
    GateReply,
    chat,
    check_refusal,
    contents,
    family,
    messages,
    refused_member,
    request_model,
    valid_body,
)

SOON = 1.0
"""Seconds on a busy machine; alone it takes less than a tenth of that."""

HI = b'"max_tokens":9,"messages":[{"role":"user","content":"hi"}]'
WITH = b'{"model":"auto",' + HI + b",%b}"
SAYS = b'{"model":"auto","max_tokens":9,"messages":[{"role":"user","content":"%b"}]}'

NOT_JSON: list[tuple[str, bytes]] = [
    ("C-07 deep", WITH % (b'"x":' + b"[" * 100_000 + b"]" * 100_000)),
    ("C-07 deep objects", WITH % (b'"x":' + b'{"a":' * 60_000 + b"1" + b"}" * 60_000)),
    ("C-07 deep without an end", WITH[:-4] + b',"x":' + b"[" * 190_000),
    ("C-07 5,000 digits", WITH % (b'"seed":' + b"1" * 5000)),
    ("C-08 Latin-1", SAYS % b"caf\xe9"),
    ("C-08 no UTF-8", SAYS % b"\xff\xfe"),
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


def ask_soon(gate: Gate, path: str, body: bytes) -> GateReply:
    """Ask, and check that the answer comes at once."""

    def ask() -> GateReply:
        start = time.monotonic()
        reply = gate.ask(path, body)
        within(time.monotonic() - start, SOON)
        return reply

    return tried(ask)


def check_code(reply: GateReply, path: str, code: str) -> None:
    """Check that no SDK retries a refusal, and the words for programs in OpenAI's dialects."""
    assert reply.headers["x-should-retry"] == "false"
    if family(path) in (CHAT, RESPONSES):
        error = reply.json["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", code)


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("body", [row[1] for row in NOT_JSON], ids=[row[0] for row in NOT_JSON])
def test_c_07_c_08_c_10_invalid_json_is_refused_with_its_position(
    gate: Gate, provider: Upstream, path: str, body: bytes
) -> None:
    """C-07, C-08, C-10: 400 with the place of the error, never a fault, and no request leaves."""
    reply = ask_soon(gate, path, body)
    message = check_refusal(reply, path, 400)
    check_code(reply, path, "invalid_json")
    assert message.startswith("The request body is not valid JSON: ")
    assert re.search(r"byte \d+", message) or "nested" in message or "depth" in message.lower()
    assert not provider.requests


type Row = tuple[str, bytes, str | None]
"""A description, the body, and the member that the refusal names."""

NOT_AN_OBJECT: list[Row] = [
    ("a list", b"[]", None),
    ("a string", b'"auto"', None),
    ("a number", b"1", None),
    ("null", b"null", None),
]
NO_MODEL: list[Row] = [
    ("no model", b"{%b}", "model"),
    ("an empty model", b'{"model":"",%b}', "model"),
    ("null for a model", b'{"model":null,%b}', "model"),
    ("a number for a model", b'{"model":1,%b}', "model"),
    ("a list for a model", b'{"model":["auto"],%b}', "model"),
    ("text for stream", b'{"model":"auto","stream":"yes",%b}', "stream"),
    ("a number for stream", b'{"model":"auto","stream":1,%b}', "stream"),
]
NO_MESSAGES: list[Row] = [
    ("no messages", b'{"model":"auto","max_tokens":9}', "messages"),
    ("an object for messages", b'{"model":"auto","max_tokens":9,"messages":{}}', "messages"),
    ("text for messages", b'{"model":"auto","max_tokens":9,"messages":"hi"}', "messages"),
    ("text for a message", b'{"model":"auto","max_tokens":9,"messages":["hi"]}', "messages[0]"),
    ("null for a message", b'{"model":"auto","max_tokens":9,"messages":[null]}', "messages[0]"),
]
NO_INPUT: list[Row] = [
    ("no input", b'{"model":"auto"}', "input"),
    ("null for input", b'{"model":"auto","input":null}', "input"),
    ("an object for input", b'{"model":"auto","input":{}}', "input"),
    ("a number for input", b'{"model":"auto","input":1}', "input"),
    ("null for an item", b'{"model":"auto","input":["a",null]}', "input[0]"),
    ("messages", b'{"model":"auto",%b}' % HI, "messages"),
    ("both", b'{"model":"auto","input":"a",%b}' % HI, "messages"),
]
NO_CONTENTS: list[Row] = [
    ("no contents", b"{}", "contents"),
    ("null for contents", b'{"contents":null}', "contents"),
    ("a number for contents", b'{"contents":1}', "contents"),
    ("null for a content", b'{"contents":[{},null]}', "contents[1]"),
    ("a list for generationConfig", b'{"contents":[],"generationConfig":[]}', "generationConfig"),
    ("text for generation_config", b'{"contents":[],"generation_config":"x"}', "generationConfig"),
    ("messages", b"{%b}" % HI, "contents"),
    ("input", b'{"input":"hi"}', "contents"),
]


def _rows() -> Iterator[tuple[str, Row]]:
    for path in ENDPOINTS:
        yield from ((path, row) for row in NOT_AN_OBJECT)
        cases = {GENERATE: NO_CONTENTS, RESPONSES: NO_INPUT}.get(family(path), NO_MESSAGES)
        model_cases = NO_MODEL
        if path == INPUT:  # here all members are optional, and there are no streams
            cases = [row for row in cases if row[0] not in ("no input", "null for input")]
            optional = ("no model", "null for a model")
            model_cases = [
                row for row in model_cases if row[0] not in optional and row[2] == "model"
            ]
        yield from ((path, row) for row in cases)
        if path not in GOOGLE:
            content = b'"input":"hi"' if family(path) == RESPONSES else HI
            yield from ((path, (name, body % content, field)) for name, body, field in model_cases)


ROWS = list(_rows())


@pytest.mark.parametrize(("path", "row"), ROWS, ids=[f"{path} {row[0]}" for path, row in ROWS])
def test_c_16_a_wrong_request_gets_an_error_that_names_the_member(
    gate: Gate, provider: Upstream, path: str, row: Row
) -> None:
    """C-16: the refusal names the wrong member, for people and for programs."""
    reply = ask_soon(gate, path, row[1])
    message = check_refusal(reply, path, 400)
    check_code(reply, path, "invalid_request")
    assert (f'"{row[2]}"' if row[2] else "must be a JSON object") in message
    if family(path) != MESSAGES:
        assert refused_member(reply) == row[2]
    assert not provider.requests


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "name",
    ["gpt-9", "acne/fast", "x" * 1_000_000, "../../etc/passwd", "\0", "{{7*7}}"],
)
def test_unknown_models_get_a_short_404_in_the_dialect(
    gate: Gate, provider: Upstream, path: str, name: str
) -> None:
    """404 in the dialect, short whatever the name is; the message quotes the name literally."""
    name = name[:10_000] if path in GOOGLE else name  # a head has its own limit
    reply = ask_soon(gate, *request_model(path, name))
    message = check_refusal(reply, path, 404)
    check_code(reply, path, "model_not_found")
    assert len(name) > 100 or repr(name)[1:-1] in message
    if family(path) != MESSAGES:
        assert refused_member(reply) == "model"
    assert not provider.requests


@pytest.mark.parametrize("path", GOOGLE)
def test_c_16_a_gemini_path_without_a_model_gets_an_error_with_the_right_form(
    gate: Gate, path: str
) -> None:
    """C-16: the refusal shows where the model belongs."""
    reply = gate.ask(path.replace("gem-9", ""), contents())
    assert "models/<name>:generateContent" in check_refusal(reply, path, 400)
    assert refused_member(reply) == "model"


def test_c_16_unknown_gemini_methods_get_an_error_with_the_right_method(
    gate: Gate, provider: Upstream
) -> None:
    """C-16: the refusal names the right method; the gateway refuses a stream that is not SSE."""
    for method in ("generate", "", "predict", "GENERATECONTENT", "generateContent/"):
        reply = gate.ask(f"/v1beta/models/gem-9:{method}", contents())
        assert "{model}:generateContent" in check_refusal(reply, GENERATE, 404)
    for name in ("gem-9", "messages", "x/responses"):
        for query in ("", "?alt=json", "?alt="):
            path = STREAM.partition("?")[0].replace("gem-9", name) + query
            assert "?alt=sse" in check_refusal(gate.ask(path, contents()), STREAM, 400)
    assert not provider.requests


LARGE = [
    ("25,000 turns", ""),
    ("90,000 members", ",".join(f'"x{at}":1' for at in range(90_000))),
    ("a name of 1e5", f'"{"x" * 100_000}":1'),
    ("9e4 empty lists", '"x":[' + ",".join(["[]"] * 90_000) + "]"),
]


def turns(path: str, number: int) -> str:
    """Return a member that holds this many turns."""
    name, content = TURNS[family(path)]
    return f'"{name}":[' + ",".join([f'{{"role":"user",{content}}}'] * number) + "]"


TURNS = {
    CHAT: ("messages", '"content":"a"'),
    MESSAGES: ("messages", '"content":"a"'),
    RESPONSES: ("input", '"content":"a"'),
    GENERATE: ("contents", '"parts":{"text":"a"}'),
}
MODELS = {CHAT: "able-1", MESSAGES: "claude-haiku-9", RESPONSES: "reply-9"}


@pytest.mark.parametrize("path", list(TURNS))
@pytest.mark.parametrize("more", [row[1] for row in LARGE], ids=[row[0] for row in LARGE])
def test_c_07_the_gateway_forwards_many_turns_members_and_lists(
    gate: Gate, provider: Upstream, path: str, more: str
) -> None:
    """C-07: body size, JSON depth and the number of values are the only limits."""
    members = [more, turns(path, 1)] if more else [turns(path, 25_000)]
    if path in MODELS:
        members += [f'"model":"{MODELS[path]}"', '"max_tokens":9']
    body = f"{{{','.join(members)}}}".encode()
    reply = gate.ask(path, body)
    assert reply.status == 200, reply.body[:300]
    assert provider.requests[-1].body == body


@pytest.mark.parametrize("path", ENDPOINTS)
def test_c_07_the_gateway_reads_thousands_of_turns(
    gate: Gate, provider: Upstream, path: str
) -> None:
    """C-07: the gateway reads all turns, then refuses the model's name behind them."""
    turn = b'{"role":"user"}'
    name = TURNS[family(path)][0].encode()
    body = b'{"max_tokens":9,"%b":[%b],"model":"gpt-9"}' % (name, b",".join([turn] * 60_000))
    start = time.monotonic()
    assert "'gpt-9'" in check_refusal(gate.ask(path.replace("gem-9", "gpt-9"), body), path, 404)
    assert time.monotonic() - start < 20 * SOON
    assert not provider.requests


@pytest.mark.parametrize("path", ENDPOINTS)
def test_c_09_of_a_member_named_twice_the_last_one_counts(
    gate: Gate, provider: Upstream, path: str
) -> None:
    """C-09: at the top level the last one counts and is the only one sent; deeper, bytes pass."""
    dialect = family(path)
    name, content = TURNS[dialect]
    turns_sent = f'[{{"role":"user",{content},"role":"user"}}]'.encode()
    first, last = TWICE.get(dialect, ("", ""))
    members = b'"%b":[null],"%b\\u0073":%b' % (name.encode(), name[:-1].encode(), turns_sent)
    if dialect == RESPONSES:
        members = b'"input":[null],"inpu\\u0074":' + turns_sent
    if last:
        members += f',"model":"{first}","mod\\u0065l":"{last}","max_tokens":9'.encode()
    reply = gate.ask(path, b"{%b}" % members)
    assert reply.status == 200, reply.body
    assert reply.headers["x-tiergate-model"] == last or not last
    sent = provider.requests[-1].body
    assert sent.count(f'"{name}"'.encode()) == 1
    assert sent.count(b'"model"') == bool(last)
    assert bytes(memoryview(jsonio.read_members(sent)[name])) == turns_sent
    assert provider.requests[-1].json.get("model", "") == last


TWICE = {
    CHAT: ("deep-1", "able-1"),
    MESSAGES: ("claude-opus-9", "claude-haiku-9"),
    RESPONSES: ("reply-10", "reply-9"),
}


@pytest.mark.parametrize("path", GOOGLE)
@pytest.mark.parametrize(
    ("names", "inner"),
    [
        (("systemInstruction", "system_instruction"), False),
        (("generationConfig", "generation_config"), False),
        (("maxOutputTokens", "max_output_tokens"), True),
    ],
)
def test_c_09_a_gemini_member_in_both_spellings_is_refused(
    gate: Gate, provider: Upstream, path: str, names: tuple[str, str], inner: bool
) -> None:
    """C-09: the gateway refuses both spellings, since providers may read either."""
    members: dict[str, object] = {names[0]: {}, names[1]: {}}
    reply = gate.ask(path, contents(**({"generationConfig": members} if inner else members)))
    assert f'also as "{names[1]}"' in check_refusal(reply, path, 400)
    assert refused_member(reply) == ("generationConfig." if inner else "") + names[0]
    assert not provider.requests


TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("more", "word"),
    [({"system": "Be brief."}, "system"), ({"system": []}, "system"), ({"tools": [TOOL]}, "tools")],
)
def test_c_16_a_messages_request_at_the_chat_endpoint_is_refused_with_a_hint(
    gate: Gate, provider: Upstream, more: dict[str, object], word: str
) -> None:
    """C-16: the refusal names the right endpoint; otherwise the system prompt would be lost
    silently.
    """
    reply = gate.ask(CHAT, chat(max_tokens=9, **more))
    assert "Send the request to POST /v1/messages" in check_refusal(reply, CHAT, 400)
    assert reply.json["error"]["param"] == word
    assert not provider.requests


@pytest.mark.parametrize("name", ["input", "prompt"])
def test_c_16_a_responses_or_completions_request_at_the_chat_endpoint_is_refused(
    gate: Gate, name: str
) -> None:
    """C-16: the refusal says what to write instead."""
    reply = gate.ask(CHAT, jsonio.dumps({"model": "auto", name: "Hello."}))
    assert f'does not accept "{name}". Send it as "messages"' in check_refusal(reply, CHAT, 400)
    assert refused_member(reply) == "messages"


def test_c_16_a_chat_request_at_the_messages_endpoint_is_refused_with_a_hint(
    gate: Gate, provider: Upstream
) -> None:
    """C-16: the refusal is in the endpoint's dialect, and names a member that this dialect
    requires.
    """
    message = check_refusal(gate.ask(MESSAGES, chat()), MESSAGES, 400)
    assert message.startswith('"max_tokens" is required')
    assert "goes to POST /v1/chat/completions" in message
    tools = [{"type": "function", "function": {"name": "f"}}]
    message = check_refusal(gate.ask(MESSAGES, chat(max_tokens=9, tools=tools)), MESSAGES, 400)
    assert "goes to POST /v1/chat/completions" in message
    assert not provider.requests


NUMBERS = (
    "-1", "0", "1", "2147483648", "9007199254740993", "9223372036854775808", "18446744073709551616",
    "1e308", '"5"', "true", "null", "1.5", "[]", "{}",
)  # fmt: skip


def is_served_or_refused(reply: GateReply) -> bool:
    return reply.status in (200, 400) and not reply.headers.get("x-tiergate-cost", "").startswith(
        "-"
    )


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
@pytest.mark.parametrize("stream", [False, True])
def test_odd_numbers_are_served_or_refused_and_never_a_fault(
    gate: Gate, path: str, stream: bool
) -> None:
    """No number in a request causes a 5xx or a negative cost: the status is 200 or 400."""
    names = ["max_tokens", "max_completion_tokens", "n", "temperature", "top_p", "seed"]
    if path == RESPONSES:
        names = ["max_output_tokens", "top_logprobs", "temperature", "max_tool_calls", "reasoning", "include"]  # fmt: skip
    for number in NUMBERS:
        for name in names:
            reply = gate.ask(
                path, valid_body(path, stream=stream)[:-1] + f',"{name}":{number}}}'.encode()
            )
            assert is_served_or_refused(reply), (name, number, reply.body)


@pytest.mark.parametrize("path", GOOGLE)
@pytest.mark.parametrize("model", ["gem-9", "able-1"])
def test_odd_numbers_of_gemini_are_served_or_refused_and_never_a_fault(
    gate: Gate, path: str, model: str
) -> None:
    """Numbers deeper in the body cause no fault either, native and translated."""
    inner = (
        "maxOutputTokens", "candidateCount", "temperature", "topK", "seed", "logprobs", "thinkingConfig",
        'thinkingConfig":{"thinkingBudget', 'thinkingConfig":{"includeThoughts',
    )  # fmt: skip
    path = path.replace("gem-9", model)
    for number in NUMBERS:
        for name in inner:
            body = contents()[:-1] + f',"generationConfig":{{"{name}":{number}'.encode()
            reply = gate.ask(path, body + b"}" * (2 + name.count("{")))
            assert is_served_or_refused(reply), (name, number, reply.body)


@pytest.mark.parametrize("value", ["1", '"x"', "null", "true", "[]", "{}", "[1]", '[{"x":[]}]'])
@pytest.mark.parametrize("path", [RESPONSES, GENERATE, TOKENS])
def test_members_of_a_wrong_type_are_never_a_fault(gate: Gate, path: str, value: str) -> None:
    """Native: the provider may refuse them. Translated: the gateway refuses or drops them."""
    members = {
        RESPONSES: (
            'instructions":%', 'tools":%', 'tool_choice":%', 'text":%', 'text":{"format":%}', 'reasoning":%', 'store":%',
            'reasoning":{"effort":%}', 'include":%', 'metadata":%', 'input":[{"type":%}]', 'input":[{"role":%}]',
            'input":[{"role":"user","content":%}]', 'input":[{"role":"user","content":[{"type":"input_text","text":%}]}]',
            'input":[{"type":"function_call","arguments":%}]', 'input":[{"type":"function_call_output","output":%}]',
            'input":[{"type":"reasoning","summary":%,"encrypted_content":%}]', 'input":[{"type":"message","content":%}]',
            'input":[{"role":"user","content":[{"type":"input_image","image_url":%}]}]', 'tools":[{"type":%,"name":%}]',
        ),
    }.get(path, (
        'systemInstruction":%', 'tools":%', 'toolConfig":%', 'toolConfig":{"functionCallingConfig":%}', 'safetySettings":%',
        'contents":{"parts":%}', 'contents":[{"role":%}]', 'contents":[{"parts":[{"text":%}]}]', 'store":%', 'labels":%',
        'contents":[{"parts":[{"functionCall":%}]}]', 'contents":[{"parts":[{"functionResponse":{"name":%,"response":%}}]}]',
        'contents":[{"parts":[{"inlineData":{"mimeType":%,"data":%}}]}]', 'tools":[{"functionDeclarations":%}]',
        'contents":[{"parts":[{"functionCall":{"name":%,"args":%}}]}]', 'generationConfig":{"thinkingConfig":{"thinkingLevel":%}}',
        'generationConfig":{"responseSchema":%}', 'generationConfig":{"stopSequences":%}', 'generateContentRequest":%',
        'contents":[{"parts":[{"text":"a","thoughtSignature":%,"thought":%}]}]', 'tools":[{"googleSearch":%}]',
    ))  # fmt: skip
    for model in ("reply-9" if path == RESPONSES else "gem-9", "able-1", "claude-haiku-9"):
        for member in members:
            more = f'"{member.replace("%", value)}'
            reply = gate.ask(
                path.replace("gem-9", model),
                valid_body(path, model=model)[:-1] + f",{more}}}".encode(),
            )
            assert reply.status in (200, 400), (model, more, reply.body)


def test_count_tokens_needs_no_max_tokens(gate: Gate) -> None:
    body = jsonio.dumps({"model": "claude-haiku-9", "messages": []})
    assert gate.ask(COUNT, body).json == {"input_tokens": 12}
    assert gate.ask(COUNT, messages()).status == 200
