"""What the instructions and the input of a request add up to."""

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.openai_responses.tools import MORE
from gateway.dialects.user_text import UserText

_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_RESULTS = frozenset({"mcp_approval_response", "tool_search_output", "program_output"})
"""Items that answer the model beside those named `..._call_output`."""
REFERENCE = "item_reference"
"""The type of such an item, which may be left out."""
_SYSTEM = ("system", "developer")
_STRINGS = ("arguments", "input", "output", "code")
"""Members of items that are text for the model."""


class Said:
    """Reads one item after the other."""

    __slots__ = ("chars", "files", "images", "offered", "referred", "tool_loop", "typed")

    def __init__(self, instructions: Json) -> None:
        self.typed = UserText()
        self.images = self.files = 0
        self.chars = len(instructions) if isinstance(instructions, str) else 0
        self.tool_loop = False
        self.referred = False
        """An item is named that only the provider has."""
        self.offered = False
        """An item offers tools."""

    def text(self, text: str) -> None:
        """Take input that is one string: a user's."""
        self.chars += len(text)
        self.typed.add_text(text)

    def item(self, item: dict[str, Json]) -> None:
        """Take the next item."""
        kind = item.get("type")
        if kind == "message" or (kind is None and not refers(item)):
            self._message(item)
            return
        self.tool_loop = answers(kind)
        self.typed.add_answer()
        if refers(item):
            self.referred = True
        elif kind == MORE:
            self.offered = True
            self.chars += len(jsonio.dumps(item.get("tools")).decode())
        else:
            self._other(item)

    def _message(self, item: dict[str, Json]) -> None:
        """Count a message; agents put some of their own between a result and its answer."""
        content, role = item.get("content"), item.get("role")
        texts = self._content(content)
        if role == "user":
            spoken = (
                self.typed.add_text(content)
                if isinstance(content, str)
                else self.typed.add_turn(texts)
            )
            self.tool_loop = not spoken and self.tool_loop
        elif role not in _SYSTEM:
            self.tool_loop = False
            self.typed.add_answer()

    def _other(self, item: dict[str, Json]) -> None:
        """Count an item that is no message."""
        for name in _STRINGS:
            said = item.get(name)
            if isinstance(said, str):
                self.chars += len(said)
            elif isinstance(said, list):
                self._content(said)
        for name in ("summary", "content"):
            self._content(item.get(name))
        if isinstance(item.get("action"), dict):
            self.chars += len(jsonio.dumps(item["action"]).decode())

    def _content(self, content: Json) -> list[str]:
        """Count a string or a list of parts; gives its texts."""
        if isinstance(content, str):
            self.chars += len(content)
            return [content]
        texts = []
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            kind, text = part.get("type"), part.get("text")
            if isinstance(kind, str) and kind in _TEXTS and isinstance(text, str):
                texts.append(text)
                self.chars += len(text)
            elif kind == "input_image":
                self.images += 1
            elif kind == "input_file":
                self.files += 1
        return texts


def answers(kind: Json) -> bool:
    """Whether items of a type tell the model what its tool gave."""
    return isinstance(kind, str) and (kind.endswith("_call_output") or kind in _RESULTS)


def refers(item: dict[str, Json]) -> bool:
    """Whether an item only names one that whoever is asked already has."""
    kind = item.get("type")
    return kind == REFERENCE or (kind is None and "id" in item and {*item} <= {"id", "type"})
