"""Tool calls of an answer, put together from their pieces; ids and states of tool calls.

OpenAI tells calls apart by `index`, with id and name in the first piece. Hosts leave the index out
or give the same to all, repeat the id, the name or empty ones in every piece, cut a name in pieces,
send arguments as an object, or a whole call at once.
"""

from gateway.core import jsonio
from gateway.core.events import Event, Start, ToolDelta, ToolEnd, ToolStart
from gateway.core.jsonio import Json
from gateway.dialects import tool_ids

type Object = dict[str, Json]


class _Call:
    """One call: told as soon as its arguments begin, for its name may come in pieces until then."""

    __slots__ = ("custom", "id", "index", "key", "name", "state", "told", "wait")

    def __init__(self, index: int, key: Json) -> None:
        self.index = index
        self.key = key
        """What the host has for an index."""
        self.id = self.name = ""
        self.wait = ""
        """Arguments that came before the name."""
        self.custom = self.told = False
        self.state: str | None = None


class ToolCallAssembler:
    """The calls of one choice."""

    __slots__ = ("_calls", "_choice", "_start")

    def __init__(self, choice: int, start: Start) -> None:
        self._choice = choice
        self._start = start
        self._calls: list[_Call] = []

    def __len__(self) -> int:
        return len(self._calls)

    def hear(self, pieces: list[Json], out: list[Event]) -> None:
        """Take the pieces of one chunk, or all the calls of a whole answer."""
        for piece in pieces:
            if isinstance(piece, dict):
                self._piece(piece, out)

    def close(self, out: list[Event]) -> None:
        """Tell the end of every call."""
        for call in self._calls:
            self._tell(call, out)
            out.append(ToolEnd(call.index, call.state, self._choice))

    def _piece(self, piece: Object, out: list[Event]) -> None:
        custom = piece.get("type") == "custom" or "function" not in piece
        inside = piece.get("custom" if custom else "function")
        said: Object = inside if isinstance(inside, dict) else {}
        id, name = _text(piece.get("id")), _text(said.get("name"))
        call = self._find(piece.get("index"), id, name, out)
        call.id = call.id or id
        call.custom = call.custom or custom
        call.state = read_signature(piece) or call.state
        if not call.told and name and name != call.name:
            call.name += name
        given = said.get("input" if custom else "arguments")
        text = given if isinstance(given, str) else "" if given is None else _json(given)
        if not text:
            return
        if call.told:
            out.append(ToolDelta(call.index, text, self._choice))
        else:
            call.wait += text
            if call.name:
                self._tell(call, out)

    def _find(self, key: Json, id: str, name: str, out: list[Event]) -> _Call:
        """The call that a piece belongs to, or a new one."""
        call = next((it for it in reversed(self._calls) if key in (None, it.key)), None)
        if call is None or _begins_another(call, key, id, name):
            for before in self._calls:
                self._tell(before, out)
            call = _Call(len(self._calls), key)
            self._calls.append(call)
        return call

    def _tell(self, call: _Call, out: list[Event]) -> None:
        if call.told:
            return
        call.told = True
        id = call.id or self._made(call)
        out.append(ToolStart(call.index, id, call.name, call.custom, self._choice))
        if call.wait:
            out.append(ToolDelta(call.index, call.wait, self._choice))

    def _made(self, call: _Call) -> str:
        start = self._start
        return make_call_id(f"{start.id}/{start.created}/{self._choice}/{call.index}/{call.name}")


def make_call_id(of: str) -> str:
    """An id for a call that has none: always the same one for the same call."""
    return tool_ids.make_plain_id(f"/{of}")


def read_signature(call: Object) -> str | None:
    """The state that Google's door hangs on a call: extra_content.google.thought_signature."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    state = google.get("thought_signature") if isinstance(google, dict) else None
    return state if isinstance(state, str) and state else None


def _begins_another(call: _Call, key: Json, id: str, name: str) -> bool:
    """Whether a piece begins another call than the one that its index names."""
    if not name:
        return False
    if id and call.id:
        return id != call.id
    return call.told and (key is None or name != call.name)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _json(value: Json) -> str:
    return jsonio.dumps(value).decode()
