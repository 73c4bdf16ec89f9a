"""Responses requests: read once for routing, written by replacing top-level members only.

`Prompt.stored` holds where an answer depends on what the provider keeps (`previous_response_id`,
`conversation`, `prompt`, item references), or is asked to be kept (`store: true`) or made later
(`background`). A request that leaves `store` out is none of these: OpenAI keeps its answer for a
while, and an equal request may be given that same answer, whose id OpenAI still knows.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import parse_service_tier
from gateway.dialects.base import RequestBody, WrittenBody
from gateway.dialects.body_patch import BodyPatch, write_model
from gateway.dialects.openai_responses import effort
from gateway.dialects.openai_responses import reasoning_state as seal
from gateway.dialects.openai_responses import tools as space
from gateway.dialects.openai_responses.said import Said
from gateway.dialects.parse import is_zero, parse, suggest_endpoint
from gateway.dialects.reasoning_state import may_hold_label

NAME = "openai-responses"

SAMPLING = ("temperature", "top_p")
"""Tuning knobs that a reasoning model refuses: dropped and named, they change no meaning."""

FORWARDED = frozenset(
    {
        b"openai-beta", b"idempotency-key", b"session_id", b"conversation_id", b"x-session-id",
        b"x-session-affinity", b"x-grok-conv-id", b"traceparent", b"tracestate",
    }
)  # fmt: skip
"""Client headers that mean something to OpenAI (Codex's session among them) and to other hosts."""

FEATURES = frozenset(
    {
        "instructions", "tools", "tool_choice", "text", "previous_response_id", "conversation",
        "background", "prompt", "top_logprobs",
    }
)  # fmt: skip
"""Members that the caller depends on: never dropped, a target that refuses one is skipped."""

LOGPROBS = "message.output_text.logprobs"
"""What `include` asks log probabilities with."""

_OWN_TOOLS = frozenset(
    {
        None, "function", "custom", "namespace", "tool_search", "local_shell", "apply_patch",
        "computer", "computer_use", "computer_use_preview",
    }
)  # fmt: skip
"""Types of tools that the client runs, or that only choose among its own."""
_KEPT = ("previous_response_id", "conversation", "prompt")
_SPECIAL = frozenset(
    {
        *_KEPT, "tools", "tool_choice", "text", "reasoning", "service_tier", "store", "background",
        "include", "top_logprobs",
    }
)  # fmt: skip
"""Members that are read, and that few requests of chat applications have."""
_CAP = "max_output_tokens"


def read(raw: bytes) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    return parse(raw, _prompt, "tools")


def _prompt(value: dict[str, Json], members: jsonio.Members) -> Prompt:
    model, said = _required(value)
    typed, temperature, cap = said.typed, value.get("temperature"), value.get(_CAP)
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
        max_output=cap if isinstance(cap, int) and not isinstance(cap, bool) else None,
        stored=said.referred,
        sampled=isinstance(temperature, int | float) and temperature > 0,
        zero_temperature=is_zero(temperature),
        members=frozenset(value),
    )
    if said.offered:
        return _special(prompt, value, members, space.offered(_whole(value, members)))
    if _SPECIAL.isdisjoint(value):
        return prompt
    tools = value.get("tools")
    return _special(prompt, value, members, tools if isinstance(tools, list) else [])


def _whole(value: dict[str, Json], members: jsonio.Members) -> dict[str, Json]:
    """A request with all of its tools: those of the input are compared with them."""
    tools = members.get("tools")
    return value if tools is None else {**value, "tools": jsonio.loads(memoryview(tools))}


def _special(
    prompt: Prompt, value: dict[str, Json], members: jsonio.Members, tools: list[Json]
) -> Prompt:
    """What the members of `_SPECIAL` say too, and all tools that are offered."""
    listed = isinstance(value.get("tools"), list)
    include, most = value.get("include"), value.get("top_logprobs")
    return msgspec.structs.replace(
        prompt,
        chars=prompt.chars + (len(members["tools"]) if listed else 0),
        tools=tuple(map(tool_name, tools)),
        forced_tool=_forced(value.get("tool_choice")),
        json_schema=_schema(value.get("text")),
        effort=effort.read(value),
        service=parse_service_tier(value.get("service_tier")),
        hosted_tools=any(map(_hosted, tools)),
        stored=prompt.stored or _stored(value),
        logprobs=(isinstance(include, list) and LOGPROBS in include) or bool(most),
    )


