"""A CanonicalRequest as a Chat Completions body: one message a turn, and one a result of a tool.

What a model or a host refuses is not looked at: the dialect's `write` fits the body to its target,
names of members, efforts and caps included. Results stand right behind the calls that they answer,
as hosts demand; what a result holds beside text follows in a message of the user's, behind all
results of that turn.
"""

from collections.abc import Iterable

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Media,
    OutputFormat,
    Part,
    Refused,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import compatibility, reasoning_state, tool_ids
from gateway.dialects.base import EncodedRequest
from gateway.dialects.openai_chat import effort
from gateway.dialects.openai_chat.content import (
    BLANK_LINE,
    join_text,
    read_plain_text,
    write_content,
    write_media,
)
from gateway.dialects.openai_chat.reasoning_state import REASONING_MEMBERS

type Object = dict[str, Json]

_SETTINGS = {
    "max_output": "max_completion_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "logit_bias": "logit_bias",
    "top_logprobs": "top_logprobs",
    "verbosity": "verbosity",
    "effort": "reasoning_effort",
    "service_tier": "service_tier",
    "user": "user",
    "metadata": "metadata",
    "cache_key": "prompt_cache_key",
    "parallel_tools": "parallel_tool_calls",
}
"""Fields that are members, value for value."""
_NAMES = {
    **{member: field for field, member in _SETTINGS.items()},
    "messages": "turns",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "response_format": "form",
    "stop": "stop",
    "n": "choices",
    "logprobs": "logprobs",
    "stream": "stream",
}
"""The field that a member says."""
_OWN = {"turns": "messages", "form": "response_format", "choices": "n"}
"""What clients call fields where they have not set them by a name of their own."""

_TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
"""What a custom tool's one text is given in."""
_FOREIGN_RULE = compatibility.FIELD_RULES["foreign_thought"][compatibility.CHAT]
_FOREIGN = f"{compatibility.CHAT} {_FOREIGN_RULE.reason}"
_SPOKEN = f"{compatibility.CHAT} takes text alone of an assistant"


def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """The body that says a request."""
    messages = MessageEncoder(reasoning_state.hash_maker(target, "openai-chat"))
    value: Object = {"messages": messages.write(request.turns)}
    tools = [_tool(tool) for tool in request.tools if tool.kind != "hosted"]
    if tools:
        value["tools"] = tools
    if request.tool_choice is not None:
        value["tool_choice"] = _choice(request.tool_choice)
    if request.form is not None:
        value["response_format"] = _form(request.form)
    for field, member in _SETTINGS.items():
        said = getattr(request, field)
        if said is not None:
            value[member] = said
    if request.user:
        value["user"] = tool_ids.make_plain_id(request.user, "user_")
    if request.stop:
        value["stop"] = list(request.stop)
    if request.choices > 1:
        value["n"] = request.choices
    if request.logprobs:
        value["logprobs"] = True
    if request.stream:
        value["stream"] = True
    spoken = {member: _NAMES[member] for member in value}
    if request.effort is None and request.budget is not None:
        value["reasoning_effort"] = effort.from_budget(request.budget)
        spoken["reasoning_effort"] = "budget"
    names = {it: request.names.get(field, _OWN.get(field, field)) for it, field in spoken.items()}
    word = names["messages"]
    lost = [Loss(f"{word}.{name}", "dropped", why) for name, why in messages.lost.items()]
    return EncodedRequest(value=value, client_names=names, losses=tuple(lost))


def _tool(tool: Tool) -> Object:
    """A function; one with a text takes the place of a custom tool, which few hosts have."""
    inside: Object = {"name": tool_ids.make_plain_id(tool.name, "tool_")}
    if tool.description is not None:
        inside["description"] = tool.description
    parameters = _TEXT if tool.kind == "custom" else tool.parameters
    if parameters is not None:
        inside["parameters"] = parameters
    if tool.strict is not None:
        inside["strict"] = tool.strict
    return {"type": "function", "function": inside}


def _choice(choice: ToolChoice) -> Json:
    if choice.mode == "tool":
        return _named(choice.name or "")
    if choice.allowed and choice.mode != "none":
        allowed = {"mode": choice.mode, "tools": [_named(name) for name in choice.allowed]}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice.mode


def _named(name: str) -> Object:
    return {"type": "function", "function": {"name": tool_ids.make_plain_id(name, "tool_")}}


def _form(form: OutputFormat) -> Object:
    if form.schema is None:
        return {"type": "json_object"}
    inside: Object = {"name": form.name or "answer", "schema": form.schema}
    if form.description is not None:
        inside["description"] = form.description
    if form.strict is not None:
        inside["strict"] = form.strict
    return {"type": "json_schema", "json_schema": inside}


