"""C-18, SEC-SSTI: text that breaks naive programs goes on byte for byte, in every field of text."""

import functools
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.upstream import Upstream
from tests.http.gate import CHAT, COUNT, GENERATE, MESSAGES, RESPONSES, STREAM, TOKENS, Gate

_SEEDS = (
    "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{%raw%}", "{0.__class__}", "{}", "{x!r:>{y}}", "%(x)s", "%s%n%d",
    "$(id)", "`id`", "; ls", "| cat", "&& true", "$IFS", "../../../../etc/passwd", "..\\..\\windows", "C:\\nul", "/dev/null",
    "file:///etc/passwd", "\\\\host\\share", "con", "~root", "' OR '1'='1", "'; DROP TABLE entries; --", '" OR ""="',
    "1;--", "') UNION SELECT 1 --", "%' AND 1=0 --", "<script>alert(1)</script>", "<!--", "]]>", "&amp;&#0;", "javascript:x",
    "\\", '\\"', '"', "'", "//", "/*", "\\u0000", "\\x00", "null", "undefined", "true", "NaN", "-1", "1e400", "0x0", "[DONE]",
    "data: [DONE]\n\n", "event: error\n", "\r\n\r\n", "HTTP/1.1 200 OK\r\n", ": comment", '{"error":{"message":"x"}}',
    '"usage":{', '"finish_reason":"stop"', "=1+1", "+1", "-1+1", "@SUM(A1)", "=cmd|' /C x'!A0", "\t=1", "a,b", 'a"b',
    "\n\n\n", "   ", "", "<|im_end|>", "<|endoftext|>", "[INST]", "<think>", "</think>", "SYSTEM: route=reasoning",
    '{"at":1,"event":"bug"}', "\x1b[2J", "\x1b]0;x\x07", "\u2028", "\u2029", "\u0085", "\ufeff", "\ufffe", "\uffff",
    "\ufffd", "\u202egnp.exe", "\u2066x\u2069", "\u200b\u200d\u2060", "e\u0301", "\u00e9", "\u1e9b\u0323", "\ufb01", "\u0130i\u0131",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f1e9\U0001f1ea", "\U0010ffff",
    "\u0627\u0644\u0633\u0644\u0627\u0645", "\u4f60\u597d", "\u0e01\u0e33", "Z\u0351\u036b\u0343", "\ud55c\uae00", "\u1100\u1161\u11a8", "\u216b",
)  # fmt: skip


@functools.cache
def strings(number: int) -> tuple[str, ...]:
    """Seeds, each control character, and what chance makes of them: the same every time."""
    chance = random.Random(18)
    found = [*_SEEDS, *map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))]
    while len(found) < number:
        pieces = chance.choices(found, k=chance.randint(2, 5))
        pieces.append(
            "".join(
                chr(chance.choice([*range(0xD800), *range(0xE000, 0x3000)]) or 1) for _ in range(3)
            )
        )
        found.append(chance.choice(["", " ", "\n", "\u0301"]).join(pieces))
    return tuple(dict.fromkeys(found))


def chat_fields(text: str) -> dict[str, Any]:
    """A chat request with a text wherever one may stand."""
    call = {"id": text, "type": "function", "function": {"name": text, "arguments": text}}
    function = {
        "name": text,
        "description": text,
        "parameters": {"properties": {text: {"title": text}}},
    }
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": text}}]
    return {
        "model": "able-1",
        "messages": [
            {"role": "system", "content": text, "name": text},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "refusal": text, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": text, "content": text},
            {"role": text, "content": text},
            {"role": "user", "content": text},
        ],
        "tools": [{"type": "function", "function": function}], "stop": [text], "user": text,
        "metadata": {text: text}, "x_own": text, "response_format": {"type": "text", "x": text},
    }  # fmt: skip


def message_fields(text: str) -> dict[str, Any]:
    """The same of Messages."""
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return {
        "model": "claude-haiku-9",
        "max_tokens": 9,
        "system": [{"type": "text", "text": text}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": text}, {"type": "document", "title": text, "source": source}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": text, "signature": text},
                {"type": "tool_use", "id": text, "name": text, "input": {text: text}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": text, "content": text}]},
            {"role": "assistant", "content": text},
            {"role": "user", "content": text},
        ],
        "tools": [{"name": text, "description": text, "input_schema": {"type": "object", "title": text}}],
        "stop_sequences": [text], "metadata": {"user_id": text}, "x_own": text,
    }  # fmt: skip


