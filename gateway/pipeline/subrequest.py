"""A call that the gateway makes for another one: served like any other, within a time limit.

If a model fails several times, the gateway does not ask it for a while.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.core.call import Call, Key
from gateway.core.decision_context import DecisionContext
from gateway.pipeline.response import Response
from gateway.routing.features import Features
from gateway.routing.router import Router
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import evaluate_guards

_MAX_FAILURES = 3
"""Failures in a row after which a model is paused."""
_PAUSE_SECONDS = 30.0
"""Seconds for which a model is paused."""


class SubrequestServer(Protocol):
    """The part that serves calls: the engine."""

    async def serve(self, call: Call) -> Response:
        """Answer a call."""
        ...

    def abort(self, call: Call, cancel: Callable[[], object], ended_by: str) -> None:
        """End a call that is being served."""
        ...


class CoolDown:
    """The pause of a model that fails; it outlives configurations.

    It calls `notify` when the pause begins and when the model is back. `clock` is monotonic
    seconds.
    """

    def __init__(
        self, notify: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._notify = notify
        self._clock = clock
        self._failures = 0
        self._paused_until = float("-inf")

    @property
    def is_paused(self) -> bool:
        """True if the model is paused now."""
        return self._clock() < self._paused_until

    def start_call(self) -> None:
        """Note the start of a call.

        If the model has failed several times, pause it for all others until this call has ended.
        """
        if self._failures >= _MAX_FAILURES:
            self._paused_until = self._clock() + _PAUSE_SECONDS

    def record_failure(self, reason: str) -> None:
        """Record a failure.

        After several in a row, one call at a time tests if the model is back.
        """
        self._failures += 1
        if self._failures >= _MAX_FAILURES:
            self._paused_until = self._clock() + _PAUSE_SECONDS
            if self._failures == _MAX_FAILURES:
                self._notify(f"paused for a while: {reason}")

    def record_success(self) -> None:
        """Record that the model has answered."""
        if self._failures >= _MAX_FAILURES:
            self._paused_until = float("-inf")
            self._notify("back")
        self._failures = 0


async def serve_subrequest(
    server: SubrequestServer, call: Call, timeout_seconds: float
) -> Response | None:
    """Serve a call; return None if there is no answer within `timeout_seconds`.

    If the client of the original call leaves, this call ends too.
    """
    task = asyncio.ensure_future(server.serve(call))
    try:
        await asyncio.wait((task,), timeout=timeout_seconds)
    except asyncio.CancelledError:
        server.abort(call, task.cancel, "client")
        raise
    if task.done():
        return task.result()
    server.abort(call, task.cancel, "timeout")
    await asyncio.gather(task, return_exceptions=True)
    return None


def restrict_key(
    key: Key, router: Router, features: Features, context: DecisionContext, tags: tuple[str, ...]
) -> Key:
    """Return a key with some tags, limited to the labs that may read a call."""
    labs, rules = key.labs, router.rules
    if rules.guards:
        bounds = evaluate_guards(
            rules, RuleContext(features, rules.patterns, context, router.find_classifier(key))
        )
        all_labs = router.catalogue.labs if labs is None else labs
        allowed_labs = tuple(lab for lab in all_labs if bounds.allows_lab(lab))
        labs = labs if len(allowed_labs) == len(all_labs) else allowed_labs
    return msgspec.structs.replace(key, tags=tags, labs=labs)
