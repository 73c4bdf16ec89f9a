"""A native request: read once for routing, written by replacing top-level members only.

What was said before (`system`, `tools`, `messages`) is never written anew: prompt caches and the
signatures of thinking blocks depend on its bytes. Sources of the headers: Anthropic's API reference
(versions, betas, workspaces) and Claude Code's gateway protocol, which asks for every `anthropic-*`
header to be forwarded.
"""

import functools
from collections.abc import Iterator

import msgspec

from gateway.core import jsonio
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import parse_service_tier
from gateway.dialects import conversation_start
from gateway.dialects.anthropic_messages import effort, reasoning_state
from gateway.dialects.base import RequestBody, WrittenBody
from gateway.dialects.body_patch import BodyPatch, write_model
from gateway.dialects.conversation_start import ConversationStart
from gateway.dialects.parse import is_zero, parse, suggest_endpoint
from gateway.dialects.reasoning_state import may_hold_label
from gateway.dialects.request_facts import (
    RequestFacts,
    join_system,
    read_labels,
    read_number,
)
from gateway.dialects.user_text import UserText

NAME = "anthropic-messages"
FORWARDED_HEADERS = frozenset(
    {
        b"anthropic-version", b"anthropic-beta", b"anthropic-workspace-id",
        b"anthropic-user-profile-id", b"anthropic-dangerous-direct-browser-access",
        b"x-claude-code-session-id", b"x-claude-code-agent-id", b"x-claude-code-parent-agent-id",
        b"x-anthropic-additional-protection",
    }
)  # fmt: skip
"""Names in lower case of client headers that mean something to providers of this dialect."""
DEFAULT_HEADERS = {"anthropic-version": "2023-06-01"}
"""Sent where the client sends none: the API refuses a request without a version."""
SAMPLING = ("temperature", "top_p", "top_k")
"""Tuning knobs that a thinking model refuses: dropped and named, they change no meaning."""
ESSENTIAL_MEMBERS = frozenset(
    {
        "system", "tools", "tool_choice", "stop_sequences", "output_config", "output_format",
        "mcp_servers", "container",
    }
)  # fmt: skip
"""Members that the caller depends on: never dropped, a target that refuses one is skipped."""
THREAD = "thread"
"""The member by which the provider keeps a conversation, and a request goes on from it."""
_CREATE = {"type": "create"}
_SPECIAL = frozenset(
    {
        "tools", "tool_choice", "output_config", "output_format", "thinking", "service_tier",
        "speed", "inference_geo", "mcp_servers", "container", "thread",
    }
)  # fmt: skip
"""Members that are read, and that few requests of chat applications have."""
_OWN_TOOLS = ("bash_", "text_editor_", "computer_", "memory_")
"""Dated types of tools that the client runs; those of any other type run at the provider."""
_SPEAKERS = ("user", "assistant")
_HOSTED = ("server_tool_use", "mcp_tool_use")
_TEXTS = ("text", "thinking")
"""Members of blocks that are text for the model."""
_SESSION = "_session_"


