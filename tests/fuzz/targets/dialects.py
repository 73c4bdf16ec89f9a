"""Requests, whole answers and streams of every dialect, native and translated.

The fast paths of a dialect are compared with its general ones: an outline of known tools with a
full read, the quick look at a frame with a full read of it.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from unittest import mock

import msgspec

from gateway.cache.cached_response import CachedResponse, render_answer
from gateway.cache.response_store import StreamTape
from gateway.core import jsonio, sse
from gateway.core.errors import Problem, ProblemError
from gateway.core.events import Event
from gateway.core.object_ids import ObjectApi, find_objects, may_name_objects
from gateway.core.usage import Usage
from gateway.dialects import (
    ANTHROPIC_MESSAGES,
    BEDROCK_CONVERSE,
    DIALECTS,
    GEMINI,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    OPERATIONS,
    Dialect,
    RequestBody,
    ResponseContext,
    StreamInspector,
    TargetDialect,
    parse,
    translation,
)
from gateway.dialects.translation import Translation, can_translate
from tests.dialects.cases import target as make_target
from tests.fuzz.target import FuzzTarget, check_cuts
from tests.fuzz.targets import dialect_seeds as seeds

_CONTEXT = ResponseContext(id="call-1", created_at=1, model="m", state_label="0123456789abcdef")
_ID_APIS: dict[str, ObjectApi] = {
    "openai-chat": "openai", "openai-responses": "openai", "anthropic-messages": "anthropic", "gemini": "gemini",
}  # fmt: skip
_STREAM_REQUESTS = {
    "openai-chat": b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}',
    "openai-responses": b'{"model":"m","stream":true,"input":"hi"}',
    "anthropic-messages": b'{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}',
    "gemini": b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}',
}


def _read_body(dialect: TargetDialect, data: bytes) -> RequestBody:
    """Read a request; of Gemini's the URL names the model. Raises ProblemError."""
    if isinstance(dialect, Dialect) and dialect.read_with_path is not None:
        verb = "embedContent" if dialect.operation == "embeddings" else "generateContent"
        return dialect.read_with_path(data, f"models/m:{verb}")
    return dialect.read(data)


def _read(dialect: TargetDialect, data: bytes) -> RequestBody | Problem:
    """Read a request; a refusal is a result like any other."""
    try:
        return _read_body(dialect, data)
    except ProblemError as error:
        return error.problem


def _check_outline(dialect: Dialect, data: bytes, general: RequestBody | Problem) -> None:
    """Compare a full read with one by an outline of members that came twice before."""
    with (
        mock.patch.object(parse, "_MIN_CACHED_BYTES", 8),
        mock.patch.object(parse, "_outline_cache", parse._OutlineCache()),
    ):
        _read(dialect, data)
        _read(dialect, data)
        known = _read(dialect, data)
        if isinstance(known, Problem) or isinstance(general, Problem):
            assert known == general
            return
        assert (known.prompt, known.members, known.value) == (
            general.prompt,
            general.members,
            general.value,
        )
        hidden = _hide_value(data, general)
        assert _read(dialect, hidden) == _read_afresh(dialect, hidden)


def _hide_value(data: bytes, body: RequestBody) -> bytes:
    """Return a body that begins with its first member in other letters, with a value that is no JSON.

    The value that stands last is the one that counts.
    """
    name = next(iter(body.members), "")
    if not name.isascii() or not name.isalpha():
        return data
    return b'{"\\u%04x%b":"\xff",' % (ord(name[0]), name[1:].encode()) + data.lstrip()[1:]


def _read_afresh(dialect: Dialect, data: bytes) -> RequestBody | Problem:
    with mock.patch.object(parse, "_outline_cache", parse._OutlineCache()):
        return _read(dialect, data)


def check_request(dialect: Dialect, data: bytes) -> None:
    """A request is refused with a problem, or read; its members go on as they came."""
    body = _read(dialect, data)
    _check_outline(dialect, data, body)
    if isinstance(body, Problem):
        return
    assert body.value == jsonio.loads(data)
    dialect.read_start(body)
    dialect.read_facts(body)
    dialect.read_history(body)
    dialect.read_end_user(body.outline)
    dialect.asks_usage(body)
    api = _ID_APIS[dialect.name]
    if may_name_objects(api, data):
        with suppress(ProblemError):
            find_objects(api, data, body.value)
    written = dialect.write(body, make_target(body.prompt.model or "m"))
    members = jsonio.read_members(written.body)
    if not written.losses:
        for name, raw in body.members.items():
            if name not in ("model", "stream_options"):
                assert bytes(memoryview(members[name])) == bytes(memoryview(raw))
    _translate_request(dialect, body)


