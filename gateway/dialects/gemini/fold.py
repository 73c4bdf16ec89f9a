"""A recorded stream as a whole answer, and a whole answer as a stream: the same words either way.

Works on the wire's own members, so that what this gateway does not know survives. Text grows from
chunk to chunk; a part with anything else in it, a signature above all, is never merged with
another, but for the pieces of a call's arguments. Source: GenerateContentResponse of Google's API
reference.
"""

from gateway.core import jsonio, sse
from gateway.core.jsonio import Json
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import tools as partial
from gateway.dialects.gemini.content import Object

_PLAIN = ({"text"}, {"text", "thought"})
"""Members of parts that grow."""
_LISTED = {
    "citationMetadata": ("citations",),
    "logprobsResult": ("chosenCandidates", "topCandidates"),
}
"""Members of candidates whose lists go on from chunk to chunk."""


def fold(stream: bytes) -> bytes:
    """The whole answer that says what a stream of chunks said."""
    whole: Object = {}
    candidates: dict[int, Object] = {}
    for frame in sse.split_frames(stream):
        payload = sse.read_data(frame)
        if not payload:
            continue
        chunk = jsonio.loads(payload)
        for candidate in chunk.pop("candidates", None) or ():
            at = wire.whole(candidate.get("index")) or 0
            if at in candidates:
                _merge(candidates[at], candidate)
            else:
                candidates[at] = candidate
        whole.update(chunk)
    for candidate in candidates.values():
        content = candidate.get("content")
        if isinstance(content, dict) and isinstance(content.get("parts"), list):
            content["parts"] = partial.joined(content["parts"])
    if candidates:
        whole = {"candidates": [candidates[at] for at in sorted(candidates)], **whole}
    return jsonio.dumps(whole)


def _merge(into: Object, candidate: Object) -> None:
    for name, value in candidate.items():
        held = into.get(name)
        if name == "content" and isinstance(held, dict) and isinstance(value, dict):
            more = {key: item for key, item in value.items() if key != "parts"}
            parts = _parts(held.get("parts"), value.get("parts"))
            into[name] = {**held, **more, "parts": parts}
        elif name in _LISTED and isinstance(held, dict) and isinstance(value, dict):
            into[name] = _join(held, value, _LISTED[name])
        elif value is not None:
            into[name] = value


def _parts(held: Json, more: Json) -> list[Object]:
    """The parts of a candidate, and those that the next chunk brought."""
    parts, news = wire.rows(held), wire.rows(more)
    if parts and news and _grows(news[0]):
        last, first = parts[-1], news[0]
        if _grows(last) and last.get("thought") == first.get("thought"):
            return [*parts[:-1], {**last, "text": last["text"] + first["text"]}, *news[1:]]
        if not first["text"]:
            return [*parts, *news[1:]]
    return [*parts, *news]


def _grows(part: Object) -> bool:
    return part.keys() in _PLAIN and isinstance(part["text"], str)


def _join(held: Object, more: Object, names: tuple[str, ...]) -> Object:
    """Two objects, some of whose members are lists that go on; what is repeated stands once."""
    joined = {**held, **more}
    for name in names:
        before, after = held.get(name) or [], more.get(name) or []
        if name == "citations":
            after = [row for row in after if row not in before]
        if before or after:
            joined[name] = [*before, *after]
    return joined


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: ARG001, FBT001 - always told here
    """The stream that says what a whole answer said: one chunk, as Gemini sends what is short."""
    return sse.write_frame(jsonio.dumps(jsonio.loads(whole)))
