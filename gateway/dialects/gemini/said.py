"""What the system instruction and the contents of a request add up to."""

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini.content import Object
from gateway.dialects.user_text import UserText


class Said:
    """Reads one content after the other."""

    __slots__ = ("audio", "chars", "files", "images", "tool_loop", "typed")

    def __init__(self, system: Json) -> None:
        """`system` is a content, or a string."""
        self.typed = UserText()
        self.chars = self.images = self.files = self.audio = 0
        self.tool_loop = False
        """The last content holds a function's response."""
        if isinstance(system, str):
            self.chars += len(system)
        elif isinstance(system, dict):
            self.content({**system, "role": "system"})
        self.tool_loop = False

    def content(self, content: Object) -> None:
        """Take the next content."""
        texts, result = [], False
        for part in wire.rows(content.get("parts")):
            text = part.get("text")
            if isinstance(text, str):
                self.chars += len(text)
                texts.append(text)
            result = self._part(part) or result
        role = content.get("role")
        if role in ("user", None) and not result:
            self.tool_loop = not self.typed.add_turn(texts) and self.tool_loop
            return
        self.tool_loop = result
        self.typed.add_answer()

    def _part(self, part: Object) -> bool:
        """Count one part; tell whether it is a function's response."""
        for name in ("inlineData", "fileData"):
            data = wire.group(part, name)
            if data:
                self._media(wire.get(data, "mimeType"))
        call, result = wire.group(part, "functionCall"), wire.group(part, "functionResponse")
        for value in (call.get("args"), result.get("response")):
            self.chars += len(jsonio.dumps(value).decode()) if value else 0
        for inner in wire.rows(result.get("parts")):
            self._part(inner)
        return bool(result)

    def _media(self, kind: Json) -> None:
        family = kind.partition("/")[0] if isinstance(kind, str) else ""
        self.images += family == "image"
        self.audio += family == "audio"
        self.files += family not in ("image", "audio")
