"""openai-responses: the Responses wire format of OpenAI and of the hosts that follow it."""

import msgspec

from gateway.dialects.base import Dialect
from gateway.dialects.openai_responses import (
    answer,
    count,
    effort,
    fold,
    opening,
    problems,
    request,
    stream,
)
from gateway.dialects.openai_responses.speech import SPEECH

DIALECT = Dialect(
    name=request.NAME,
    path="/v1/responses",
    headers=request.FORWARDED,
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
    unfit=effort.unfit,
    read_problem=problems.read,
    opening=opening.read,
    speech=SPEECH,
)

COUNT_TOKENS = msgspec.structs.replace(
    DIALECT,
    path="/v1/responses/input_tokens",
    operation="count_tokens",
    tail="/input_tokens",
    rare=True,
    read=count.read,
    write=count.write,
    glance=count.glance,
    counted=count.counted,
    speech=count.SPEECH,
)
"""How many tokens a request has: free of charge, asked of the model that would answer it."""
