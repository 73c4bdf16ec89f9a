"""The facts that the gateway takes from one stream of chunks: natively, in full, and translated."""

from typing import NamedTuple

import pytest

from gateway.core.usage import Usage
from gateway.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT, StreamInspector, translation
from gateway.dialects.base import ResponseContext
from gateway.dialects.translation import Translation
from tests.dialects.cases import ask
from tests.dialects.full_reads import read_all_frames_in_full

_REQUEST = b'{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}'


class StreamFacts(NamedTuple):
    """The facts of a stream that accounting needs."""

    usage: Usage | None
    served_model: str | None
    response_id: str | None
    finish: str | None
    problem: str | None
    complete: bool


def _read(inspector: StreamInspector) -> StreamFacts:
    return StreamFacts(
        usage=inspector.usage,
        served_model=inspector.served_model,
        response_id=inspector.response_id,
        finish=inspector.finish,
        problem=inspector.problem.kind if inspector.problem is not None else None,
        complete=inspector.complete,
    )


def inspect(body: bytes, size: int = 0) -> tuple[StreamFacts, bytes, int]:
    """Return the facts of a native stream, its bytes for the client, and its bytes of content.

    `size`: of each read; 0 reads all at once.
    """
    inspector = OPENAI_CHAT.inspect_stream(ask(stream=True, usage=True))
    step = size or len(body) or 1
    parts = [inspector.feed(body[at : at + step]) for at in range(0, len(body), step)]
    out = b"".join([*parts, inspector.end()])
    return _read(inspector), out, inspector.content_bytes


def inspect_in_full(
    body: bytes, monkeypatch: pytest.MonkeyPatch, size: int = 0
) -> tuple[StreamFacts, bytes, int]:
    """Return the same as `inspect`, by an inspector that reads every frame in full."""
    with monkeypatch.context() as patch:
        read_all_frames_in_full(patch, OPENAI_CHAT.inspect_stream(ask(stream=True, usage=True)))
        return inspect(body, size)


def translate(body: bytes) -> StreamFacts:
    """Return the facts of a stream that is translated to Messages."""
    client = ANTHROPIC_MESSAGES
    request = translation.decode_request(client, client.read(_REQUEST))
    context = ResponseContext(id="1", created_at=1, model="m")
    translated = Translation(client, OPENAI_CHAT, request, context).inspect_stream(ask())
    translated.feed(body)
    translated.end()
    return _read(translated)


def summarize(body: bytes) -> tuple[StreamFacts, StreamFacts]:
    """Return the facts of a whole answer: natively, and translated to Messages."""
    client = ANTHROPIC_MESSAGES
    request = translation.decode_request(client, client.read(_REQUEST))
    context = ResponseContext(id="1", created_at=1, model="m")
    summaries = (
        OPENAI_CHAT.summarize(body),
        Translation(client, OPENAI_CHAT, request, context).summarize(body),
    )
    native, translated = (
        StreamFacts(
            **{name: getattr(summary, name) for name in StreamFacts._fields if name != "problem"},
            problem=summary.problem.kind if summary.problem is not None else None,
        )
        for summary in summaries
    )
    return native, translated
