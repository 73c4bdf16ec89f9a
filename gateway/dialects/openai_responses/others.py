"""Members of a Responses request that no field of a request in no dialect holds."""

from gateway.core.jsonio import Json
from gateway.dialects.openai_responses.frames import Object
from gateway.dialects.openai_responses.request import LOGPROBS

_HELD = frozenset(
    {
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text",
        "reasoning", "max_output_tokens", "temperature", "top_p", "top_logprobs", "service_tier",
        "metadata", "prompt_cache_key", "stream", "include", "safety_identifier",
    }
)  # fmt: skip
_NOTHING: dict[str, Json] = {
    "store": False,
    "background": False,
    "truncation": "disabled",
    "stream_options": {"include_obfuscation": False},
}
"""Values that ask for what every other dialect does anyway."""
_GIVEN = frozenset({"reasoning.encrypted_content", LOGPROBS})
"""What `include` asks for that is given, or is a field."""
_FORMS = ("text", "json_object", "json_schema")
_INSIDE = {
    "text": ("format", "verbosity"),
    "reasoning": ("effort", "summary", "generate_summary"),
}


def others(value: Object) -> Object:
    """Such members by name; one of `text` and `reasoning` with a dot."""
    found = {
        name: said
        for name, said in value.items()
        if name not in _HELD and said is not None and said != _NOTHING.get(name)
    }
    if not isinstance(value.get("safety_identifier"), str):
        found.pop("user", None)  # else it is one more name of the user
    include = value.get("include")
    more = (
        [it for it in include if not (isinstance(it, str) and it in _GIVEN)]
        if isinstance(include, list)
        else []
    )
    if more:
        found["include"] = more
    text = value.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    if form is not None and not (isinstance(form, dict) and form.get("type") in _FORMS):
        found["text.format"] = form
    for name, known in _INSIDE.items():
        inner = value.get(name)
        for member, said in inner.items() if isinstance(inner, dict) else ():
            if member not in known and said is not None:
                found[f"{name}.{member}"] = said
    return found
