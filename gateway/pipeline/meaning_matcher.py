"""Find the exemplar or route that a turn means, before the gateway decides.

The gateway compares only where the classifier would decide: no pin, rule or session does, and no
exemplar is near by its words. An embedding model of a provider is asked through the gateway, with
the key of the original call. Its row has the tag `meaning` and the original call's id followed by
`.meaning`. Such a call has no tier, so nothing is compared for it. If no vector comes in time, the
gateway decides without, and the trace says so.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec

from gateway.core.call import Call
from gateway.core.decision_context import DecisionContext, MeaningMatch
from gateway.ledger.redaction import Redactor
from gateway.pipeline.embedder import EmbedderTrust
from gateway.pipeline.judge.verdict_memory import make_verdict_key
from gateway.pipeline.judged_text import prepare_judged_text
from gateway.pipeline.reference_vectors import ReferenceVectors, TextEmbedder
from gateway.pipeline.saved_vectors import SavedVectors
from gateway.pipeline.subrequest import restrict_key
from gateway.routing.classifier.meaning import (
    Reference,
    find_nearest,
    list_passages,
    normalize,
)
from gateway.routing.classifier_decision import find_classifier_decision, may_reuse_opinion
from gateway.routing.features import Features
from gateway.routing.router import Router
from gateway.state.memory import MemoryStore
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric

TAG = "meaning"
_NOT_ASKED_REASON = "not asked here: a call would be compared by meaning first"
_MEMORY_BYTES = 2_000_000
"""Approximate maximum bytes of remembered matches: some 4,000."""
_MATCH_TTL_SECONDS = 3600.0
"""Seconds for which a match is remembered."""

_decode_match = msgspec.msgpack.Decoder(MeaningMatch).decode


class MeaningMemory:
    """The matches of turns, the vectors of exemplars, and the pause of a model that fails.

    It outlives configurations. `clock` is monotonic seconds.
    """

    def __init__(
        self,
        log: Log,
        saved_vectors: SavedVectors,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trust = EmbedderTrust(log, clock, event=TAG)
        self.saved_vectors = saved_vectors
        self.matches = MemoryStore(_MEMORY_BYTES, clock=clock)
        self.compared_turns = self.matched_turns = self.uncompared_turns = 0
        self.note: Callable[[str], object] = lambda text: log("meaning", text=text)

    def measures(self) -> list[CounterMetric]:
        """Return the metrics of comparisons for /metrics."""
        return [
            CounterMetric(
                "compared", "Turns compared with exemplars by meaning.", lambda: self.compared_turns
            ),
            CounterMetric(
                "compared_near", "Turns near an exemplar by meaning.", lambda: self.matched_turns
            ),
            CounterMetric(
                "uncompared",
                "Turns for which the embedder gave no vector in time.",
                lambda: self.uncompared_turns,
            ),
        ]


class MeaningSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a comparison: the texts, and when a turn is near one."""

    references: Sequence[Reference]
    least: float
    """The cosine that is near enough."""
    timeout: float
    """Seconds that a call waits for the comparison."""
    redactors: Sequence[Redactor] = ()
    """Functions that strike out what the operator configures, in the text that is compared."""


class MeaningMatcher:
    """Compares turns with the exemplars and routes of one configuration."""

    def __init__(
        self,
        embedder: TextEmbedder,
        settings: MeaningSettings,
        memory: MeaningMemory,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._embedder = embedder
        self._settings = settings
        self._memory = memory
        self._clock = clock
        self._vectors = ReferenceVectors(
            settings.references, embedder, memory.saved_vectors, memory.note
        )
        content = repr((embedder.name, settings.least, [*settings.references]))
        self._identity = blake2b(content.encode(), digest_size=16).hexdigest()

    async def __call__(
        self,
        router: Router,
        call: Call,
        features: Features,
        context: DecisionContext,
        *,
        may_ask: bool = True,
    ) -> DecisionContext:
        """Return the context with the nearest exemplar or route, or the reason why there is none.

        Set `may_ask` if a provider may be asked; otherwise only a remembered match counts, or the
        embedder of this process.
        """
        decision = find_classifier_decision(router, call, features, context)
        if decision is None or decision.no_judge:
            return context
        memory = self._memory
        match_key = make_verdict_key(call.key, self._identity, features.text).hex()
        may_reuse = may_reuse_opinion(decision, call)
        data = await memory.matches.get(match_key) if may_reuse else None
        match: MeaningMatch | str | None
        if data is not None:
            match = _decode_match(data)
        elif not (may_ask or self._embedder.is_local):
            match = _NOT_ASKED_REASON
        else:
            key = restrict_key(call.key, router, features, context, decision.tags)
            match = await self._compare(msgspec.structs.replace(call, key=key), features.text)
        if may_ask:
            self._count(match)
        if isinstance(match, str):
            return msgspec.structs.replace(context, uncompared=match)
        if match is not None and may_reuse:
            memory.matches.put_nowait(match_key, msgspec.msgpack.encode(match), _MATCH_TTL_SECONDS)
        return msgspec.structs.replace(context, nearest=match)

    async def close(self) -> None:
        """End what runs in the background."""
        await self._vectors.close()

    async def _compare(self, call: Call, text: str) -> MeaningMatch | str | None:
        """Return the nearest reference, or the reason why there is no vector in time."""
        settings = self._settings
        deadline = self._clock() + settings.timeout
        reference_vectors = await self._vectors.find(call, settings.timeout)
        if isinstance(reference_vectors, str):
            return reference_vectors
        text = await asyncio.to_thread(prepare_judged_text, text, settings.redactors)
        passages = list_passages(text)
        if not passages:
            return None
        seconds_left = max(0.0, deadline - self._clock())
        vectors = await self._embedder.embed(call, passages, seconds_left)
        if isinstance(vectors, str):
            return vectors
        return find_nearest(
            settings.references, reference_vectors, [normalize(v) for v in vectors], settings.least
        )

    def _count(self, match: MeaningMatch | str | None) -> None:
        self._memory.uncompared_turns += isinstance(match, str)
        self._memory.compared_turns += not isinstance(match, str)
        self._memory.matched_turns += isinstance(match, MeaningMatch) and match.is_near