class MessageEncoder:
    """The messages of one request to one target."""

    __slots__ = ("_maker", "_out", "_results", "lost")

    def __init__(self, maker: str) -> None:
        self._maker = maker
        self._out: list[Object] = []
        self._results: dict[str, list[ToolResult]] = {}
        """Results that stand later in the request, by the id of their call."""
        self.lost: dict[str, str] = {}
        """What was left out, and why."""

    def write(self, turns: Iterable[CanonicalTurn]) -> list[Object]:
        """The messages that say the turns."""
        turns = list(turns)
        for turn in turns:
            for part in turn.parts:
                if isinstance(part, ToolResult):
                    self._results.setdefault(part.id, []).append(part)
        for turn in turns:
            if turn.role == "assistant":
                self._assistant(turn)
            elif turn.role == "user":
                self._user(turn)
            else:
                self._say("system", write_content(turn.parts), turn.name)
        return self._out

    def _say(self, role: str, content: Json, name: str | None) -> None:
        message: Object = {"role": role, "content": content}
        if name is not None:
            message["name"] = name
        self._out.append(message)

    def _user(self, turn: CanonicalTurn) -> None:
        results = [part for part in turn.parts if isinstance(part, ToolResult)]
        orphans = [it for it in results if self._taken(it)]
        if orphans:
            self._tell(orphans)
        if len(results) < len(turn.parts) or not results:
            self._say("user", write_content(turn.parts), turn.name)

    def _taken(self, result: ToolResult) -> bool:
        """Take a result that no call before it has asked for."""
        waiting = self._results[result.id]
        for at, it in enumerate(waiting):
            if it is result:
                del waiting[at]
                return True
        return False

    def _assistant(self, turn: CanonicalTurn) -> None:
        message: Object = {"role": "assistant", "content": None}
        refusal = [part.text for part in turn.parts if isinstance(part, Refused)]
        text = join_text(turn.parts)
        thought = self._thoughts(turn.parts, message)
        if thought:
            said = [{"type": "text", "text": text}] if text else []
            message["content"] = [{"type": "thinking", "thinking": thought}, *said]
        elif text:
            message["content"] = text
        if refusal:
            message["refusal"] = "".join(refusal)
        uses = [part for part in turn.parts if isinstance(part, ToolUse)]
        if uses:
            message["tool_calls"] = [self._call(use) for use in uses]
        if turn.name is not None:
            message["name"] = turn.name
        for part in turn.parts:
            if isinstance(part, Media) and part.text is None:
                self.lost[part.kind] = _SPOKEN
        if uses or refusal or message["content"]:
            self._out.append(message)
        found = [self._results[it.id].pop(0) for it in uses if self._results.get(it.id)]
        self._tell(found)

    def _thoughts(self, parts: Iterable[Part], message: Object) -> list[Object]:
        """Write reasoning that the target itself has thought; give what belongs into content."""
        inside: list[Object] = []
        for part in parts:
            if not isinstance(part, Thought):
                continue
            state = part.state
            if state is None or part.maker != self._maker:
                self.lost["reasoning"] = _FOREIGN
            elif state in REASONING_MEMBERS:
                message[state] = message.get(state, "") + part.text
            elif state == "content":
                inside.append({"type": "text", "text": part.text})
            else:
                self._details(state, message)
        return inside

    def _details(self, state: str, message: Object) -> None:
        try:
            details = jsonio.loads(state.encode())
        except jsonio.JsonError:
            details = None
        if isinstance(details, list):
            message["reasoning_details"] = [*message.get("reasoning_details", ()), *details]
        else:
            self.lost["reasoning"] = _FOREIGN

    def _call(self, use: ToolUse) -> Object:
        arguments = use.arguments if use.arguments.strip() else "{}"
        if use.custom:
            arguments = jsonio.dumps({"input": use.arguments}).decode()
        inside = {"name": tool_ids.make_plain_id(use.name, "tool_"), "arguments": arguments}
        call: Object = {
            "id": tool_ids.make_plain_id(use.id),
            "type": "function",
            "function": inside,
        }
        if use.state is not None:
            if use.maker == self._maker:
                call["extra_content"] = {"google": {"thought_signature": use.state}}
            else:
                self.lost["reasoning"] = _FOREIGN
        return call

    def _tell(self, results: Iterable[ToolResult]) -> None:
        """Results, and behind them all what is no text in them."""
        media: list[Object] = []
        for result in results:
            held = [part for part in result.parts if isinstance(part, Media)]
            shown = [part for part in held if part.text is None]
            text = BLANK_LINE.join(
                it for part in result.parts if (it := read_plain_text(part)) is not None
            )
            if shown:
                name = result.name or result.id
                media += [{"type": "text", "text": f"Of the result of {name}:"}]
                media += [write_media(part) for part in shown]
                text = text or "It follows in the next message."
            if result.error:
                text = f"Error: {text}"
            self._out.append(
                {"role": "tool", "tool_call_id": tool_ids.make_plain_id(result.id), "content": text}
            )
        if media:
            self._say("user", media, None)
