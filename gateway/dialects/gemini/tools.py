"""Calls whose arguments come in pieces (`partialArgs`), put together as Google's ADK does.

    {"functionCall": {"name": "f", "id": "1", "willContinue": true}}
    {"functionCall": {"partialArgs": [{"jsonPath": "$.city", "stringValue": "Zü"}],
                      "willContinue": true}}
    {"functionCall": {"partialArgs": [{"jsonPath": "$.city", "stringValue": "rich"}]}}

Texts of one path are joined; any other value replaces what its path had. A piece that does not say
`willContinue` is the last one.
"""

import re
from collections.abc import Iterable

from gateway.core.jsonio import Json
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.signature import SLOT

_MOST = 10_000
"""Items of a list of arguments, as in ADK."""
_STEP = re.compile(
    r"""\[\s*(\d+)\s*\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]|\.?([^.\[\]'"\\]+)"""
)
"""One step of a path: an index, a name in quotes, or a plain name."""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_VALUES = ("numberValue", "boolValue", "nullValue")

type _Path = tuple[str | int, ...]


class Joiner:
    """Takes the parts of one candidate, and gives whole ones."""

    __slots__ = ("_args", "_call", "_sign", "_texts")

    def __init__(self) -> None:
        self._call: Object | None = None
        """Name and id of the call whose arguments still come; None if there is none."""
        self._args: Object = {}
        self._texts: dict[_Path, list[str]] = {}
        """Texts that still grow, by path."""
        self._sign: Json = None

    @property
    def open(self) -> bool:
        """True if the arguments of a call still come."""
        return self._call is not None

    def take(self, part: Json) -> list[Object]:
        """Take the next part; gives the parts that are whole by now.

        Raises ValueError for a piece that cannot be put anywhere.
        """
        call = wire.get(part, "functionCall") if isinstance(part, dict) else None
        if not isinstance(call, dict):
            return [part]
        pieces, more = wire.get(call, "partialArgs"), wire.get(call, "willContinue")
        if not pieces and more is None and not (self.open and not call.get("args")):
            return [*self.end(), part]
        name, held = wire.text(call.get("name")), self._call
        out = self.end() if held is not None and name not in (None, "", held["name"]) else []
        if self._call is None:
            self._call = {"name": ""}
        self._call |= {key: call[key] for key in ("name", "id") if call.get(key)}
        self._sign = self._sign or wire.get(part, SLOT)
        for piece in wire.rows(pieces):
            self._piece(piece)
        return out if more is True else [*out, *self.end()]

    def end(self) -> list[Object]:
        """Give the call that is open, with the arguments that have come."""
        if self._call is None:
            return []
        for path, texts in self._texts.items():
            _put(self._args, path, "".join(texts))
        part: Object = {"functionCall": {**self._call, "args": self._args}}
        if self._sign is not None:
            part[SLOT] = self._sign
        self._call, self._args, self._texts, self._sign = None, {}, {}, None
        return [part]

    def _piece(self, piece: Object) -> None:
        path = _path(wire.text(wire.get(piece, "jsonPath")) or "")
        text = wire.get(piece, "stringValue")
        if isinstance(text, str):
            if path not in self._texts:
                self._texts[path] = []
                _put(self._args, path, "")  # arguments keep the order in which they came
            self._texts[path].append(text)
            return
        for name in _VALUES:
            value = wire.get(piece, name)
            if value is not None:
                self._texts.pop(path, None)
                _put(self._args, path, None if name == "nullValue" else value)


def joined(parts: Iterable[Json]) -> list[Object]:
    """Put the calls of a whole answer or turn together. Raises ValueError as Joiner.take does."""
    joiner = Joiner()
    whole = [one for part in parts for one in joiner.take(part)]
    return [*whole, *joiner.end()]


def _path(text: str) -> _Path:
    """Read a JSON path. Raises ValueError for what is none, or leads to no member."""
    rest, steps, at = text.removeprefix("$"), list[str | int](), 0
    while at < len(rest):
        step = _STEP.match(rest, at)
        if step is None:
            break
        index, single, double, plain = step.groups()
        name = single if single is not None else double
        steps.append(int(index) if index else plain if name is None else _unescape(name))
        at = step.end()
    if at < len(rest) or not steps or isinstance(steps[0], int):
        raise ValueError("no path of an argument")
    return tuple(steps)


def _unescape(name: str) -> str:
    def plain(found: re.Match[str]) -> str:
        code, letter = found.groups()
        return chr(int(code, 16)) if code else _ESCAPES.get(letter, letter)

    return _ESCAPE.sub(plain, name)


def _put(args: Object, path: _Path, value: Json) -> None:
    """Set a value, and make the objects and lists on its way. Raises ValueError if it cannot."""
    here: Json = args
    for step, following in zip(path, (*path[1:], None), strict=True):
        if isinstance(here, list) and isinstance(step, int) and step < _MOST:
            here += [None] * (step + 1 - len(here))
        elif isinstance(here, dict) and isinstance(step, str):
            here.setdefault(step, None)
        else:
            raise ValueError("a value that fits nowhere")
        if following is None:
            here[step] = value
        else:
            if here[step] is None:
                here[step] = [] if isinstance(following, int) else {}
            here = here[step]
