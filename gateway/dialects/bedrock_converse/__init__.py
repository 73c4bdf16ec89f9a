"""bedrock-converse: the Converse API of Amazon Bedrock, which only targets speak."""

from gateway.dialects.base import TargetDialect, TargetTranslation
from gateway.dialects.bedrock_converse import (
    errors,
    request,
    request_encoder,
    response,
    schema,
    stream_decoder,
)

TRANSLATION = TargetTranslation(
    encode_request=request_encoder.encode_request,
    decode_response=response.decode_response,
    make_decoder=stream_decoder.Decoder,
    answer_members=schema.ANSWER,
    tool_call_names=("content.toolUse", "content.toolUse"),
)
"""Translates requests to Converse, and its answers from it."""

DIALECT = TargetDialect(
    name=request.NAME,
    essential_members=request.ESSENTIAL_MEMBERS,
    read=request.read,
    write=request.write,
    explain_unfit=request.explain_unfit,
    read_problem=errors.read_problem,
    complete_error=errors.complete,
    translation=TRANSLATION,
)
