"""openai-chat: the Chat Completions wire format of OpenAI and of the hosts that follow it."""

import msgspec

from gateway.dialects.base import Dialect
from gateway.dialects.conversation_start import EMPTY_START, find_end_user
from gateway.dialects.embeddings import OPERATION
from gateway.dialects.history import History
from gateway.dialects.openai_chat import (
    answer,
    effort,
    history,
    opening,
    request,
    stream,
    tail,
)
from gateway.dialects.openai_chat import (
    embeddings as embed,
)
from gateway.dialects.openai_chat import (
    errors as problems,
)
from gateway.dialects.openai_chat import (
    response as fold,
)
from gateway.dialects.openai_chat.speech import SPEECH
from gateway.dialects.request_facts import RequestFacts

DIALECT = Dialect(
    name="openai-chat",
    path="/v1/chat/completions",
    forwarded_headers=request.FORWARDED,
    essential_members=request.FEATURES,
    read=request.read,
    write=request.write,
    summarize=answer.glance,
    inspect_stream=stream.watch,
    asks_usage=request.asks_usage,
    fold=fold.fold,
    unfold=fold.unfold,
    add_usage=tail.tell,
    remove_usage=tail.hide,
    fill_usage=tail.complete,
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

EMBEDDINGS = msgspec.structs.replace(
    DIALECT,
    path="/v1/embeddings",
    operation=OPERATION,
    essential_members=embed.FEATURES,
    read=embed.read,
    write=embed.write,
    summarize=embed.glance,
    explain_unfit=lambda _prompt, _target: "",
    read_start=lambda _: EMPTY_START,
    read_history=lambda _: History(),
    read_facts=lambda body: RequestFacts(user=find_end_user(body.outline)),
    translation=msgspec.structs.replace(
        SPEECH,
        decode_request=embed.decode,
        encode_request=embed.encode,
        decode_response=embed.events,
        encode_response=embed.tell,
    ),
)
"""Vectors of texts, by a model that the caller names."""
