"""Embeddings in OpenAI's shape: native, and translated both ways.

Source: POST /v1/embeddings of OpenAI's API reference. Hosts add members of their own; they pass.
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
from gateway.dialects.stream_frames import make_broken_problem

ESSENTIAL_MEMBERS = frozenset({"dimensions", "output_dimension", "output_dtype", "input_type"})
"""Members that change the vectors: the gateway skips a target that refuses one."""

_FIELD_MEMBERS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})
_CHARS_A_TOKEN = 4


class _EmbeddingsAnswer(msgspec.Struct):
    """An answer whose vectors stay undecoded: they may be megabytes."""

    data: msgspec.Raw = msgspec.Raw()
    usage: Any = None
    model: Any = None
    id: Any = None
    error: Any = None


_read_answer = jsonio.make_reader(_EmbeddingsAnswer)


def read(raw: bytes) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    return parse(raw, _read_prompt)


def _read_prompt(value: dict[str, Json], _: Members) -> Prompt:
    model, inputs = value.get("model"), value.get("input")
    if not isinstance(model, str) or not model:
        raise invalid_request(
            '"model" is required: an embedding model, "auto" or "lab/auto".', "model"
        )
    if not isinstance(inputs, str | list):
        raise invalid_request('"input" is required: a text, a list of texts, or tokens.', "input")
    items = _list_inputs(inputs)
    texts = [item for item in items if isinstance(item, str)]
    tokens = sum(len(item) for item in items if isinstance(item, list))
    return Prompt(
        model=model,
        user="\n".join(texts),
        user_turns=1,
        chars=sum(map(len, texts)) + tokens * _CHARS_A_TOKEN,
        files=sum(isinstance(item, dict) and not _is_text(item) for item in items),
        members=frozenset(value),
    )


def _is_text(item: dict[str, Json]) -> bool:
    """True if an input of a host's own form holds text alone, as {"text": "..."}."""
    return item.keys() == {"text"}


def _list_inputs(inputs: Json) -> list[Json]:
    """List the inputs: each is a text, a list of tokens, or a host's own form."""
    numbers = isinstance(inputs, list) and inputs and isinstance(inputs[0], int)
    return [inputs] if isinstance(inputs, str) or numbers else inputs


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Write the body for one target: the client's bytes with only the necessary members changed."""
    edit = BodyPatch(body)
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    edit.drop_refused(target)
    return edit.finish()


def summarize(body: bytes) -> ResponseSummary:
    """Read the facts for accounting. A 200 with an error or without vectors is a problem."""
    try:
        answer = _read_answer(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("no embeddings"))
    if bytes(memoryview(answer.data)[:1]) != b"[":
        if answer.error:
            return ResponseSummary(problem=errors.read_answer_error(answer.error, body))
        return ResponseSummary(problem=make_broken_problem("no embeddings"))
    served_model = answer.model if isinstance(answer.model, str) else None
    return ResponseSummary(
        usage=_read_usage(answer.usage),
        served_model=served_model,
        response_id=parse_response_id(answer.id),
        finish=embeddings.FINISH_WORD,
        complete=True,
    )


def _read_usage(usage: Json) -> Usage | None:
    """Read usage. There is no output but vectors, so some hosts send only a total (Voyage)."""
    if not isinstance(usage, dict):
        return None
    prompt = parse_count(usage.get("prompt_tokens"))
    prompt = parse_count(usage.get("total_tokens")) if prompt is None else prompt
    return None if prompt is None else Usage(input=prompt, output=0, media=read_media(usage))


def decode_request(body: RequestBody) -> EmbeddingsRequest:
    """Return the request of a body."""
    value = body.value
    size, user = value.get("dimensions"), value.get("user")
    return EmbeddingsRequest(
        turns=tuple(
            CanonicalTurn(role="user", parts=(_decode_input(item),))
            for item in _list_inputs(value["input"])
        ),
        dimensions=size if isinstance(size, int) else None,
        wants_base64=value.get("encoding_format") == "base64",
        user=user if isinstance(user, str) else None,
        names={"turns": "input", "dimensions": "dimensions", "user": "user"},
        extra_members={
            name: it for name, it in value.items() if name not in _FIELD_MEMBERS and it is not None
        },
        source=value,
    )


def _decode_input(item: Json) -> Part:
    if isinstance(item, str):
        return Text(text=item, source=item)
    return Foreign(kind="tokens" if isinstance(item, list) else "object", source=item)


def encode_request(request: CanonicalRequest, _: Target) -> EncodedRequest:
    """Write the body of a request; the provider sends vectors as numbers."""
    embeddings_request = embeddings.expect_embeddings(request)
    value: dict[str, Json] = {"input": embeddings.list_inputs(embeddings_request)}
    if embeddings_request.dimensions is not None:
        value["dimensions"] = embeddings_request.dimensions
    names = {"input": "turns", "dimensions": "dimensions"}
    return EncodedRequest(
        value=value,
        client_names={
            name: embeddings_request.names.get(word, word) for name, word in names.items()
        },
    )


def decode_response(body: bytes) -> list[Event]:
    """Return the events of a whole answer. Never raises: a malformed answer is a Failed."""
    summary = summarize(body)
    if summary.problem is not None:
        return [Failed(summary.problem)]
    rows = jsonio.loads(body)["data"]
    if not all(isinstance(row, dict) for row in rows):
        return [Failed(make_broken_problem("vectors that are not lists of numbers"))]
    rows.sort(key=lambda row: parse_count(row.get("index")) or 0)
    vectors = [row.get("embedding") for row in rows]
    return embeddings.make_events(vectors, summary.usage, summary.served_model, summary.response_id)


def encode_response(events: Iterable[Event], context: ResponseContext) -> bytes:
    """Write a whole answer from its events."""
    is_packed = embeddings.expect_embeddings(context.request).wants_base64
    response = embeddings.EmbeddingsResponse(events, context.model)
    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": embeddings.pack_vector(vector) if is_packed else vector,
        }
        for at, vector in enumerate(response.vectors)
    ]
    tokens = response.usage.prompt if response.usage is not None else None
    usage = None if tokens is None else {"prompt_tokens": tokens, "total_tokens": tokens}
    return jsonio.dumps({"object": "list", "data": data, "model": response.model, "usage": usage})
