"""A client's Gemini request as a canonical request: settings, tools, and contents as turns.

Calls may come without ids, and `thoughtSignature` may hold another maker's state. The work of
Google's own tools in the history becomes text, and `schema` names it as a loss.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Literal

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Foreign,
    Media,
    OutputFormat,
    Part,
    Role,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json
from gateway.dialects.base import RequestBody
from gateway.dialects.gemini import effort, request, schema
from gateway.dialects.gemini.content import (
    CONFIG,
    Object,
    as_integer,
    find_spelling,
    get_member,
    get_object,
    list_objects,
    to_camel_case,
)
from gateway.dialects.gemini.reasoning_state import Signature
from gateway.dialects.gemini.tools import join_calls, to_json_schema
from gateway.dialects.json_values import as_number, as_text

_HELD_MEMBERS = frozenset(
    {
        "contents", "systemInstruction", "tools", "toolConfig", CONFIG, "labels", "serviceTier",
        *request.ADDRESS_MEMBERS,
    }
)  # fmt: skip
"""Top-level members that fields of CanonicalRequest hold."""
_SETTINGS = {
    "max_output": "maxOutputTokens", "stop": "stopSequences", "temperature": "temperature",
    "top_p": "topP", "top_k": "topK", "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty", "seed": "seed", "choices": "candidateCount",
    "logprobs": "responseLogprobs", "top_logprobs": "logprobs",
}  # fmt: skip
"""Members of generationConfig by the field of CanonicalRequest that holds each."""
_THINKING = {"effort": effort.LEVEL, "budget": effort.BUDGET, "thoughts_shown": "includeThoughts"}
_JSON_TYPE = "application/json"
_SCHEMA_MEMBERS = ("responseJsonSchema", "responseSchema")
_TIERS = {"standard": "default", "unspecified": None, "service_tier_unspecified": None}
"""Service tiers as CanonicalRequest has them."""
_TEXT_ONLY = ["TEXT"]
_CALLING_MODES = frozenset({"", "AUTO", "ANY", "NONE", "MODE_UNSPECIFIED"})
"""Modes that a ToolChoice says all of: VALIDATED is more than AUTO."""


def decode_request(body: RequestBody) -> CanonicalRequest:
    """Decode a client's request, leniently; settings without a field go to `extra_members`."""
    value = body.value
    config = get_object(value, CONFIG)
    names = _read_client_names(value, config)
    tools, choice = list_objects(value.get("tools")), _read_tool_choice(value)
    thinking = get_object(config, effort.MEMBER)
    budget, form = as_integer(get_member(thinking, effort.BUDGET)), _read_form(config)
    shown = get_member(thinking, "includeThoughts")
    top = get_member(config, "logprobs")
    return CanonicalRequest(
        turns=_read_turns(value),
        tools=tuple(tool for row in tools for tool in _read_tools(row)),
        tool_choice=choice,
        form=form,
        max_output=body.prompt.max_output,
        stop=_read_stop(get_member(config, "stopSequences")),
        temperature=as_number(get_member(config, "temperature")),
        top_p=as_number(get_member(config, "topP")),
        top_k=as_integer(get_member(config, "topK")),
        presence_penalty=as_number(get_member(config, "presencePenalty")),
        frequency_penalty=as_number(get_member(config, "frequencyPenalty")),
        seed=as_integer(get_member(config, "seed")),
        choices=body.prompt.choices,
        logprobs=body.prompt.logprobs,
        top_logprobs=as_integer(top),
        effort=body.prompt.effort,
        budget=budget if budget is not None and budget > 0 else None,
        thoughts_shown=shown if isinstance(shown, bool) else None,
        service_tier=_read_service_tier(get_member(value, "serviceTier")),
        metadata=value.get("labels"),
        stream=body.prompt.stream,
        stream_usage=True,
        names=names,
        extra_members=_read_extra_members(value, config, form, names),
    )


def _read_service_tier(tier: Json) -> str | None:
    """Return a service tier as CanonicalRequest has it."""
    word = (as_text(tier) or "unspecified").lower()
    return _TIERS.get(word, word)


