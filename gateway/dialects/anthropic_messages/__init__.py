"""anthropic-messages: the Messages wire format of Anthropic and of the hosts that follow it."""

from gateway.dialects.anthropic_messages import answer, fold, problems, request, stream
from gateway.dialects.base import Dialect

DIALECT = Dialect(
    name=request.NAME,
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
    read_problem=problems.read,
)
