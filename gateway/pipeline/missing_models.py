"""Names that a provider does not know: the gateway repeats its refusal for a minute.

Clients choose these names, so their refusals open no circuit breaker. Each key has refusals of its
own: no key can make the gateway refuse a model to another one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from gateway.core.call import Call
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Catalogue, Target
from gateway.dialects.upstream_errors import add_sentence
from gateway.routing.visible_models import suggest_name

_SECONDS = 60.0
"""Seconds for which a refusal is repeated."""
_MAX_ENTRIES = 1024
"""The number of refusals; the oldest goes first."""
_MAX_BODY_BYTES = 4096
"""The most bytes of a provider's error that are kept."""
_NO_MODEL_CODES = (b"model_not_found", b"DeploymentNotFound")
"""Words of errors that blame the model without its name."""

type _RefusalKey = tuple[str, str, str, str, str]
"""Tenant, key, dialect, operation and target."""


class MissingModels:
    """The refusals of names that no lab lists. `clock` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refusals: OrderedDict[_RefusalKey, tuple[float, Problem]] = OrderedDict()

    def check(self, call: Call, target: Target) -> None:
        """Raise ProblemError if the provider has just refused this name to this key."""
        entry = self._refusals.get(_make_key(call, target))
        if entry is not None and self._clock() < entry[0]:
            raise ProblemError(entry[1])

    async def explain(
        self, call: Call, target: Target, problem: Problem, catalogue: Catalogue
    ) -> Problem:
        """Return a provider's refusal of a name with the nearest known name, and remember it.

        A thread looks for that name, as it may have to read a price list.
        """
        if problem.kind != "upstream_model" or not _blames_model(problem, target.model):
            return problem
        nearest_name = await asyncio.to_thread(suggest_name, target.name, catalogue, call.key)
        if nearest_name:
            problem = add_sentence(problem, f"Did you mean {nearest_name!r}?")
        if problem.body is not None and len(problem.body) > _MAX_BODY_BYTES:
            problem = msgspec.structs.replace(problem, body=None)
        if len(self._refusals) >= _MAX_ENTRIES:
            self._refusals.popitem(last=False)
        key = _make_key(call, target)
        self._refusals[key] = self._clock() + _SECONDS, problem
        self._refusals.move_to_end(key)
        return problem


def _make_key(call: Call, target: Target) -> _RefusalKey:
    return call.key.tenant, call.key.name, call.dialect, call.operation, target.name


def _blames_model(problem: Problem, model: str) -> bool:
    """True if a 404 is about the model: a request may name other things that do not exist."""
    text = problem.message.encode() + (problem.body or b"")
    return model.encode() in text or any(code in text for code in _NO_MODEL_CODES)
