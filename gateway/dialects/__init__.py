"""Wire formats, one package each: requests, answers, streams and errors, both directions."""

from gateway.dialects import anthropic_messages, gemini, openai_chat, openai_responses
from gateway.dialects.anthropic_messages import DIALECT as ANTHROPIC_MESSAGES
from gateway.dialects.base import (
    Dialect,
    RequestBody,
    ResponseContext,
    ResponseSummary,
    StreamInspector,
    TargetDialect,
    WrittenBody,
)
from gateway.dialects.bedrock_converse import DIALECT as BEDROCK_CONVERSE
from gateway.dialects.gemini import DIALECT as GEMINI
from gateway.dialects.media_urls import FetchedMedia
from gateway.dialects.openai_chat import DIALECT as OPENAI_CHAT
from gateway.dialects.openai_responses import DIALECT as OPENAI_RESPONSES
from gateway.dialects.translation import TranslatableRequest, Translation, can_translate

DIALECTS = {
    dialect.name: dialect for dialect in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI)
}
"""The dialects that clients speak, by name."""

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
"""Each operation that clients know, by dialect and operation."""

TARGET_OPERATIONS: dict[tuple[str, str], TargetDialect] = {
    **OPERATIONS,
    (BEDROCK_CONVERSE.name, BEDROCK_CONVERSE.operation): BEDROCK_CONVERSE,
}
"""Each operation that providers know, by dialect and operation."""

__all__ = [
    "ANTHROPIC_MESSAGES",
    "BEDROCK_CONVERSE",
    "DIALECTS",
    "GEMINI",
    "OPENAI_CHAT",
    "OPENAI_RESPONSES",
    "OPERATIONS",
    "TARGET_OPERATIONS",
    "Dialect",
    "FetchedMedia",
    "RequestBody",
    "ResponseContext",
    "ResponseSummary",
    "StreamInspector",
    "TargetDialect",
    "TranslatableRequest",
    "Translation",
    "WrittenBody",
    "can_translate",
]
