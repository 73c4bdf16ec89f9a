"""Values as YAML on one line, for files that this program writes for people."""

import re
from collections.abc import Mapping

from gateway.core import jsonio

_PLAIN = re.compile(r"[A-Za-z_][\w./@+-]*( [\w./@+-]+)*", re.ASCII)
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"})
"""Plain words that some reader takes for something else than a text."""


def flow(value: object) -> str:
    """A value as flow YAML 1.2: mappings, lists, texts, numbers, true, false and null."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(k))}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    return _text(str(value))


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return jsonio.shown(text.encode("utf-8", "replace").decode())
