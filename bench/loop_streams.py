"""Streams, sessions, files and answers beside text, whose work `bench.loop_hold` measures too."""

from collections.abc import Callable, Iterator

from bench.loop_shapes import (
    ENDPOINTS,
    MODELS,
    TEXTS,
    VALUES,
    Case,
    Make,
    fill,
    make_answer,
    make_log_probs,
)

_STREAMS = {
    "chat": (
        b'data: {"id":"r1","object":"chat.completion.chunk","created":1,"model":"chat-1","choices":[{"index":0,"delta":{"content":%(text)b},"finish_reason":null}]%(more)b}\n\n',
        b'data: {"id":"r1","object":"chat.completion.chunk","created":1,"model":"chat-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\ndata: [DONE]\n\n',
    ),
    "messages": (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%(text)b}%(more)b}\n\n',
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\nevent: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
    ),
    "responses": (
        b'data: {"type":"response.output_text.delta","item_id":"m1","output_index":0,"content_index":0,"delta":%(text)b%(more)b}\n\n',
        b'data: {"type":"response.completed","response":%(whole)b}\n\n',
    ),
    "gemini": (
        b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":%(text)b}]},"index":0}]%(more)b}\n\n',
        b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3,"totalTokenCount":10}}\n\n',
    ),
}  # fmt: skip
"""An event with a text and members, and the end of the stream, by dialect."""
_BEGIN = {
    "messages": b'event: message_start\ndata: {"type":"message_start","message":{"id":"r1","type":"message","role":"assistant","model":"claude-1","content":[],"usage":{"input_tokens":7,"output_tokens":1}}}\n\nevent: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
}  # fmt: skip
_HI = b'"hi"'
_STREAM_TEXTS = ("words", "escapes", "scripts", "one wide", "one script")
_STREAM_VALUES = ("names", "deep lists")
_OTHER_VALUES = ("names", "deep lists", "long numbers")
_OTHER_TEXTS = ("escapes", "one word", "one wide")


def make_stream(
    dialect: str, text: bytes = _HI, more: bytes = b"", *, count: int = 1, whole: bytes = b""
) -> bytes:
    """Return a stream: one small event, `count` events with this text and members, and the end."""
    event, end = _STREAMS[dialect]
    small = event % {b"text": _HI, b"more": b""}
    events = (event % {b"text": text, b"more": more}) * count
    whole = whole or make_answer("responses")
    if dialect == "responses":
        end %= {b"whole": whole}
    return _BEGIN.get(dialect, b"") + small + events + end


def list_streams() -> Iterator[Case]:
    """Yield streams of each dialect: native, and translated to one other dialect."""
    for target, model in MODELS.items():
        others = {"chat": "responses"}
        for name in (target, others.get(target, "chat")):
            path = ENDPOINTS[name].path
            if "%s" in path:
                path = (path % model).replace("generateContent", "streamGenerateContent?alt=sse")
            for form, make, is_text in _list_stream_forms(target):
                yield Case(name, target, form, path, make, is_text, is_answer=True, stream=True)


def _list_stream_forms(dialect: str) -> Iterator[tuple[str, Make, bool]]:
    event_bytes = len(make_stream(dialect, count=2)) - len(make_stream(dialect))
    yield "events", lambda n: make_stream(dialect, count=n // event_bytes), True
    for shape in _STREAM_TEXTS:
        yield f"event of {shape}", fill(lambda v: make_stream(dialect, v), TEXTS[shape]), True
    for shape in _STREAM_VALUES:
        write = fill(lambda v: make_stream(dialect, more=b',"x":' + v), VALUES[shape])
        yield f"event with {shape}", write, False
    if dialect == "responses":
        yield (
            "last event of escapes",
            fill(
                lambda v: make_stream(dialect, whole=make_answer("responses", text=v)),
                TEXTS["escapes"],
            ),
            True,
        )
        yield (
            "last event of log probs",
            lambda n: make_stream(
                dialect, whole=make_answer("responses", part=b',"logprobs":' + make_log_probs(n))
            ),
            True,
        )  # fmt: skip


_COUNTS = b'"usage":{"input_tokens":5,"output_tokens":40,"prompt_tokens":5,"completion_tokens":40,"total_tokens":45}'
_WRITE_REQUEST = b'{"model":"draw-1","prompt":"a cat"}'
_IMAGES = "/v1/images/generations"
_FILE = (
    b'{"id":"file-%d","object":"file","bytes":1,"created_at":1,"filename":"a","purpose":"batch"}'
)
_LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"chat-1","messages":[{"role":"user","content":%b}]}}'


