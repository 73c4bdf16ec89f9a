"""Whole Gemini answers: read for accounting, translated, and made of or into a stream.

The gateway passes a native answer on byte by byte. `fold` and `unfold` work on the wire's own
members, so that members which the gateway does not know survive. Text grows from chunk to chunk.
`fold` never merges a part with anything else in it, a signature of Google's above all, but for the
pieces of a call's arguments. Source: GenerateContentResponse of Google's API reference.
"""

from collections.abc import Iterable

from gateway.core import jsonio
from gateway.core.errors import Problem
from gateway.core.events import Event, Failed
from gateway.dialects.base import ResponseContext, ResponseSummary
from gateway.dialects.gemini import errors
from gateway.dialects.gemini.content import (
    Object,
    as_integer,
    find_error,
    has_content_or_end,
    list_objects,
)
from gateway.dialects.gemini.reasoning_state import SIGNATURE_MEMBER, Signature
from gateway.dialects.gemini.schema import ANSWER
from gateway.dialects.gemini.stream import (
    GeminiStreamFacts,
    count_body_content_bytes,
    read_frame,
)
from gateway.dialects.gemini.stream_decoder import BROKEN_PIECES, CITATION_LISTS, ChunkReader
from gateway.dialects.gemini.stream_encoder import Encoder, write_chunk
from gateway.dialects.gemini.tools import join_calls
from gateway.dialects.stream_frames import (
    iterate_frames,
    make_broken_problem,
    make_empty_problem,
    name_unread_members,
)


def summarize(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    _, facts, problem = _read_answer(body)
    used = facts.usage
    return ResponseSummary(
        usage=used,
        served_model=facts.served_model,
        response_id=facts.response_id,
        finish=facts.finish,
        content_bytes=(
            0 if used is not None and used.has_input_and_output else count_body_content_bytes(body)
        ),
        complete=problem is None and facts.has_ended,
        problem=problem,
    )


def _read_answer(body: bytes) -> tuple[list[Object], GeminiStreamFacts, Problem | None]:
    """Read a whole answer: one chunk, or the chunks of a stream that came as a list."""
    facts = GeminiStreamFacts()
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return [], facts, make_broken_problem("an answer that is not JSON")
    chunks = value if isinstance(value, list) else [value]
    if not chunks or not all(isinstance(chunk, dict) for chunk in chunks):
        return [], facts, make_broken_problem("an answer that is not a JSON object")
    problem = None
    for chunk in chunks:
        facts.take(chunk)
    if error := next(filter(None, map(find_error, chunks)), None):
        problem = errors.read_error_object(error, body)
    elif not facts.begun and facts.block_reason is None:
        problem = make_broken_problem("an answer without candidates")
    elif not any(map(has_content_or_end, chunks)):
        problem = make_empty_problem()
    return chunks, facts, problem


def decode_response(body: bytes) -> list[Event]:
    """Decode a whole answer, as a stream of its chunks. Never raises: no answer is a Failed."""
    chunks, _, problem = _read_answer(body)
    reader = ChunkReader()
    out: list[Event] = []
    try:
        for chunk in chunks:
            (reader.take if problem is None else reader.take_facts)(chunk, out)
    except ValueError:
        problem = make_broken_problem(BROKEN_PIECES)
    if problem is None:
        out += name_unread_members(chunks, ANSWER)
        reader.end(out)
    else:
        out.append(Failed(problem))
    return out


def encode_response(events: Iterable[Event], context: ResponseContext) -> bytes:
    """Encode a whole answer: the fold of the stream that the same events make."""
    encoder = Encoder(context)
    return fold(b"".join([encoder.write(event) for event in events]))


_GROWING_MEMBERS = ({"text"}, {"text", "thought"})
"""Members of parts whose text grows."""
_GROWING_LISTS = {
    "citationMetadata": CITATION_LISTS,
    "logprobsResult": ("chosenCandidates", "topCandidates"),
}
"""Members of candidates whose lists go on from chunk to chunk."""


def fold(stream: bytes) -> bytes:
    """Return the whole answer that has the content of a recorded stream."""
    whole: Object = {}
    candidates: dict[int, Object] = {}
    merged: set[int] = set()
    for frame in iterate_frames(stream, read_frame):
        chunk = frame.value
        for candidate in list_objects(chunk.pop("candidates", None)):
            at = as_integer(candidate.get("index")) or 0
            if at not in candidates:
                candidates[at] = candidate
                continue
            if at not in merged:
                merged.add(at)
                _list_parts(candidates[at])
            _list_parts(candidate)
            _merge_candidate(candidates[at], candidate)
        whole.update(chunk)
    for candidate in candidates.values():
        content = candidate.get("content")
        if isinstance(content, dict) and isinstance(content.get("parts"), list):
            content["parts"] = join_calls(content["parts"])
    if candidates:
        whole = {"candidates": [candidates[at] for at in sorted(candidates)], **whole}
    return jsonio.dumps(whole)


def _list_parts(candidate: Object) -> None:
    """Make a list of the parts of a candidate, so that more can be appended."""
    content = candidate.get("content")
    if isinstance(content, dict):
        content["parts"] = list_objects(content.get("parts"))


def _merge_candidate(merged: Object, candidate: Object) -> None:
    for name, value in candidate.items():
        old = merged.get(name)
        if name == "content" and isinstance(old, dict) and isinstance(value, dict):
            parts = old["parts"]
            _add_parts(parts, value["parts"])
            old.update(value, parts=parts)
        elif name in _GROWING_LISTS and isinstance(old, dict) and isinstance(value, dict):
            merged[name] = _merge_lists(old, value, _GROWING_LISTS[name])
        elif value is not None:
            merged[name] = value


def _add_parts(parts: list[Object], news: list[Object]) -> None:
    """Append the parts of the next chunk to those of a candidate."""
    if parts and news and _join_part(parts[-1], news[0]):
        news = news[1:]
    parts += news


def _join_part(last: Object, part: Object) -> bool:
    """Join a part to the last one of a candidate. Return True if it needs no place of its own.

    The state that the gateway wrote for a thought joins its text, because Pydantic AI sends no
    thought back without a text.
    """
    if _is_growing_text(part):
        if not _is_growing_text(last) or last.get("thought") != part.get("thought"):
            return not part["text"]
        last["text"] += part["text"]
        return True
    if _is_thought_state(part) and _is_growing_text(last) and last.get("thought"):
        last[SIGNATURE_MEMBER] = part[SIGNATURE_MEMBER]
        return True
    return False


def _is_growing_text(part: Object) -> bool:
    return part.keys() in _GROWING_MEMBERS and isinstance(part["text"], str)


def _is_thought_state(part: Object) -> bool:
    """True if a part is the state of a thought alone, as `Encoder` writes it."""
    return (
        part.keys() == {"text", "thought", SIGNATURE_MEMBER}
        and part["text"] == ""
        and Signature(part).maker is not None
    )


def _merge_lists(old: Object, new: Object, names: tuple[str, ...]) -> Object:
    """Merge two objects, and join the lists of some members; repeated citations stand once."""
    joined = {**old, **new}
    for name in names:
        before, after = old.get(name) or [], new.get(name) or []
        if name in CITATION_LISTS:
            after = [row for row in after if row not in before]
        if before or after:
            joined[name] = [*before, *after]
    return joined


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: ARG001, FBT001 - always sent here
    """Return a whole answer as a stream of one chunk, as Gemini sends short answers."""
    return write_chunk(jsonio.loads(whole))
