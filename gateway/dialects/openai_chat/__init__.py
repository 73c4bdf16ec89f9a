"""openai-chat: the Chat Completions wire format of OpenAI and of the hosts that follow it."""

import msgspec

from gateway.dialects import embeddings
from gateway.dialects.base import Dialect
from gateway.dialects.conversation_start import NOTHING
from gateway.dialects.openai_chat import (
    answer,
    effort,
    embed,
    fold,
    opening,
    problems,
    request,
    stream,
    tail,
)
from gateway.dialects.openai_chat.speech import SPEECH

DIALECT = Dialect(
    name="openai-chat",
    path="/v1/chat/completions",
    headers=request.FORWARDED,
    features=request.FEATURES,
    read=request.read,
    write=request.write,
    glance=answer.glance,
    watch=stream.watch,
    asks_usage=request.asks_usage,
    fold=fold.fold,
    unfold=fold.unfold,
    tell_usage=tail.tell,
    hide_usage=tail.hide,
    complete=tail.complete,
    problem=problems.write,
    problem_frame=problems.frame,
    status=problems.status,
    unfit=effort.unfit,
    read_problem=problems.read,
    opening=opening.read,
    speech=SPEECH,
)

EMBEDDINGS = msgspec.structs.replace(
    DIALECT,
    path="/v1/embeddings",
    operation=embeddings.OPERATION,
    features=embed.FEATURES,
    read=embed.read,
    write=embed.write,
    glance=embed.glance,
    unfit=lambda _prompt, _target: "",
    opening=lambda _: NOTHING,
    speech=msgspec.structs.replace(
        SPEECH, decode=embed.decode, encode=embed.encode, events=embed.events, tell=embed.tell
    ),
)
"""Vectors of texts, by a model that the caller names."""