def _translate_request(dialect: Dialect, body: RequestBody) -> None:
    """Write a request for each other dialect: JSON that this dialect reads, or a problem."""
    try:
        request = translation.decode_request(dialect, body)
    except ProblemError:
        return
    for other in (*OPERATIONS.values(), BEDROCK_CONVERSE):
        if other.name == dialect.name or not can_translate(dialect, other):
            continue
        try:
            written = translation.write_request(request, other, make_target("m"))
        except ProblemError:
            continue
        json.loads(written.body)
        if dialect.operation == "generate":
            _read_body(other, written.body)


def _make_translation(client: Dialect, target: TargetDialect) -> Translation:
    body = _read_body(client, _STREAM_REQUESTS[client.name])
    return Translation(client, target, translation.decode_request(client, body), _CONTEXT)


def _list_clients(target: TargetDialect) -> list[Dialect]:
    return [client for client in DIALECTS.values() if client.name != target.name]


def check_answer(target: TargetDialect, data: bytes) -> None:
    """A whole answer never raises: it is one, or a problem, in each dialect."""
    for status in (400, 401, 429, 500):
        target.read_problem(status, data, None)
    if isinstance(target, Dialect):
        _check_native_answer(target, data)
    for client in _list_clients(target):
        summary = _make_translation(client, target).summarize(data)
        assert (summary.body is None) == (summary.problem is not None)
        if summary.body is not None:
            json.loads(summary.body)
            client.summarize(summary.body)


def _check_native_answer(dialect: Dialect, data: bytes) -> None:
    """A complete answer becomes a stream that says the same, and an answer again."""
    summary = dialect.summarize(data)
    assert not (summary.complete and summary.problem)
    if not summary.complete:
        return
    stream = _render(dialect, data, stored_as_stream=False)
    if stream is not None:
        inspector = dialect.inspect_stream(_read_body(dialect, _STREAM_REQUESTS[dialect.name]))
        inspector.feed(stream)
        inspector.end()
        assert inspector.problem is None
        answer = _render(dialect, stream, stored_as_stream=True)
        assert answer is not None
        assert dialect.summarize(answer).problem is None


def _render(dialect: Dialect, body: bytes, *, stored_as_stream: bool) -> bytes | None:
    """Return a stored answer in its other form, as the cache does; None if it has none."""
    stored = CachedResponse(
        dialect=dialect.name, stream=stored_as_stream, body=body, usage=None, served=None, finish=None, provider="p",
        account=None, model="m", tier="fast", lab="l", created=1.0,
    )  # fmt: skip
    if stored_as_stream:
        render_answer(stored, dialect, stream=True, with_usage=True)
        render_answer(
            msgspec.structs.replace(stored, with_usage=True), dialect, stream=True, with_usage=False
        )
    return render_answer(stored, dialect, stream=not stored_as_stream, with_usage=True)


type StreamResult = tuple[bytes, bool, bool, Usage | None, str | None, str | None, str | None, int]


def _inspect(make: Callable[[], StreamInspector], pieces: list[bytes]) -> StreamResult:
    """Return the bytes for the client, and the facts of a stream."""
    inspector = make()
    parts = [inspector.feed(piece) for piece in pieces]
    parts.append(inspector.end())
    kind = inspector.problem.kind if inspector.problem is not None else None
    return (
        b"".join(parts), inspector.committed, inspector.complete, inspector.usage, inspector.served_model, inspector.finish,
        kind, inspector.content_bytes,
    )  # fmt: skip


def check_stream(target: TargetDialect, data: bytes) -> None:
    """A stream gives the same bytes and facts however it is cut, native and translated."""
    if isinstance(target, Dialect):
        _check_native_stream(target, data)
    functions = translation.get_target_translation(target)

    def decode(pieces: list[bytes]) -> list[Event]:
        decoder = functions.make_decoder()
        events = [event for piece in pieces for event in decoder.feed(piece)]
        return events + decoder.end()

    check_cuts(data, decode)
    for client in _list_clients(target):
        make = _make_translation(client, target)
        frames = _inspect(lambda: make.inspect_stream(_EMPTY), [data])[0]  # noqa: B023 - used at once
        native = client.inspect_stream(_read_body(client, _STREAM_REQUESTS[client.name]))
        native.feed(frames)
        native.end()


_EMPTY = OPENAI_CHAT.read(_STREAM_REQUESTS["openai-chat"])