def _read_client_names(value: Object, config: Object) -> dict[str, str]:
    """Return the client's own names of its settings, as paths from the top of its body."""
    top = find_spelling(value, CONFIG)
    names = {"turns": "contents", "tools": "tools"}
    calling = "functionCallingConfig"
    group = find_spelling(value, "toolConfig")
    names["tool_choice"] = f"{group}.{find_spelling(get_object(value, 'toolConfig'), calling)}"
    for field, name in _SETTINGS.items():
        names[field] = f"{top}.{find_spelling(config, name)}"
    under = find_spelling(config, effort.MEMBER)
    thinking = get_object(config, effort.MEMBER)
    for field, name in _THINKING.items():
        names[field] = f"{top}.{under}.{find_spelling(thinking, name)}"
    if get_member(thinking, effort.LEVEL) is None:  # a budget is what the effort was read from
        names["effort"] = names["budget"]
    form = next(
        (name for name in _SCHEMA_MEMBERS if get_member(config, name) is not None),
        "responseMimeType",
    )
    names["form"] = f"{top}.{find_spelling(config, form)}"
    names["service_tier"] = find_spelling(value, "serviceTier")
    names["metadata"] = "labels"
    return names


def _read_tools(tool: Object) -> list[Tool]:
    """Read the functions of one entry of `tools`, and each hosted tool in it."""
    tools = []
    for name, value in tool.items():
        if to_camel_case(name) == "functionDeclarations":
            tools += [_read_function(row) for row in list_objects(value)]
        else:
            tools.append(Tool(name=name, kind="hosted", source={name: value}))
    return tools


def _read_function(row: Object) -> Tool:
    parameters = get_member(row, "parametersJsonSchema")
    if parameters is None:
        parameters = to_json_schema(row.get("parameters"))
    return Tool(
        name=as_text(row.get("name")) or "",
        description=as_text(row.get("description")),
        parameters=parameters,
    )


def _get_calling_config(value: Object) -> Object:
    """Return the settings of function calls."""
    return get_object(get_object(value, "toolConfig"), "functionCallingConfig")


def _read_tool_choice(value: Object) -> ToolChoice | None:
    calling = _get_calling_config(value)
    names = get_member(calling, "allowedFunctionNames")
    listed_names = names if isinstance(names, list) else []
    allowed = tuple(name for name in listed_names if isinstance(name, str))
    mode = request.read_calling_mode(value)
    if mode == "ANY" and len(allowed) == 1:
        return ToolChoice(mode="tool", name=allowed[0])
    if mode == "ANY":
        return ToolChoice(mode="required", allowed=allowed)
    if mode == "NONE":
        return ToolChoice(mode="none")
    if mode in ("AUTO", "VALIDATED") or allowed:
        return ToolChoice(mode="auto", allowed=allowed)
    return None


def _read_form(config: Object) -> OutputFormat | None:
    kind = get_member(config, "responseMimeType")
    given = get_member(config, "responseJsonSchema")
    if given is None:
        given = to_json_schema(get_member(config, "responseSchema"))
    if kind == _JSON_TYPE or (kind is None and given is not None):
        return OutputFormat(schema=given)
    return None


def _read_stop(value: Json) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list) else ()


def _read_extra_members(
    value: Object, config: Object, form: OutputFormat | None, names: dict[str, str]
) -> dict[str, Json]:
    """Return settings whose values no field holds, by paths in the client's own spelling."""
    extra: dict[str, Json] = {
        name: item
        for name, item in value.items()
        if to_camel_case(name) not in _HELD_MEMBERS and item is not None
    }
    top = find_spelling(value, CONFIG)
    held = {*_SETTINGS.values(), effort.MEMBER}
    held |= {"responseMimeType", *_SCHEMA_MEMBERS} if form is not None else set()
    for name, item in config.items():
        kind = to_camel_case(name)
        plain = (kind == "responseModalities" and item == _TEXT_ONLY) or (
            kind == "responseMimeType" and item == "text/plain"
        )
        if kind not in held and not plain and item is not None:
            extra[f"{top}.{name}"] = item
    mode = request.read_calling_mode(value)
    if mode not in _CALLING_MODES:
        extra[f"{names['tool_choice']}.mode"] = mode
    return extra


_ROLES: dict[str, Role] = {"model": "assistant", "system": "system"}
_OUTPUT_MEMBERS = ("output", "result", "error")
"""Members that alone hold what a function gave; Google's SDKs write these."""
_DETAILS = {
    "MEDIA_RESOLUTION_UNSPECIFIED": None, "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_MEDIUM": "auto", "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "high",
}  # fmt: skip
"""Levels of detail of an image, in the words of other dialects."""
_UPLOADS = ("https://generativelanguage.googleapis.com/", "gs://", "files/")
"""Prefixes of the addresses of files that only Google can open."""
_MEDIA_KINDS: dict[str, Literal["image", "audio", "video"]] = {
    "image": "image", "audio": "audio", "video": "video",
}  # fmt: skip
_HISTORY_KINDS = frozenset(
    {"executableCode", "codeExecutionResult", "toolCall", "toolResponse", "audioTranscription"}
)
"""Parts that say what Google's own tools did."""
_PART_KINDS = frozenset(
    {"text", "functionCall", "functionResponse", "inlineData", "fileData", *_HISTORY_KINDS}
)
"""Members that tell the kind of a part; others describe it, where one of these is there."""
_THOUGHT_MEMBERS = frozenset({"text", *_HISTORY_KINDS})
"""Members that are reasoning, and no part of the answer, in a part that is a thought."""
_SEARCHED = ("query", "queries", "url", "urls")
"""Arguments of Google's own tools that a reader understands."""