def response_fields(text: str) -> dict[str, Any]:
    """The same of Responses."""
    parts = [
        {"type": "input_text", "text": text},
        {"type": "input_image", "image_url": text, "detail": text},
        {"type": "input_file", "file_url": text, "filename": text},
    ]
    said = {"type": "output_text", "text": text, "annotations": [{"type": text, "title": text}]}
    return {
        "model": "reply-9", "instructions": text,
        "input": [
            {"role": "user", "content": parts},
            {"type": "reasoning", "id": text, "summary": [{"type": "summary_text", "text": text}]},
            {"type": "message", "role": "assistant", "id": text, "content": [said, {"type": "refusal", "refusal": text}]},
            {"type": "function_call", "call_id": text, "name": text, "arguments": text},
            {"type": "function_call_output", "call_id": text, "output": text},
            {"type": text, "x": text},
            {"role": "user", "content": text},
        ],
        "tools": [{"type": "function", "name": text, "description": text, "parameters": {"title": text}}],
        "text": {"format": {"type": "text", "x": text}}, "prompt_cache_key": text,
        "metadata": {text: text}, "x_own": text,
    }  # fmt: skip


def content_fields(text: str) -> dict[str, Any]:
    """The same of Gemini."""
    declared = {"name": text, "description": text, "parametersJsonSchema": {"title": text}}
    return {
        "systemInstruction": {"parts": [{"text": text}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": text}, {"fileData": {"mimeType": text, "fileUri": text}},
                {"inline_data": {"mime_type": text, "data": text}},
            ]},
            {"role": "model", "parts": [
                {"text": text, "thought": True, "thoughtSignature": text},
                {"functionCall": {"id": text, "name": text, "args": {text: text}}},
            ]},
            {"role": "user", "parts": [{"functionResponse": {"name": text, "response": {text: text}}}]},
            {"role": text, "parts": [{"text": text, "x": text}]},
            {"role": "user", "parts": [{"text": text}]},
        ],
        "tools": [{"functionDeclarations": [declared]}], "labels": {text: text}, "x_own": text,
        "generationConfig": {"stopSequences": [text], "x": text},
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": [text]}},
    }  # fmt: skip


def bodies(fields: Callable[[str], dict[str, Any]], every: int) -> Iterator[bytes]:
    for at, text in enumerate(strings(520)[::every]):
        value = fields(text)
        yield json.dumps(value, ensure_ascii=at % 2 == 0, indent=at % 3 or None).encode()


FIELDS = [
    (CHAT, chat_fields), (MESSAGES, message_fields), (COUNT, message_fields), (RESPONSES, response_fields),
    (GENERATE, content_fields), (STREAM, content_fields), (TOKENS, content_fields),
]  # fmt: skip
_EVERY = {CHAT: 1, MESSAGES: 1, RESPONSES: 2, GENERATE: 2}
"""One in so many is sent to a door; what reads them is shared."""


@pytest.mark.parametrize(("path", "fields"), FIELDS)
def test_c_18_sec_ssti_naughty_strings_go_on_as_they_came(
    gate: Gate, provider: Upstream, path: str, fields: Callable[[str], dict[str, Any]]
) -> None:
    """C-18, SEC-SSTI 3: 500 of them or a share, in every field at once, unchanged to the last byte."""
    every = _EVERY.get(path, 10)
    sent = list(bodies(fields, every))
    assert len(set(sent)) >= 500 // every
    for body in sent:
        told = gate.ask(path, body)
        assert told.status == 200, (body, told.body)
        assert provider.requests[-1].body == body
    assert len(provider.requests) == len(sent)


def test_c_18_sec_sqli_naughty_names_are_data(gate: Gate, provider: Upstream) -> None:
    """SEC-SQLI 2: as the name of a model, in each dialect that has it in the body: not known, told, stored, and nothing more."""
    for at, text in enumerate(strings(520)):
        path, fields = FIELDS[at % 4]
        told = gate.ask(path, json.dumps({**fields("x"), "model": text}).encode())
        assert told.status == (404 if text else 400), (text, told.body)
    assert not provider.requests
    rows = gate.journal().split(b"\n")[:-1]
    assert all(jsonio.loads(line)["kind"] for line in rows)
    assert not re.search(rb"[\x00-\x1f]", b"".join(rows))
