"""Where a request goes that was sent to the door of another dialect: a sentence for its error."""

from gateway.core.jsonio import Json

_CHAT = " A Chat Completions request goes to POST /v1/chat/completions."
_EITHER = f"{_CHAT[:-1]}, one of the Messages API to POST /v1/messages."
_MESSAGES = " A request of the Messages API goes to POST /v1/messages."
_RESPONSES = " A Responses request goes to POST /v1/responses."
_GEMINI = " A Gemini request goes to POST /v1beta/models/{model}:generateContent."


def elsewhere(value: dict[str, Json], here: str) -> str:
    """The right door for a body, after a space; empty where no other is known to be right."""
    if "messages" in value:
        if here == "anthropic-messages":
            return _CHAT
        if here == "openai-chat" or _anthropic(value):
            return _MESSAGES if _anthropic(value) else ""
        return _EITHER
    if "input" in value:
        return "" if here == "openai-responses" else _RESPONSES
    return _GEMINI if "contents" in value and here != "gemini" else ""


def _anthropic(value: dict[str, Json]) -> bool:
    """Whether messages are written as only the Messages API has them."""
    tools = value.get("tools")
    first = tools[0] if isinstance(tools, list) and tools else None
    schema = isinstance(first, dict) and "input_schema" in first
    return schema or "system" in value or "stop_sequences" in value
