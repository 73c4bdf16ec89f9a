"""Embeddings of Gemini, of one content (embedContent) and of many (batchEmbedContents): both ways.

Source: models.embedContent and models.batchEmbedContents of Google's API reference. Models before
gemini-embedding-2 send no usage.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest, CanonicalTurn, Foreign, Part, Text
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.events import Event, Failed
from gateway.core.jsonio import Json, Members
from gateway.core.loss import Loss
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
)
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.embeddings import EmbeddingsRequest
from gateway.dialects.gemini import errors, request, usage
from gateway.dialects.gemini.content import (
    ContentTotals,
    Object,
    as_integer,
    get_member,
    list_objects,
    list_texts,
    to_camel_case,
)
from gateway.dialects.json_values import as_text
from gateway.dialects.parse import parse
from gateway.dialects.stream_frames import make_broken_problem

EMBED_ONE, EMBED_MANY = "embedContent", "batchEmbedContents"
ESSENTIAL_MEMBERS = frozenset({"outputDimensionality", "taskType"})
"""Members that make other vectors: never dropped, a target that refuses one is skipped."""

_DIMENSIONS = "outputDimensionality"
_HELD_MEMBERS = frozenset({"model", "content", _DIMENSIONS})
_READ_ITEMS = jsonio.make_reader(list[msgspec.Raw])


class _Answer(msgspec.Struct):
    """An answer; its vectors stay unread bytes."""

    embedding: msgspec.Raw = msgspec.Raw()
    embeddings: msgspec.Raw = msgspec.Raw()
    usageMetadata: Any = None  # noqa: N815 - its name on the wire
    error: Any = None


_READ_ANSWER = jsonio.make_reader(_Answer)


def read(raw: bytes, path: str = "") -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    model, method = request.parse_path(path)
    if method not in (EMBED_ONE, EMBED_MANY, ""):
        message = f'The gateway has no model method "{method}". Use {EMBED_ONE} or {EMBED_MANY}.'
        raise ProblemError(Problem(kind="not_found", message=message))

    def prompt(value: Object, _: Members) -> Prompt:
        many = method == EMBED_MANY if method else "requests" in value
        requests = _read_batch(value) if many else [value]
        totals = ContentTotals(None)
        texts = []
        for item in requests:
            content = item.get("content")
            if not isinstance(content, dict):
                raise invalid_request('"content" is required and must be an object.', "content")
            totals.add_content({**content, "role": "user"})
            texts.append("\n".join(list_texts(content)))
        return Prompt(
            model=_require_model(
                model or request.strip_model_name(as_text(value.get("model")) or "")
            ),
            user="\n".join(texts),
            user_turns=1,
            chars=totals.chars,
            images=totals.images,
            image_bytes=totals.image_bytes,
            files=totals.files,
            audio=totals.audio,
            members=frozenset(to_camel_case(name) for it in (value, *requests) for name in it),
        )

    return parse(raw, prompt)


def _require_model(model: str) -> str:
    if not model:
        raise invalid_request(f"The path must name a model: models/<name>:{EMBED_ONE}.", "model")
    return model


def _read_batch(value: Object) -> list[Object]:
    requests = value.get("requests")
    if not isinstance(requests, list) or not all(isinstance(request, dict) for request in requests):
        raise invalid_request('"requests" is required and must be a list of objects.', "requests")
    return requests


def _list_requests(value: Object) -> list[Object]:
    """List the requests of a body: itself, or those of its batch."""
    many: list[Object] | None = value.get("requests")
    return [value] if many is None else many


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Write the body for one target: the client's bytes, with the fewest members changed."""
    patch, refused = BodyPatch(body), target.facts.refused_members | target.provider.refused_members
    losses: list[Loss] = []
    if "requests" not in body.value:
        members = _patch_members(body.members, body.value, target, refused, losses)
        method = EMBED_ONE
    else:
        members, method = dict(body.members), EMBED_MANY
        rows = [
            bytes(memoryview(row)) for row in _READ_ITEMS(bytes(memoryview(members["requests"])))
        ]
        patched = [
            _patch_request(raw, item, target, refused, losses)
            for raw, item in zip(rows, body.value["requests"], strict=True)
        ]
        if patched != rows:
            members["requests"] = msgspec.Raw(b"[" + b",".join(patched) + b"]")
        members.pop("model", None)
    for name in body.members:
        if name not in members:
            patch.remove(name)
        elif members[name] is not body.members[name]:
            patch.set_member(name, members[name])
    written = patch.finish()
    suffix = request.make_url_suffix(target.model, method)
    return msgspec.structs.replace(written, losses=tuple(dict.fromkeys(losses)), url_suffix=suffix)


def _patch_request(
    raw: bytes, value: Object, target: Target, refused: frozenset[str], losses: list[Loss]
) -> bytes:
    """Patch one request of a batch; return its own bytes if nothing changes."""
    parts = jsonio.read_members(raw)
    patched = _patch_members(parts, value, target, refused, losses)
    return raw if patched == parts else jsonio.join_members(patched)


