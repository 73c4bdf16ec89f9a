"""The models that the gateway asks before it decides: what outlives configurations."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.core.call import Call
from gateway.core.decision_context import DecisionContext
from gateway.ledger.redaction_patterns import compile_redactor
from gateway.pipeline.embedder import EmbeddingModel
from gateway.pipeline.engine import Engine
from gateway.pipeline.judge.chat_question import ChatQuestion
from gateway.pipeline.judge.decision_question import DecisionQuestion
from gateway.pipeline.judge.decision_server import DecisionServer
from gateway.pipeline.judge.judge import Judge, JudgeSettings
from gateway.pipeline.judge.verdict_memory import VerdictMemory
from gateway.pipeline.local_embedder import LocalEmbedder
from gateway.pipeline.meaning_matcher import TAG as MEANING_TAG
from gateway.pipeline.meaning_matcher import MeaningMatcher, MeaningMemory, MeaningSettings
from gateway.pipeline.passthrough.engine import PassThroughEngine
from gateway.pipeline.reference_vectors import TextEmbedder
from gateway.pipeline.saved_vectors import SavedVectors
from gateway.routing.decision_endpoint import find_decision_endpoint
from gateway.routing.features import Features
from gateway.routing.judge_calibration import JudgeCalibration, ProbabilityLine
from gateway.runtime.build import BuiltConfig
from gateway.runtime.references import list_references
from gateway.settings.passthrough import DECISION_TABLES
from gateway.settings.schema.root import Config
from gateway.settings.schema.rules import LOCAL_EMBEDDER, JudgePart
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric

_VECTORS_FILE: Final = "vectors.msgpack"
"""The file of the data folder with the vectors of exemplars and routes."""
_EXPLAIN_SECONDS = 120.0
"""Seconds that a command waits for vectors of this process."""


class DecisionModels:
    """Parts that the judges and embedders of all configurations share: memories, and pauses."""

    def __init__(self, log: Log, data: Path | None) -> None:
        """`data` is the data folder; without it, vectors last as long as the process."""
        self._verdict_memory = VerdictMemory(log)
        file = None if data is None else data / _VECTORS_FILE
        self._meaning_memory = MeaningMemory(log, SavedVectors(file))
        self._local_embedder = LocalEmbedder()
        self._matcher: MeaningMatcher | None = None

    def make_judge(
        self,
        built_config: BuiltConfig,
        engine: Callable[[], Engine],
        passthrough: Callable[[], PassThroughEngine],
    ) -> Judge | None:
        """Return the judge of a configuration; None if it has none.

        `engine` and `passthrough` return the engines of the same configuration, built later.
        """
        config = built_config.source.config
        judge_part = config.routing.judge
        if judge_part is None:
            return None
        settings = _read_settings(config, judge_part)
        if judge_part.kind == "chat":
            question = ChatQuestion(judge_part.model)
            return Judge(question, settings, self._verdict_memory, server=engine)
        built_catalogue = built_config.built_catalogue
        endpoint = find_decision_endpoint(
            built_catalogue.catalogue, built_catalogue.passthrough, judge_part.model
        )
        if endpoint is None:  # no provider of the model is on
            no_question = DecisionQuestion(judge_part.model, DECISION_TABLES[0])
            return Judge(no_question, settings, self._verdict_memory, server=None)
        decision_question = DecisionQuestion(judge_part.model, endpoint.table.name)
        server = DecisionServer(passthrough, endpoint)
        return Judge(decision_question, settings, self._verdict_memory, server=lambda: server)

    def make_matcher(
        self, config: Config, engine: Callable[[], Engine], timeout: float | None = None
    ) -> MeaningMatcher | None:
        """Return what compares turns with exemplars and routes by meaning; None if nothing does.

        `timeout`, in seconds, replaces the configured one.
        """
        part = config.routing.meaning
        references = list_references(config)
        if part is None or not references:
            return None
        memory = self._meaning_memory
        embedder: TextEmbedder = self._local_embedder
        if part.embed != LOCAL_EMBEDDER:
            embedder = EmbeddingModel(part.embed, memory.trust, server=engine, tag=MEANING_TAG)
        settings = MeaningSettings(
            references=references,
            least=part.least,
            timeout=part.timeout if timeout is None else timeout,
            redactors=[compile_redactor(pattern) for pattern in config.ledger.redact],
        )
        self._matcher = MeaningMatcher(embedder, settings, memory)
        return self._matcher

    async def close(self) -> None:
        """End what runs in the background."""
        if self._matcher is not None:
            await self._matcher.close()

    def measures(self) -> list[CounterMetric]:
        """Return the metrics of judges and embedders for /metrics."""
        return [*self._verdict_memory.measures(), *self._meaning_memory.measures()]


async def explain_nearest(
    built_config: BuiltConfig, call: Call, features: Features, context: DecisionContext
) -> DecisionContext:
    """Return a context with the nearest exemplar or route by meaning, for a call nobody sends.

    A provider's model is not asked: then the context has the reason.
    """

    def have_no_engine() -> Engine:
        raise AssertionError("nobody is asked")

    def ignore(event: str, **fields: object) -> None:
        pass

    models = DecisionModels(ignore, None)
    matcher = models.make_matcher(built_config.source.config, have_no_engine, _EXPLAIN_SECONDS)
    if matcher is None:
        return context
    return await matcher(built_config.router, call, features, context, may_ask=False)


def _read_settings(config: Config, judge_part: JudgePart) -> JudgeSettings:
    return JudgeSettings(
        timeout=judge_part.seconds,
        unsure_below=judge_part.unsure_below if judge_part.asks_unsure_only else None,
        calibration=_read_calibration(judge_part),
        redactors=[compile_redactor(pattern) for pattern in config.ledger.redact],
    )


def _read_calibration(judge_part: JudgePart) -> JudgeCalibration | None:
    part = judge_part.calibration
    if part is None:
        return None
    return JudgeCalibration(fast=ProbabilityLine(*part.fast), smart=ProbabilityLine(*part.smart))
