"""Blocks of a client's messages, as parts of a turn in no dialect."""

from collections.abc import Iterator

from gateway.core import jsonio
from gateway.core.canonical_request import Foreign, Media, Part, Text, Thought, ToolResult, ToolUse
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json
from gateway.dialects.anthropic_messages import slot

type Object = dict[str, Json]


class Blocks:
    """Reads the content of one message after another; results are named after their uses."""

    __slots__ = ("_tools",)

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}

    def parts(self, content: Json, where: str) -> tuple[Part, ...]:
        """Content that stands at `where`. Raises ProblemError where it is none."""
        if isinstance(content, str):
            return (Text(text=content),)
        found = [part for block in objects(content, where) for part in self._read(block)]
        return slot.untie(found)

    def _read(self, block: Object) -> Iterator[Part]:
        match block.get("type"):
            case "thinking":
                made, state = slot.take(block.get("signature"))
                text = string(block.get("thinking"))
                yield Thought(text=text, state=state, maker=made, source=block)
            case "redacted_thinking":
                made, state = slot.take(block.get("data"))
                yield Thought(state=state, redacted=True, maker=made, source=block)
            case "tool_use":
                name, id = string(block.get("name")), string(block.get("id"))
                self._tools[id] = name
                given = jsonio.dumps(block.get("input") or {}).decode()
                yield ToolUse(id=id, name=name, arguments=given, source=block)
            case "tool_result":
                yield from self._result(block)
            case _:
                yield _plain(block)

    def _result(self, block: Object) -> Iterator[Part]:
        """A result, and behind it what stands in it and no other dialect has."""
        id, content = string(block.get("tool_use_id")), block.get("content")
        if isinstance(content, str):
            inner: list[Text | Media | Foreign] = [Text(text=content)]
        else:
            inner = [_plain(it) for it in objects(content or [], "tool_result.content")]
        yield ToolResult(
            id=id,
            name=self._tools.get(id),
            parts=tuple(part for part in inner if not isinstance(part, Foreign)),
            error=block.get("is_error") is True,
            cache=cache(block),
            source=block,
        )
        yield from (part for part in inner if isinstance(part, Foreign))


def objects(value: Json, where: str) -> list[Object]:
    """A list of objects. Raises ProblemError, invalid_request, for anything else."""
    if not isinstance(value, list):
        raise invalid_request(f'"{where}" must be a list of objects.', where)
    for at, item in enumerate(value):
        if not isinstance(item, dict):
            raise invalid_request(f'"{where}[{at}]" must be an object.', f"{where}[{at}]")
    return value


def string(value: Json) -> str:
    """Text, empty where there is none."""
    return value if isinstance(value, str) else ""


def cache(block: Object) -> str | None:
    """The lifetime of the prompt cache that ends at a block or tool; None where none does."""
    control = block.get("cache_control")
    return string(control.get("ttl")) if isinstance(control, dict) else None


def _plain(block: Object) -> Text | Media | Foreign:
    """A block that may stand in a message as well as in a result."""
    kind, source = string(block.get("type")), block.get("source")
    if kind == "text":
        return Text(text=string(block.get("text")), cache=cache(block), source=block)
    if kind in ("image", "document") and isinstance(source, dict):
        place = _place(source)
        if place:
            return Media(
                kind="image" if kind == "image" else "file",
                type=source.get("media_type"),
                name=block.get("title"),
                cache=cache(block),
                source=block,
                **place,
            )
    return Foreign(kind=kind or "unknown", source=block)


def _place(source: Object) -> dict[str, str]:
    """Where the content of an image or document is: one member of Media, none where unknown."""
    kind = source.get("type")
    if kind == "content":
        content = source.get("content")
        texts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if isinstance(texts, list) and all(map(_is_text, texts)):
            return {"text": "\n".join(it["text"] for it in texts)}
        return {}
    member, name = _PLACES.get(string(kind), ("", ""))
    value = source.get(member)
    return {name: value} if isinstance(value, str) else {}


_PLACES = {
    "base64": ("data", "data"),
    "url": ("url", "url"),
    "file": ("file_id", "id"),
    "text": ("data", "text"),
}
"""By type of a source: its member, and that of Media."""


def _is_text(block: Json) -> bool:
    return isinstance(block, dict) and isinstance(block.get("text"), str)
