"""A canonical request as a Gemini request: settings, tools, and turns as contents.

Neighbours of one role become one content. So the results of one set of calls stand together, as
Gemini wants them, and before anything else that the user says.
"""

from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Media,
    Part,
    Refused,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.base import EncodedRequest
from gateway.dialects.gemini import effort
from gateway.dialects.gemini.content import CONFIG, Object
from gateway.dialects.gemini.reasoning_state import SIGNATURE_MEMBER, SKIP_SIGNATURE
from gateway.dialects.gemini.tools import RAW_ARGUMENTS, fit_schema, parse_arguments

_SETTINGS = {
    "max_output": "maxOutputTokens", "temperature": "temperature", "top_p": "topP",
    "top_k": "topK", "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty", "seed": "seed",
}  # fmt: skip
"""Members of generationConfig that take a field of CanonicalRequest as it is."""
_THINKING_FIELDS = ("effort", "budget", "thoughts_shown")
"""Fields of CanonicalRequest that thinkingConfig holds; losses name the first that is set."""
_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}
_CUSTOM_TOOL_SCHEMA = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
"""Stands for the grammar of a custom tool: one text."""


def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """Encode a request for a target. `stream` is a member: `write` makes the path of it."""
    contents, losses = _encode_contents(request, target)
    names = {"contents": _client_name(request, "turns", "messages")}
    value: Object = {**contents}
    names["systemInstruction"] = names["contents"]
    if request.stream:
        value["stream"] = True
    lost: set[str] = set()
    if request.tools:
        value["tools"] = [
            {"functionDeclarations": [_encode_tool(it, lost) for it in request.tools]}
        ]
        names["tools"] = _client_name(request, "tools")
    choice = request.tool_choice
    if choice is not None:
        value["toolConfig"] = {"functionCallingConfig": _encode_tool_choice(choice)}
        names["toolConfig"] = _client_name(request, "tool_choice")
    more_losses = [_schema_loss(names["tools"], word) for word in sorted(lost)]
    lost = set()
    config = _encode_config(request, target, lost, names)
    form = _client_name(request, "form", "response_format")
    more_losses += [_schema_loss(form, word) for word in sorted(lost)]
    sent_budget = config.get(effort.MEMBER, {}).get(effort.BUDGET)
    if request.budget is not None and sent_budget != request.budget:
        why = "gemini gets a thinking level in its place"
        more_losses.append(Loss(_client_name(request, "budget"), "approximated", why))
    if request.effort == "max" and effort.LEVEL in config.get(effort.MEMBER, ()):
        why = "gemini has no level above xhigh"
        more_losses.append(Loss(_client_name(request, "effort"), "clamped", why))
    if config:
        value[CONFIG] = config
    if request.service_tier in _TIERS:
        value["serviceTier"] = _TIERS[request.service_tier]
        names["serviceTier"] = _client_name(request, "service_tier")
    elif request.service_tier is not None:
        why = "gemini has no such service tier"
        more_losses.append(Loss(_client_name(request, "service_tier"), "dropped", why))
    return EncodedRequest(value=value, client_names=names, losses=(*losses, *more_losses))


def _client_name(request: CanonicalRequest, field: str, word: str = "") -> str:
    return request.names.get(field, word or field)


def _schema_loss(field: str, word: str) -> Loss:
    return Loss(field, "approximated", f'gemini schemas have no "{word}"')


def _encode_config(
    request: CanonicalRequest, target: Target, lost: set[str], names: dict[str, str]
) -> Object:
    config: Object = {}

    def put(name: str, value: Json, field: str, word: str = "") -> None:
        config[name] = value
        names[f"{CONFIG}.{name}"] = _client_name(request, field, word)

    for field, name in _SETTINGS.items():
        value = getattr(request, field)
        if value is not None:
            put(name, value, field)
    if request.stop:
        put("stopSequences", list(request.stop), "stop")
    if request.choices > 1:
        put("candidateCount", request.choices, "choices", "n")
    if request.logprobs:
        put("responseLogprobs", request.logprobs, "logprobs")
        if request.top_logprobs:
            put("logprobs", request.top_logprobs, "top_logprobs")
    if request.form is not None:
        put("responseMimeType", "application/json", "form", "response_format")
        if request.form.schema is not None:
            fitted = fit_schema(request.form.schema, lost)
            put("responseJsonSchema", fitted, "form", "response_format")
    thinking = _encode_thinking(request, target)
    if thinking:
        set_one = (it for it in _THINKING_FIELDS if getattr(request, it) is not None)
        put(effort.MEMBER, thinking, next(set_one))
    return config


