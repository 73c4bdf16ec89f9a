"""A canonical request as a body of Converse, fitted to the model that gets it.

No client speaks this dialect, so the encoder does what `write` does elsewhere. See
dialects.message_builder for the order of messages, and model_families for what only some models
take. Sources: ConverseRequest of AWS's API reference, and what the API refuses: blank text, a
conversation that the assistant begins, calls of tools without a list of tools.
"""

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    Media,
    OutputFormat,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
)
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import tool_ids
from gateway.dialects.base import EncodedRequest
from gateway.dialects.bedrock_converse import content, effort
from gateway.dialects.bedrock_converse.model_families import ModelFamily, find_family
from gateway.dialects.body_writer import BodyWriter
from gateway.dialects.message_builder import (
    CUSTOM_TOOL_SCHEMA,
    JSON_INSTRUCTION,
    NO_CONTENT,
    NO_RESULT,
    TOOL_PREFIX,
    MessageBuilder,
)

type Object = dict[str, Json]

_CONFIG, _MODEL_FIELDS = "inferenceConfig", "additionalModelRequestFields"
_SAMPLING = ("temperature", "top_p", "top_k")
_MAX_CACHE_POINTS = 4
_CACHE_LIFETIMES = ("", "5m")
"""The lifetimes of a cached prompt that the models have; without one it is 5 minutes."""
_SEPARATOR = "."
"""The text of an assistant's message between two of a user that may not be one."""
_SEE_DOCUMENTS = "See the attached documents."
"""The text of a message that has documents alone, which the API refuses."""
_TIERS = ("flex", "priority", "reserved")
_OBJECT_SCHEMA: Object = {"type": "object", "properties": {}}


def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """Return the body for a target, and the losses. `write` makes the path of `stream`."""
    return _BodyWriter(request, target).write()


class _MessageWriter(MessageBuilder):
    """The system prompt and messages of one request."""

    __slots__ = ("_documents", "_family")

    def __init__(self, request: CanonicalRequest, target: Target, family: ModelFamily) -> None:
        self._family = family
        self._documents = content.DocumentWriter()
        super().__init__(request, target, dialect_name=effort.NAME, call_prefix="tooluse_")

    def _write_text(self, part: Text) -> list[Object]:
        if not part.text.strip():
            return []
        return [{"text": part.text}, *self._write_cache_point(part.cache)]

    def _write_media(self, part: Media) -> list[Object]:
        if content.is_image(part):
            return [content.write_image(part), *self._write_cache_point(part.cache)]
        if part.kind != "file":
            return []
        block, has_own_name = self._documents.write(part)
        if not has_own_name:
            self._record_loss("file.name", "approximated", "takes plain and different names alone")
        if part.cache is not None:
            self._record_cache_loss("takes no cache point right after a document")
        return [block]

    def _write_cache_point(self, lifetime: str | None) -> list[Object]:
        """Return the block of a cache point; none for a model without."""
        if lifetime is None:
            return []
        if not self._family.caches_prompts:
            self._record_cache_loss("has no cache points for this model")
            return []
        if lifetime not in _CACHE_LIFETIMES:
            why = f"{effort.NAME} caches for 5 minutes"
            self._losses[Loss("cache_control.ttl", "approximated", why)] = None
        return [content.write_cache_point()]

    def _record_cache_loss(self, why: str) -> None:
        self._losses[Loss("cache_control", "dropped", f"{effort.NAME} {why}")] = None

    def _write_call(self, id: str, name: str, arguments: Object) -> Object:
        return {"toolUse": {"toolUseId": id, "name": name, "input": arguments}}

    def _write_own_thought(self, state: str, part: Thought) -> Object:
        if part.redacted:
            return {"reasoningContent": {"redactedContent": state}}
        return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": state}}}

    def _write_result(
        self, id: str, result: ToolResult | None, blocks: list[Object]
    ) -> tuple[list[Object], list[Object]]:
        if result is None:
            inside: list[Object] = [{"text": NO_RESULT}]
            return [_make_result(id, inside, is_error=True)], []
        allowed = {"text", *self._family.result_media}
        inside = [block for block in blocks if not allowed.isdisjoint(block)]
        behind = [block for block in blocks if allowed.isdisjoint(block)]
        if any(not content.is_cache_point(block) for block in behind):
            self._record_loss(
                "", "approximated", "gets media after the result: the model accepts none inside it"
            )
        written = _make_result(id, inside or [{"text": NO_CONTENT}], is_error=result.error)
        return [written, *self._write_cache_point(result.cache)], behind

    def _write_messages(
        self, role: str, results: list[Object], blocks: list[Object]
    ) -> list[Object]:
        if content.has_document(blocks) and not any("text" in block for block in blocks):
            blocks = [{"text": _SEE_DOCUMENTS}, *blocks]
        if results and blocks and self._family.has_lone_results:
            return [
                {"role": role, "content": results},
                {"role": "assistant", "content": [{"text": _SEPARATOR}]},
                {"role": role, "content": blocks},
            ]
        return [{"role": role, "content": [*results, *blocks]}]

    def _trim_prefill(self, message: Object) -> None:
        """Leave the answer as it is: the models that continue it take a space at its end."""


