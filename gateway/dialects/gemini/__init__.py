"""gemini: the generateContent wire format of Google's Gemini API and of Vertex AI."""

import msgspec

from gateway.dialects.base import Dialect
from gateway.dialects.conversation_start import EMPTY_START
from gateway.dialects.embeddings import OPERATION as EMBEDDINGS_OPERATION
from gateway.dialects.gemini import embeddings as embed
from gateway.dialects.gemini import errors as problems
from gateway.dialects.gemini import fold, history, opening, request, stream
from gateway.dialects.gemini import response as answer
from gateway.dialects.gemini import token_count as count
from gateway.dialects.gemini.speech import SPEECH
from gateway.dialects.history import History
from gateway.dialects.request_facts import EMPTY_FACTS

__all__ = ["COUNT_TOKENS", "DIALECT", "EMBED", "SPEECH"]

DIALECT = Dialect(
    name=request.NAME,
    path="/v1beta/{path}",
    forwarded_headers=request.FORWARDED,
    essential_members=request.FEATURES,
    read=request.read,
    read_with_path=request.read,
    keep_alive=b"\n\n",  # a comment breaks its SDK
    allows_comments=False,
    write=request.write,
    summarize=answer.glance,
    inspect_stream=stream.watch,
    asks_usage=request.asks_usage,
    fold=fold.fold,
    unfold=fold.unfold,
    write_problem=problems.write,
    write_problem_frame=problems.frame,
    find_status=problems.status,
    explain_unfit=lambda _prompt, _target: "",
    read_problem=problems.read,
    read_start=opening.read,
    read_facts=opening.read_facts,
    read_history=history.read,
    translation=SPEECH,
)

COUNT_TOKENS = msgspec.structs.replace(
    DIALECT,
    operation="count_tokens",
    read=count.read,
    read_with_path=count.read,
    write=count.write,
    summarize=count.glance,
    write_token_count=count.counted,
    translation=count.SPEECH,
)
"""How many tokens a request has: free of charge, asked of the model that would answer it."""

EMBED = msgspec.structs.replace(
    DIALECT,
    operation=EMBEDDINGS_OPERATION,
    essential_members=embed.FEATURES,
    read=embed.read,
    read_with_path=embed.read,
    write=embed.write,
    summarize=embed.glance,
    read_start=lambda _: EMPTY_START,
    read_history=lambda _: History(),
    read_facts=lambda _: EMPTY_FACTS,
    translation=msgspec.structs.replace(
        SPEECH,
        decode_request=embed.decode,
        encode_request=embed.encode,
        decode_response=embed.events,
        encode_response=embed.tell,
    ),
)
"""Vectors of one content or of many, by a model that the caller names."""
