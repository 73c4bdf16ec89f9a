"""Blocks that Anthropic's own tools and services leave in a conversation, told as plain text.

No other dialect has such blocks. Their text keeps the conversation whole where another model goes
on with it: the query of a search, the pages that it found, code and what it printed.
"""

from collections.abc import Iterator

from gateway.core import jsonio
from gateway.core.jsonio import Json

type Object = dict[str, Json]

USE_TYPES = frozenset(("server_tool_use", "mcp_tool_use"))
"""Types of blocks in which the model calls a tool of the provider."""
RESULT_TYPES = frozenset(
    {
        "web_search_tool_result", "web_fetch_tool_result", "advisor_tool_result",
        "code_execution_tool_result", "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result", "tool_search_tool_result", "mcp_tool_result",
    }
)  # fmt: skip
"""Types of blocks that hold what such a tool gave."""
SOURCE_TYPES = frozenset(("search_result", "tool_reference", "browser_state"))
"""Types of blocks by which the client hands over what its own tools gave."""
STATE_TYPES = frozenset(("compaction", "container_upload", "mcp_tool_listing", "fallback"))
"""Types of blocks that keep state at the provider."""
TYPES = USE_TYPES | RESULT_TYPES | SOURCE_TYPES | STATE_TYPES

_TEXT_MEMBERS = (
    "title", "source", "url", "text", "content", "data", "stdout", "stderr", "lines",
    "tool_references", "tool_name", "error_code", "error_message",
)  # fmt: skip
"""Members that hold plain text, or objects with it, in the order of the text."""


def write_text(block: Object) -> str:
    """Return the text of a block; empty if it has none, or is of another type."""
    kind = str(block.get("type"))
    if kind not in TYPES:
        return ""
    if kind in USE_TYPES:
        return _join(f"{block.get('name')}:", _list_inputs(block.get("input")))
    heading = f"{kind.removesuffix('_tool_result')} result:" if kind in RESULT_TYPES else ""
    return _join(heading, _list_texts(block))


def _join(heading: str, texts: Iterator[str]) -> str:
    """Return a heading and texts, a line each; empty without texts."""
    lines = [text for text in texts if text.strip()]
    return "\n".join([heading, *lines] if heading else lines) if lines else ""


def _list_inputs(value: Json) -> Iterator[str]:
    """Yield what the model gave to a tool; a single text as it is, else JSON."""
    inputs = [*value.values()] if isinstance(value, dict) else []
    if len(inputs) == 1 and isinstance(inputs[0], str):
        yield inputs[0]
    elif inputs:
        yield jsonio.dumps(value).decode()


def _list_texts(value: Json) -> Iterator[str]:
    """Yield the texts in a value, at any depth, without base64."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _list_texts(item)
        case dict() if value.get("type") != "base64":
            for member in _TEXT_MEMBERS:
                yield from _list_texts(value.get(member))
        case _:
            return
