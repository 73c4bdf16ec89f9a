"""What tools a request offers, in namespaces and in its input, as no other dialect has them.

Abroad each tool of a namespace goes by one name, made of both; its calls come back to the client
under both. Source: `NamespaceTool`, `AdditionalTools` and `function_call.namespace` of OpenAI's API
reference; Codex sends them.
"""

from collections.abc import Iterable

from gateway.core.canonical_request import Tool
from gateway.core.jsonio import Json
from gateway.dialects.openai_responses.content import Object

NAMESPACE = "namespace"
"""The type of such a tool, and the member of a call that names it."""
ADDITIONAL_TOOLS = "additional_tools"
"""The type of an item of the input that offers tools; those offered again are offered anew."""
_OWN_TOOLS = frozenset(
    {
        None, "function", "custom", "namespace", "tool_search", "local_shell", "apply_patch",
        "computer", "computer_use", "computer_use_preview",
    }
)  # fmt: skip
"""Types of tools that the client runs, or that only choose among its own."""


def list_offered_tools(value: Object) -> list[Json]:
    """All tools of a request, as they are written."""
    given, listed = value.get("input"), value.get("tools")
    found = [*listed] if isinstance(listed, list) else []
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict) and item.get("type") == ADDITIONAL_TOOLS:
            more = item.get("tools")
            found = (
                [it for it in found if it not in more] + more if isinstance(more, list) else found
            )
    return found


def join_namespace(space: Json, name: str) -> str:
    """The one name of a tool; spaces of MCP servers bring their separator with them."""
    if not isinstance(space, str) or not space:
        return name
    return f"{space}{name}" if space.endswith("_") else f"{space}__{name}"


def unpack_namespace(tool: Object) -> list[Object]:
    """The tools that one tool of a request stands for, each with what is said of all of them."""
    inner, told = tool.get("tools"), tool.get("description")
    if tool.get("type") != NAMESPACE or not isinstance(inner, list) or not inner:
        return [tool]
    found = []
    for one in (it for it in inner if isinstance(it, dict)):
        words = [it for it in (told, one.get("description")) if isinstance(it, str) and it]
        found.append({**one, "description": "\n\n".join(words), NAMESPACE: tool.get("name")})
    return found


def find_namespace_tools(chosen: Object, tools: Iterable[Tool]) -> list[Tool]:
    """The tools of the namespace that a choice names; none where it names another thing."""
    if chosen.get("type") != NAMESPACE:
        return []
    return [tool for tool in tools if _read_namespace(tool) == chosen.get("name")]


def write_tool_name(name: str, tools: Iterable[Tool]) -> Object:
    """What a call of a tool names it by: as the client offered it."""
    for tool in tools:
        if tool.name == name and _read_namespace(tool) is not None:
            return {"name": tool.source["name"], NAMESPACE: tool.source[NAMESPACE]}
    return {"name": name}


def _read_namespace(tool: Tool) -> Json:
    """The namespace that a tool was read from; None for any other tool."""
    return tool.source.get(NAMESPACE) if isinstance(tool.source, dict) else None


def read_tool_name(tool: Json) -> str:
    """What a tool is called: its name, else its type, as hosted ones have no name."""
    for member in ("name", "type"):
        name = tool.get(member) if isinstance(tool, dict) else None
        if isinstance(name, str):
            return name
    return ""


def is_hosted(tool: Json) -> bool:
    """Whether the provider itself looks at the world while it answers."""
    if not isinstance(tool, dict):
        return False
    kind, place = tool.get("type"), tool.get("environment")
    if kind == "shell":
        return not (isinstance(place, dict) and place.get("type") == "local")
    return not isinstance(kind, str | None) or kind not in _OWN_TOOLS
