"""The objects that a provider makes while it answers a text call: containers, their files, threads.

A call gets these where a tool of the provider runs code, or where the provider holds the
conversation. Later calls name them, so the gateway must know whose they are.
"""

from collections.abc import Collection, Mapping

from gateway.core import jsonio, log_probs
from gateway.core.jsonio import Json
from gateway.core.object_answers import MadeObject

_CODE_TOOLS: Mapping[str, tuple[bytes, ...]] = {
    "openai-responses": (b'"code_interpreter"', b'"container_auto"'),
    "anthropic-messages": (b'"code_execution',),
}
"""The bytes by which a body offers a tool that runs code at the provider, by dialect."""
_HOLDING_MEMBERS: Mapping[str, frozenset[str]] = {
    "anthropic-messages": frozenset({"container", "thread"}),
}
"""Members of a body that make the provider hold something."""
_MARKS: Mapping[str, tuple[bytes, ...]] = {
    "openai-responses": (b'"container_id"',),
    "anthropic-messages": (b'"container"', b'"file_id"', b'"message"'),
}
"""Bytes of which a part of an answer has one if it shows an object, by dialect."""
_CODE_OUTPUTS = frozenset({"bash_code_execution_output", "code_execution_output"})
_NONE: frozenset[str] = frozenset()


def may_make_objects(
    dialect: str, body: bytes, members: Collection[str], *, hosted_tools: bool
) -> bool:
    """Return True if the provider may make objects while it answers a call.

    `hosted_tools`: the call offers tools of the provider, which most calls do not.
    """
    if hosted_tools and any(text in body for text in _CODE_TOOLS.get(dialect, ())):
        return True
    return not _HOLDING_MEMBERS.get(dialect, _NONE).isdisjoint(members)


def find_answer_objects(dialect: str, data: bytes, *, has_thread: bool) -> list[MadeObject]:
    """Return the objects that a whole answer shows, or one event of a streamed one.

    `has_thread`: the provider holds the conversation, under the id of its last answer.
    """
    if not any(mark in data for mark in _MARKS[dialect]):
        return []
    try:
        value = log_probs.loads_answer(data)
    except jsonio.JsonError:
        return []
    found: dict[tuple[str, str], MadeObject] = {}
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack += node
        elif isinstance(node, dict):
            stack += node.values()
            for kind, id in _read_ids(dialect, node, has_thread=has_thread):
                if isinstance(id, str) and id:
                    found[kind, id] = MadeObject(id=id, kind=kind)
    return list(found.values())


def _read_ids(dialect: str, node: dict[str, Json], *, has_thread: bool) -> list[tuple[str, Json]]:
    """Return the kinds and ids of objects that one object of an answer shows."""
    if dialect == "openai-responses":
        return [("container", node.get("container_id"))]
    ids: list[tuple[str, Json]] = []
    container, type = node.get("container"), node.get("type")
    if isinstance(container, dict):
        ids.append(("container", container.get("id")))
    if isinstance(type, str) and type in _CODE_OUTPUTS:
        ids.append(("file", node.get("file_id")))
    if has_thread and type == "message":
        ids.append(("message", node.get("id")))
    return ids
