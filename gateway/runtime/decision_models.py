"""The models that the gateway asks before it decides: what outlives configurations."""

from collections.abc import Callable

from gateway.ledger.redaction_patterns import compile_redactor
from gateway.pipeline.engine import Engine
from gateway.pipeline.judge.chat_question import ChatQuestion
from gateway.pipeline.judge.decision_question import DecisionQuestion
from gateway.pipeline.judge.decision_server import DecisionServer
from gateway.pipeline.judge.judge import Judge, JudgeSettings
from gateway.pipeline.judge.verdict_memory import VerdictMemory
from gateway.pipeline.passthrough.engine import PassThroughEngine
from gateway.routing.decision_endpoint import find_decision_endpoint
from gateway.routing.judge_calibration import JudgeCalibration, ProbabilityLine
from gateway.runtime.build import BuiltConfig
from gateway.settings.passthrough import DECISION_TABLES
from gateway.settings.schema.root import Config
from gateway.settings.schema.rules import JudgePart
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric


class DecisionModels:
    """Parts that the judges of all configurations share: their verdicts, and their pause."""

    def __init__(self, log: Log) -> None:
        self._verdict_memory = VerdictMemory(log)

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

    def measures(self) -> list[CounterMetric]:
        """Return the metrics of judges for /metrics."""
        return self._verdict_memory.measures()


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
