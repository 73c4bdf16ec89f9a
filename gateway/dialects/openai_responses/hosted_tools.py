"""Text in place of the items that a provider's own tools left in a conversation.

No other provider knows these items. The decoder replaces some by text, so that the conversation can
move to another provider, and leaves out the others. The member list names both as losses.
"""

from collections.abc import Iterator, Mapping

import msgspec

from gateway.core.canonical_request import Part, Text
from gateway.core.jsonio import Json
from gateway.dialects.member_list import WHOLE
from gateway.dialects.openai_responses.content import Object
from gateway.dialects.openai_responses.schema import REQUEST

type _TextMembers = Mapping[str, "_TextMembers"]
"""The members of an object that become text, in this order, each with those within it."""

_ALL: _TextMembers = {}
_TEXT_MEMBERS: Mapping[str, _TextMembers] = {
    "web_search_call": {
        "action": {
            "query": _ALL,
            "queries": _ALL,
            "pattern": _ALL,
            "url": _ALL,
            "sources": {"title": _ALL, "url": _ALL},
        }
    },
    "file_search_call": {"queries": _ALL, "results": {"filename": _ALL, "text": _ALL}},
    "code_interpreter_call": {"code": _ALL, "outputs": {"logs": _ALL, "url": _ALL}},
    "program": {"code": _ALL},
    "program_output": {"result": _ALL},
    "local_shell_call": {"action": {"command": _ALL}},
    "local_shell_call_output": {"output": _ALL},
    "shell_call": {"action": {"commands": _ALL}},
    "shell_call_output": {
        "output": {"stdout": _ALL, "stderr": _ALL, "outcome": {"type": _ALL, "exit_code": _ALL}}
    },
    "apply_patch_call": {"operation": {"type": _ALL, "path": _ALL, "diff": _ALL}},
    "apply_patch_call_output": {"status": _ALL, "output": _ALL},
    "mcp_call": {
        "server_label": _ALL,
        "name": _ALL,
        "arguments": _ALL,
        "output": _ALL,
        "error": {"message": _ALL, "content": {"text": _ALL}},
    },
    "agent_message": {"author": _ALL, "recipient": _ALL, "content": {"text": _ALL}},
    "multi_agent_call": {"action": _ALL, "arguments": _ALL},
    "multi_agent_call_output": {"action": _ALL, "output": {"text": _ALL}},
}
_LEFT_OUT = frozenset(
    name.removeprefix("item:")
    for name, members in REQUEST.items()
    if name.startswith("item:") and WHOLE in members and members[WHOLE].decision != "read"
) - set(_TEXT_MEMBERS)


def is_left_out(item: Object) -> bool:
    """True if translation leaves an item out."""
    kind = item.get("type")
    return isinstance(kind, str) and kind in _LEFT_OUT


def read_tool_work(item: Object) -> Text | None:
    """Return the text that replaces an item; None for any other item."""
    kind = item.get("type")
    members = _TEXT_MEMBERS.get(kind) if isinstance(kind, str) else None
    if members is None:
        return None
    return Text(text="\n".join([f"[{kind}]", *_list_texts(item, members)]), source=item)


def _list_texts(value: Json, members: _TextMembers) -> Iterator[str]:
    if isinstance(value, list):
        for inner in value:
            yield from _list_texts(inner, members)
    elif isinstance(value, dict):
        for name, inner_members in members.items():
            if name != "query" or not value.get("queries"):  # the older member repeats one of them
                yield from _list_texts(value.get(name), inner_members)
    elif isinstance(value, str | int) and value != "":
        yield str(value)


def separate_tool_work(parts: list[Part]) -> tuple[Part, ...]:
    """Put blank lines between the work of tools and words: some dialects join adjacent texts."""
    separated: list[Part] = []
    for part in parts:
        last = separated[-1] if separated else None
        if isinstance(last, Text) and isinstance(part, Text):
            if _is_work(last):
                separated[-1] = msgspec.structs.replace(last, text=f"{last.text}\n\n")
            elif _is_work(part):
                part = msgspec.structs.replace(part, text=f"\n\n{part.text}")  # noqa: PLW2901 - the same part
        separated.append(part)
    return tuple(separated)


def _is_work(text: Text) -> bool:
    """True if a text stands for an item and not for a part of a message."""
    return isinstance(text.source, dict) and text.source.get("type") in _TEXT_MEMBERS
