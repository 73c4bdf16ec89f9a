"""A chunk of Chat Completions in pieces; see gateway.dialects.piece."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects.piece import Object, Piece, Said, group, rows


def read(chunk: Object) -> Said:
    """What a chunk says. The role, which is said once, goes from it."""
    found: list[Piece] = []
    ends = False
    for choice in rows(chunk.get("choices")):
        at = choice.get("index", 0)
        delta = group(choice, "delta")
        delta.pop("role", None)
        for name, value in delta.items():
            found += _member(delta, name, value, at)
        if choice.get("logprobs"):
            found.append(
                Piece(("logprobs", at, choice["logprobs"]), places=((choice, "logprobs"),))
            )
        if reason := choice.get("finish_reason"):
            found.append(Piece(("finish", at, reason), places=((choice, "finish_reason"),)))
            ends = True
    return Said(tuple(found), stays=ends and bool(chunk.get("usage")))


def _member(delta: Object, name: str, value: Json, at: Json) -> Iterator[Piece]:
    if isinstance(value, str):
        yield Piece(("text", at, name), value, places=((delta, name),))
    elif name == "tool_calls":
        for call in rows(value):
            yield from _call(call, at)
    elif name == "function_call" and isinstance(value, dict):
        yield from _called(value, at, 0, (value.get("name"), None), ())
    elif value:
        yield Piece(("member", at, name, value), places=((delta, name),))


def _call(call: Object, at: Json) -> Iterator[Piece]:
    kind = "custom" if isinstance(call.get("custom"), dict) else "function"
    inside = group(call, kind)
    places = ((call, "id"), (call, "type"))
    yield from _called(inside, at, call.get("index"), (inside.get("name"), call.get("id")), places)


def _called(
    inside: Object,
    at: Json,
    index: Json,
    said: tuple[Json, Json],
    places: tuple[tuple[Object, str], ...],
) -> Iterator[Piece]:
    """The name of what is called, where it begins, and a stretch of what it is called with."""
    name, id = said
    if name:
        places = (*places, (inside, "name"))
        yield Piece(("call", at, index, name), ids=(id,), places=places)
    for member in ("arguments", "input"):
        text = inside.get(member)
        if isinstance(text, str):
            yield Piece(("with", at, index, member), text, places=((inside, member),))
