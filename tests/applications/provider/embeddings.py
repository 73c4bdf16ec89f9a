"""The provider's vectors: each depends on its text alone, so that a client can check whose it got."""

import base64
import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from tests.applications.provider.prompt_cache import count
from tests.clients.model_turns import CHAT

type Json = dict[str, Any]

_SIZE = 8


def vector(text: str) -> list[float]:
    """Make the vector of a text; its numbers are exact in 32 bits."""
    digest = blake2b(text.encode(), digest_size=_SIZE).digest()
    return [byte / 256 - 0.5 for byte in digest]


def answer(dialect: str, model: str, texts: Sequence[str], body: Json) -> Json:
    """Write vectors as OpenAI or Google does. Google's older models report no usage."""
    vectors = [vector(text) for text in texts]
    if dialect == CHAT:
        packed = body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": at, "embedding": _pack(one) if packed else one}
            for at, one in enumerate(vectors)
        ]
        tokens = size(texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": model, "usage": usage}
    if "requests" in body:
        return {"embeddings": [{"values": one} for one in vectors]}
    return {"embedding": {"values": vectors[0]}}


def size(texts: Sequence[str]) -> int:
    """Count the tokens of texts."""
    return sum(count(text.encode()) for text in texts)


def _pack(numbers: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{_SIZE}f", *numbers)).decode()
