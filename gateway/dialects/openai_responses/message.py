"""A message of the assistant on its way to a client: its parts, one open at a time."""

from gateway.core.events import Citation
from gateway.core.jsonio import Json
from gateway.dialects.openai_responses.frames import NUMBER, Numbered, Object, head

_NAMES = {"output_text": "text", "refusal": "refusal"}
_NOTES = frozenset({"url_citation", "file_citation", "container_file_citation", "file_path"})
"""Annotations of this dialect; Chat Completions has the first with its members in an object."""


class Message:
    """One item of the output; `at` is its place."""

    __slots__ = ("_heads", "_id", "_kind", "_notes", "_parts", "_pieces", "_said", "_tokens", "at")

    def __init__(self, said: Numbered, id: str, at: int) -> None:
        self.at = at
        self._id = id
        self._said = said
        self._parts: list[Object] = []
        self._kind = ""
        self._pieces: list[str] = []
        self._notes: list[Json] = []
        self._tokens: list[Json] = []
        self._heads = b""

    def begin(self) -> bytes:
        """The item is added."""
        return self._said.frame(
            "response.output_item.added", output_index=self.at, item=self._item("in_progress")
        )

    def text(self, text: str) -> bytes:
        """A piece of text."""
        begun = b"" if self._kind == "output_text" else self._part("output_text")
        self._pieces.append(text)
        return begun + self._said.piece(self._heads, text, b',"logprobs":[]' + NUMBER)

    def refusal(self, text: str) -> bytes:
        """A piece of words in which the model declines."""
        begun = b"" if self._kind == "refusal" else self._part("refusal")
        self._pieces.append(text)
        return begun + self._said.piece(self._heads, text, NUMBER)

    def likely(self, tokens: list[Json]) -> bytes:
        """Log probabilities of the text just written: the next delta, whose text is empty."""
        begun = b"" if self._kind == "output_text" else self._part("output_text")
        self._tokens += tokens
        return begun + self._said.frame(
            "response.output_text.delta", **self._where(), delta="", logprobs=tokens
        )

    def cite(self, event: Citation) -> bytes:
        """A source; one without an address cannot be said but as this dialect's own."""
        note = event.source
        if not _own(note):
            if event.url is None:
                return b""
            note = {
                "type": "url_citation",
                "url": event.url,
                "title": event.title or "",
                "start_index": event.start or 0,
                "end_index": sum(map(len, self._pieces)) if event.end is None else event.end,
            }
        begun = b"" if self._kind == "output_text" else self._part("output_text")
        self._notes.append(note)
        return begun + self._said.frame(
            "response.output_text.annotation.added",
            **self._where(),
            annotation_index=len(self._notes) - 1,
            annotation=note,
        )

    def end(self, status: str) -> tuple[bytes, Object]:
        """The item is done, and what it is."""
        out = self._close()
        item = self._item(status)
        done = self._said.frame("response.output_item.done", output_index=self.at, item=item)
        return out + done, item

    def _item(self, status: str) -> Object:
        said: Object = {"id": self._id, "type": "message", "status": status}
        return {**said, "role": "assistant", "content": self._parts}

    def _where(self) -> Object:
        return {
            "item_id": self._id,
            "output_index": self.at,
            "content_index": len(self._parts),
        }

    def _part(self, kind: str) -> bytes:
        """Begin a part, and end the one before it."""
        ended = self._close()
        self._kind = kind
        self._heads = head(f"response.{kind}.delta", **self._where())
        return ended + self._said.frame(
            "response.content_part.added", **self._where(), part=self._value()
        )

    def _value(self) -> Object:
        said: Object = {"type": self._kind, _NAMES[self._kind]: "".join(self._pieces)}
        if self._kind == "output_text":
            said |= {"annotations": [*self._notes], "logprobs": [*self._tokens]}
        return said

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        part, name = self._value(), _NAMES[self._kind]
        where = self._where()
        more = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
        out = self._said.frame(f"response.{self._kind}.done", **where, **{name: part[name]}, **more)
        out += self._said.frame("response.content_part.done", **where, part=part)
        self._parts.append(part)
        self._kind = ""
        self._pieces, self._notes, self._tokens = [], [], []
        return out


def _own(note: Json) -> bool:
    """Whether an annotation is one of this dialect."""
    kind = note.get("type") if isinstance(note, dict) else None
    return isinstance(kind, str) and kind in _NOTES and (kind != "url_citation" or "url" in note)