def _encode_thinking(request: CanonicalRequest, target: Target) -> Object:
    """Encode a budget if the model has no levels or the client sets only a budget; else a level."""
    style = effort.find_style(target.facts)
    level = style is None or style.level
    members: Object = {}
    if request.budget is not None and (request.effort is None or not level):
        members[effort.BUDGET] = request.budget
    elif request.effort is not None:
        members = effort.make_members(request.effort, level=level)
    if request.thoughts_shown is not None:
        members["includeThoughts"] = request.thoughts_shown
    return members


def _encode_tool(tool: Tool, lost: set[str]) -> Object:
    declaration: Object = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    parameters = _CUSTOM_TOOL_SCHEMA if tool.kind == "custom" else tool.parameters
    if parameters is not None:
        declaration["parametersJsonSchema"] = fit_schema(parameters, lost)
    return declaration


def _encode_tool_choice(choice: ToolChoice) -> Object:
    """Encode a tool choice. AUTO takes no list of functions: auto among some is VALIDATED."""
    allowed = [choice.name] if choice.name is not None else list(choice.allowed)
    mode = _MODES[choice.mode]
    if not allowed:
        return {"mode": mode}
    return {"mode": "VALIDATED" if mode == "AUTO" else mode, "allowedFunctionNames": allowed}


_FOREIGN_REASONING = "only the model that wrote reasoning can read it"
_ARGUMENTS_NO_OBJECT = f"gemini needs an object as arguments: the text goes into {RAW_ARGUMENTS}"
_NO_RESULT = {"error": "No result was given."}
_DEFAULT_TYPES = {
    "image": "image/png",
    "file": "application/pdf",
    "audio": "audio/wav",
    "video": "video/mp4",
}
"""Media types of data that came without one."""


def _encode_contents(request: CanonicalRequest, target: Target) -> tuple[Object, tuple[Loss, ...]]:
    """Encode `contents` and `systemInstruction`; return them and their losses."""
    writer = _ContentsEncoder(request, target)
    for turn in request.turns:
        writer.add_turn(turn)
    return writer.finish(), tuple(dict.fromkeys(writer.losses))