def read(raw: bytes, *, counting: bool = False) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field.

    A request that only counts tokens needs no cap on them.
    """
    return parse(raw, functools.partial(_prompt, counting=counting), "tools")


def _prompt(value: dict[str, Json], members: jsonio.Members, *, counting: bool) -> Prompt:
    model, cap, said = _required({"max_tokens": 0, **value} if counting else value)
    typed, temperature = said.typed, value.get("temperature")
    prompt = Prompt(
        model=model,
        stream=value.get("stream") is True,
        user=typed.text,
        user_turns=typed.turn_count,
        chars=said.chars,
        tool_loop=said.tool_loop,
        injected_text=typed.injected_text,
        images=said.images,
        files=said.files,
        max_output=cap,
        sampled=isinstance(temperature, int | float) and temperature > 0,
        zero_temperature=is_zero(temperature),
        members=frozenset(value),
    )
    return prompt if _SPECIAL.isdisjoint(value) else _special(prompt, value, members)


def _special(prompt: Prompt, value: dict[str, Json], members: jsonio.Members) -> Prompt:
    """What the members of `_SPECIAL` say too."""
    tools, choice = value.get("tools"), value.get("tool_choice")
    definitions = tools if isinstance(tools, list) else []
    return msgspec.structs.replace(
        prompt,
        chars=prompt.chars + (len(members["tools"]) if definitions else 0),
        tools=tuple(map(_name, definitions)),
        forced_tool=isinstance(choice, dict) and choice.get("type") in ("any", "tool"),
        json_schema=_schema(value),
        effort=effort.read(value),
        service=parse_service_tier(
            value.get("service_tier"), value.get("speed"), value.get("inference_geo")
        ),
        hosted_tools=any(map(_hosted, definitions)) or bool(value.get("mcp_servers")),
        stored=value.get("container") is not None or value.get(THREAD) is not None,
        continuation_member=THREAD if continues(value.get(THREAD)) else "",
    )


def continues(thread: Json) -> bool:
    """True if a request goes on from a thread; one that begins a thread has all of its messages."""
    return thread is not None and thread != _CREATE


def explain_unfit(prompt: Prompt, target: Target) -> str:
    """Tell why a target cannot be asked this; empty if it can."""
    refused = target.facts.refused_members | target.provider.refused_members
    return f"refuses {THREAD}" if prompt.continuation_member and THREAD in refused else ""


class Said:
    """Reads one message after the other."""

    __slots__ = ("_loop", "_paused", "_role", "chars", "files", "images", "typed")

    def __init__(self, system: Json) -> None:
        """`system` is a string or a list of text blocks."""
        self.typed = UserText()
        self.chars = self.images = self.files = 0
        self._role = ""
        self._loop = self._paused = False
        self._add(system)

    @property
    def tool_loop(self) -> bool:
        """The last user turn holds a tool's result, or the provider's own tools were paused."""
        return self._loop or (self._role == "assistant" and self._paused)

    def message(self, message: dict[str, Json]) -> None:
        """Take the next message."""
        role, content = message.get("role"), message.get("content")
        if isinstance(content, str) and role in _SPEAKERS:
            self._text(content, role)
            return
        blocks = content if isinstance(content, list) else []
        found = [block.get("type") for block in blocks if isinstance(block, dict)]
        kinds = {kind for kind in found if isinstance(kind, str)}
        texts = self._add(content)
        if role == "user":
            result = "tool_result" in kinds
            self._loop = result or (self._loop and self._role == "user")
            self.typed.add_turn(texts, has_tool_result=result)
        elif role == "assistant":
            self.typed.add_answer()
            self._paused = not kinds.isdisjoint(_HOSTED)
        if role in _SPEAKERS:
            self._role = role

    def _text(self, text: str, role: str) -> None:
        """As `message`, of one whose content is a string."""
        self.chars += len(text)
        if role == "user":
            self._loop = self._loop and self._role == "user"
            self.typed.add_text(text)
        else:
            self.typed.add_answer()
            self._paused = False
        self._role = role

    def _add(self, content: Json) -> list[str]:
        """Count content of any kind; gives the texts that stand in it directly."""
        if isinstance(content, str):
            self.chars += len(content)
            return [content]
        texts = []
        for block in content if isinstance(content, list) else ():
            if not isinstance(block, dict):
                continue
            kind, text = block.get("type"), block.get("text")
            if kind == "text" and isinstance(text, str):
                texts.append(text)
            self._block(kind, block)
        return texts

    def _block(self, kind: Json, block: dict[str, Json]) -> None:
        for name in _TEXTS:
            text = block.get(name)
            self.chars += len(text) if isinstance(text, str) else 0
        if kind == "image":
            self.images += 1
        elif kind == "document":
            self.files += 1
            source = block.get("source")
            if isinstance(source, dict):
                text = source.get("data") if source.get("type") == "text" else None
                self._add(text or source.get("content"))
        elif kind == "container_upload":
            self.files += 1
        if isinstance(block.get("input"), dict):
            self.chars += len(jsonio.dumps(block["input"]).decode())
        self._add(block.get("content"))


def _required(value: dict[str, Json]) -> tuple[str, int, Said]:
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request(
            '"model" is required: a model name, a tier, "auto" or "lab/tier".', "model"
        )
    cap = value.get("max_tokens")
    if not isinstance(cap, int) or isinstance(cap, bool) or cap < 0:
        hint = "" if "max_tokens" in value else suggest_endpoint(value, NAME)
        message = f'"max_tokens" is required and must be a whole number.{hint}'
        raise invalid_request(message, "max_tokens")
    messages = value.get("messages")
    if not isinstance(messages, list):
        hint = "" if "messages" in value else suggest_endpoint(value, NAME)
        raise invalid_request(f'"messages" is required and must be a list.{hint}', "messages")
    stream = value.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise invalid_request('"stream" must be true or false.', "stream")
    tools = value.get("tools")
    first = tools[0] if isinstance(tools, list) and tools else None
    if isinstance(first, dict) and first.get("type") == "function":
        hint = suggest_endpoint(value, NAME)
        raise invalid_request(f'"tools[0].type" cannot be "function".{hint}', "tools")
    said = Said(value.get("system"))
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            raise invalid_request(f'"messages[{at}]" must be an object.', f"messages[{at}]")
        said.message(message)
    said.typed.close()
    return model, cap, said


def _name(tool: Json) -> str:
    name = tool.get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) else ""


def _hosted(tool: Json) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind != "custom" and not kind.startswith(_OWN_TOOLS)


def _schema(value: dict[str, Json]) -> bool:
    """Whether the answer has to follow a schema; `output_format` is the older, beta name."""
    config = value.get("output_config")
    forms = (config.get("format") if isinstance(config, dict) else None, value.get("output_format"))
    return any(isinstance(form, dict) and form.get("type") == "json_schema" for form in forms)


def read_start(body: RequestBody) -> ConversationStart:
    """Read it; odd members say nothing."""
    value = body.outline
    metadata = value.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    user = user if isinstance(user, str) else ""
    session = _session(user)
    return ConversationStart(
        system=conversation_start.cut_system(
            conversation_start.list_texts(value.get("system"), "text")
        ),
        first_text=conversation_start.find_first_text(_turns(value)),
        name_and_member=(session, "metadata.user_id") if session else None,
        user=user,
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read what few rules ask; odd members say nothing."""
    value = body.outline
    metadata = read_labels(value.get("metadata"))
    return RequestFacts(
        system=join_system(conversation_start.list_texts(value.get("system"), "text")),
        user=metadata.get("user_id", ""),
        metadata=metadata,
        temperature=read_number(value.get("temperature")),
    )


