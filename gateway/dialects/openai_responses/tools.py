"""The tools that a request offers, also in namespaces and in its input.

No other dialect has namespaces. A translated tool has one name, made of the namespace and its own
name. The client gets its calls under both names. Source: `NamespaceTool`, `AdditionalTools` and
`function_call.namespace` of OpenAI's API reference; Codex sends them.
"""

from collections.abc import Iterable

from gateway.core.canonical_request import Tool
from gateway.core.jsonio import Json
from gateway.dialects.openai_responses.content import Object

NAMESPACE = "namespace"
"""The type of such a tool, and the member of a call that names it."""
ADDITIONAL_TOOLS = "additional_tools"
"""The type of an input item that offers tools; a tool that comes again replaces the earlier one."""
_OWN_TOOLS = frozenset(
    {
        None, "function", "custom", "namespace", "tool_search", "local_shell", "apply_patch",
        "computer", "computer_use", "computer_use_preview",
    }
)  # fmt: skip
"""Types of tools that the client runs, or that only select among the client's tools."""


def list_offered_tools(value: Object) -> list[Json]:
    """List all tools of a request, unchanged."""
    items, top_level = value.get("input"), value.get("tools")
    tools = [*top_level] if isinstance(top_level, list) else []
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("type") == ADDITIONAL_TOOLS:
            added = item.get("tools")
            tools = (
                [it for it in tools if it not in added] + added
                if isinstance(added, list)
                else tools
            )
    return tools


def join_namespace(space: Json, name: str) -> str:
    """Join a namespace and a name; namespaces of MCP servers already end with the separator."""
    if not isinstance(space, str) or not space:
        return name
    return f"{space}{name}" if space.endswith("_") else f"{space}__{name}"


def unpack_namespace(tool: Object) -> list[Object]:
    """List the tools in a namespace, each with its description; any other tool alone."""
    inner_tools, shared = tool.get("tools"), tool.get("description")
    if tool.get("type") != NAMESPACE or not isinstance(inner_tools, list) or not inner_tools:
        return [tool]
    tools = []
    for inner_tool in (it for it in inner_tools if isinstance(it, dict)):
        descriptions = [
            it for it in (shared, inner_tool.get("description")) if isinstance(it, str) and it
        ]
        tools.append(
            {**inner_tool, "description": "\n\n".join(descriptions), NAMESPACE: tool.get("name")}
        )
    return tools


def find_namespace_tools(choice: Object, tools: Iterable[Tool]) -> list[Tool]:
    """Find the tools of the namespace that a choice names; none if it names something else."""
    if choice.get("type") != NAMESPACE:
        return []
    return [tool for tool in tools if _read_namespace(tool) == choice.get("name")]


def write_tool_name(name: str, tools: Iterable[Tool]) -> Object:
    """Write the members that name a tool in its calls, as the client offered it."""
    for tool in tools:
        if tool.name == name and _read_namespace(tool) is not None:
            return {"name": tool.source["name"], NAMESPACE: tool.source[NAMESPACE]}
    return {"name": name}


def _read_namespace(tool: Tool) -> Json:
    """Return the namespace that a tool was read from; None for any other tool."""
    return tool.source.get(NAMESPACE) if isinstance(tool.source, dict) else None


def read_tool_name(tool: Json) -> str:
    """Return the name of a tool, else its type: hosted tools have no name."""
    for member in ("name", "type"):
        name = tool.get(member) if isinstance(tool, dict) else None
        if isinstance(name, str):
            return name
    return ""


def is_hosted(tool: Json) -> bool:
    """True if the provider itself runs the tool while it answers."""
    if not isinstance(tool, dict):
        return False
    kind, environment = tool.get("type"), tool.get("environment")
    if kind == "shell":
        return not (isinstance(environment, dict) and environment.get("type") == "local")
    return not isinstance(kind, str | None) or kind not in _OWN_TOOLS
