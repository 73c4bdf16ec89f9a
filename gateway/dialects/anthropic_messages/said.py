"""What the system prompt and the messages of a request add up to."""

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.user_text import UserText

_SPEAKERS = ("user", "assistant")
_HOSTED = ("server_tool_use", "mcp_tool_use")
_TEXTS = ("text", "thinking")
"""Members of blocks that are text for the model."""


class Said:
    """Reads one message after the other."""

    __slots__ = ("_loop", "_paused", "_role", "chars", "files", "images", "typed")

    def __init__(self, system: Json) -> None:
        """`system` is a string or a list of text blocks."""
        self.typed = UserText()
        self.chars = self.images = self.files = 0
        self._role = ""
        self._loop = self._paused = False
        self._add(system)

    @property
    def tool_loop(self) -> bool:
        """The last user turn holds a tool's result, or the provider's own tools were paused."""
        return self._loop or (self._role == "assistant" and self._paused)

    def message(self, message: dict[str, Json]) -> None:
        """Take the next message."""
        role, content = message.get("role"), message.get("content")
        if isinstance(content, str) and role in _SPEAKERS:
            self._text(content, role)
            return
        blocks = content if isinstance(content, list) else []
        found = [block.get("type") for block in blocks if isinstance(block, dict)]
        kinds = {kind for kind in found if isinstance(kind, str)}
        texts = self._add(content)
        if role == "user":
            result = "tool_result" in kinds
            self._loop = result or (self._loop and self._role == "user")
            self.typed.add_turn(texts, has_tool_result=result)
        elif role == "assistant":
            self.typed.add_answer()
            self._paused = not kinds.isdisjoint(_HOSTED)
        if role in _SPEAKERS:
            self._role = role

    def _text(self, text: str, role: str) -> None:
        """As `message`, of one whose content is a string."""
        self.chars += len(text)
        if role == "user":
            self._loop = self._loop and self._role == "user"
            self.typed.add_text(text)
        else:
            self.typed.add_answer()
            self._paused = False
        self._role = role

    def _add(self, content: Json) -> list[str]:
        """Count content of any kind; gives the texts that stand in it directly."""
        if isinstance(content, str):
            self.chars += len(content)
            return [content]
        texts = []
        for block in content if isinstance(content, list) else ():
            if not isinstance(block, dict):
                continue
            kind, text = block.get("type"), block.get("text")
            if kind == "text" and isinstance(text, str):
                texts.append(text)
            self._block(kind, block)
        return texts

    def _block(self, kind: Json, block: dict[str, Json]) -> None:
        for name in _TEXTS:
            text = block.get(name)
            self.chars += len(text) if isinstance(text, str) else 0
        if kind == "image":
            self.images += 1
        elif kind == "document":
            self.files += 1
            source = block.get("source")
            if isinstance(source, dict):
                text = source.get("data") if source.get("type") == "text" else None
                self._add(text or source.get("content"))
        elif kind == "container_upload":
            self.files += 1
        if isinstance(block.get("input"), dict):
            self.chars += len(jsonio.dumps(block["input"]).decode())
        self._add(block.get("content"))
