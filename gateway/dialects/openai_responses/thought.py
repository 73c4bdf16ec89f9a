"""A block of reasoning on its way to a client: a summary in parts, one open at a time."""

from gateway.dialects.openai_responses.frames import NUMBER, Numbered, Object, head


class Reasoning:
    """One item of the output; `at` is its place."""

    __slots__ = ("_head", "_id", "_part", "_pieces", "_said", "_summary", "at")

    def __init__(self, said: Numbered, id: str, at: int) -> None:
        self.at = at
        self._id = id
        self._said = said
        self._summary: list[Object] = []
        self._pieces: list[str] = []
        self._part: int | None = None
        self._head = b""

    def begin(self) -> bytes:
        """The item is added."""
        item = {"id": self._id, "type": "reasoning", "summary": []}
        return self._said.frame("response.output_item.added", output_index=self.at, item=item)

    def text(self, text: str, part: int) -> bytes:
        """A piece of a part."""
        begun = b"" if part == self._part else self._begin(part)
        self._pieces.append(text)
        return begun + self._said.piece(self._head, text, NUMBER)

    def end(self, state: str | None) -> tuple[bytes, Object]:
        """The item is done, and what it is."""
        out = self._close()
        item: Object = {"id": self._id, "type": "reasoning", "summary": self._summary}
        if state is not None:
            item["encrypted_content"] = state
        done = self._said.frame("response.output_item.done", output_index=self.at, item=item)
        return out + done, item

    def _where(self) -> Object:
        return {
            "item_id": self._id,
            "output_index": self.at,
            "summary_index": len(self._summary),
        }

    def _begin(self, part: int) -> bytes:
        ended = self._close()
        self._part = part
        self._head = head("response.reasoning_summary_text.delta", **self._where())
        return ended + self._said.frame(
            "response.reasoning_summary_part.added",
            **self._where(),
            part={"type": "summary_text", "text": ""},
        )

    def _close(self) -> bytes:
        if self._part is None:
            return b""
        where, text = self._where(), "".join(self._pieces)
        part = {"type": "summary_text", "text": text}
        out = self._said.frame("response.reasoning_summary_text.done", **where, text=text)
        out += self._said.frame("response.reasoning_summary_part.done", **where, part=part)
        self._summary.append(part)
        self._part = None
        self._pieces = []
        return out
