"""The requests and answers whose work `bench.loop_hold` measures, as data.

A shape is JSON with many values, or a long text. A form is a request of an endpoint that has many
of one thing, or a shape in one of its members.
"""

import json
from collections.abc import Callable, Iterator

import msgspec

from gateway.core import json_size

type Make = Callable[[int], bytes]
"""Returns about `n` values of JSON, or `n` bytes of text."""


def repeat(item: bytes, count: int) -> bytes:
    """Return an item so many times, with commas between."""
    return b",".join([item] * max(count, 1))


def _number(write: Callable[[int], bytes], count: int) -> bytes:
    return b",".join(map(write, range(max(count, 1))))


def _text(piece: str, size: int) -> bytes:
    return json.dumps(piece * (size // len(piece.encode()) + 1), ensure_ascii=False).encode()


def _bound(size: int) -> int:
    """Return how many bytes of complex text a request or answer of this size may have."""
    return min(size, json_size.MAX_COMPLEX_BYTES - _OTHER_TEXT_BYTES)


_OTHER_TEXT_BYTES = 200_000
"""Bytes of the other strings, and of the slices with the ends of a long one."""


VALUES: dict[str, Make] = {
    "numbers": lambda n: b"[%b]" % repeat(b"1", n),
    "long numbers": lambda n: b"[%b]" % repeat(b"-12345678901234567890.25e-7", n),
    "short texts": lambda n: b"[%b]" % _number(lambda at: b'"t%x"' % at, n),
    "lists": lambda n: b"[%b]" % repeat(b"[]", n // 2),
    "deep lists": lambda n: b"[%b]" % repeat(b"[" * 200 + b"]" * 200, n // 201),
    "objects": lambda n: b"[%b]" % repeat(b"{}", n // 2),
    "names": lambda n: b"{%b}" % _number(lambda at: b'"k%x":1' % at, n),
    "one name": lambda n: b"{%b}" % repeat(b'"k":1', n),
    "small objects": lambda n: b"[%b]" % _number(lambda at: b'{"a%x":1,"b%x":2}' % (at, at), n // 3),
}  # fmt: skip
"""Shapes with many values."""
TEXTS: dict[str, Make] = {
    "words": lambda n: _text("some plain words, ", n),
    "escapes": lambda n: b'"%b"' % (rb"\"\u00e9\n" * (_bound(n) // 10)),
    "scripts": lambda n: _text("語の文é☃ ", _bound(n)),
    "marks": lambda n: _text("`{=>}&#;", n),
    "blanks": lambda n: _text(" ", n),
    "one word": lambda n: _text("a", n),
    "lines": lambda n: b'"%b"' % (rb"a\n" * (_bound(n) // 3)),
    "one wide": lambda n: _text("a" * _bound(n) + "\U0001f600", 0),
    "one script": lambda n: _text("a" * _bound(n) + "語", 0),
    "nested JSON": lambda n: json.dumps("[" + "1," * (n // 2) + "1]").encode(),
    "nested names": lambda n: json.dumps(VALUES["names"](_bound(n) // 13).decode()).encode(),
}
"""Shapes of a long text."""


def make_log_probs(size: int) -> bytes:
    """Return about so many bytes: the rows of tokens with the 20 next best ones."""
    choice = b'{"token":"x","logprob":-0.1,"bytes":[120]}'
    row = choice[:-1] + b',"top_logprobs":[%b]}' % repeat(choice, 20)
    return b"[%b]" % repeat(row, size // len(row))


class Case(msgspec.Struct, frozen=True):
    """One kind of request or answer."""

    endpoint: str
    target: str
    """The model that the request names, or that answers."""
    form: str
    path: str
    make: Make
    is_text: bool = False
    """True if it has many bytes of text, not many values."""
    is_answer: bool = False
    """True if `make` writes the provider's answer to a small request."""
    stream: bool = False
    """True if the request asks for a stream; of an answer, if it is one."""
    is_upload: bool = False
    """True if `make` writes a file of a batch, which a form uploads."""
    is_session: bool = False
    """True if `make` writes a message of a WebSocket: the client's, or the provider's."""
    method: str = "POST"
    request: bytes | None = None
    """The request to which the answer belongs, of an endpoint beside text."""


_SCHEMA = (
    b'{"type":"object","properties":{"path":{"type":"string","description":"A path."},'
    b'"lines":{"type":"array","items":{"type":"integer"}}},"required":["path"]}'
)
_SCHEMA_VALUES = 12
_HI = b'"hi"'


class Endpoint(msgspec.Struct, frozen=True):
    """An endpoint, and the parts of which its requests have many: each template takes one JSON value."""

    path: str
    body: bytes
    """A request: %(items)b is its messages, %(more)b are further members."""
    message: bytes
    """A message of the user with %(text)b."""
    part: bytes
    wrap_parts: bytes
    """A message with many parts: %(parts)b."""
    turn: bytes
    """A message of the assistant."""
    call: bytes
    """A call of a tool with the text %(text)b as its arguments, and its result."""
    tool: bytes
    tool_list: bytes


ENDPOINTS = {
    "chat": Endpoint(
        "/v1/chat/completions",
        b'{"model":"%(model)b","messages":[%(items)b]%(more)b}',
        b'{"role":"user","content":%(text)b}',
        b'{"type":"text","text":%(text)b}',
        b'{"role":"user","content":[%(parts)b]}',
        b'{"role":"assistant","content":%(text)b}',
        b'{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":%(text)b}}]},{"role":"tool","tool_call_id":"c1","content":"ok"}',
        b'{"type":"function","function":{"name":"f%(at)d","description":"Reads.","parameters":%(schema)b}}',
        b',"tools":[%(tools)b]',
    ),
    "messages": Endpoint(
        "/v1/messages",
        b'{"model":"%(model)b","max_tokens":99,"messages":[%(items)b]%(more)b}',
        b'{"role":"user","content":%(text)b}',
        b'{"type":"text","text":%(text)b}',
        b'{"role":"user","content":[%(parts)b]}',
        b'{"role":"assistant","content":%(text)b}',
        b'{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{"a":%(text)b}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"ok"}]}',
        b'{"name":"f%(at)d","description":"Reads.","input_schema":%(schema)b}',
        b',"tools":[%(tools)b]',
    ),
    "responses": Endpoint(
        "/v1/responses",
        b'{"model":"%(model)b","store":false,"input":[%(items)b]%(more)b}',
        b'{"role":"user","content":%(text)b}',
        b'{"type":"input_text","text":%(text)b}',
        b'{"role":"user","content":[%(parts)b]}',
        b'{"role":"assistant","content":%(text)b}',
        b'{"type":"function_call","call_id":"c1","name":"f","arguments":%(text)b},{"type":"function_call_output","call_id":"c1","output":"ok"}',
        b'{"type":"function","name":"f%(at)d","description":"Reads.","parameters":%(schema)b}',
        b',"tools":[%(tools)b]',
    ),
    "gemini": Endpoint(
        "/v1beta/models/%s:generateContent",
        b'{"contents":[%(items)b]%(more)b}',
        b'{"role":"user","parts":[{"text":%(text)b}]}',
        b'{"text":%(text)b}',
        b'{"role":"user","parts":[%(parts)b]}',
        b'{"role":"model","parts":[{"text":%(text)b}]}',
        b'{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":%(text)b}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"a":"ok"}}}]}',
        b'{"name":"f%(at)d","description":"Reads.","parameters":%(schema)b}',
        b',"tools":[{"functionDeclarations":[%(tools)b]}]',
    ),
}  # fmt: skip
MODELS = {"chat": "chat-1", "messages": "claude-1", "responses": "reply-1", "gemini": "gemini-1"}
"""A model of each dialect, by the endpoint whose dialect it is."""


def make_request(
    name: str, model: str, items: bytes | None = None, more: bytes = b"", *, text: bytes = _HI
) -> bytes:
    """Return a request of an endpoint: with these messages, or with one that has a text."""
    endpoint = ENDPOINTS[name]
    items = endpoint.message % {b"text": text} if items is None else items
    return endpoint.body % {b"model": model.encode(), b"items": items, b"more": more}


_HARD_FORMS = (
    "member of names", "schema of names", "schema of deep lists", "text of escapes",
    "text of scripts", "text of one wide", "text of one script", "arguments of escapes",
    "arguments of nested names",
)  # fmt: skip
"""Forms that took longest. Beside native calls of Chat Completions only these are measured."""


def _is_measured(name: str, target: str, form: str) -> bool:
    """True if a form is measured between two dialects: all forms of one, the hardest of others."""
    return name == target == "chat" or " of " not in form or form in _HARD_FORMS


def list_requests() -> Iterator[Case]:
    """Yield requests of each endpoint: native, and translated to each other dialect."""
    for name, endpoint in ENDPOINTS.items():
        for target, model in MODELS.items():
            path = endpoint.path % model if "%s" in endpoint.path else endpoint.path
            for form, make, is_text in _list_forms(name, model, is_native=name == target):
                if _is_measured(name, target, form):
                    yield Case(name, target, form, path, make, is_text)
    yield from _list_other_requests()


def _list_forms(name: str, model: str, *, is_native: bool) -> Iterator[tuple[str, Make, bool]]:
    endpoint = ENDPOINTS[name]
    message, turn = endpoint.message % {b"text": _HI}, endpoint.turn % {b"text": _HI}
    pair = message + b"," + turn
    call = endpoint.call % {b"text": rb'"{\"a\":1}"'}
    part = endpoint.part % {b"text": _HI}

    def per(item: bytes) -> int:
        return item.count(b",") + item.count(b"{") + item.count(b"[")

    yield (
        "messages",
        lambda n: make_request(name, model, repeat(pair, n // (per(pair) + 1)) + b"," + message),
        False,
    )
    yield (
        "calls",
        lambda n: make_request(
            name, model, message + b"," + repeat(call, n // (per(call) + 1)) + b"," + message
        ),
        False,
    )
    yield (
        "parts",
        lambda n: make_request(
            name, model, endpoint.wrap_parts % {b"parts": repeat(part, n // (per(part) + 1))}
        ),
        False,
    )
    yield (
        "tools",
        lambda n: make_request(
            name,
            model,
            more=endpoint.tool_list
            % {
                b"tools": _number(
                    lambda at: endpoint.tool % {b"at": at, b"schema": _SCHEMA},
                    n // (_SCHEMA_VALUES + 5),
                )
            },
        ),
        False,
    )

    def write_schema(value: bytes) -> bytes:
        schema = b'{"type":"object","x":' + value + b"}"
        tool = endpoint.tool % {b"at": 1, b"schema": schema}
        return make_request(name, model, more=endpoint.tool_list % {b"tools": tool})

    def write_arguments(value: bytes) -> bytes:
        items = (message, endpoint.call % {b"text": value}, message)
        return make_request(name, model, b",".join(items))

    for shape, make in VALUES.items():
        if is_native:
            write = fill(lambda value: make_request(name, model, more=b',"x":' + value), make)
            yield f"member of {shape}", write, False
        yield f"schema of {shape}", fill(write_schema, make), False

    def write_with_data(size: int) -> bytes:
        text = TEXTS["escapes"](size)
        data = b',"x":"%b"' % (b"a" * max(size - len(text), 1))
        return make_request(name, model, text=text, more=data)

    yield "text and data", write_with_data, True
    for shape, make in TEXTS.items():
        write = fill(lambda value: make_request(name, model, text=value), make)
        yield f"text of {shape}", write, True
        yield f"arguments of {shape}", fill(write_arguments, make), True


def fill(write: Callable[[bytes], bytes], make: Make) -> Make:
    """Return a function that makes a value, and writes a request or answer with it."""
    return lambda n: write(make(n))


def _list_other_requests() -> Iterator[Case]:
    inputs: dict[str, Make] = {
        "token ids": lambda n: b"[%b]" % repeat(b"[%b]" % repeat(b"100257", 2_047), n // 2_048),
        "one list of ids": lambda n: b"[%b]" % repeat(b"100257", n),
        "inputs": lambda n: b"[%b]" % repeat(b'"a text"', n),
    }

    def write_input(value: bytes) -> bytes:
        return b'{"model":"embed-1","input":%b}' % value

    def write_member(value: bytes) -> bytes:
        return make_request("messages", "claude-1", more=b',"x":' + value)

    values = {f"member of {shape}": make for shape, make in VALUES.items()}
    texts = {f"text of {shape}": make for shape, make in TEXTS.items()}
    for form, make in {**inputs, **values, **texts}.items():
        write = fill(write_input, make)
        yield Case("embeddings", "chat", form, "/v1/embeddings", write, is_text=form in texts)
    for name, path in (
        ("count", "/v1/messages/count_tokens"),
        ("route", "/v1/route"),
        ("feedback", "/v1/feedback"),
        ("moderations", "/v1/moderations"),
    ):
        for form, make in values.items():
            if _is_measured(name, "-", form):
                yield Case(name, "-", form, path, fill(write_member, make))
    for name, path in (("count", "/v1/messages/count_tokens"), ("route", "/v1/route")):
        for form, make in texts.items():
            if _is_measured(name, "-", form):
                write = fill(lambda value: make_request("messages", "claude-1", text=value), make)
                yield Case(name, "-", form, path, write, is_text=True)


_ANSWERS = {
    "chat": (
        b'{"id":"r1","object":"chat.completion","created":1,"model":"chat-1","choices":[{"index":0,"message":{"role":"assistant","content":%(text)b%(calls)b},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}%(more)b}',
        b',"tool_calls":[%(items)b]',
        b'{"id":"c1","type":"function","function":{"name":"f","arguments":%(text)b}}',
    ),
    "messages": (
        b'{"id":"r1","type":"message","role":"assistant","model":"claude-1","content":[{"type":"text","text":%(text)b}%(calls)b],"stop_reason":"end_turn","usage":{"input_tokens":7,"output_tokens":3}%(more)b}',
        b",%(items)b",
        b'{"type":"tool_use","id":"c1","name":"f","input":{"a":%(text)b}}',
    ),
    "responses": (
        b'{"id":"r1","object":"response","created_at":1,"status":"completed","model":"reply-1","output":[{"type":"message","id":"m1","status":"completed","role":"assistant","content":[{"type":"output_text","text":%(text)b,"annotations":[]%(part)b}]}%(calls)b],"usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}%(more)b}',
        b",%(items)b",
        b'{"type":"function_call","id":"i1","status":"completed","call_id":"c1","name":"f","arguments":%(text)b}',
    ),
    "gemini": (
        b'{"candidates":[{"content":{"role":"model","parts":[{"text":%(text)b}%(calls)b]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3,"totalTokenCount":10}%(more)b}',
        b",%(items)b",
        b'{"functionCall":{"name":"f","args":{"a":%(text)b}}}',
    ),
}  # fmt: skip


def make_answer(
    dialect: str,
    *,
    text: bytes = _HI,
    calls: tuple[bytes, int] | None = None,
    more: bytes = b"",
    part: bytes = b"",
) -> bytes:
    """Return a whole answer: with a text, a number of calls with these arguments, and members.

    `part`: further members of the text part, in Responses.
    """
    template, call_list, call = _ANSWERS[dialect]
    written = b""
    if calls is not None:
        written = call_list % {b"items": repeat(call % {b"text": calls[0]}, calls[1])}
    return template % {b"text": text, b"calls": written, b"more": more, b"part": part}


def list_answers() -> Iterator[Case]:
    """Yield whole answers of each dialect, to clients of each."""
    for name, endpoint in ENDPOINTS.items():
        for target, model in MODELS.items():
            path = endpoint.path % model if "%s" in endpoint.path else endpoint.path
            for form, make, is_text in _list_answer_forms(target):
                if _is_measured(name, target, form):
                    yield Case(name, target, form, path, make, is_text, is_answer=True)
    vector = b'{"object":"embedding","index":0,"embedding":[%b]}' % repeat(b"-0.0123456789", 1_535)
    items: dict[str, Make] = {"vectors": lambda n: repeat(vector, n // 1_540)}
    items |= {f"item of {shape}": make for shape, make in VALUES.items()}
    for form, make in items.items():
        write = fill(_write_vectors, make)
        yield Case("embeddings", "chat", form, "/v1/embeddings", write, is_answer=True)


def _list_answer_forms(dialect: str) -> Iterator[tuple[str, Make, bool]]:
    def write_arguments(value: bytes) -> bytes:
        return make_answer(dialect, calls=(value, 1))

    yield "calls", lambda n: make_answer(dialect, calls=(rb'"{\"a\":1}"', n // 8)), False
    if dialect != "messages":
        member = b',"logprobsResult":' if dialect == "gemini" else b',"logprobs":'
        yield "log probs", lambda n: make_answer(dialect, more=member + make_log_probs(n)), True
    for shape, make in VALUES.items():
        write = fill(lambda value: make_answer(dialect, more=b',"x":' + value), make)
        yield f"member of {shape}", write, False
    for shape, make in TEXTS.items():
        write = fill(lambda value: make_answer(dialect, text=value), make)
        yield f"text of {shape}", write, True
        yield f"arguments of {shape}", fill(write_arguments, make), True


def _write_vectors(items: bytes) -> bytes:
    usage = b'{"prompt_tokens":3,"total_tokens":3}'
    return b'{"object":"list","model":"embed-1","data":[%b],"usage":%b}' % (items, usage)
