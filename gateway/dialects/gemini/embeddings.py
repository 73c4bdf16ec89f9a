"""Embeddings of Gemini, of one content (embedContent) and of many (batchEmbedContents): both ways.

Source: models.embedContent and models.batchEmbedContents of Google's API reference. Models before
gemini-embedding-2 tell no usage.
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
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import errors as problems
from gateway.dialects.gemini import request
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.said import Said as Heard
from gateway.dialects.gemini.usage import media_of
from gateway.dialects.parse import parse
from gateway.dialects.stream_commit import make_broken_problem

ONE, MANY = "embedContent", "batchEmbedContents"
FEATURES = frozenset({"outputDimensionality", "taskType"})
"""Members that make other vectors: never dropped, a target that refuses one is skipped."""

_SIZE = "outputDimensionality"
_OURS = frozenset({"model", "content", _SIZE})
_ITEMS = jsonio.make_reader(list[msgspec.Raw])


class _Answer(msgspec.Struct):
    """An answer whose vectors are stepped over."""

    embedding: msgspec.Raw = msgspec.Raw()
    embeddings: msgspec.Raw = msgspec.Raw()
    usageMetadata: Any = None  # noqa: N815 - its name on the wire
    error: Any = None


_SEEN = jsonio.make_reader(_Answer)


def read(raw: bytes, path: str = "") -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    model, method = request.address(path)
    if method not in (ONE, MANY, ""):
        message = f'There is no method "{method}" of a model here; ask {ONE} or {MANY}.'
        raise ProblemError(Problem(kind="not_found", message=message))

    def prompt(value: Object, _: Members) -> Prompt:
        many = method == MANY if method else "requests" in value
        asks = _many(value) if many else [value]
        heard = Heard(None)
        said = []
        for ask in asks:
            content = ask.get("content")
            if not isinstance(content, dict):
                raise invalid_request('"content" is required and must be an object.', "content")
            heard.content({**content, "role": "user"})
            said.append("\n".join(wire.texts(content)))
        return Prompt(
            model=_named(model or request.bare(wire.text(value.get("model")) or "")),
            user="\n".join(said),
            user_turns=1,
            chars=heard.chars,
            images=heard.images,
            files=heard.files,
            audio=heard.audio,
            members=frozenset(wire.camel(name) for it in (value, *asks) for name in it),
        )

    return parse(raw, prompt)


def _named(model: str) -> str:
    if not model:
        raise invalid_request(f"A model must be named in the path: models/<name>:{ONE}.", "model")
    return model


def _many(value: Object) -> list[Object]:
    asks = value.get("requests")
    if not isinstance(asks, list) or not all(isinstance(ask, dict) for ask in asks):
        raise invalid_request('"requests" is required and must be a list of objects.', "requests")
    return asks


def _asks(value: Object) -> list[Object]:
    """The requests of a body that was read: itself, or those of its batch."""
    many: list[Object] | None = value.get("requests")
    return [value] if many is None else many


def write(body: RequestBody, target: Target) -> WrittenBody:
    """The body for one target: the client's bytes, with only those members changed that must be."""
    edit, refused = BodyPatch(body), target.facts.refused_members | target.provider.refused_members
    lost: list[Loss] = []
    if "requests" not in body.value:
        members = _fixed(body.members, body.value, target, refused, lost)
        method = ONE
    else:
        members, method = dict(body.members), MANY
        rows = [bytes(memoryview(row)) for row in _ITEMS(bytes(memoryview(members["requests"])))]
        fixed = [
            _row(raw, ask, target, refused, lost)
            for raw, ask in zip(rows, body.value["requests"], strict=True)
        ]
        if fixed != rows:
            members["requests"] = msgspec.Raw(b"[" + b",".join(fixed) + b"]")
        members.pop("model", None)
    for name in body.members:
        if name not in members:
            edit.remove(name)
        elif members[name] is not body.members[name]:
            edit.set_member(name, members[name])
    done = edit.finish()
    tail = request.tail(target.model, method)
    return msgspec.structs.replace(done, losses=tuple(dict.fromkeys(lost)), url_suffix=tail)


def _row(
    raw: bytes, ask: Object, target: Target, refused: frozenset[str], lost: list[Loss]
) -> bytes:
    """One request of a batch; its own bytes where nothing changes."""
    parts = jsonio.read_members(raw)
    fixed = _fixed(parts, ask, target, refused, lost)
    return raw if fixed == parts else jsonio.join_members(fixed)


