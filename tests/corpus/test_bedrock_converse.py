"""Every recorded exchange of Bedrock's Converse, for clients of each dialect.

The oracle here reads the messages of a stream by their lengths alone.
"""

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.dialects import BEDROCK_CONVERSE, DIALECTS, OPENAI_CHAT, ResponseContext
from gateway.dialects.base import RequestBody
from gateway.dialects.translation import (
    TranslatableRequest,
    Translation,
    get_target_translation,
)
from tests.corpus.decoded_answers import Clients, collect_meanings
from tests.corpus.oracle import awkward, lines, normalize_arguments
from tests.corpus.sdk_clients import KNOWS_GEMINI

FILES = ("bedrock__bedrock_converse.jsonl.gz", "bedrock__bedrock_converse_stream.jsonl.gz")
FUNCTIONS = get_target_translation(BEDROCK_CONVERSE)
CONTEXT = ResponseContext(id="call-1", created_at=1, model="m", state_label="ab12")


class Recording(NamedTuple):
    """One exchange."""

    id: str
    status: int
    error_type: str
    body: bytes
    is_stream: bool


class Said(NamedTuple):
    """What an answer says."""

    text: str
    calls: tuple[tuple[str, str], ...]
    output: int


@pytest.fixture(scope="module")
def exchanges(corpus: Path) -> list[Recording]:
    return [_read(row) for name in FILES for row in lines(corpus / "recorded" / name)]


@pytest.fixture(scope="module")
def answers(exchanges: list[Recording]) -> list[Recording]:
    return [exchange for exchange in exchanges if exchange.status == 200]


def _read(row: dict[str, Any]) -> Recording:
    response = row["response"]
    headers = {name.lower(): value for name, value in response["headers"].items()}
    text, kind = response["body"], headers.get("content-type", "")
    is_stream = "eventstream" in kind
    body = text.encode()
    if is_stream:  # as hexadecimal digits or as base64
        body = bytes.fromhex(text) if text.startswith("0000") else base64.b64decode(text)
    error_type = headers.get("x-amzn-errortype", "")
    return Recording(row["id"], response["status"], error_type, body, is_stream)


def read_events(stream: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the type and the payload of each message."""
    at = 0
    while at < len(stream):
        total, headers = struct.unpack_from(">II", stream, at)
        named = stream[at + 12 : at + 12 + headers].partition(b":event-type\x07")[2]
        length = int.from_bytes(named[:2])
        payload = stream[at + 12 + headers : at + total - 4]
        yield named[2 : 2 + length].decode(), json.loads(payload)
        at += total


def read_said(recording: Recording) -> Said:
    """Read an answer by the names of its members."""
    if not recording.is_stream:
        value = json.loads(recording.body)
        blocks = value["output"]["message"]["content"]
        uses = [block["toolUse"] for block in blocks if "toolUse" in block]
        return Said(
            "".join(block.get("text", "") for block in blocks),
            tuple((use["name"], normalize_arguments(use["input"])) for use in uses),
            value["usage"]["outputTokens"],
        )
    text, output = "", 0
    calls: dict[int, tuple[str, str]] = {}
    for kind, event in read_events(recording.body):
        at = event.get("contentBlockIndex", 0)
        if kind == "contentBlockStart" and "toolUse" in event["start"]:
            calls[at] = (event["start"]["toolUse"]["name"], "")
        elif kind == "contentBlockDelta":
            text += event["delta"].get("text", "")
            if "toolUse" in event["delta"]:
                calls[at] = (calls[at][0], calls[at][1] + event["delta"]["toolUse"]["input"])
        elif kind == "metadata":
            output = event["usage"]["outputTokens"]
    return Said(text, tuple((name, normalize_arguments(it)) for name, it in calls.values()), output)


def test_there_are_answers_and_errors_of_both_forms(exchanges: list[Recording]) -> None:
    forms = {(exchange.is_stream, exchange.status == 200) for exchange in exchanges}
    assert forms == {(True, True), (False, True), (False, False)}


def test_an_answer_says_the_same_however_it_is_cut_into_pieces(answers: list[Recording]) -> None:
    for recording in answers:
        expected = read_said(recording)
        if recording.is_stream:
            body = recording.body
            for pieces in ([body], awkward(body), [body[at : at + 1] for at in range(len(body))]):
                decoder = FUNCTIONS.make_decoder()
                events = [event for piece in pieces for event in decoder.feed(piece)]
                (meaning,) = collect_meanings([*events, *decoder.end()])[0].values()
                assert (meaning.text, meaning.calls) == expected[:2], recording.id
        else:
            meanings, usage = collect_meanings(FUNCTIONS.decode_response(recording.body))
            assert (meanings[0].text, meanings[0].calls) == expected[:2], recording.id
            assert usage is not None
            assert usage[3] == expected.output


@pytest.mark.parametrize("client", DIALECTS)
def test_an_sdk_of_any_dialect_reads_each_answer(answers: list[Recording], client: str) -> None:
    if client == "gemini" and not KNOWS_GEMINI:
        pytest.skip("google-genai is not installed")
    dialect, clients = DIALECTS[client], Clients()
    for recording in answers:
        body = _ask(stream=recording.is_stream)
        request = TranslatableRequest(OPENAI_CHAT, body).request
        translated = Translation(dialect, BEDROCK_CONVERSE, request, CONTEXT)
        if recording.is_stream:
            inspector = translated.inspect_stream(body)
            pieces = [inspector.feed(piece) for piece in awkward(recording.body)]
            out = b"".join([*pieces, inspector.end()])
            assert inspector.complete, recording.id
        else:
            summary = translated.summarize(recording.body)
            assert summary.body is not None
            out = summary.body
        heard = clients.hear(client, out, stream=recording.is_stream)
        assert heard is not None
        meanings, usage = heard
        assert usage is not None
        said = Said(meanings[0].text, meanings[0].calls, usage[3] or 0)
        assert said == read_said(recording), recording.id


def _ask(*, stream: bool) -> RequestBody:
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
        for name in ("get_weather", "temperature", "final_result", "get_capital")
    ]
    value = {"model": "m", "messages": [{"role": "user", "content": "Hi."}], "stream": stream}
    value |= {"stream_options": {"include_usage": True}} if stream else {}
    return OPENAI_CHAT.read(json.dumps({**value, "tools": tools}).encode())


def test_an_error_is_a_problem_with_its_status(exchanges: list[Recording]) -> None:
    for exchange in exchanges:
        if exchange.status == 200:
            continue
        headers = {b"x-amzn-errortype": exchange.error_type}
        body = BEDROCK_CONVERSE.complete_error(exchange.body, headers.get)
        problem = BEDROCK_CONVERSE.read_problem(exchange.status, body, None)
        assert problem.http_status >= 400
        assert problem.upstream_status == exchange.status
