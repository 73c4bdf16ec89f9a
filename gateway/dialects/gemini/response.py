"""Whole Gemini answers: read for accounting, translated, and made of or into a stream.

The gateway passes a native answer on byte by byte. `fold` and `unfold` work on the wire's own
members, so that members which the gateway does not know survive. Text grows from chunk to chunk.
`fold` never merges a part with anything else in it, a signature above all, but for the pieces of a
call's arguments. Source: GenerateContentResponse of Google's API reference.
"""

from collections.abc import Iterable

import msgspec

from gateway.core import jsonio, sse
from gateway.core.errors import Problem
from gateway.core.events import (
    Event,
    Failed,
)
from gateway.core.jsonio import Json
from gateway.core.usage import MAX_TOKENS, Usage, merge_usage
from gateway.dialects.base import ResponseContext, ResponseSummary, parse_response_id
from gateway.dialects.content_length import count_argument_bytes, count_text_bytes
from gateway.dialects.gemini import errors, usage
from gateway.dialects.gemini.content import (
    Object,
    as_integer,
    find_block_reason,
    find_error,
    find_finish,
    has_content,
    has_ended,
    list_candidates,
    list_objects,
)
from gateway.dialects.gemini.stream_decoder import BROKEN_PIECES, ChunkReader
from gateway.dialects.gemini.stream_encoder import Encoder
from gateway.dialects.gemini.tools import join_calls
from gateway.dialects.json_values import as_text
from gateway.dialects.stream_frames import make_broken_problem, make_empty_problem


