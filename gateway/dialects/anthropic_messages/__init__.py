"""anthropic-messages: the Messages wire format of Anthropic and of the hosts that follow it."""

import msgspec

from gateway.dialects.anthropic_messages import (
    answer,
    count,
    fold,
    headers,
    opening,
    problems,
    request,
    stream,
)
from gateway.dialects.anthropic_messages.speech import SPEECH
from gateway.dialects.base import Dialect

DIALECT = Dialect(
    name=request.NAME,
    path="/v1/messages",
    queries=frozenset({"beta=true"}),
    headers=headers.FORWARDED,
    defaults=headers.DEFAULTS,
    features=request.FEATURES,
    read=request.read,
    write=request.write,
    glance=answer.glance,
    watch=stream.watch,
    asks_usage=request.asks_usage,
    fold=fold.fold,
    unfold=fold.unfold,
    problem=problems.write,
    problem_frame=problems.frame,
    status=problems.status,
    unfit=request.unfit,
    read_problem=problems.read,
    opening=opening.read,
    speech=SPEECH,
    keep_alive=b'event: ping\ndata: {"type": "ping"}\n\n',
)

COUNT_TOKENS = msgspec.structs.replace(
    DIALECT,
    path="/v1/messages/count_tokens",
    operation="count_tokens",
    tail="/count_tokens",
    read=count.read,
    write=count.write,
    glance=count.glance,
    counted=count.counted,
    speech=count.SPEECH,
)
"""How many tokens a request has: free of charge, asked of the model that would answer it."""