def _patch_members(
    parts: Members, value: Object, target: Target, refused: frozenset[str], losses: list[Loss]
) -> Members:
    """Patch the members of one request: set the target's model, drop what the target refuses."""
    patched = dict(parts)
    model = target.model if target.model.startswith("models/") else f"models/{target.model}"
    if "model" in value and value["model"] != model:
        patched["model"] = msgspec.Raw(jsonio.dumps(model))
    for name in parts:
        if to_camel_case(name) in refused:
            del patched[name]
            losses.append(Loss(name, "dropped", f"{target.name} refuses it"))
    return patched


def summarize(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error or with no vectors in it is a problem."""
    try:
        answer = _READ_ANSWER(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("no embeddings"))
    first, many = _first_byte(answer.embedding), _first_byte(answer.embeddings)
    if first != b"{" and many != b"[":
        if answer.error:
            return ResponseSummary(problem=errors.read_error_object(answer.error, body))
        return ResponseSummary(problem=make_broken_problem("no embeddings"))
    tokens = (
        parse_count(get_member(answer.usageMetadata, "promptTokenCount"))
        if answer.usageMetadata
        else None
    )
    if tokens is None:
        return ResponseSummary(finish=embeddings.FINISH_WORD, complete=True)
    counted = Usage(input=tokens, output=0, media=usage.read_media_tokens(answer.usageMetadata))
    return ResponseSummary(usage=counted, finish=embeddings.FINISH_WORD, complete=True)


def _first_byte(raw: msgspec.Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def decode_request(body: RequestBody) -> EmbeddingsRequest:
    """Decode a client's request."""
    requests = _list_requests(body.value)
    sizes = {as_integer(get_member(item, _DIMENSIONS)) for item in requests}
    single = "requests" not in body.value
    others: Object = {}
    for item in requests:
        others |= {
            name: it for name, it in item.items() if to_camel_case(name) not in _HELD_MEMBERS
        }
    turns = [
        CanonicalTurn(role="user", parts=_decode_parts(item["content"]), source=item)
        for item in requests
    ]
    if len(sizes) > 1:
        turns.append(
            CanonicalTurn(role="user", parts=(Foreign(kind=f"{_DIMENSIONS} of each input"),))
        )
    return EmbeddingsRequest(
        turns=tuple(turns),
        dimensions=next(iter(sizes), None),
        wants_single_vector=single,
        names={"turns": "content" if single else "requests", "dimensions": _DIMENSIONS},
        extra_members=others,
        source=body.value,
    )


def _decode_parts(content: Object) -> tuple[Part, ...]:
    return tuple(
        Text(text=part["text"], source=part)
        if isinstance(part.get("text"), str)
        else Foreign(kind=next(iter(part), "empty"), source=part)
        for part in list_objects(content.get("parts"))
    )


def encode_request(canonical: CanonicalRequest, target: Target) -> EncodedRequest:
    """Encode a request that came in another dialect."""
    wanted = embeddings.expect_embeddings(canonical)
    size = {} if wanted.dimensions is None else {_DIMENSIONS: wanted.dimensions}
    bodies: list[Object] = [
        {"content": {"parts": [{"text": text}]}, **size} for text in embeddings.list_inputs(wanted)
    ]
    names = {"content": "turns", "requests": "turns", _DIMENSIONS: "dimensions"}
    client_names = {name: wanted.names.get(word, word) for name, word in names.items()}
    if len(bodies) == 1:
        return EncodedRequest(value=bodies[0], client_names=client_names)
    model = {"model": f"models/{request.strip_model_name(target.model)}"}
    return EncodedRequest(
        value={"requests": [{**model, **input_body} for input_body in bodies]},
        client_names=client_names,
    )


def decode_response(body: bytes) -> list[Event]:
    """Decode a whole answer. Never raises: no answer is a Failed."""
    summary = summarize(body)
    if summary.problem is not None:
        return [Failed(summary.problem)]
    value = jsonio.loads(body)
    rows: Any = [value["embedding"]] if value.get("embedding") else value["embeddings"]
    vectors = [row.get("values") if isinstance(row, dict) else None for row in rows]
    return embeddings.make_events(vectors, summary.usage, None)


def encode_response(events: Iterable[Event], context: ResponseContext) -> bytes:
    """Encode a whole answer."""
    single = embeddings.expect_embeddings(context.request).wants_single_vector
    response = embeddings.EmbeddingsResponse(events, context.model)
    rows: list[Json] = [{"values": vector} for vector in response.vectors]
    value: Object = {"embedding": rows[0]} if single and rows else {"embeddings": rows}
    if response.usage is not None:
        value["usageMetadata"] = {"promptTokenCount": response.usage.prompt}
    return jsonio.dumps(value)
