"""Embeddings in OpenAI's shape, as most hosts have them: both ways.

Source: POST /v1/embeddings of OpenAI's API reference; hosts add members of their own, which go on.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest, CanonicalTurn, Foreign, Part, Text
from gateway.core.errors import invalid_request
from gateway.core.events import Event, Failed
from gateway.core.jsonio import Json, Members
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import Usage, parse_count
from gateway.dialects import embeddings
from gateway.dialects.base import (
    EncodedRequest,
    RequestBody,
    ResponseContext,
    ResponseSummary,
    WrittenBody,
    parse_response_id,
)
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.embeddings import EmbeddingsRequest
from gateway.dialects.openai_chat import errors
from gateway.dialects.openai_chat.usage import read_media
from gateway.dialects.parse import parse
from gateway.dialects.stream_commit import make_broken_problem

FEATURES = frozenset({"dimensions", "output_dimension", "output_dtype", "input_type"})
"""Members that make other vectors: never dropped, a target that refuses one is skipped."""

_OURS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})
_CHARS_A_TOKEN = 4


class _Answer(msgspec.Struct):
    """An answer whose vectors, which may be megabytes, are stepped over."""

    data: msgspec.Raw = msgspec.Raw()
    usage: Any = None
    model: Any = None
    id: Any = None
    error: Any = None


_read_answer = jsonio.make_reader(_Answer)


def read(raw: bytes) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    return parse(raw, _prompt)


def _prompt(value: dict[str, Json], _: Members) -> Prompt:
    model, asked = value.get("model"), value.get("input")
    if not isinstance(model, str) or not model:
        raise invalid_request(
            '"model" is required: an embedding model, "auto" or "lab/auto".', "model"
        )
    if not isinstance(asked, str | list):
        raise invalid_request('"input" is required: a text, a list of texts, or tokens.', "input")
    items = _items(asked)
    said = [item for item in items if isinstance(item, str)]
    tokens = sum(len(item) for item in items if isinstance(item, list))
    return Prompt(
        model=model,
        user="\n".join(said),
        user_turns=1,
        chars=sum(map(len, said)) + tokens * _CHARS_A_TOKEN,
        files=sum(isinstance(item, dict) and not _is_text(item) for item in items),
        members=frozenset(value),
    )


def _is_text(item: dict[str, Json]) -> bool:
    """True if an input of a host's own form holds text alone, as {"text": "..."}."""
    return item.keys() == {"text"}


def _items(asked: Json) -> list[Json]:
    """Each input by itself: a text, a list of tokens, or what else a host may take."""
    numbers = isinstance(asked, list) and asked and isinstance(asked[0], int)
    return [asked] if isinstance(asked, str) or numbers else asked


def write(body: RequestBody, target: Target) -> WrittenBody:
    """The body for one target: the client's bytes, with only those members changed that must be."""
    edit = BodyPatch(body)
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    edit.drop_refused(target)
    return edit.finish()


def summarize(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error or with no vectors in it is a problem."""
    try:
        seen = _read_answer(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("no embeddings"))
    if bytes(memoryview(seen.data)[:1]) != b"[":
        if seen.error:
            return ResponseSummary(problem=errors.read_answer_error(seen.error, body))
        return ResponseSummary(problem=make_broken_problem("no embeddings"))
    served = seen.model if isinstance(seen.model, str) else None
    return ResponseSummary(
        usage=_usage(seen.usage),
        served_model=served,
        response_id=parse_response_id(seen.id),
        finish=embeddings.FINISH_WORD,
        complete=True,
    )


def _usage(usage: Json) -> Usage | None:
    """Nothing comes out but vectors, so that some hosts tell a total alone (Voyage)."""
    if not isinstance(usage, dict):
        return None
    prompt = parse_count(usage.get("prompt_tokens"))
    prompt = parse_count(usage.get("total_tokens")) if prompt is None else prompt
    return None if prompt is None else Usage(input=prompt, output=0, media=read_media(usage))


def decode_request(body: RequestBody) -> EmbeddingsRequest:
    """The request in no dialect."""
    value = body.value
    size, user = value.get("dimensions"), value.get("user")
    return EmbeddingsRequest(
        turns=tuple(
            CanonicalTurn(role="user", parts=(_part(item),)) for item in _items(value["input"])
        ),
        dimensions=size if isinstance(size, int) else None,
        wants_base64=value.get("encoding_format") == "base64",
        user=user if isinstance(user, str) else None,
        names={"turns": "input", "dimensions": "dimensions", "user": "user"},
        extra_members={
            name: it for name, it in value.items() if name not in _OURS and it is not None
        },
        source=value,
    )


def _part(item: Json) -> Part:
    if isinstance(item, str):
        return Text(text=item, source=item)
    return Foreign(kind="tokens" if isinstance(item, list) else "object", source=item)


def encode_request(request: CanonicalRequest, _: Target) -> EncodedRequest:
    """The body of a request that came in another dialect; vectors come as numbers."""
    asked = embeddings.expect_embeddings(request)
    value: dict[str, Json] = {"input": embeddings.list_inputs(asked)}
    if asked.dimensions is not None:
        value["dimensions"] = asked.dimensions
    names = {"input": "turns", "dimensions": "dimensions"}
    return EncodedRequest(
        value=value,
        client_names={name: asked.names.get(word, word) for name, word in names.items()},
    )


def decode_response(body: bytes) -> list[Event]:
    """A whole answer as events. Never raises: what is no answer is a Failed."""
    seen = summarize(body)
    if seen.problem is not None:
        return [Failed(seen.problem)]
    rows = jsonio.loads(body)["data"]
    if not all(isinstance(row, dict) for row in rows):
        return [Failed(make_broken_problem("vectors that are no lists of numbers"))]
    rows.sort(key=lambda row: parse_count(row.get("index")) or 0)
    made = [row.get("embedding") for row in rows]
    return embeddings.make_events(made, seen.usage, seen.served_model, seen.response_id)


def encode_response(events: Iterable[Event], telling: ResponseContext) -> bytes:
    """A whole answer, from its events."""
    packed = embeddings.expect_embeddings(telling.request).wants_base64
    heard = embeddings.EmbeddingsResponse(events, telling.model)
    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": embeddings.pack_vector(vector) if packed else vector,
        }
        for at, vector in enumerate(heard.vectors)
    ]
    tokens = heard.usage.prompt if heard.usage is not None else None
    usage = None if tokens is None else {"prompt_tokens": tokens, "total_tokens": tokens}
    return jsonio.dumps({"object": "list", "data": data, "model": heard.model, "usage": usage})
