"""gemini: the generateContent wire format of Google's Gemini API and of Vertex AI."""

import msgspec

from gateway.dialects.base import Dialect, TranslationFunctions
from gateway.dialects.conversation_start import EMPTY_START
from gateway.dialects.embeddings import OPERATION as EMBEDDINGS_OPERATION
from gateway.dialects.gemini import (
    embeddings,
    errors,
    history,
    request,
    request_decoder,
    request_encoder,
    response,
    schema,
    stream,
    stream_decoder,
    stream_encoder,
    token_count,
)
from gateway.dialects.history import History
from gateway.dialects.request_facts import EMPTY_FACTS

__all__ = ["COUNT_TOKENS", "DIALECT", "EMBEDDINGS", "TRANSLATION"]

TRANSLATION = TranslationFunctions(
    decode_request=request_decoder.decode_request,
    encode_request=request_encoder.encode_request,
    decode_response=response.decode_response,
    encode_response=response.encode_response,
    make_decoder=stream_decoder.Decoder,
    make_encoder=stream_encoder.Encoder,
    request_members=schema.REQUEST,
    answer_members=schema.ANSWER,
    tool_call_names=("candidates.content.functionCall", "candidates.content.functionCall"),
)
"""Translation of Gemini to and from other dialects."""

DIALECT = Dialect(
    name=request.NAME,
    path="/v1beta/{path}",
    forwarded_headers=request.FORWARDED_HEADERS,
    essential_members=request.ESSENTIAL_MEMBERS,
    answer_media=frozenset({"image", "audio"}),
    read=request.read,
    read_with_path=request.read,
    keep_alive=b"\n\n",  # a comment breaks its SDK
    allows_comments=False,
    write=request.write,
    summarize=response.summarize,
    inspect_stream=stream.inspect_stream,
    asks_usage=request.asks_usage,
    fold=response.fold,
    unfold=response.unfold,
    write_problem=errors.write,
    write_problem_frame=errors.write_frame,
    find_status=errors.find_status,
    explain_unfit=lambda _prompt, _target: "",
    read_problem=errors.read,
    read_start=request.read_start,
    read_facts=request.read_facts,
    read_history=history.read,
    translation=TRANSLATION,
)

COUNT_TOKENS = msgspec.structs.replace(
    DIALECT,
    operation="count_tokens",
    read=token_count.read,
    read_with_path=token_count.read,
    write=token_count.write,
    summarize=token_count.summarize,
    write_token_count=token_count.write_token_count,
    translation=token_count.make_translation(TRANSLATION),
)
"""Counting of a request's tokens, by the model that would answer it; free of charge."""

EMBEDDINGS = msgspec.structs.replace(
    DIALECT,
    operation=EMBEDDINGS_OPERATION,
    essential_members=embeddings.ESSENTIAL_MEMBERS,
    read=embeddings.read,
    read_with_path=embeddings.read,
    write=embeddings.write,
    summarize=embeddings.summarize,
    read_start=lambda _: EMPTY_START,
    read_history=lambda _: History(),
    read_facts=lambda _: EMPTY_FACTS,
    translation=msgspec.structs.replace(
        TRANSLATION,
        decode_request=embeddings.decode_request,
        encode_request=embeddings.encode_request,
        decode_response=embeddings.decode_response,
        encode_response=embeddings.encode_response,
        request_members={},
        answer_members={},
    ),
)
"""Vectors of one content or of many, by a model that the caller names."""