def _read_turns(value: Object) -> tuple[CanonicalTurn, ...]:
    """Read all turns of a request, the system instruction first."""
    system = request.get_system(value)
    turns = []
    if isinstance(system, str):
        turns.append(CanonicalTurn(role="system", parts=(Text(text=system),), source=system))
    elif isinstance(system, dict):
        parts = tuple(_PartReader().read_parts(list_objects(system.get("parts")), "system"))
        turns.append(CanonicalTurn(role="system", parts=parts, source=system))
    reader = _PartReader()
    for role, contents in groupby(list_objects(value["contents"]), key=_read_role):
        # A model's neighbours are one: Google's SDK keeps each chunk of a stream as a content.
        for rows in [[*contents]] if role == "assistant" else ([row] for row in contents):
            pieces = [part for row in rows for part in list_objects(row.get("parts"))]
            source = rows[0] if len(rows) == 1 else rows
            parts = tuple(reader.read_parts(_join_calls(pieces), role))
            turns.append(CanonicalTurn(role=role, parts=parts, source=source))
    return tuple(turn for turn in turns if turn.parts)


def _join_calls(parts: list[Object]) -> list[Object]:
    """Join calls that came in pieces. Raises ProblemError: invalid_request."""
    try:
        return join_calls(parts)
    except ValueError:
        message = "The pieces of a functionCall do not fit together. Send its `args` whole."
        raise invalid_request(message, "contents") from None


def _read_role(content: Object) -> Role:
    return _ROLES.get(as_text(content.get("role")) or "", "user")


class _PartReader:
    """Reads parts, and knows which calls have no result yet: clients may leave ids out."""

    def __init__(self) -> None:
        self._call_count = 0
        self._open_calls: list[tuple[str, str]] = []

    def read_parts(self, rows: list[Object], role: Role) -> Iterator[Part]:
        """Read the parts of one turn; a thought that came in pieces is one.

        A part of an unknown kind is foreign, but left out where the model made it.
        """
        thought: list[Object] = []
        for row in rows:
            if row.get("thought") is True and _THOUGHT_MEMBERS.issuperset(_list_kinds(row)):
                thought.append(row)
                if Signature(row).state is not None:
                    yield _join_thought(thought)
                    thought = []
                continue
            if thought:
                yield _join_thought(thought)
                thought = []
            yield from self._read_part(row)
            if role != "assistant":
                yield from _find_foreign(row)
        if thought:
            yield _join_thought(thought)

    def _read_part(self, row: Object) -> Iterator[Part]:
        kinds, signature = _list_kinds(row), Signature(row)
        for kind in kinds:
            part = self._read_kind(kind, row, signature)
            if part is not None:
                yield part
        if signature.state is not None and "functionCall" not in kinds:
            yield _make_thought(signature, "", row)

    def _read_kind(self, kind: str, row: Object, signature: Signature) -> Part | None:
        value = get_member(row, kind)
        if kind == "text" and isinstance(value, str):
            return Text(text=value, source=row) if value else None
        if isinstance(value, dict):
            if kind == "functionCall":
                return self._read_call(value, signature, row)
            if kind == "functionResponse":
                return self._read_result(value, row)
            if kind in ("inlineData", "fileData"):
                return _read_media(row, kind, value)
            if kind in _HISTORY_KINDS:
                text = _write_tool_work(kind, value)
                return Text(text=text, source=row) if text else None
        return Foreign(kind=kind, source=row)

    def _read_call(self, call: Object, sign: Signature, row: Object) -> ToolUse:
        self._call_count += 1
        name, id = as_text(call.get("name")) or "", as_text(call.get("id"))
        id = id or f"call_{self._call_count}"
        self._open_calls.append((id, name))
        args = call.get("args")
        return ToolUse(
            id=id,
            name=name,
            arguments=jsonio.dumps(args if isinstance(args, dict) else {}).decode(),
            state=sign.state,
            maker=sign.maker,
            source=row,
        )

    def _read_result(self, result: Object, row: Object) -> ToolResult:
        name = as_text(result.get("name"))
        id = as_text(result.get("id")) or self._find_open_call(name)
        self._open_calls = [call for call in self._open_calls if call[0] != id]
        response = get_object(result, "response")
        parts: list[Text | Media] = [Text(text=_read_output(response))]
        parts += [
            _read_media(inner, kind, get_object(inner, kind))
            for inner in list_objects(result.get("parts"))
            for kind in ("inlineData", "fileData")
            if get_object(inner, kind)
        ]
        error = set(response) == {"error"}
        return ToolResult(id=id, name=name, parts=tuple(parts), error=error, source=row)

    def _find_open_call(self, name: str | None) -> str:
        """Return the id of the first call without a result: of that name, else of any."""
        for id, called in self._open_calls:
            if called == name:
                return id
        if self._open_calls:
            return self._open_calls[0][0]
        self._call_count += 1
        return f"call_{self._call_count}"


