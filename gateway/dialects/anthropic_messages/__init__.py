"""anthropic-messages: the Messages wire format of Anthropic and of the hosts that follow it."""

import msgspec

from gateway.dialects.anthropic_messages import (
    answer,
    errors,
    headers,
    history,
    opening,
    request,
    response,
    stream,
    token_count,
)
from gateway.dialects.anthropic_messages.speech import SPEECH
from gateway.dialects.base import Dialect

DIALECT = Dialect(
    name=request.NAME,
    path="/v1/messages",
    forwarded_queries=frozenset({"beta=true"}),
    forwarded_headers=headers.FORWARDED,
    default_headers=headers.DEFAULTS,
    essential_members=request.FEATURES,
    read=request.read,
    write=request.write,
    summarize=answer.glance,
    inspect_stream=stream.watch,
    asks_usage=request.asks_usage,
    fold=response.fold,
    unfold=response.unfold,
    write_problem=errors.write,
    write_problem_frame=errors.frame,
    find_status=errors.status,
    explain_unfit=request.unfit,
    read_problem=errors.read,
    read_start=opening.read,
    read_facts=opening.read_facts,
    read_history=history.read,
    translation=SPEECH,
    keep_alive=b'event: ping\ndata: {"type": "ping"}\n\n',
)

COUNT_TOKENS = msgspec.structs.replace(
    DIALECT,
    path="/v1/messages/count_tokens",
    operation="count_tokens",
    url_suffix="/count_tokens",
    read=token_count.read,
    write=token_count.write,
    summarize=token_count.glance,
    write_token_count=token_count.counted,
    translation=token_count.SPEECH,
)
"""How many tokens a request has: free of charge, asked of the model that would answer it."""
