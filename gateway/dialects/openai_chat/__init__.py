"""openai-chat: the Chat Completions wire format of OpenAI and of the hosts that follow it."""

import msgspec

from gateway.dialects import rate_limits
from gateway.dialects.base import Dialect, TranslationFunctions
from gateway.dialects.conversation_start import EMPTY_START, find_end_user
from gateway.dialects.embeddings import OPERATION
from gateway.dialects.history import History
from gateway.dialects.openai_chat import (
    effort,
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
)
from gateway.dialects.request_facts import RequestFacts

TRANSLATION = TranslationFunctions(
    decode_request=request_decoder.decode_request,
    encode_request=request_encoder.encode_request,
    decode_response=response.decode_response,
    encode_response=response.encode_response,
    make_decoder=stream_decoder.StreamDecoder,
    make_encoder=stream_encoder.StreamEncoder,
    request_members=schema.REQUEST,
    answer_members=schema.ANSWER,
    beta_header=schema.BETA_HEADER,
    tool_call_names=("message.tool_calls", "message.tool_calls"),
)
"""The functions that translate Chat Completions to and from other dialects."""

DIALECT = Dialect(
    name="openai-chat",
    path="/v1/chat/completions",
    forwarded_headers=request.FORWARDED_HEADERS,
    essential_members=request.ESSENTIAL_MEMBERS,
    answer_media=frozenset({"image", "audio"}),
    read=request.read,
    write=request.write,
    summarize=response.summarize,
    inspect_stream=stream.inspect_stream,
    asks_usage=request.asks_usage,
    fold=response.fold,
    unfold=response.unfold,
    add_usage=stream.add_usage,
    remove_usage=stream.remove_usage,
    fill_usage=response.fill_usage,
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

EMBEDDINGS = msgspec.structs.replace(
    DIALECT,
    path="/v1/embeddings",
    operation=OPERATION,
    essential_members=embeddings.ESSENTIAL_MEMBERS,
    read=embeddings.read,
    write=embeddings.write,
    summarize=embeddings.summarize,
    explain_unfit=lambda _prompt, _target: "",
    read_start=lambda _: EMPTY_START,
    read_history=lambda _: History(),
    read_facts=lambda body: RequestFacts(user=find_end_user(body.outline)),
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
"""Embeddings of texts, by a model that the client names."""
