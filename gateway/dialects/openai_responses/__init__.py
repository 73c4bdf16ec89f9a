"""openai-responses: the Responses wire format of OpenAI and of the hosts that follow it."""

import msgspec

from gateway.dialects.base import Dialect
from gateway.dialects.openai_responses import answer, effort, history, opening, request, stream
from gateway.dialects.openai_responses import errors as problems
from gateway.dialects.openai_responses import response as fold
from gateway.dialects.openai_responses import token_count as count
from gateway.dialects.openai_responses.speech import SPEECH

DIALECT = Dialect(
    name=request.NAME,
    path="/v1/responses",
    forwarded_headers=request.FORWARDED,
    essential_members=request.FEATURES,
    read=request.read,
    write=request.write,
    summarize=answer.glance,
    inspect_stream=stream.watch,
    asks_usage=request.asks_usage,
    fold=fold.fold,
    unfold=fold.unfold,
    write_problem=problems.write,
    write_problem_frame=problems.frame,
    find_status=problems.status,
    explain_unfit=effort.unfit,
    read_problem=problems.read,
    read_start=opening.read,
    read_facts=opening.read_facts,
    read_history=history.read,
    translation=SPEECH,
)

COUNT_TOKENS = msgspec.structs.replace(
    DIALECT,
    path="/v1/responses/input_tokens",
    operation="count_tokens",
    url_suffix="/input_tokens",
    needs_known_support=True,
    read=count.read,
    write=count.write,
    summarize=count.glance,
    write_token_count=count.counted,
    translation=count.SPEECH,
)
"""How many tokens a request has: free of charge, asked of the model that would answer it."""
