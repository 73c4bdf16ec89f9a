"""What tools a request offers, in namespaces and in its input, as no other dialect has them.

Abroad each tool of a namespace goes by one name, made of both; its calls come back to the client
under both. Source: `NamespaceTool`, `AdditionalTools` and `function_call.namespace` of OpenAI's API
reference; Codex sends them.
"""

from collections.abc import Iterable

from gateway.core.canonical_request import Tool
from gateway.core.jsonio import Json
from gateway.dialects.openai_responses.frames import Object

KIND = "namespace"
"""The type of such a tool, and the member of a call that names it."""
MORE = "additional_tools"
"""The type of an item of the input that offers tools; those offered again are offered anew."""


def offered(value: Object) -> list[Json]:
    """All tools of a request, as they are written."""
    given, listed = value.get("input"), value.get("tools")
    found = [*listed] if isinstance(listed, list) else []
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict) and item.get("type") == MORE:
            more = item.get("tools")
            found = (
                [it for it in found if it not in more] + more if isinstance(more, list) else found
            )
    return found


def flat(space: Json, name: str) -> str:
    """The one name of a tool; spaces of MCP servers bring their separator with them."""
    if not isinstance(space, str) or not space:
        return name
    return f"{space}{name}" if space.endswith("_") else f"{space}__{name}"


def within(tool: Object) -> list[Object]:
    """The tools that one tool of a request stands for, each with what is said of all of them."""
    inner, told = tool.get("tools"), tool.get("description")
    if tool.get("type") != KIND or not isinstance(inner, list) or not inner:
        return [tool]
    found = []
    for one in (it for it in inner if isinstance(it, dict)):
        words = [it for it in (told, one.get("description")) if isinstance(it, str) and it]
        found.append({**one, "description": "\n\n".join(words), KIND: tool.get("name")})
    return found


def members(chosen: Object, tools: Iterable[Tool]) -> list[Tool]:
    """The tools of the namespace that a choice names; none where it names another thing."""
    if chosen.get("type") != KIND:
        return []
    return [tool for tool in tools if _space(tool) == chosen.get("name")]


def own(name: str, tools: Iterable[Tool]) -> Object:
    """What a call of a tool names it by: as the client offered it."""
    for tool in tools:
        if tool.name == name and _space(tool) is not None:
            return {"name": tool.source["name"], KIND: tool.source[KIND]}
    return {"name": name}


def _space(tool: Tool) -> Json:
    """The namespace that a tool was read from; None for any other tool."""
    return tool.source.get(KIND) if isinstance(tool.source, dict) else None
