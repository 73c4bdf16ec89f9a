"""openai-chat: the Chat Completions wire format of OpenAI and of the hosts that follow it."""

from gateway.dialects.base import Dialect
from gateway.dialects.openai_chat import answer, effort, fold, problems, request, stream

DIALECT = Dialect(
    name="openai-chat",
    path="/v1/chat/completions",
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
)
