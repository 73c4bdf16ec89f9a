"""Tool calls of an answer, put together from their pieces; ids and states of tool calls.

OpenAI numbers calls by `index`, with id and name in the first piece. Other hosts leave the index
out, or give the same to all calls. Some repeat the id and the name in every piece, or send empty
ones. Some cut a name in pieces, send arguments as an object, or a whole call at once.
"""

from gateway.core import jsonio
from gateway.core.events import Event, Start, ToolDelta, ToolEnd, ToolStart
from gateway.core.jsonio import Json
from gateway.dialects import tool_ids
from gateway.dialects.json_values import read_text

type Object = dict[str, Json]


class _PartialCall:
    """One call. It starts when its arguments begin: until then its name may come in pieces."""

    __slots__ = ("custom", "id", "index", "is_started", "name", "pending", "state")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = self.name = ""
        self.pending = ""
        """The arguments that came before the name."""
        self.custom = self.is_started = False
        self.state: str | None = None


class ToolCallAssembler:
    """Puts the calls of one choice together."""

    __slots__ = ("_calls", "_calls_by_key", "_choice", "_start")

    def __init__(self, choice: int, start: Start) -> None:
        self._choice = choice
        self._start = start
        self._calls: list[_PartialCall] = []
        self._calls_by_key: dict[float, _PartialCall] = {}
        """The last call with each index of the host."""

    def __len__(self) -> int:
        return len(self._calls)

    def add_pieces(self, pieces: list[Json], out: list[Event]) -> None:
        """Take the pieces of one chunk, or all the calls of a whole answer."""
        for piece in pieces:
            if isinstance(piece, dict):
                self._add_piece(piece, out)

    def close(self, out: list[Event]) -> None:
        """End every call."""
        for call in self._calls:
            self._start_call(call, out)
            out.append(ToolEnd(call.index, call.state, self._choice))

    def _add_piece(self, piece: Object, out: list[Event]) -> None:
        custom = piece.get("type") == "custom" or "function" not in piece
        value = piece.get("custom" if custom else "function")
        function: Object = value if isinstance(value, dict) else {}
        id, name = read_text(piece.get("id")), read_text(function.get("name"))
        call = self._find_call(piece.get("index"), id, name, out)
        call.id = call.id or id
        call.custom = call.custom or custom
        call.state = read_signature(piece) or call.state
        if not call.is_started and name and name != call.name:
            call.name += name
        given = function.get("input" if custom else "arguments")
        text = given if isinstance(given, str) else "" if given is None else _write_json(given)
        if not text:
            return
        if call.is_started:
            out.append(ToolDelta(call.index, text, self._choice))
        else:
            call.pending += text
            if call.name:
                self._start_call(call, out)

    def _find_call(self, key: Json, id: str, name: str, out: list[Event]) -> _PartialCall:
        """Return the call that a piece belongs to, or a new one."""
        last = self._calls[-1] if self._calls else None
        has_key = isinstance(key, int | float)
        call = self._calls_by_key.get(key) if has_key else last
        if call is None or _starts_another(call, name, id, has_key=has_key):
            if last is not None:
                self._start_call(last, out)
            call = _PartialCall(len(self._calls))
            self._calls.append(call)
            if has_key:
                self._calls_by_key[key] = call
        return call

    def _start_call(self, call: _PartialCall, out: list[Event]) -> None:
        if call.is_started:
            return
        call.is_started = True
        id = call.id or self._make_id(call)
        out.append(ToolStart(call.index, id, call.name, call.custom, self._choice))
        if call.pending:
            out.append(ToolDelta(call.index, call.pending, self._choice))

    def _make_id(self, call: _PartialCall) -> str:
        start = self._start
        return make_call_id(f"{start.id}/{start.created}/{self._choice}/{call.index}/{call.name}")


def make_call_id(seed: str) -> str:
    """Return an id for a call that has none: always the same one for the same call."""
    return tool_ids.make_plain_id(f"/{seed}")


def read_signature(call: Object) -> str | None:
    """Return the state of a call from Google's endpoint: extra_content.google.thought_signature."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    state = google.get("thought_signature") if isinstance(google, dict) else None
    return state if isinstance(state, str) and state else None


def _starts_another(call: _PartialCall, name: str, id: str, *, has_key: bool) -> bool:
    """True if a piece begins another call than the one that its index names."""
    if not name:
        return False
    if id and call.id:
        return id != call.id
    return call.is_started and (not has_key or name != call.name)


def _write_json(value: Json) -> str:
    return jsonio.dumps(value).decode()
