"""Wire formats, one package each: requests, answers, streams and errors, both directions."""

from gateway.dialects.anthropic_messages import COUNT_TOKENS
from gateway.dialects.anthropic_messages import DIALECT as ANTHROPIC_MESSAGES
from gateway.dialects.base import Body, Dialect, Glance, Watch, Written
from gateway.dialects.openai_chat import DIALECT as OPENAI_CHAT

DIALECTS = {dialect.name: dialect for dialect in (OPENAI_CHAT, ANTHROPIC_MESSAGES)}
"""By name, as providers' doors and configurations call them."""

OPERATIONS = {
    (dialect.name, dialect.operation): dialect
    for dialect in (OPENAI_CHAT, ANTHROPIC_MESSAGES, COUNT_TOKENS)
}
"""What clients may ask for, by dialect and operation."""

__all__ = [
    "ANTHROPIC_MESSAGES",
    "DIALECTS",
    "OPENAI_CHAT",
    "OPERATIONS",
    "Body",
    "Dialect",
    "Glance",
    "Watch",
    "Written",
]