class _BodyWriter(BodyWriter):
    """Writes the body of one request for one target."""

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        super().__init__(request, target, dialect_name=effort.NAME)
        self._family = find_family(target.model)

    def write(self) -> EncodedRequest:
        """Write all members, in the order in which the provider caches a prompt."""
        request = self._request
        turns = _MessageWriter(request, self._target, self._family)
        system, messages = turns.system, turns.messages
        tools = self._write_tools()
        if request.form is not None and request.form.schema is None:
            system = [*system, {"text": JSON_INSTRUCTION}]
        self._limit_cache_points([system, *(message["content"] for message in messages)])
        self._set("system", system or None, "turns")
        self._set("messages", messages, "turns")
        if tools:
            config: Object = {"tools": tools}
            choice = self._write_tool_choice()
            if choice is not None:
                config["toolChoice"] = choice
            self._set("toolConfig", config, "tools")
        self._write_settings()
        if request.form is not None and request.form.schema is not None:
            self._set("outputConfig", _write_form(request.form), "form")
        if request.service_tier in _TIERS:
            self._set("serviceTier", {"type": request.service_tier}, "service_tier")
        elif request.service_tier not in (None, "default"):
            self._record_loss("service_tier", "dropped", "has no such service tier")
        self._set("stream", request.stream or None, "stream")
        return self._finish(turns)

    def _write_tools(self) -> list[Object]:
        """Return the tools that the model may call, without hosted ones.

        Converse refuses the calls of a history without a list of tools. So the tools stay if the
        model must call none, and those of the history stand in for tools that the client left out.
        """
        request, choice = self._request, self._request.tool_choice
        calls = dict.fromkeys(
            part.name for turn in request.turns for part in turn.parts if isinstance(part, ToolUse)
        )
        allowed = choice.allowed if choice is not None else ()
        tools = [
            tool
            for tool in request.tools
            if tool.kind != "hosted" and (not allowed or tool.name in allowed)
        ]
        if choice is not None and choice.mode == "none":
            why = "has no such choice: the model gets no tools in its place"
            if calls:
                why = "has no such choice, and needs the tools of a conversation with calls"
            self._record_loss("tool_choice", "approximated", why)
            if not calls:
                return []
        if calls and not tools:
            turns_name = self._client_name("turns")
            why = f"{effort.NAME} wants a list of tools: those of the earlier calls are offered"
            self._losses.append(Loss(f"{turns_name}.tool_calls", "approximated", why))
            tools = [Tool(name=name) for name in calls]
        if any(tool.cache is not None for tool in tools):
            why = f"{effort.NAME} takes no cache points after tools"
            self._losses.append(Loss("cache_control", "dropped", why))
        return [_write_tool(tool) for tool in tools]

    def _write_tool_choice(self) -> Object | None:
        """Return the choice of tools; None leaves it to the model, which needs no word."""
        choice = self._request.tool_choice
        if choice is None or choice.mode in ("auto", "none"):
            return None
        if choice.mode == "required":
            return {"any": {}}
        return {"tool": {"name": tool_ids.make_plain_id(choice.name or "", TOOL_PREFIX)}}

    def _write_settings(self) -> None:
        """Write the cap, sampling and effort, which some models do not take together."""
        request, target = self._request, self._target
        cap = self._find_cap()
        wanted = effort.find_wanted(request.effort, request.budget)
        sent = effort.fit(wanted, target, is_capped=cap is not None)
        if sent.action:
            field = "effort" if request.effort is not None else "budget"
            self._losses.append(Loss(self._client_name(field), sent.action, sent.reason))
        config: Object = {} if cap is None else {"maxTokens": cap}
        fields: Object = {} if sent.word is None else {effort.MEMBER: effort.write(sent.word)}
        self._write_sampling(config, fields, sent.word)
        stop = [it for it in request.stop if it.strip()]
        if len(stop) < len(request.stop):
            self._record_loss("stop", "dropped", "does not accept blank stop sequences")
        if stop:
            config["stopSequences"] = stop
        self._set(_CONFIG, config or None, "max_output")
        self._set(_MODEL_FIELDS, fields or None, "effort")

    def _find_cap(self) -> int | None:
        """Return the cap on the output: the client's as far as the model allows, or the target's.

        Without one the model stops at its own.
        """
        target, wanted = self._target, self._request.max_output
        limit = target.output_limit
        if limit is not None and (
            target.lowered_output is not None if wanted is None else wanted > limit
        ):
            why = target.explain_output_limit()
            self._losses.append(Loss(self._client_name("max_output"), "clamped", why))
            return limit
        return target.max_output if wanted is None else wanted

    def _write_sampling(self, config: Object, fields: Object, word: str | None) -> None:
        request, facts = self._request, self._target.facts
        reason = ""
        if self._family.high_effort_is_free and word == effort.FREE_EFFORT:
            reason = f"{self._target.model} does not accept it at effort high"
        elif facts.sampling == "never" or (
            facts.sampling == "effort-none" and word not in (None, "none")
        ):
            reason = f"{self._target.model} does not accept sampling parameters"
        if reason:
            self._losses += [
                Loss(self._client_name(field), "dropped", reason)
                for field in _SAMPLING
                if getattr(request, field) is not None
            ]
            return
        for field, member in (("temperature", "temperature"), ("top_p", "topP")):
            value = getattr(request, field)
            if value is not None:
                config[member] = min(value, 1)
                if value > 1:
                    self._record_loss(field, "clamped", f"accepts a {field} of at most 1")
        if request.top_k is not None and self._family.takes_top_k:
            fields[_CONFIG] = {"topK": request.top_k}
        elif request.top_k is not None:
            self._record_loss("top_k", "dropped", "has no such control for this model")

    def _limit_cache_points(self, lists: list[list[Object]]) -> None:
        """Keep the last cache points of a prompt, as many as the API takes, and of two one."""
        for blocks in lists:
            followers = zip(blocks, [{}, *blocks], strict=False)
            blocks[:] = [
                block
                for block, before in followers
                if not (content.is_cache_point(block) and content.is_cache_point(before))
            ]
        excess = sum(content.is_cache_point(block) for blocks in lists for block in blocks)
        excess -= _MAX_CACHE_POINTS
        if excess <= 0:
            return
        why = f"{effort.NAME} accepts at most {_MAX_CACHE_POINTS} cache points"
        self._losses.append(Loss("cache_control", "dropped", why))
        for blocks in lists:
            for index in [at for at, it in enumerate(blocks) if content.is_cache_point(it)]:
                if excess > 0:
                    excess -= 1
                    blocks[index] = {}
            blocks[:] = [block for block in blocks if block]


def _make_result(id: str, inside: list[Object], *, is_error: bool) -> Object:
    status = {"status": "error"} if is_error else {}
    return {"toolResult": {"toolUseId": id, "content": inside, **status}}


def _write_tool(tool: Tool) -> Object:
    """Return a tool as a function; a custom tool takes one text."""
    given = tool.parameters if isinstance(tool.parameters, dict) else {}
    schema = CUSTOM_TOOL_SCHEMA if tool.kind == "custom" else {**_OBJECT_SCHEMA, **given}
    spec: Object = {"name": tool_ids.make_plain_id(tool.name, TOOL_PREFIX)}
    if tool.description and tool.description.strip():
        spec["description"] = tool.description
    return {"toolSpec": {**spec, "inputSchema": {"json": schema}}}


def _write_form(form: OutputFormat) -> Object:
    """Return the form of an answer; the schema stands in a string."""
    definition: Object = {"schema": jsonio.dumps(form.schema).decode()}
    if form.name:
        definition["name"] = form.name
    if form.description:
        definition["description"] = form.description
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}