def _fixed(
    parts: Members, ask: Object, target: Target, refused: frozenset[str], lost: list[Loss]
) -> Members:
    """Members of one request: the model is the target's, and what it refuses is left out."""
    fixed = dict(parts)
    model = target.model if target.model.startswith("models/") else f"models/{target.model}"
    if "model" in ask and ask["model"] != model:
        fixed["model"] = msgspec.Raw(jsonio.dumps(model))
    for name in parts:
        if wire.camel(name) in refused:
            del fixed[name]
            lost.append(Loss(name, "dropped", f"{target.name} refuses it"))
    return fixed


def glance(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error or with no vectors in it is a problem."""
    try:
        seen = _SEEN(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("no embeddings"))
    one, many = _first(seen.embedding), _first(seen.embeddings)
    if one != b"{" and many != b"[":
        if seen.error:
            return ResponseSummary(problem=problems.found(seen.error, body))
        return ResponseSummary(problem=make_broken_problem("no embeddings"))
    told = (
        parse_count(wire.get(seen.usageMetadata, "promptTokenCount"))
        if seen.usageMetadata
        else None
    )
    if told is None:
        return ResponseSummary(finish=embeddings.FINISH_WORD, complete=True)
    used = Usage(input=told, output=0, media=media_of(seen.usageMetadata))
    return ResponseSummary(usage=used, finish=embeddings.FINISH_WORD, complete=True)


def _first(raw: msgspec.Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def decode(body: RequestBody) -> EmbeddingsRequest:
    """The request in no dialect."""
    asks = _asks(body.value)
    sizes = {wire.whole(wire.get(ask, _SIZE)) for ask in asks}
    single = "requests" not in body.value
    others: Object = {}
    for ask in asks:
        others |= {name: it for name, it in ask.items() if wire.camel(name) not in _OURS}
    turns = [CanonicalTurn(role="user", parts=_parts(ask["content"]), source=ask) for ask in asks]
    if len(sizes) > 1:
        turns.append(CanonicalTurn(role="user", parts=(Foreign(kind=f"{_SIZE} of each input"),)))
    return EmbeddingsRequest(
        turns=tuple(turns),
        dimensions=next(iter(sizes), None),
        wants_single_vector=single,
        names={"turns": "content" if single else "requests", "dimensions": _SIZE},
        extra_members=others,
        source=body.value,
    )


def _parts(content: Object) -> tuple[Part, ...]:
    return tuple(
        Text(text=part["text"], source=part)
        if isinstance(part.get("text"), str)
        else Foreign(kind=next(iter(part), "empty"), source=part)
        for part in wire.rows(content.get("parts"))
    )


def encode(asked: CanonicalRequest, target: Target) -> EncodedRequest:
    """The body of a request that came in another dialect."""
    wanted = embeddings.expect_embeddings(asked)
    size = {} if wanted.dimensions is None else {_SIZE: wanted.dimensions}
    asks: list[Object] = [
        {"content": {"parts": [{"text": text}]}, **size} for text in embeddings.list_inputs(wanted)
    ]
    names = {"content": "turns", "requests": "turns", _SIZE: "dimensions"}
    named = {name: wanted.names.get(word, word) for name, word in names.items()}
    if len(asks) == 1:
        return EncodedRequest(value=asks[0], client_names=named)
    model = {"model": f"models/{request.bare(target.model)}"}
    return EncodedRequest(
        value={"requests": [{**model, **ask} for ask in asks]}, client_names=named
    )


def events(body: bytes) -> list[Event]:
    """A whole answer as events. Never raises: what is no answer is a Failed."""
    seen = glance(body)
    if seen.problem is not None:
        return [Failed(seen.problem)]
    value = jsonio.loads(body)
    rows: Any = [value["embedding"]] if value.get("embedding") else value["embeddings"]
    made = [row.get("values") if isinstance(row, dict) else None for row in rows]
    return embeddings.make_events(made, seen.usage, None)


def tell(events: Iterable[Event], telling: ResponseContext) -> bytes:
    """A whole answer, from its events."""
    single = embeddings.expect_embeddings(telling.request).wants_single_vector
    heard = embeddings.EmbeddingsResponse(events, telling.model)
    made: list[Json] = [{"values": vector} for vector in heard.vectors]
    value: Object = {"embedding": made[0]} if single and made else {"embeddings": made}
    if heard.usage is not None:
        value["usageMetadata"] = {"promptTokenCount": heard.usage.prompt}
    return jsonio.dumps(value)
