"""gemini: the generateContent wire format of Google's Gemini API and of Vertex AI."""

import msgspec

from gateway.dialects import embeddings
from gateway.dialects.base import Dialect
from gateway.dialects.conversation_start import NOTHING
from gateway.dialects.gemini import (
    answer,
    count,
    embed,
    fold,
    opening,
    problems,
    request,
    stream,
)
from gateway.dialects.gemini.speech import SPEECH

__all__ = ["COUNT_TOKENS", "DIALECT", "EMBED", "SPEECH"]

DIALECT = Dialect(
    name=request.NAME,
    path="/v1beta/{path}",
    headers=request.FORWARDED,
    features=request.FEATURES,
    read=request.read,
    read_at=request.read,
    keep_alive=b"\n\n",  # a comment breaks its SDK
    comments=False,
    write=request.write,
    glance=answer.glance,
    watch=stream.watch,
    asks_usage=request.asks_usage,
    fold=fold.fold,
    unfold=fold.unfold,
    problem=problems.write,
    problem_frame=problems.frame,
    status=problems.status,
    unfit=lambda _prompt, _target: "",
    read_problem=problems.read,
    opening=opening.read,
    speech=SPEECH,
)

COUNT_TOKENS = msgspec.structs.replace(
    DIALECT,
    operation="count_tokens",
    read=count.read,
    read_at=count.read,
    write=count.write,
    glance=count.glance,
    counted=count.counted,
    speech=count.SPEECH,
)
"""How many tokens a request has: free of charge, asked of the model that would answer it."""

EMBED = msgspec.structs.replace(
    DIALECT,
    operation=embeddings.OPERATION,
    features=embed.FEATURES,
    read=embed.read,
    read_at=embed.read,
    write=embed.write,
    glance=embed.glance,
    opening=lambda _: NOTHING,
    speech=msgspec.structs.replace(
        SPEECH, decode=embed.decode, encode=embed.encode, events=embed.events, tell=embed.tell
    ),
)
"""Vectors of one content or of many, by a model that the caller names."""