def _check_native_stream(dialect: Dialect, data: bytes) -> None:
    request = _read_body(dialect, _STREAM_REQUESTS[dialect.name])
    make = partial(dialect.inspect_stream, request)
    if not _has_plain_frames(data):
        _inspect(make, [data])
        return
    result = check_cuts(data, partial(_inspect, make))
    body, committed, complete, _, _, _, problem, _ = result
    if problem is None and committed:
        assert data.startswith(body) or b"[DONE]" in data
    kind = type(make())
    count = kind._count  # type: ignore[attr-defined]
    with mock.patch.object(kind, "_count", lambda self, payload: count(self, payload) or True):
        in_full = _inspect(make, [data])
    if (
        result[4] is None
    ):  # the quick look reads the model's name in the first and last frames alone
        in_full = (*in_full[:4], None, *in_full[5:])
    assert in_full == result, ("the quick look differs from a full read", result, in_full)
    if complete:
        answer = _render(dialect, data, stored_as_stream=True)
        assert answer is None or dialect.summarize(answer).complete
    if dialect is OPENAI_RESPONSES:
        tape = StreamTape()
        tape.add(sse.FrameSplitter().feed(data))


_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


def _has_plain_frames(data: bytes) -> bool:
    """True if a stream is UTF-8, each line is a field or a comment, and data ends each frame.

    Others have frames that no SDK can read. The quick look may then find one JSON value in two
    lines, and takes its content for the frame's.
    """
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return all(not line or line.startswith(_FIELDS) for line in lines) and not any(
        line.startswith(b"data:") and following and not following.startswith(b"data:")
        for line, following in pairwise(lines)
    )


_REQUEST_WORDS = (
    b'{"role":"user","content":', b'"text"', b'"type":', b'"image_url"', b'"tool_calls":[', b'"input_audio"', b'"tools":[',
    b'"function"', b'"parameters":', b'"arguments":"{}"', b'"cache_control":{"type":"ephemeral"}', b'"reasoning"', b'"thinking":',
    b'"stream":true', b'"n":2', b'"stop":', b'"response_format":', b'"temperature":', b'"max_tokens":', b"null", b"-1", b"1e999",
    b"[]", b"{}", b'""', b'"\\ud83d\\ude00"', b"18446744073709551616", b"true", b'"data:image/png;base64,AA=="', b'"tool_use"',
    b'"functionCall":', b'"inlineData":', b'"generationConfig":', b'"input":', b'"file_id"', b'"id":', b'"name":',
)  # fmt: skip
_ANSWER_WORDS = (
    b'"choices":[', b'"delta":{', b'"message":{', b'"content":', b'"finish_reason":"stop"', b'"usage":{', b'"prompt_tokens":',
    b'"completion_tokens_details":', b'"tool_calls":[', b'"index":', b'"error":{', b'"type":', b'"text"', b'"output":[', b'"status":',
    b'"candidates":[', b'"parts":[', b'"usageMetadata":{', b'"stop_reason":', b'"input_tokens":', b'"content_block":', b"null", b"[]",
    b"{}", b'""', b"-1", b"1e999", b"true", b"data: ", b"\n\n", b"\r\n\r\n", b"data: [DONE]\n\n", b"event: ", b": ping\n\n", b'"id":',
    b'"response":{', b'"item":{', b'"arguments":"{}"', b'"service_tier":"flex"', b'"promptFeedback":{"blockReason":"SAFETY"}',
)  # fmt: skip

_NAMED_TARGETS = {
    "openai-chat": OPENAI_CHAT, "openai-responses": OPENAI_RESPONSES, "anthropic-messages": ANTHROPIC_MESSAGES,
    "gemini": GEMINI, "bedrock-converse": BEDROCK_CONVERSE,
}  # fmt: skip

TARGETS = (
    *(
        FuzzTarget(f"request-{name}", partial(check_request, dialect), seeds.REQUESTS[name], _REQUEST_WORDS)
        for name, dialect in DIALECTS.items()
    ),
    *(
        FuzzTarget(
            f"request-{name}-{operation}", partial(check_request, dialect), seeds.OPERATION_REQUESTS[name, operation],
            _REQUEST_WORDS,
        )
        for (name, operation), dialect in OPERATIONS.items()
        if operation == "embeddings"
    ),
    *(
        FuzzTarget(f"answer-{name}", partial(check_answer, dialect), seeds.ANSWERS[name], _ANSWER_WORDS)
        for name, dialect in _NAMED_TARGETS.items()
    ),
    *(
        FuzzTarget(f"stream-{name}", partial(check_stream, dialect), seeds.STREAMS[name], _ANSWER_WORDS)
        for name, dialect in _NAMED_TARGETS.items()
    ),
)  # fmt: skip
