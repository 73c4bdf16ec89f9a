"""Wire formats, one package each: requests, answers, streams and errors, both directions."""

from gateway.dialects import anthropic_messages, gemini, openai_chat, openai_responses
from gateway.dialects.anthropic_messages import DIALECT as ANTHROPIC_MESSAGES
from gateway.dialects.base import (
    Dialect,
    RequestBody,
    ResponseContext,
    ResponseSummary,
    StreamInspector,
    WrittenBody,
)
from gateway.dialects.gemini import DIALECT as GEMINI
from gateway.dialects.media_urls import FetchedMedia
from gateway.dialects.openai_chat import DIALECT as OPENAI_CHAT
from gateway.dialects.openai_responses import DIALECT as OPENAI_RESPONSES
from gateway.dialects.translation import TranslatableRequest, Translation, can_translate

DIALECTS = {
    dialect.name: dialect for dialect in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI)
}
"""By name, as providers and configurations call them."""

OPERATIONS = {
    (dialect.name, dialect.operation): dialect
    for dialect in (
        *DIALECTS.values(),
        openai_responses.COUNT_TOKENS,
        anthropic_messages.COUNT_TOKENS,
        gemini.COUNT_TOKENS,
        openai_chat.EMBEDDINGS,
        gemini.EMBEDDINGS,
    )
}
"""Each operation that clients and providers know, by dialect and operation."""

__all__ = [
    "ANTHROPIC_MESSAGES",
    "DIALECTS",
    "GEMINI",
    "OPENAI_CHAT",
    "OPENAI_RESPONSES",
    "OPERATIONS",
    "Dialect",
    "FetchedMedia",
    "RequestBody",
    "ResponseContext",
    "ResponseSummary",
    "StreamInspector",
    "TranslatableRequest",
    "Translation",
    "WrittenBody",
    "can_translate",
]
