"""openai-responses: the Responses wire format of OpenAI and of the hosts that follow it."""

import msgspec

from gateway.dialects import count_tokens, rate_limits
from gateway.dialects.base import Dialect, TranslationFunctions
from gateway.dialects.conversation_start import find_end_user
from gateway.dialects.openai_responses import (
    effort,
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
    tool_call_names=("output.function_call", "output.custom_tool_call"),
)
"""The functions that translate openai-responses to and from other dialects."""

DIALECT = Dialect(
    name=request.NAME,
    path="/v1/responses",
    forwarded_headers=request.FORWARDED_HEADERS,
    essential_members=request.ESSENTIAL_MEMBERS,
    answer_media=frozenset({"image"}),
    read=request.read,
    write=request.write,
    summarize=response.summarize,
    inspect_stream=stream.inspect_stream,
    asks_usage=request.asks_usage,
    fold=response.fold,
    unfold=response.unfold,
    write_problem=errors.write_problem,
    write_problem_frame=errors.write_problem_frame,
    find_status=errors.find_status,
    write_rate_limits=rate_limits.write_openai,
    explain_unfit=effort.explain_unfit,
    read_problem=errors.read_problem,
    read_start=request.read_start,
    read_facts=request.read_facts,
    read_end_user=find_end_user,
    read_history=history.read,
    translation=TRANSLATION,
)

COUNT_TOKENS = msgspec.structs.replace(
    DIALECT,
    path="/v1/responses/input_tokens",
    operation="count_tokens",
    url_suffix="/input_tokens",
    needs_known_support=True,
    read=token_count.read,
    write=token_count.write,
    summarize=token_count.summarize,
    write_token_count=token_count.write_token_count,
    translation=count_tokens.make_translation(
        TRANSLATION,
        {"input", "instructions", "tools", "tool_choice", "text"},
        member=token_count.TOKENS_MEMBER,
        write_token_count=token_count.write_token_count,
    ),
)
"""Counts the tokens of a request, free of charge, with the model that would answer it."""
