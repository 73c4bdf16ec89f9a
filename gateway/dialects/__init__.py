"""Wire formats, one package each: requests, answers, streams and errors, both directions."""

from gateway.dialects.base import Body, Dialect, Glance, Watch, Written
from gateway.dialects.openai_chat import DIALECT as OPENAI_CHAT

DIALECTS = {OPENAI_CHAT.name: OPENAI_CHAT}
"""By name, as providers' doors and configurations call them."""

__all__ = ["DIALECTS", "OPENAI_CHAT", "Body", "Dialect", "Glance", "Watch", "Written"]
