"""anthropic-messages: the Messages wire format of Anthropic and of the hosts that follow it."""

import msgspec

from gateway.dialects import rate_limits
from gateway.dialects.anthropic_messages import (
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
from gateway.dialects.base import Dialect, TranslationFunctions

TRANSLATION = TranslationFunctions(
    decode_request=request_decoder.decode_request,
    encode_request=request_encoder.encode_request,
    decode_response=response.decode_response,
    encode_response=response.encode_response,
    make_decoder=stream_decoder.Decoder,
    make_encoder=stream_encoder.Encoder,
    request_members=schema.REQUEST,
    answer_members=schema.ANSWER,
    beta_header=schema.BETA_HEADER,
    tool_call_names=("content.tool_use", "content.tool_use"),
)
"""Translates the Messages API to and from other dialects."""

DIALECT = Dialect(
    name=request.NAME,
    path="/v1/messages",
    forwarded_queries=frozenset({"beta=true"}),
    forwarded_headers=request.FORWARDED_HEADERS,
    default_headers=request.DEFAULT_HEADERS,
    essential_members=request.ESSENTIAL_MEMBERS,
    read=request.read,
    write=request.write,
    summarize=response.summarize,
    inspect_stream=stream.inspect_stream,
    asks_usage=request.asks_usage,
    fold=response.fold,
    unfold=response.unfold,
    write_problem=errors.write_problem,
    write_problem_frame=stream_encoder.write_problem_frame,
    find_status=errors.find_status,
    write_rate_limits=rate_limits.write_anthropic,
    explain_unfit=request.explain_unfit,
    read_problem=errors.read_problem,
    read_start=request.read_start,
    read_facts=request.read_facts,
    read_end_user=request.read_end_user,
    read_history=history.read,
    translation=TRANSLATION,
    keep_alive=stream_encoder.write_frame(b"ping", b'{"type": "ping"}'),
)

COUNT_TOKENS = msgspec.structs.replace(
    DIALECT,
    path="/v1/messages/count_tokens",
    operation="count_tokens",
    url_suffix="/count_tokens",
    read=token_count.read,
    write=token_count.write,
    summarize=token_count.summarize,
    write_token_count=token_count.write_token_count,
    translation=token_count.make_translation(TRANSLATION),
)
"""Tells how many tokens a request has. It is free, and the model that would answer counts."""