class _ContentsEncoder:
    """Writes the contents of one request, turn by turn."""

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        self.losses: list[Loss] = []
        self._turns_name = request.names.get("turns", "messages")
        self._maker = reasoning_state.hash_maker(target, effort.NAME)
        style = effort.find_style(target.facts)
        self._needs_signature = style is None or style.level
        """Models that take a level require signatures, and take media within results."""
        self._system: list[Object] = []
        self._contents: list[Object] = []
        self._call_names: dict[str, str] = {}
        """Names of calls by id."""

    def add_turn(self, turn: CanonicalTurn) -> None:
        """Take the next turn."""
        if turn.role in ("system", "developer"):
            if self._contents:
                members = [it for part in turn.parts for it in self._encode_later_part(part)]
                self._add("user", members)
            else:
                self._system += [
                    {"text": part.text}
                    for part in turn.parts
                    if isinstance(part, Text) and part.text
                ]
            return
        role = "model" if turn.role == "assistant" else "user"
        self._add(role, [member for part in turn.parts for member in self._encode_part(part)])

    def _encode_later_part(self, part: Part) -> list[Object]:
        """Encode a part of a system turn that the user says: a text is marked as the system's."""
        if isinstance(part, Text) and part.text:
            return [{"text": f"<system>\n{part.text}\n</system>"}]
        return self._encode_part(part)

    def finish(self) -> Object:
        """Return the members; a system prompt with nothing after it becomes the user's turn."""
        if self._system and not self._contents:
            self.losses.append(
                Loss(
                    self._turns_name,
                    "approximated",
                    "gemini needs a user turn: the system prompt becomes one",
                )
            )
            return {"contents": [{"role": "user", "parts": self._system}]}
        for content, after in zip(self._contents, self._contents[1:], strict=False):
            _complete_results(content["parts"], after["parts"])
        if self._needs_signature:
            for content in self._contents:
                _sign_first_call(content["parts"])
        members: Object = {"contents": self._contents}
        if self._system:
            members["systemInstruction"] = {"parts": self._system}
        return members

    def _add(self, role: str, parts: list[Object]) -> None:
        if not parts:
            return
        if self._contents and self._contents[-1]["role"] == role:
            self._contents[-1]["parts"] += parts
        else:
            self._contents.append({"role": role, "parts": parts})

    def _encode_part(self, part: Part) -> list[Object]:
        """Encode a part; a part that Gemini does not have becomes nothing."""
        match part:
            case Text() | Refused():
                return [{"text": part.text}] if part.text else []
            case Media():
                return [_encode_media(part)]
            case Thought():
                return self._encode_thought(part)
            case ToolUse():
                return [self._encode_call(part)]
            case ToolResult():
                return self._encode_result(part)
            case _:
                return []

    def _is_own(self, part: Thought | ToolUse) -> bool:
        """True if a state is this target's own; another maker's is a loss."""
        if part.state is not None and part.maker == self._maker:
            return True
        if part.state is not None or isinstance(part, Thought):
            self.losses.append(Loss(f"{self._turns_name}.reasoning", "dropped", _FOREIGN_REASONING))
        return False

    def _encode_thought(self, part: Thought) -> list[Object]:
        if not self._is_own(part):
            return []
        member: Object = {"text": part.text, SIGNATURE_MEMBER: part.state}
        return [{**member, "thought": True} if part.text else member]

    def _encode_call(self, part: ToolUse) -> Object:
        self._call_names[part.id] = part.name
        args = {"input": part.arguments} if part.custom else parse_arguments(part.arguments)
        if RAW_ARGUMENTS in args:
            self.losses.append(
                Loss(f"{self._turns_name}.arguments", "approximated", _ARGUMENTS_NO_OBJECT)
            )
        member: Object = {
            "functionCall": {"id": tool_ids.make_plain_id(part.id), "name": part.name, "args": args}
        }
        if self._is_own(part):
            member[SIGNATURE_MEMBER] = part.state
        return member

    def _encode_result(self, part: ToolResult) -> list[Object]:
        text = "\n".join(it.text for it in part.parts if isinstance(it, Text))
        result: Object = {
            "id": tool_ids.make_plain_id(part.id),
            "name": part.name or self._call_names.get(part.id, "unknown"),
            "response": {"error" if part.error else "output": text},
        }
        media = [_encode_media(it) for it in part.parts if isinstance(it, Media)]
        if media and self._needs_signature:
            return [{"functionResponse": {**result, "parts": media}}]
        if media:
            why = "gemini gets media after the result: the model accepts none inside it"
            self.losses.append(Loss(self._turns_name, "approximated", why))
        return [{"functionResponse": result}, *media]


def _encode_media(part: Media) -> Object:
    if part.text is not None:
        return {"text": part.text}
    if part.data is None:
        link: Object = {"fileUri": part.url or part.id}
        return {"fileData": link if part.type is None else {**link, "mimeType": part.type}}
    return {"inlineData": {"mimeType": part.type or _DEFAULT_TYPES[part.kind], "data": part.data}}


def _complete_results(calls: list[Object], after: list[Object]) -> None:
    """Put results first, and add missing ones: Gemini wants as many as there are calls."""
    given = {part["functionResponse"]["id"] for part in after if "functionResponse" in part}
    for part in calls:
        call = part.get("functionCall")
        if call is not None and call["id"] not in given:
            result = {"id": call["id"], "name": call["name"], "response": _NO_RESULT}
            after.append({"functionResponse": result})
    after.sort(key=lambda part: "functionResponse" not in part)


def _sign_first_call(parts: list[Object]) -> None:
    """Sign the first call of a turn if nobody has."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None and SIGNATURE_MEMBER not in first:
        first[SIGNATURE_MEMBER] = SKIP_SIGNATURE
