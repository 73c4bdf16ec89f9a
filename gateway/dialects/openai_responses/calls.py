"""A call of a tool on its way to a client: of a function, or of a custom tool with free text."""

from gateway.core import jsonio
from gateway.core.events import ToolStart
from gateway.dialects.openai_responses.frames import NUMBER, Numbered, Object, head


class Call:
    """One item of the output; `at` is its place, `id` that of the call."""

    __slots__ = ("_event", "_head", "_held", "_item", "_name", "_pieces", "_said", "at", "id")

    def __init__(
        self, said: Numbered, id: str, at: int, start: ToolStart, *, custom: bool, named: Object
    ) -> None:
        """`custom`: the client's tool is one, whatever the provider took it for.

        `named` holds the members that name it to the client.
        """
        self.at = at
        self.id = start.id
        self._said = said
        self._held = custom and not start.custom
        self._name = "input" if custom else "arguments"
        self._event = "custom_tool_call_input" if custom else "function_call_arguments"
        self._pieces: list[str] = []
        kind = "custom_tool_call" if custom else "function_call"
        self._item: Object = {"id": id, "type": kind, "status": "in_progress"}
        self._item |= {"call_id": start.id, **named}
        self._head = head(f"response.{self._event}.delta", item_id=id, output_index=at)

    def begin(self) -> bytes:
        """The item is added."""
        item = {**self._item, self._name: ""}
        return self._said.frame("response.output_item.added", output_index=self.at, item=item)

    def piece(self, text: str) -> bytes:
        """A piece of what it is called with; of a function that stands for a custom tool, held."""
        self._pieces.append(text)
        return b"" if self._held else self._said.piece(self._head, text, NUMBER)

    def end(self, status: str) -> tuple[bytes, Object]:
        """The item is done, and what it is. A function called with nothing has an empty object."""
        text, out = "".join(self._pieces), b""
        if self._held:
            text = _inner(text)
            out = self._said.piece(self._head, text, NUMBER)
        elif not text and self._name == "arguments":
            text = "{}"
            out = self._said.piece(self._head, text, NUMBER)
        where = {"item_id": self._item["id"], "output_index": self.at}
        out += self._said.frame(f"response.{self._event}.done", **where, **{self._name: text})
        item = {**self._item, "status": status, self._name: text}
        out += self._said.frame("response.output_item.done", output_index=self.at, item=item)
        return out, item


def _inner(arguments: str) -> str:
    """The one text that a function is called with which stands for a custom tool."""
    try:
        value = jsonio.loads(arguments.encode())
    except jsonio.JsonError:
        return arguments
    texts = [*value.values()] if isinstance(value, dict) else []
    return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else arguments