def _required(value: dict[str, Json]) -> tuple[str, Said]:
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request(
            '"model" is required: a model name, a tier, "auto" or "lab/tier".', "model"
        )
    if "messages" in value:
        raise invalid_request(
            f'This door takes no "messages".{suggest_endpoint(value, NAME)}', "messages"
        )
    stream, given = value.get("stream"), value.get("input")
    if stream is not None and not isinstance(stream, bool):
        raise invalid_request('"stream" must be true or false.', "stream")
    said = Said(value.get("instructions"))
    if isinstance(given, str):
        said.text(given)
    elif isinstance(given, list):
        for at, item in enumerate(given):
            if not isinstance(item, dict):
                raise invalid_request(f'"input[{at}]" must be an object.', f"input[{at}]")
            said.item(item)
    elif given is not None or not any(value.get(name) for name in _KEPT):
        message = '"input" is required and must be a string or a list of items.'
        raise invalid_request(message + suggest_endpoint(value, NAME), "input")
    said.typed.close()
    return model, said


def tool_name(tool: Json) -> str:
    """What a tool is called: its name, else its type, as hosted ones have no name."""
    for member in ("name", "type"):
        name = tool.get(member) if isinstance(tool, dict) else None
        if isinstance(name, str):
            return name
    return ""


def _hosted(tool: Json) -> bool:
    """Whether the provider itself looks at the world while it answers."""
    if not isinstance(tool, dict):
        return False
    kind, place = tool.get("type"), tool.get("environment")
    if kind == "shell":
        return not (isinstance(place, dict) and place.get("type") == "local")
    return not isinstance(kind, str | None) or kind not in _OWN_TOOLS


def _forced(choice: Json) -> bool:
    if isinstance(choice, dict):
        return choice.get("type") != "allowed_tools" or choice.get("mode") == "required"
    return bool(choice == "required")


def _schema(text: Json) -> bool:
    form = text.get("format") if isinstance(text, dict) else None
    return isinstance(form, dict) and form.get("type") == "json_schema"


def _stored(value: dict[str, Json]) -> bool:
    asked = value.get("store") is True or value.get("background") is True
    return asked or any(value.get(name) is not None for name in _KEPT)


def write(body: RequestBody, target: Target) -> WrittenBody:
    """The body for one target: the client's bytes, with only those members changed that must be."""
    if _as_it_is(body.prompt, target) and not may_hold_label(body):
        return WrittenBody(write_model(body, target.model))
    edit = seal.edit(body, target)
    body = edit.body
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    effort.write(edit, target)
    _write_cap(edit, target)
    if effort.reasons(body.prompt, target):
        for name in SAMPLING:
            if name in body.prompt.members:
                edit.drop_member(name, f"{target.model} takes no sampling parameters")
    edit.drop_refused(target)
    return edit.finish()


def _as_it_is(prompt: Prompt, target: Target) -> bool:
    """Whether a target takes what was asked as it was asked, but for its own name of the model."""
    facts, cap = target.facts, prompt.max_output
    if cap is None:
        fits = target.max_output is None
    else:
        fits = facts.max_output is None or cap <= facts.max_output
    return (
        fits
        and facts.sampling == "always"
        and (target.effort is None or effort.style(facts) is None)
        and "reasoning" not in prompt.members
        and not (facts.refused_members or target.provider.refused_members)
    )


def _write_cap(edit: BodyPatch, target: Target) -> None:
    asked, most = edit.body.prompt.max_output, target.facts.max_output
    if edit.body.outline.get(_CAP) is None:
        if target.max_output is not None:
            edit.set_member(_CAP, target.max_output)
    elif asked is not None and most is not None and asked > most:
        edit.set_member(_CAP, most)
        edit.record_loss(_CAP, "clamped", f"{target.model} gives at most {most}")


def asks_usage(body: RequestBody) -> bool:  # noqa: ARG001 - this dialect always tells it
    """Whether the client wants usage told in a stream."""
    return True
