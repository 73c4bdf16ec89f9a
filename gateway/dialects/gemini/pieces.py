"""A chunk of Gemini in pieces; see gateway.dialects.piece."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects.piece import Object, Piece, Said, bare, group, rows


def read(chunk: Object) -> Said:
    """What a chunk says. A thought's signature is compared as it is."""
    found: list[Piece] = []
    lists: list[list[Json]] = []
    ends = False
    for candidate in rows(chunk.get("candidates")):
        at, parts = candidate.get("index", 0), group(candidate, "content").get("parts")
        if isinstance(parts, list):
            lists.append(parts)
        for part in rows(parts):
            found += _part(part, at)
        if reason := candidate.get("finishReason"):
            found.append(Piece(("finish", at, reason)))
            ends = True
    if reason := group(chunk, "promptFeedback").get("blockReason"):
        found.append(Piece(("blocked", reason)))
    return Said(tuple(found), parts=tuple(lists), stays=ends and "usageMetadata" in chunk)


def _part(part: Object, at: Json) -> Iterator[Piece]:
    text, call = part.get("text"), part.get("functionCall")
    if isinstance(text, str):
        yield Piece(("text", at, part.get("thought") is True), text, places=((part, "text"),))
    if isinstance(call, dict):
        key = ("call", at, bare(call, "id"))
        yield Piece(key, ids=(call.get("id"),), places=((part, "functionCall"),))
    for name in part.keys() - {"text", "thought", "functionCall"}:
        yield Piece(("part", at, name, part[name]), places=((part, name),))