def _read_media(row: Object, kind: str, value: Object) -> Media:
    """Read data that stands in the request, or a file that it points to."""
    type = as_text(get_member(value, "mimeType"))
    family = (type or "").partition("/")[0]
    name = as_text(get_member(value, "displayName"))
    level = as_text(get_member(get_object(row, "mediaResolution"), "level"))
    data, url, id = None, None, None
    if kind == "inlineData":
        data = (as_text(value.get("data")) or "").replace("-", "+").replace("_", "/")
    else:
        url = as_text(get_member(value, "fileUri")) or ""
        if url.startswith(_UPLOADS):
            url, id = None, url
        elif type is None and "youtu" in url:
            family = "video"
    return Media(
        kind=_MEDIA_KINDS.get(family, "file"),
        type=type,
        data=data,
        url=url,
        id=id,
        name=name,
        detail=_DETAILS.get(level, "auto") if level else None,
        source=row,
    )


def _list_kinds(row: Object) -> list[str]:
    """List the members that tell the kind of a part."""
    names = (to_camel_case(name) for name, item in row.items() if item is not None)
    return [name for name in names if name in _PART_KINDS]


def _find_foreign(row: Object) -> Iterator[Foreign]:
    """Find a part of a kind that only Google knows: none of its members tells a known kind."""
    unknown = [name for name, item in row.items() if item is not None and not _is_known(name)]
    if unknown and not _list_kinds(row):
        yield Foreign(kind=unknown[0], source=row)


def _is_known(name: str) -> bool:
    return to_camel_case(name) in schema.REQUEST["part"]


def _write_tool_work(kind: str, value: Object) -> str:
    """Write what a tool of Google's did as text; empty where only Google can read it."""
    match kind:
        case "executableCode":
            language = (as_text(value.get("language")) or "").lower()
            return _write_block(as_text(value.get("code")), language)
        case "codeExecutionResult":
            return _write_block(as_text(value.get("output")), "")
        case "toolCall":
            words = [word for name in _SEARCHED for word in _list_words(value.get("args"), name)]
            tool = (as_text(get_member(value, "toolType")) or "tool").replace("_", " ").lower()
            return f"\n[{tool}: {'; '.join(words)}]\n" if words else ""
        case "audioTranscription":
            return as_text(value.get("text")) or ""
        case _:
            return ""


def _write_block(text: str | None, language: str) -> str:
    """Write a block of code, apart from the text around it."""
    return f"\n```{language}\n{text.rstrip()}\n```\n" if text and text.strip() else ""


def _list_words(args: Json, name: str) -> list[str]:
    """List the texts of an argument: one, or a list of them."""
    value = args.get(name) if isinstance(args, dict) else None
    words = value if isinstance(value, list) else [value]
    return [word for word in words if isinstance(word, str)]


def _join_thought(rows: list[Object]) -> Thought:
    return _make_thought(
        Signature(rows[-1]), "".join(as_text(row.get("text")) or "" for row in rows), rows
    )


def _make_thought(sign: Signature, text: str, source: Json) -> Thought:
    return Thought(
        text=text,
        state=sign.state,
        redacted=sign.redacted,
        maker=sign.maker,
        source=source,
    )


def _read_output(response: Object) -> str:
    if len(response) == 1:
        (name, value), *_ = response.items()
        if name in _OUTPUT_MEMBERS:
            return value if isinstance(value, str) else jsonio.dumps(value).decode()
    return jsonio.dumps(response).decode() if response else ""