def summarize(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    chunks, problem = _read_chunks(body)
    counted: Usage | None = None
    finish, served_model, id = None, None, None
    tool_uses = {
        one for candidate in list_candidates(chunks) for one in usage.list_tool_uses(candidate)
    }
    for chunk in chunks:
        more = usage.read(chunk.get("usageMetadata"), ended=True, used=tool_uses)
        counted = counted if more is None else merge_usage(counted, more)
        served_model = as_text(chunk.get("modelVersion")) or served_model
        id = id or parse_response_id(chunk.get("responseId"))
        finish = find_finish(chunk) or finish
    content_bytes = (
        0
        if counted is not None and counted.has_input_and_output
        else count_body_content_bytes(body)
    )
    return ResponseSummary(
        usage=counted,
        served_model=served_model or None,
        response_id=id,
        finish=finish,
        content_bytes=content_bytes,
        complete=problem is None and has_ended(chunks),
        problem=problem,
    )


def _read_chunks(body: bytes) -> tuple[list[Object], Problem | None]:
    """Read a whole answer: one chunk, or the chunks of a stream that came as a list."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return [], make_broken_problem("an answer that is not JSON")
    chunks = value if isinstance(value, list) else [value]
    if not chunks or not all(isinstance(chunk, dict) for chunk in chunks):
        return [], make_broken_problem("an answer that is not a JSON object")
    for chunk in chunks:
        if error := find_error(chunk):
            return chunks, errors.read_error_object(error, body)
    if not any(
        list_objects(it.get("candidates")) or find_block_reason(it) is not None for it in chunks
    ):
        return chunks, make_broken_problem("an answer without candidates")
    if not any(map(find_finish, chunks)) and not any(map(has_content, list_candidates(chunks))):
        return chunks, make_empty_problem()
    return chunks, None


class _Call(msgspec.Struct, gc=False, rename="camel"):
    name: Json = None
    args: Json = None
    partial_args: Json = None


class _Code(msgspec.Struct, gc=False):
    code: Json = None


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: Json = None
    function_call: _Call | None = None
    executable_code: _Code | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: Json = None
    index: Json = None
    error: Json = None
    grounding_metadata: Json = None


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: Json = None
    candidates_token_count: Json = None


class ContentChunk(msgspec.Struct, gc=False, rename="camel"):
    """Members of a chunk that may be content, or that make a full read necessary."""

    candidates: list[_Candidate] | None = None
    usage_metadata: _Usage | None = None
    prompt_feedback: Json = None
    error: Json = None


_READ_CHUNK = jsonio.make_reader(ContentChunk)
_READ_CHUNKS = jsonio.make_reader(list[ContentChunk])


def read_content_chunk(payload: bytes) -> ContentChunk:
    """Read one chunk of a stream. Raises JsonError for anything else."""
    chunk: ContentChunk = _READ_CHUNK(payload)
    return chunk


def needs_inspection(chunk: ContentChunk) -> bool:
    """True if a chunk may have an end, an error, a use of a tool, or a second candidate."""
    if chunk.error or chunk.prompt_feedback:
        return True
    for candidate in chunk.candidates or ():
        if (
            candidate.finish_reason
            or candidate.index
            or candidate.grounding_metadata
            or candidate.error
        ):
            return True
    return False


def has_counts(usage: _Usage) -> bool:
    """True if usage surely counts something, and so replaces earlier usage."""
    count = usage.prompt_token_count or usage.candidates_token_count
    return type(count) is int and 0 < count <= MAX_TOKENS


def count_body_content_bytes(body: bytes) -> int:
    """Count the bytes of content in a whole answer, also in a list of chunks."""
    try:
        return count_content_bytes(_READ_CHUNK(body))
    except jsonio.JsonError:
        pass
    try:
        return sum(map(count_content_bytes, _READ_CHUNKS(body)))
    except jsonio.JsonError:
        return 0


def count_content_bytes(chunk: ContentChunk) -> int:
    """Count the bytes of content in a chunk."""
    size = 0
    for candidate in chunk.candidates or ():
        content = candidate.content
        if content is not None:
            for part in content.parts or ():
                text = part.text
                if isinstance(text, str) and text.isascii():
                    size += len(text)
                elif text is not None:
                    size += count_text_bytes(text)
                if part.function_call is not None or part.executable_code is not None:
                    size += _count_call_bytes(part)
    return size


def _count_call_bytes(part: _Part) -> int:
    size = 0
    if part.function_call is not None:
        call = part.function_call
        size += (
            count_text_bytes(call.name)
            + count_argument_bytes(call.args)
            + count_argument_bytes(call.partial_args)
        )
    if part.executable_code is not None:
        size += count_text_bytes(part.executable_code.code)
    return size


def decode_response(body: bytes) -> list[Event]:
    """Decode a whole answer, as a stream of its chunks. Never raises: no answer is a Failed."""
    chunks, problem = _read_chunks(body)
    if problem is not None:
        return [Failed(problem)]
    reader = ChunkReader()
    try:
        events = [event for chunk in chunks for event in reader.take(chunk)]
    except ValueError:
        return [Failed(make_broken_problem(BROKEN_PIECES))]
    return [*events, *reader.end(whole=True)]


def encode_response(events: Iterable[Event], context: ResponseContext) -> bytes:
    """Encode a whole answer: the fold of the stream that the same events make."""
    encoder = Encoder(context)
    return fold(b"".join([encoder.write(event) for event in events]))


_GROWING_MEMBERS = ({"text"}, {"text", "thought"})
"""Members of parts whose text grows."""
_GROWING_LISTS = {
    "citationMetadata": ("citations",),
    "logprobsResult": ("chosenCandidates", "topCandidates"),
}
"""Members of candidates whose lists go on from chunk to chunk."""


def fold(stream: bytes) -> bytes:
    """Return the whole answer that has the content of a recorded stream."""
    whole: Object = {}
    candidates: dict[int, Object] = {}
    for frame in sse.split_frames(stream):
        payload = sse.read_data(frame)
        if not payload:
            continue
        chunk = jsonio.loads(payload)
        for candidate in chunk.pop("candidates", None) or ():
            at = as_integer(candidate.get("index")) or 0
            if at in candidates:
                _merge_candidate(candidates[at], candidate)
            else:
                candidates[at] = candidate
        whole.update(chunk)
    for candidate in candidates.values():
        content = candidate.get("content")
        if isinstance(content, dict) and isinstance(content.get("parts"), list):
            content["parts"] = join_calls(content["parts"])
    if candidates:
        whole = {"candidates": [candidates[at] for at in sorted(candidates)], **whole}
    return jsonio.dumps(whole)


def _merge_candidate(merged: Object, candidate: Object) -> None:
    for name, value in candidate.items():
        old = merged.get(name)
        if name == "content" and isinstance(old, dict) and isinstance(value, dict):
            more = {key: item for key, item in value.items() if key != "parts"}
            parts = _merge_parts(old.get("parts"), value.get("parts"))
            merged[name] = {**old, **more, "parts": parts}
        elif name in _GROWING_LISTS and isinstance(old, dict) and isinstance(value, dict):
            merged[name] = _merge_lists(old, value, _GROWING_LISTS[name])
        elif value is not None:
            merged[name] = value


def _merge_parts(old: Json, new: Json) -> list[Object]:
    """Append the parts of the next chunk to those of a candidate."""
    parts, news = list_objects(old), list_objects(new)
    if parts and news and _is_growing_text(news[0]):
        last, first = parts[-1], news[0]
        if _is_growing_text(last) and last.get("thought") == first.get("thought"):
            return [*parts[:-1], {**last, "text": last["text"] + first["text"]}, *news[1:]]
        if not first["text"]:
            return [*parts, *news[1:]]
    return [*parts, *news]


def _is_growing_text(part: Object) -> bool:
    return part.keys() in _GROWING_MEMBERS and isinstance(part["text"], str)


def _merge_lists(old: Object, new: Object, names: tuple[str, ...]) -> Object:
    """Merge two objects, and join the lists of some members; repeated citations stand once."""
    joined = {**old, **new}
    for name in names:
        before, after = old.get(name) or [], new.get(name) or []
        if name == "citations":
            after = [row for row in after if row not in before]
        if before or after:
            joined[name] = [*before, *after]
    return joined


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: ARG001, FBT001 - always sent here
    """Return a whole answer as a stream of one chunk, as Gemini sends short answers."""
    return sse.write_frame(jsonio.dumps(jsonio.loads(whole)))
