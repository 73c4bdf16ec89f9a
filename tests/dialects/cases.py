"""Requests, targets and streams for the tests of dialects."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from gateway.core.target import UNKNOWN_FACTS, ModelFacts, Provider, Target
from gateway.dialects import OPENAI_CHAT, RequestBody, StreamInspector

type Object = dict[str, Any]

HERE = Provider(name="here", urls={OPENAI_CHAT.name: "https://here.test/v1/chat/completions"})


def target(model: str = "m", *, facts: ModelFacts = UNKNOWN_FACTS, **more: Any) -> Target:
    """Make a target; members of its provider are given as provider_<name>."""
    own = {
        name.removeprefix("provider_"): more.pop(name) for name in list(more) if "provider_" in name
    }
    provider = Provider(name="here", urls=HERE.urls, **own) if own else HERE
    return Target(provider=provider, model=model, facts=facts, **more)


def ask(*, stream: bool = False, usage: bool = False, n: int = 1) -> RequestBody:
    """Make a small request and read it."""
    value: Object = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    if stream:
        value["stream"] = True
    if usage:
        value["stream_options"] = {"include_usage": True}
    if n != 1:
        value["n"] = n
    return OPENAI_CHAT.read(json.dumps(value).encode())


def facts(inspector: StreamInspector) -> tuple[object, ...]:
    """Return all that an inspector knows of a stream."""
    kind = inspector.problem.kind if inspector.problem is not None else None
    return (
        inspector.committed,
        inspector.complete,
        inspector.usage,
        inspector.served_model,
        inspector.finish,
        kind,
    )


def sse(*chunks: Object | bytes, done: bool = True) -> bytes:
    """Make a stream of chunks; bytes are whole frames."""
    frames = [
        c if isinstance(c, bytes) else b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks
    ]
    return b"".join(frames) + (b"data: [DONE]\n\n" if done else b"")


def chunk(
    delta: Object | None = None, *, index: int = 0, finish: str | None = None, **more: Any
) -> Object:
    """Make one chunk with one choice."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-1",
        "choices": [choice],
        **more,
    }


def make_usage_chunk(usage: Object) -> Object:
    """Make the usage chunk."""
    return {**chunk(), "choices": [], "usage": usage}


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Split bytes at the cuts."""
    at = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[a:b] for a, b in pairwise(at)]


TEXT = st.text(alphabet=st.sampled_from('ab\n"\\\u00e9\u4e16\u2028\U0001f600 {}[]:,'), max_size=8)
"""Short text that is hard on the wire: quotes, escapes, two to four bytes a character, U+2028."""

SPACE = st.sampled_from(["", "", "", " ", "\n", "\t", "\r\n  "])


@st.composite
def strings(draw: st.DrawFn) -> str:
    """Draw a JSON string whose characters are escaped or not, as different writers do it."""
    written = []
    for character in draw(TEXT):
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        written.append(draw(st.sampled_from([plain, json.dumps(character)[1:-1]])))
    return '"' + "".join(written) + '"'


NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "1.50",
        "0.70",
        "1e3",
        "1E+3",
        "-1.0e-2",
        "12345678901234567890123",
        "0.1000000000000000055511",
    ]
)


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    """Draw any JSON value as text, with optional spaces and sometimes repeated member names."""
    kind = draw(
        st.sampled_from(
            ["string", "number", "word", "list", "object"] if depth else ["string", "number"]
        )
    )
    if kind == "string":
        return draw(strings())
    if kind == "number":
        return draw(NUMBERS)
    if kind == "word":
        return draw(st.sampled_from(["true", "false", "null"]))
    space = draw(SPACE)
    items = draw(st.lists(values(depth=depth - 1), max_size=3))
    if kind == "list":
        return "[" + space + ("," + space).join(items) + space + "]"
    named = [draw(strings()) + space + ":" + space + item for item in items]
    return "{" + space + ("," + space).join(named) + space + "}"


UNKNOWN_NAMES = st.sampled_from(
    ["x_vendor", "user", "metadata", "caf\u00e9", "zz", "provider", "extra_body"]
)

KNOWN = {
    "model": '"m"',
    "messages": '[{"role":"user" , "content":"h\\u00e9llo \\ud83d\\ude00","x":1.50}]',
    "temperature": "1.50",
    "tools": '[ {"type":"function","function":{"name":"f","parameters":{"n":12345678901234567890123}}} ]',
}


@st.composite
def requests(draw: st.DrawFn, repeats: bool = False) -> tuple[bytes, list[tuple[str, str]]]:
    """Draw a request as bytes, with its top-level members in order as names and texts of values."""
    names = [
        "model",
        "messages",
        *draw(st.lists(st.sampled_from(["temperature", "tools"]), unique=True)),
    ]
    more = draw(
        st.lists(st.tuples(UNKNOWN_NAMES, values()), max_size=4, unique_by=lambda pair: pair[0])
    )
    parts = draw(st.permutations([*((name, KNOWN[name]) for name in names), *more]))
    if repeats:
        name, value = draw(st.sampled_from(parts))
        other = draw(values())
        parts.insert(draw(st.integers(0, [n for n, _ in parts].index(name))), (name, other))
        assert value in dict(parts)[name]
    written = [
        draw(SPACE)
        + json.dumps(name, ensure_ascii=False)
        + draw(SPACE)
        + ":"
        + draw(SPACE)
        + value
        + draw(SPACE)
        for name, value in parts
    ]
    return (draw(SPACE) + "{" + ",".join(written) + "}" + draw(SPACE)).encode(), parts
