"""Send a decision model its question as a pass-through call, so that it is metered as one."""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from gateway.core.call import Call
from gateway.core.errors import ProblemError
from gateway.core.passthrough import PassThroughMatch, ProviderEndpoint
from gateway.dialects import DIALECTS
from gateway.pipeline.passthrough.answer import JSON_TYPE
from gateway.pipeline.passthrough.request import PassThroughRequest, TokenBounds
from gateway.pipeline.response import Response

MAX_ANSWER_TOKENS = 1_000
"""The most tokens of an answer to one question. Hosts report 0 to 80, and most bill none."""


class PassThroughServing(Protocol):
    """The part that serves pass-through calls: the pass-through engine."""

    async def serve(self, request: PassThroughRequest) -> Response:
        """Answer a call."""
        ...

    def abort(self, call: Call, cancel: Callable[[], object], ended_by: str) -> None:
        """End a call that is being served."""
        ...


class DecisionServer:
    """Serves the calls of one decision model, at one endpoint of its provider."""

    def __init__(
        self, engine: Callable[[], PassThroughServing], endpoint: ProviderEndpoint
    ) -> None:
        self._engine = engine
        self._match = PassThroughMatch((endpoint,), {})

    async def serve(self, call: Call) -> Response:
        """Answer a call. An answer that is no JSON ends here, and none of it is kept."""
        request = PassThroughRequest(
            call=call,
            match=self._match,
            dialect=DIALECTS[call.dialect],
            query="",
            content_type=JSON_TYPE,
            body=call.body,
            token_bounds=TokenBounds(prompt=len(call.body), answer=MAX_ANSWER_TOKENS),
            is_operators_choice=True,
        )
        response = await self._engine().serve(request)
        if response.stream is not None:
            with suppress(ProblemError):
                async for _ in response.stream:  # settles the call
                    pass
        return response

    def abort(self, call: Call, cancel: Callable[[], object], ended_by: str) -> None:
        """End a call that is being served."""
        self._engine().abort(call, cancel, ended_by)