def list_others() -> Iterator[Case]:
    """Yield answers of endpoints beside text, uploaded files, and messages of sessions."""
    yield from _list_answers()
    yield from _list_stored()
    yield from _list_uploads()
    for is_answer in (False, True):
        for form, make, is_text in _list_forms("message", _write_message):
            yield Case(
                "realtime",
                "-",
                form,
                "/v1/realtime?model=gpt-realtime",
                make,
                is_text,
                is_answer=is_answer,
                is_session=True,
            )


def _list_forms(word: str, write: Callable[[bytes], bytes]) -> Iterator[tuple[str, Make, bool]]:
    for shape in _OTHER_TEXTS:
        yield f"{word} of {shape}", fill(write, TEXTS[shape]), True
    for shape in _OTHER_VALUES:
        yield f"{word} of {shape}", fill(write, VALUES[shape]), False


def _list_answers() -> Iterator[Case]:
    for form, make, is_text in _list_forms("answer", _write_image):
        yield Case(
            "images", "-", form, _IMAGES, make, is_text, is_answer=True, request=_WRITE_REQUEST
        )
    for form, make, is_text in _list_forms("event", _write_event):
        yield Case(
            "images",
            "-",
            form,
            _IMAGES,
            make,
            is_text,
            is_answer=True,
            stream=True,
            request=_WRITE_REQUEST,
        )
    yield Case(
        "completions",
        "-",
        "log probs",
        "/v1/completions",
        fill(_write_completion, make_log_probs),
        is_text=True,
        is_answer=True,
        request=_WRITE_REQUEST,
    )
    yield Case(
        "files", "-", "list", "/v1/files", _write_list, is_answer=True, method="GET", request=b""
    )


def _list_stored() -> Iterator[Case]:
    """Yield answers that the gateway stores, so that a later request can continue them."""
    for stream in (False, True):
        request = b'{"model":"reply-1","store":true,"stream":%b,"input":"hi"}'
        request %= b"true" if stream else b"false"
        for form in ("text of escapes", "text of scripts", "text of one wide", "log probs"):

            def write(value: bytes, form: str = form, stream: bool = stream) -> bytes:
                part = b',"logprobs":' + value if form == "log probs" else b""
                whole = make_answer("responses", text=_HI if part else value, part=part)
                return make_stream("responses", whole=whole) if stream else whole

            make = TEXTS.get(form.removeprefix("text of "), make_log_probs)
            path = ENDPOINTS["responses"].path
            yield Case(
                "stored", "responses", form, path, fill(write, make), is_text=True,
                is_answer=True, stream=stream, request=request,
            )  # fmt: skip


def _list_uploads() -> Iterator[Case]:
    forms = [
        *_list_forms("line", _write_line),
        ("lines", lambda n: (_write_line(_HI) + b"\n") * (n // len(_write_line(_HI))), True),
        ("blank lines", lambda n: b"\n" * n, True),
    ]
    for form, make, is_text in forms:
        yield Case("files", "-", form, "/v1/files", make, is_text, is_upload=True)


def _write_image(value: bytes) -> bytes:
    return b'{"created":1,"data":[{"b64_json":%b}],%b}' % (value, _COUNTS)


def _write_event(value: bytes) -> bytes:
    event = b'{"type":"image_generation.completed","b64_json":%b,%b}' % (value, _COUNTS)
    return b"data: %b\n\ndata: [DONE]\n\n" % event


def _write_completion(value: bytes) -> bytes:
    return b'{"choices":[{"index":0,"text":"x","logprobs":%b}],%b}' % (value, _COUNTS)


def _write_list(count: int) -> bytes:
    files = b",".join(_FILE % at for at in range(count // (2 * _FILE.count(b":"))))
    return b'{"object":"list","data":[%b],"has_more":false}' % files


def _write_line(value: bytes) -> bytes:
    return _LINE % value


def _write_message(value: bytes) -> bytes:
    return b'{"type":"response.done","response":{"id":"r1","x":%b,%b}}' % (value, _COUNTS)
