"""The response object that a client gets: what it asked, said again, and what came of it."""

from gateway.core.canonical_request import CanonicalRequest
from gateway.core.jsonio import Json
from gateway.dialects import tool_ids
from gateway.dialects.base import ResponseContext
from gateway.dialects.openai_responses.frames import Object

_ANSWER = "resp_"
_DEFAULTS: Object = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What the API says of members that were left out; what depends on the model is unknown here."""


def begin(
    telling: ResponseContext, id: str | None, model: str | None, created: int | None
) -> Object:
    """The response as it begins."""
    asked = telling.request.source if isinstance(telling.request, CanonicalRequest) else None
    value: Object = asked if isinstance(asked, dict) else {}
    return {
        "id": response_id(id or telling.id),
        "object": "response",
        "created_at": telling.created_at if created is None else created,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model or telling.model,
        "output": [],
        "reasoning": {"effort": None, "summary": None, **_object(value.get("reasoning"))},
        "service_tier": "default",
        "store": False,
        "text": {"format": {"type": "text"}, **_object(value.get("text"))},
        "usage": None,
        **{
            name: default if value.get(name) is None else value[name]
            for name, default in _DEFAULTS.items()
        },
    }


def response_id(id: str) -> str:
    """An id as those of this API are: clients may tell by it what it is of."""
    return id if id.startswith(_ANSWER) else _ANSWER + tool_ids.make_plain_id(id, "")


def item_id(answer: str, prefix: str, at: int) -> str:
    """The id of an item of an answer: it tells whose it is, and its place there."""
    return f"{prefix}_{answer.removeprefix(_ANSWER)}_{at}"


def answer_id(item: str) -> str | None:
    """The id of the answer that an item is of; None where it was not made by `item_id`."""
    answer, _, at = item.partition("_")[2].rpartition("_")
    return _ANSWER + answer if answer and at.isdecimal() else None


def _object(value: Json) -> Object:
    return value if isinstance(value, dict) else {}