def _turns(value: dict[str, Json]) -> Iterator[str | list[str]]:
    for message in value["messages"]:
        if message.get("role") == "user":
            yield conversation_start.read_content(message.get("content"), "text")


def _session(user: str) -> str:
    """The session that Claude Code writes into the name of its user: in JSON, or at its end."""
    if not user.startswith("{"):
        return user.rpartition(_SESSION)[2] if _SESSION in user else ""
    try:
        said = jsonio.loads(user.encode("utf-8", "replace"))
    except jsonio.JsonError:
        return ""
    found = said.get("session_id")
    return found if isinstance(found, str) else ""


def write(body: RequestBody, target: Target) -> WrittenBody:
    """The body for one target: the client's bytes, with only those members changed that must be."""
    if _as_it_is(body.prompt, target) and not may_hold_label(body):
        return WrittenBody(write_model(body, target.model))
    edit = reasoning_state.edit(body, target)
    body = edit.body
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    thinks = effort.write(edit, target, _write_cap(edit, target))
    sampling = target.facts.sampling
    if sampling == "never" or (sampling == "effort-none" and thinks):
        for name in SAMPLING:
            if name in body.prompt.members:
                edit.drop_member(name, f"{target.model} takes no sampling parameters")
    edit.drop_refused(target)
    return edit.finish()


def _as_it_is(prompt: Prompt, target: Target) -> bool:
    """Whether a target takes what was asked as it was asked, but for its own name of the model."""
    facts, most = target.facts, target.facts.max_output
    return (
        facts.sampling == "always"
        and (most is None or (prompt.max_output or 0) <= most)
        and (target.effort is None or facts.find_effort_style(NAME) not in effort.STYLES)
        and effort.MEMBERS.isdisjoint(prompt.members)
        and not (facts.refused_members or target.provider.refused_members)
    )


def _write_cap(edit: BodyPatch, target: Target) -> int:
    cap, most = edit.body.prompt.max_output or 0, target.facts.max_output
    if most is not None and cap > most:
        edit.set_member("max_tokens", most)
        edit.record_loss("max_tokens", "clamped", f"{target.model} gives at most {most}")
        return most
    return cap


def asks_usage(body: RequestBody) -> bool:  # noqa: ARG001 - this dialect always tells it
    """Whether the client wants usage told in a stream."""
    return True
